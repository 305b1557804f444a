"""Threads for work that may block, which go on working while the interpreter ends.

The executors of the standard library refuse work as soon as the main thread has ended, also from
threads that outlive it and from functions that `atexit` calls. These threads are daemons: whoever
must not lose their work waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

# Threads that look up names and load libraries for a loop, as many as its own executor has.
_MAX_LOOP_WORKERS = 32


class WorkerThreads:
    """A few threads that do what is submitted, in order. They start when there is work.

    Args:
        count: how many threads there are at most.
        name: the beginning of their names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        # Whether the threads end once there is no more work, and whether more may be submitted.
        self._is_ending = False
        self._is_closed = False

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have work done on a thread.

        Raises:
            RuntimeError: the threads were closed.
        """
        future: Future[T] = Future()
        run = partial(_run, future, partial(work, *args, **kwargs))
        with self._changed:
            if self._is_closed:
                raise RuntimeError("its threads have ended")
            self._queue.append(run)
            if self._idle >= len(self._queue) or self._start_thread():
                self._changed.notify()
                return future
            self._queue.remove(run)

        # No thread can be started any more, so late in the interpreter's end.
        run()
        return future

    def rest(self) -> None:
        """Finish the work and end the threads; more work starts them again. Blocks."""
        with self._changed:
            self._is_ending = True
            threads = list(self._threads)
            self._changed.notify_all()

        for thread in threads:
            # The garbage collector may come here on any thread, on one of these too.
            if thread is not threading.current_thread():
                thread.join()
        with self._changed:
            self._is_ending = False

    def close(self) -> None:
        """Finish the work and end the threads for good. Blocks; safe to call twice."""
        with self._changed:
            self._is_closed = True
        self.rest()

    def _start_thread(self) -> bool:
        """Start a thread if there may be one more; return whether any is there to do the work."""
        if len(self._threads) < self._count:
            number = len(self._threads)
            thread = threading.Thread(target=self._work, name=f"{self._name}_{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return bool(self._threads)
            self._threads.add(thread)
        return True

    def _work(self) -> None:
        while True:
            run = self._next()
            if run is None:
                return
            run()
            # What it holds must not live on until there is other work.
            del run

    def _next(self) -> Callable[[], None] | None:
        """Wait for work; None if this thread is to end."""
        with self._changed:
            self._idle += 1
            while not self._queue and not self._is_ending:
                self._changed.wait()
            self._idle -= 1

            if self._queue:
                return self._queue.popleft()
            self._threads.discard(threading.current_thread())
            return None


class WorkerExecutor(ThreadPoolExecutor):
    """The default executor of an event loop that goes on while the interpreter ends.

    It looks up host names, among other things. The loop takes no other class than its own.

    Args:
        count: how many threads there are at most.
        name: the beginning of their names.
    """

    def __init__(self, count: int, name: str) -> None:
        super().__init__(1)  # which starts no thread, as no work gets there
        self._workers = WorkerThreads(count, name)

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._workers.submit(work, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._workers.close()


class LoopThread:
    """An event loop that runs on a daemon thread, which does not keep the process alive.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        # The loop's own would refuse work as soon as the main thread has ended.
        self.loop.set_default_executor(WorkerExecutor(_MAX_LOOP_WORKERS, f"{name}-work"))
        self.thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self.thread.start()


async def run_on_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work on a thread of its own, with the context variables of the caller.

    It goes on if the caller is cancelled, and does not keep the program from ending.
    """
    future: Future[T] = Future()
    run = partial(_run, future, partial(copy_context().run, partial(work, *args, **kwargs)))
    try:
        threading.Thread(target=run, name="synth-ai-work", daemon=True).start()
    except RuntimeError:
        # No thread can be started any more, so late in the interpreter's end.
        run()
    return await asyncio.wrap_future(future)


def _run(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # for whoever waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)
