"""How many calls may be in flight at once, counted over all event loops and threads."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType

from synth_ai.errors import OptionError

# Seconds between two looks at places whose holders may be gone, while calls wait for one.
_CHECK_INTERVAL = 0.5

# Seconds for which a loop must stand still until others may have its places. Loops that are run
# step by step stand still for moments.
_LOOP_PATIENCE = 0.4

# Seconds for which the reader of a stream must be away until another call may borrow its place.
_READER_PATIENCE = 2.0


class ConcurrencyLimiter:
    """Lets `limit` calls run at a time, in the order they came; each takes a `place()`.

    asyncio's own semaphore belongs to one loop, and one LM may be called from several. A place is
    given to nobody whose loop has stopped, and taken back from those whose loop has; a forked
    child begins with all places free, as the calls under way are its parent's.

    Args:
        limit: the number of places; None for no limit.

    Attributes:
        limit: as given.

    Raises:
        OptionError: the limit is not a whole number from 1.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and not is_positive_int(limit):
            raise OptionError(f"max_concurrency={limit!r} must be a whole number from 1, or None.")

        self.limit = limit
        self.forget_all()
        _limiters.add(self)

    def place(self) -> Place:
        """Make a place for one call, which does not hold it yet."""
        return Place(self)

    def forget_all(self) -> None:
        """Begin anew, with every place free."""
        self._lock = threading.Lock()
        self._held: set[Place] = set()
        self._queue: deque[Place] = deque()
        # Loops with calls that wait, each of which looks after the places now and then.
        self._watched: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def take_or_queue(self, place: Place, *, first: bool) -> asyncio.Future[bool] | None:
        """Take a place, or stand in the queue for it.

        Args:
            place: the place, which is not held.
            first: whether to stand before those that wait already.

        Returns:
            None if it was taken. Else a future: True once it is, False to ask again.
        """
        with self._lock:
            if self._try_take(place):
                return None

            loop = place.loop
            assert loop is not None
            waiter: asyncio.Future[bool] = loop.create_future()
            place.waiter = waiter
            if first:
                self._queue.appendleft(place)
            else:
                self._queue.append(place)

            if loop not in self._watched:
                self._watched.add(loop)
                loop.call_later(_CHECK_INTERVAL, self._check, loop)
            return waiter

    def give_back(self, place: Place) -> None:
        """Free a place, or leave the queue for it; nothing if it was taken back already."""
        with self._lock:
            if place in self._held:
                self._held.discard(place)
                place.is_active = False
                self._admit()
            elif place.lender is not None:
                self._return_to_lender(place)
            elif place in self._queue:
                self._queue.remove(place)

    def _try_take(self, place: Place) -> bool:
        assert self.limit is not None
        # Those that wait were all passed over, as their loops have stopped, if a place is free.
        if len(self._held) < self.limit:
            self._held.add(place)
            place.is_active = True
            return True

        # A call that is made inside another one, such as by the reader of a stream, would wait for
        # a place that is not given back before it has ended.
        for lender in place.outer:
            if lender.limiter is self and lender.can_lend:
                place.borrow_from(lender)
                return True
        return False

    def _admit(self) -> None:
        """Give the free places to those that have waited longest. Needs the lock."""
        assert self.limit is not None
        while self._queue and len(self._held) < self.limit:
            place = self._queue.popleft()
            is_running = place.loop is not None and place.loop.is_running()
            # One whose loop has stopped asks again, should the loop ever go on.
            if place.wake(has_place=is_running) and is_running:
                self._held.add(place)
                place.is_active = True

    def _return_to_lender(self, place: Place) -> None:
        """Free a borrowed place for another call that may borrow it. Needs the lock."""
        lender = place.lender
        assert lender is not None
        place.lender = None
        place.is_active = False
        lender.borrower = None
        if not lender.is_active:
            return

        for waiting in self._queue:
            if lender in waiting.outer or lender.is_idle:
                self._lend(lender, waiting)
                return

    def _lend(self, lender: Place, waiting: Place) -> None:
        self._queue.remove(waiting)
        if waiting.wake(has_place=True):
            waiting.borrow_from(lender)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for places that nobody uses, as long as calls of a loop wait for one."""
        with self._lock:
            self._take_back_lost_places()
            self._admit()
            self._lend_idle_places()

            if any(place.loop is loop for place in self._queue):
                loop.call_later(_CHECK_INTERVAL, self._check, loop)
            else:
                self._watched.discard(loop)

    def _take_back_lost_places(self) -> None:
        """Free the places of calls whose loop has stopped: nobody may ever give them back."""
        now = time.monotonic()
        for place in list(self._held):
            if place.loop is not None and place.loop.is_running():
                place.stopped_at = None
            elif place.stopped_at is None:
                place.stopped_at = now
            elif now - place.stopped_at >= _LOOP_PATIENCE:
                self._held.discard(place)
                place.is_active = False

    def _lend_idle_places(self) -> None:
        """Lend the places of streams whose readers are away: they may wait for the calls here."""
        for lender in self._held:
            if not self._queue:
                return
            if lender.is_idle and lender.can_lend:
                self._lend(lender, self._queue[0])


class Place:
    """One call's place among those that a limiter has.

    `async with` waits for it and gives it back, as `acquire` and `release` do.

    Attributes:
        limiter: the limiter.
        loop: the loop of the call; None before it asks.
        outer: the places that were held around the call: those of streams that are being read.
        is_active: whether the call may run: it holds the place, or has borrowed one.
        lender: the place that it has borrowed, if any.
        borrower: the place that has borrowed this one, if any.
        waiter: wakes the call that waits.
        stopped_at: since when the loop has been seen standing still.
        idle_since: since when the reader of a stream has been away; None while nobody is.
    """

    __slots__ = (
        "borrower",
        "idle_since",
        "is_active",
        "lender",
        "limiter",
        "loop",
        "outer",
        "stopped_at",
        "waiter",
    )

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self.limiter = limiter
        self.loop: asyncio.AbstractEventLoop | None = None
        self.outer: tuple[Place, ...] = ()
        self.is_active = False
        self.lender: Place | None = None
        self.borrower: Place | None = None
        self.waiter: asyncio.Future[bool] | None = None
        self.stopped_at: float | None = None
        self.idle_since: float | None = None

    async def acquire(self, *, first: bool = False) -> None:
        """Wait for the place.

        Args:
            first: whether to wait before those that wait already, for a call that had its place.
        """
        if self.limiter.limit is None:
            return

        self.loop = asyncio.get_running_loop()
        self.outer = open_places()
        try:
            while True:
                waiter = self.limiter.take_or_queue(self, first=first)
                if waiter is None or await waiter:
                    break
        except BaseException:
            # Cancelled while it waited, or just after the place was given to it.
            self.limiter.give_back(self)
            raise

        keep_places((*self.outer, self))

    def release(self) -> None:
        """Give the place back. Safe to call twice."""
        if self.limiter.limit is None:
            return

        self.idle_since = None
        self.limiter.give_back(self)
        keep_places(place for place in open_places() if place is not self)

    # No `asynccontextmanager`: thousands of calls may wait here, and each would hold a frame more.
    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def can_lend(self) -> bool:
        """Whether another call may use the place beside the one that holds it."""
        return self.is_active and self.borrower is None

    @property
    def is_idle(self) -> bool:
        """Whether the reader of the stream that holds the place has been away for a while."""
        if self.idle_since is None:
            return False
        return time.monotonic() - self.idle_since >= _READER_PATIENCE

    def borrow_from(self, lender: Place) -> None:
        """Use another call's place."""
        self.lender = lender
        self.is_active = True
        lender.borrower = self

    def wake(self, *, has_place: bool) -> bool:
        """Let the call that waits go on, from any thread.

        Returns:
            False if its event loop has been closed.
        """
        assert self.loop is not None
        assert self.waiter is not None
        try:
            self.loop.call_soon_threadsafe(_set_result, self.waiter, has_place)
        except RuntimeError:
            return False

        return True


# The places that are held around the code that runs: a call made by the reader of a stream finds
# the stream's place here. Tasks and threads that copy the context find it too.
_open_places: ContextVar[tuple[Place, ...]] = ContextVar("synth_ai_open_places", default=())


def open_places() -> tuple[Place, ...]:
    """Return the places that are held around the code that runs."""
    return _open_places.get()


def keep_places(places: Iterable[Place]) -> None:
    """Say which places are held around the code that comes next; those given back are left out."""
    _open_places.set(tuple(place for place in places if place.is_active))


_limiters: weakref.WeakSet[ConcurrencyLimiter] = weakref.WeakSet()


def _forget_parents_calls() -> None:
    """Free all places in a forked child: the threads and loops that hold them are not there."""
    for limiter in list(_limiters):
        limiter.forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_calls)


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


def _set_result(waiter: asyncio.Future[bool], result: bool) -> None:
    if not waiter.done():
        waiter.set_result(result)
