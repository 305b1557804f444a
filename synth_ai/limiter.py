"""How many calls may be in flight at once, counted over all event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from synth_ai.errors import OptionError


class ConcurrencyLimiter:
    """Lets `limit` calls run at a time, in the order they came; `async with` waits for a slot.

    asyncio's own semaphore belongs to one loop, and one LM may be called from several.

    Args:
        limit: the number of slots; None for no limit.

    Raises:
        OptionError: the limit is not a whole number from 1.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and not is_positive_int(limit):
            raise OptionError(f"max_concurrency={limit!r} must be a whole number from 1, or None.")

        self._free_slots = limit
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()

    # No `asynccontextmanager`: thousands of calls may wait here, and each would hold a frame more.
    async def __aenter__(self) -> None:
        if self._free_slots is None:
            return

        with self._lock:
            if self._free_slots > 0:
                self._free_slots -= 1
                return
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)

        try:
            await waiter
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        if self._free_slots is not None:
            self._release()

    def _give_up(self, waiter: asyncio.Future[None]) -> None:
        """Leave the queue, or hand on the slot if it was given just before."""
        with self._lock:
            is_queued = waiter in self._waiters
            if is_queued:
                self._waiters.remove(waiter)

        if not is_queued:
            self._release()

    def _release(self) -> None:
        """Give a slot to the call that has waited longest, or count it as free."""
        with self._lock:
            while self._waiters:
                # If that call's loop has been closed, the slot goes to the next one.
                if wake(self._waiters.popleft()):
                    return

            assert self._free_slots is not None
            self._free_slots += 1


def is_positive_int(value: object) -> bool:
    """Tell whether a value is a whole number from 1. True is not, though Python counts it as 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def wake(waiter: asyncio.Future[None]) -> bool:
    """Let the call that awaits a future go on, from any thread.

    Returns:
        False if the event loop of the future has been closed.
    """
    try:
        waiter.get_loop().call_soon_threadsafe(_finish, waiter)
    except RuntimeError:
        return False

    return True


def _finish(waiter: asyncio.Future[None]) -> None:
    # It may have been cancelled, or woken twice, before the loop came to run this.
    if not waiter.done():
        waiter.set_result(None)
