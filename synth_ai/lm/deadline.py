"""The end of a call's time, its retries and the store included."""

from __future__ import annotations

import asyncio
from contextvars import Token
from types import TracebackType

from synth_ai.errors import TimedOutError
from synth_ai.limiter import Place
from synth_ai.timeout import Progress, Timeout, current_progress


class Deadline(Progress):
    """Gives up whatever runs in its `async with` blocks once they have taken the time of a call.

    The blocks may follow one another, as those of a stream do. Only the time inside them counts:
    what is between them is the reader's own.

    Args:
        timeout: the times of the call.

    Raises:
        TimedOutError: out of a block, when the time is over.
    """

    # A class and not a generator with @asynccontextmanager: thousands of calls may wait in here,
    # and each would hold one more frame.
    def __init__(self, timeout: Timeout) -> None:
        super().__init__()
        self._timeout = timeout
        self._seconds_left = timeout.total
        self._scope: asyncio.Timeout | None = None
        self._token: Token[Progress | None] | None = None

    async def wait_for(self, place: Place, *, first: bool = False) -> None:
        """Wait for the call's place, for which it has a time of its own.

        Args:
            place: the place.
            first: as for `Place.acquire`.

        Raises:
            TimedOutError: the time for that is over.
        """
        seconds = self._timeout.queue
        if seconds is None:
            await place.acquire(first=first)
            return

        try:
            async with asyncio.timeout(seconds):
                await place.acquire(first=first)
        except TimeoutError as late:
            raise TimedOutError(
                f"The call was given up after {seconds:g} s (Timeout(queue=)), while it waited for "
                f"one of the {place.limiter.limit} places of max_concurrency=. {self._fate()}"
            ) from late

    async def __aenter__(self) -> None:
        if self._timeout.total is None:
            return

        self._token = current_progress.set(self)
        self._scope = asyncio.timeout(self._seconds_left)
        await self._scope.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._scope is None or self._token is None:
            return

        current_progress.reset(self._token)
        self._seconds_left = self._measure()
        scope, self._scope = self._scope, None
        try:
            await scope.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise TimedOutError(
                f"The call was given up: its timeout= has passed ({self._timeout.total:g} s), "
                f"{self.phase}. {self._fate()}"
            ) from late

    def pause(self) -> None:
        """Stop the clock."""
        if self._scope is None or self._scope.expired() or self._scope.when() is None:
            return

        self._seconds_left = self._measure()
        self._scope.reschedule(None)

    def resume(self) -> None:
        """Let the clock go on."""
        if self._scope is None or self._scope.expired() or self._scope.when() is not None:
            return
        if self._seconds_left is not None:
            self._scope.reschedule(asyncio.get_running_loop().time() + self._seconds_left)

    def _measure(self) -> float | None:
        """Compute the seconds that the call has left."""
        ends = None if self._scope is None else self._scope.when()
        if ends is None:
            return self._seconds_left
        return max(0.0, ends - asyncio.get_running_loop().time())

    def _fate(self) -> str:
        """Say what may have become of the call."""
        if self.was_sent:
            return "It may still have run."
        return "It was never sent."
