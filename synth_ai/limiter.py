"""How many calls may be in flight at once, counted over all event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from synth_ai.errors import OptionError


class ConcurrencyLimiter:
    """A gate that lets `limit` calls through at a time, in the order they came: `async with` waits for a place.

    asyncio's own semaphore belongs to one loop, and one LM may be called from several.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, int) or limit < 1
        ):
            raise OptionError(
                f"max_concurrency={limit!r} lets nothing through; it takes a number from 1, or None."
            )
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()

    # No generator: thousands of calls may wait here, and each would hold a frame more.
    async def __aenter__(self) -> None:
        if self._free is None:
            return
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                given = turn not in self._waiting
                if not given:
                    self._waiting.remove(turn)
            if given:
                self._leave()
            raise

    async def __aexit__(self, *why: object) -> None:
        if self._free is not None:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            while self._waiting:
                # Where that caller's loop has been closed, the place goes to the next in line.
                if wake(self._waiting.popleft()):
                    return
            assert self._free is not None
            self._free += 1


def wake(sleeper: asyncio.Future[None]) -> bool:
    """Let somebody go on who waits, from any thread. False if the event loop it waits on has been closed."""
    try:
        sleeper.get_loop().call_soon_threadsafe(_finish, sleeper)
    except RuntimeError:
        return False
    return True


def _finish(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
