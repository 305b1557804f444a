"""One pool of connections for each event loop that calls a server."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

from synth_ai.errors import ConnectionFailedError
from synth_ai.http.connections import ConnectionPool
from synth_ai.timeout import paused_clock

# Seconds for which the end of the program waits for connections to be closed.
_END_PATIENCE = 1.0


class ConnectionPools:
    """The pools of connections to one server.

    A connection belongs to the event loop it was opened on, so each loop gets a pool when it first
    calls, and closes it when it ends. The end of the program closes the pools of other loops, and
    so does whoever drops this object.

    Args:
        make_pool: makes a pool, on a thread.
    """

    def __init__(self, make_pool: Callable[[], ConnectionPool]) -> None:
        self._make_pool = make_pool
        self._open: dict[asyncio.AbstractEventLoop, ConnectionPool] = {}
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Future[ConnectionPool]] = {}
        self._lock = threading.Lock()
        self._times_closed = 0
        # It holds the open pools. They must not be part of what a garbage collection finds: that
        # would finalize connections before anybody could close them on their loop.
        dropped = weakref.finalize(self, _close_dropped, self._open)
        # The end of the program is seen to below.
        dropped.atexit = False
        _all.add(self)

    async def for_running_loop(self) -> ConnectionPool:
        """Return the pool of the running event loop, which the first call makes and opens."""
        loop = asyncio.get_running_loop()
        pool = self._open.get(loop)
        if pool is not None:
            return pool

        opening = self._opening.get(loop)
        if opening is None:
            opening = asyncio.ensure_future(self._open_pool(loop))
            self._opening[loop] = opening
            opening.add_done_callback(lambda _: self._opening.pop(loop, None))

        # Every call of this loop waits for the same task, so none may cancel it for the others.
        # The first one imports an HTTP library, which is no part of a waiting call's time.
        with paused_clock():
            return await asyncio.shield(opening)

    async def aclose(self) -> None:
        """Close all pools; those of other event loops as soon as their loops get to it."""
        with self._lock:
            self._times_closed += 1
            pools = dict(self._open)
            self._open.clear()

        local_pool = pools.pop(asyncio.get_running_loop(), None)
        for loop, pool in pools.items():
            # Not waited for: that loop may be waiting for this one.
            _Closing.begin(loop, pool)

        if local_pool is not None:
            await local_pool.aclose()

    def begin_close_idle(self) -> None:
        """Begin to close the pools that no call is waiting for."""
        with self._lock:
            for loop, pool in list(self._open.items()):
                if pool.waiting == 0:
                    del self._open[loop]
                    _Closing.begin(loop, pool)

    def forget_open(self) -> None:
        """Leave the open pools to the parent, in a forked child."""
        _inherited.append(dict(self._open))
        self._open.clear()
        self._opening.clear()
        self._lock = threading.Lock()

    async def _open_pool(self, loop: asyncio.AbstractEventLoop) -> ConnectionPool:
        times_closed = self._times_closed
        pool = await asyncio.to_thread(self._make_pool)
        if times_closed != self._times_closed:
            raise ConnectionFailedError(
                "The connections were closed while the first one was made. Nothing was sent."
            )
        await pool.open()

        with self._lock:
            # A pool refers to its loop, so neither would ever be collected after the loop's end.
            ended_loops = [other for other in self._open if other.is_closed()]
            for ended_loop in ended_loops:
                self._open.pop(ended_loop).abandon()

            self._open[loop] = pool

        return pool


class _Closing:
    """A pool that is being closed on its loop.

    Args:
        loop: the pool's loop.
        pool: the pool.

    Attributes:
        loop: as given.
        done: whether the pool is closed; to be waited for on the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: ConnectionPool) -> None:
        self.loop = loop
        self.done = asyncio.Event()
        self._pool = pool
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def begin(cls, loop: asyncio.AbstractEventLoop, pool: ConnectionPool) -> None:
        """Begin to close a pool, from any thread, without a wait."""
        closing = cls(loop, pool)
        _closings.add(closing)
        try:
            loop.call_soon_threadsafe(closing._start)
        except RuntimeError:
            # The loop is closed.
            _closings.discard(closing)
            pool.abandon()

    def _start(self) -> None:
        self._task = self.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._pool.aclose()
        finally:
            _closings.discard(self)
            self.done.set()


_all: weakref.WeakSet[ConnectionPools] = weakref.WeakSet()

# What is being closed; each stands for itself until it is done.
_closings: set[_Closing] = set()


def _close_dropped(pools: dict[asyncio.AbstractEventLoop, ConnectionPool]) -> None:
    """Begin to close the pools of an object that is gone. A garbage collection may come here."""
    for loop, pool in pools.items():
        _Closing.begin(loop, pool)


def _close_at_end() -> None:
    """Close the connections at the end of the program, but for those of calls under way.

    What is left open would say so while the interpreter ends.
    """
    for pools in list(_all):
        pools.begin_close_idle()

    ends_at = time.monotonic() + _END_PATIENCE
    for closing in list(_closings):
        loop = closing.loop
        # A loop between two of its runs, as a notebook has them, is run for this.
        if not loop.is_running() and not loop.is_closed():
            with suppress(Exception):
                loop.run_until_complete(asyncio.wait_for(closing.done.wait(), _END_PATIENCE))

    while _closings and time.monotonic() < ends_at:
        time.sleep(0.001)


# Pools of the process that this one was forked from. They are not finalized here, where their
# loops do not run.
_inherited: list[dict[asyncio.AbstractEventLoop, ConnectionPool]] = []


def _forget_parents_pools() -> None:
    for pools in list(_all):
        pools.forget_open()
    _closings.clear()


atexit.register(_close_at_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_pools)
