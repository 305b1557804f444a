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
    what is between them is the reader's own. The call has two clocks: one for the call itself, and
    one for its waits for a turn, wherever it has them.

    Args:
        timeout: the times of the call.

    Raises:
        TimedOutError: out of a block, when a time is over.
    """

    # A class and not a generator with @asynccontextmanager: thousands of calls may wait in here,
    # and each would hold one more frame.
    def __init__(self, timeout: Timeout) -> None:
        super().__init__()
        self._timeout = timeout
        self._total = _Clock(timeout.total)
        self._queue = _Clock(timeout.queue)
        self._paused: list[_Clock] = []
        self._scope: asyncio.Timeout | None = None
        self._token: Token[Progress | None] | None = None

    async def wait_for(self, place: Place, *, first: bool = False) -> None:
        """Wait for the call's place, which counts as a wait for its turn alone.

        Args:
            place: the place.
            first: as for `Place.acquire`.

        Raises:
            TimedOutError: the time for such waits is over.
        """
        if self._timeout.queue is None:
            await place.acquire(first=first)
            return

        places = place.limiter.limit
        self.phase = f"while it waited for one of the {places} places of max_concurrency="
        self._queue.start()
        try:
            async with asyncio.timeout_at(self._queue.ends_at):
                await place.acquire(first=first)
        except TimeoutError as late:
            raise self._queue_error() from late
        finally:
            self._queue.stop()

    async def __aenter__(self) -> None:
        if self._timeout.total is None and self._timeout.queue is None:
            return

        self._token = current_progress.set(self)
        self._total.start()
        self._scope = asyncio.timeout_at(self._total.ends_at)
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
        scope, self._scope = self._scope, None
        # The one that ends first is what the scope was waiting for.
        is_queue_over = self._queue.ends_before(self._total)
        self._total.stop()
        self._queue.stop()
        try:
            await scope.__aexit__(kind, error, trace)
        except TimeoutError as late:
            if is_queue_over:
                raise self._queue_error() from late
            raise TimedOutError(
                f"The call was given up: its timeout= has passed ({self._timeout.total:g} s), "
                f"{self.phase}. {self._fate()}"
            ) from late

    def note(self, phase: str, *, is_sent: bool) -> None:
        """Note what the call is doing, and let the clock of the call run alone."""
        super().note(phase, is_sent=is_sent)
        self._run_clocks(self._total)

    def wait_turn(self, what: str, *, is_own: bool) -> None:
        """Note what the call waits for, and let the clock of such waits run."""
        super().wait_turn(what, is_own=is_own)
        if is_own:
            self._run_clocks(self._queue)
        else:
            self._run_clocks(self._total, self._queue)

    def pause(self) -> None:
        """Stop the clocks."""
        self._paused = [clock for clock in (self._total, self._queue) if clock.is_running]
        self._run_clocks()

    def resume(self) -> None:
        """Let the clocks go on that were stopped."""
        self._run_clocks(*self._paused)

    def _run_clocks(self, *clocks: _Clock) -> None:
        """Let these clocks run and no other, unless the time is over already."""
        if self._scope is None or self._scope.expired():
            return

        ends = []
        for clock in (self._total, self._queue):
            if clock in clocks:
                clock.start()
            else:
                clock.stop()
            if clock.ends_at is not None:
                ends.append(clock.ends_at)
        self._scope.reschedule(min(ends, default=None))

    def _queue_error(self) -> TimedOutError:
        return TimedOutError(
            f"The call was given up after {self._timeout.queue:g} s (Timeout(queue=)), "
            f"{self.phase}. {self._fate()}"
        )

    def _fate(self) -> str:
        """Say what may have become of the call."""
        if self.was_sent:
            return "It may still have run."
        return "It was never sent."


class _Clock:
    """Counts down seconds while it runs, on the time of the event loop.

    Args:
        seconds: how many; None never ends.

    Attributes:
        ends_at: when they are over; None while the clock stands still, or if it never ends.
        is_running: whether it runs.
    """

    __slots__ = ("_seconds_left", "ends_at", "is_running")

    def __init__(self, seconds: float | None) -> None:
        self._seconds_left = seconds
        self.ends_at: float | None = None
        self.is_running = False

    def start(self) -> None:
        """Let it run."""
        if self.is_running:
            return

        self.is_running = True
        if self._seconds_left is not None:
            self.ends_at = asyncio.get_running_loop().time() + self._seconds_left

    def stop(self) -> None:
        """Let it stand still."""
        if self.ends_at is not None:
            self._seconds_left = max(0.0, self.ends_at - asyncio.get_running_loop().time())
        self.ends_at = None
        self.is_running = False

    def ends_before(self, other: _Clock) -> bool:
        """Tell whether it runs, and ends before another one does."""
        if self.ends_at is None:
            return False
        return other.ends_at is None or self.ends_at < other.ends_at
