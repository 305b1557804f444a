"""The one bridge from sync to async: an event loop on a thread, for the life of the process.

Connection pools and engines belong to a loop. A new loop for each sync call would break them, and a
loop that is already running (a notebook's) cannot be entered twice; a long-lived loop on another
thread has neither problem.

Code of others (async tools, hooks) never runs on that loop, as it may wait for a thread that calls
this library: it has loops of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar, cast

from synth_ai.errors import RequestError
from synth_ai.store.workers import LoopThread

T = TypeVar("T")

_loop_thread: LoopThread | None = None
_idle_threads: list[LoopThread] = []
_lock = threading.Lock()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the shared loop and wait for its result. An interrupt (Ctrl-C) cancels it.

    Raises:
        RequestError: the caller is on the shared loop itself, and would wait for itself for ever;
            or the interpreter is ending.
    """
    # The thread stands still by now, and a wait for it would keep the process from ending.
    if sys.is_finalizing():
        work.close()
        raise RequestError("A sync method was called while the interpreter ends; nothing was sent.")

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


def run_with_user_code(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that may run code of the user's, such as tools, and wait for its result.

    What such code raises to end the program is raised here, in the thread of the caller: on the
    shared loop it would end the loop.

    Raises:
        RequestError: as for `run`.
    """
    result, exit_request = run(_catch_exit(work))
    if exit_request is not None:
        raise exit_request
    return cast("T", result)


async def _catch_exit(
    work: Coroutine[Any, Any, T],
) -> tuple[T | None, KeyboardInterrupt | SystemExit | None]:
    try:
        return await work, None
    except (KeyboardInterrupt, SystemExit) as error:
        return None, error


def finish(make_work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run work that cleans up, where a garbage collection may be what calls for it.

    It is waited for, unless the shared loop itself runs the collection. At the end of the
    interpreter there is nothing left to clean up.
    """
    if sys.is_finalizing():
        return

    shared = _get_loop_thread()
    if threading.current_thread() is shared.thread:
        begin(make_work, shared.loop)
    else:
        run(make_work())


def begin(
    make_work: Callable[[], Coroutine[Any, Any, None]], loop: asyncio.AbstractEventLoop
) -> None:
    """Begin to run work on a loop, from any thread, without a wait; not if the loop is closed."""
    try:
        loop.call_soon_threadsafe(_start_task, make_work)
    except RuntimeError:
        return


def shared_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that sync methods run on."""
    return _get_loop_thread().loop


class UserCode:
    """Runs coroutines of the user's, which may hold up the loop that they run on.

    On the shared loop that would hold up every sync call of the process, so there they run on
    another one, which nobody else has until the `with` block ends: code that is called by what
    holds up a loop must not need this very loop.
    """

    def __init__(self) -> None:
        self._thread: LoopThread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._thread is not None:
            with _lock:
                _idle_threads.append(self._thread)

    async def run(self, make_work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine. Cancelling this cancels it, and waits until it has ended."""
        if threading.current_thread() is not _get_loop_thread().thread:
            return await make_work()

        if self._thread is None:
            self._thread = _get_idle_thread()
        work = _UserWork(make_work, self._thread.loop)
        return cast("T", await work.run())


async def run_user_code(make_work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run one coroutine of the user's; see `UserCode`."""
    with UserCode() as user_code:
        return await user_code.run(make_work)


class _UserWork:
    """A coroutine on a loop of the user's code, for a caller on the shared loop."""

    def __init__(
        self,
        make_work: Callable[[], Coroutine[Any, Any, object]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._make_work = make_work
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._result: Future[tuple[object, BaseException | None]] = Future()

    async def run(self) -> object:
        """Run it to its end."""
        # It takes the context variables of the caller along.
        self._loop.call_soon_threadsafe(self._begin)
        result = asyncio.wrap_future(self._result)
        try:
            value, error = await asyncio.shield(result)
        except asyncio.CancelledError:
            self._loop.call_soon_threadsafe(self._cancel)
            await asyncio.wait([result])
            raise

        if error is not None:
            raise error
        return value

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            value = await self._make_work()
        except BaseException as error:  # raised in a task, what ends a program would end the loop
            self._result.set_result((None, error))
        else:
            self._result.set_result((value, None))

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


# What runs without anybody who waits for it; a loop itself refers to its tasks weakly.
_tasks: set[asyncio.Task[None]] = set()


def _start_task(make_work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.get_running_loop().create_task(make_work())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _get_loop_thread() -> LoopThread:
    global _loop_thread
    # Without the lock where there is one: a garbage collection may ask while it is held.
    shared = _loop_thread
    if shared is not None:
        return shared

    with _lock:
        if _loop_thread is None:
            _loop_thread = LoopThread("synth-ai-sync")
        return _loop_thread


def _get_idle_thread() -> LoopThread:
    """Return a loop for the user's code: the one used last, if nobody has it now."""
    with _lock:
        if _idle_threads:
            return _idle_threads.pop()
    return LoopThread("synth-ai-user")


def _forget_parents_threads() -> None:
    """Begin anew in a forked child, which inherits the objects, but not the threads."""
    global _loop_thread, _lock
    _lock = threading.Lock()
    _loop_thread = None
    _idle_threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_threads)
