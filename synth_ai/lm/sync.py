"""The one bridge from sync to async: an event loop on a thread, for the life of the process.

Connection pools and engines belong to a loop. A new loop for each sync call would break them, and a
loop that is already running (a notebook's) cannot be entered twice; a long-lived loop on another
thread has neither problem.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from synth_ai.errors import RequestError
from synth_ai.store.workers import WorkerExecutor

T = TypeVar("T")

# Threads that look up names and load libraries for the loop, as many as its own executor has.
_MAX_WORKERS = 32


class _LoopThread:
    """An event loop that runs on a daemon thread, which does not keep the process alive."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # The loop's own would refuse work as soon as the main thread has ended.
        self.loop.set_default_executor(WorkerExecutor(_MAX_WORKERS, "synth-ai-sync-work"))
        self.thread = threading.Thread(
            target=self.loop.run_forever, name="synth-ai-sync", daemon=True
        )
        self.thread.start()


_loop_thread: _LoopThread | None = None
_lock = threading.Lock()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the shared loop and wait for its result. An interrupt (Ctrl-C) cancels it.

    Raises:
        RequestError: the caller is on the shared loop itself, and would wait for itself for ever.
    """
    shared = _get_loop_thread()
    if threading.current_thread() is shared.thread:
        work.close()
        raise RequestError(
            "A sync method was called from inside the library's own loop; use its async twin there."
        )

    future = asyncio.run_coroutine_threadsafe(work, shared.loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _get_loop_thread() -> _LoopThread:
    global _loop_thread
    with _lock:
        # A forked child inherits the object, but not the thread.
        if _loop_thread is None or _loop_thread.pid != os.getpid():
            _loop_thread = _LoopThread()
        return _loop_thread
