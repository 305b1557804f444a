"""One pool of connections for each event loop that calls a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from synth_ai.http.connections import ConnectionPool
from synth_ai.timeout import paused_clock


class ConnectionPools:
    """The pools of connections to one server.

    A connection belongs to the event loop it was opened on, so each loop gets a pool when it first
    calls, and closes it when it ends.

    Args:
        make_pool: makes a pool, on a thread.
    """

    def __init__(self, make_pool: Callable[[], ConnectionPool]) -> None:
        self._make_pool = make_pool
        self._open: dict[asyncio.AbstractEventLoop, ConnectionPool] = {}
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Future[ConnectionPool]] = {}
        self._lock = threading.Lock()

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
            pools = self._open
            self._open = {}

        local_pool = pools.pop(asyncio.get_running_loop(), None)
        for loop, pool in pools.items():
            # Not waited for: that loop may be waiting for this one.
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(pool.aclose(), loop)

        if local_pool is not None:
            await local_pool.aclose()

    async def _open_pool(self, loop: asyncio.AbstractEventLoop) -> ConnectionPool:
        pool = await asyncio.to_thread(self._make_pool)
        await pool.open()

        with self._lock:
            # A pool refers to its loop, so neither would ever be collected after the loop's end.
            ended_loops = [other for other in self._open if other.is_closed()]
            for ended_loop in ended_loops:
                del self._open[ended_loop]

            self._open[loop] = pool

        return pool
