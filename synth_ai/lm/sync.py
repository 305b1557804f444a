"""The only bridge from sync to async: one event loop on a thread of its own, for the life of the process.

Connection pools and engines belong to a loop. A fresh loop for each sync call would break them, and a loop that is
already running (a notebook's) cannot be entered twice; a long-lived loop elsewhere has neither problem.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from synth_ai.errors import RequestError

T = TypeVar("T")


class _Portal:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=self.loop.run_forever, name="synth-ai-sync", daemon=True
        )
        self.thread.start()


_portal: _Portal | None = None
_lock = threading.Lock()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the shared loop and wait for its result. An interrupt (Ctrl-C) cancels it.

    Raises:
        RequestError: called from the shared loop itself, which would wait for itself for ever.
    """
    portal = _running()
    if threading.current_thread() is portal.thread:
        work.close()
        raise RequestError(
            "A sync method was called from inside the library's own loop; use its async twin there."
        )
    future = asyncio.run_coroutine_threadsafe(work, portal.loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running() -> _Portal:
    global _portal
    with _lock:
        # A forked child has the object but not the thread.
        if _portal is None or _portal.pid != os.getpid():
            _portal = _Portal()
        return _portal
