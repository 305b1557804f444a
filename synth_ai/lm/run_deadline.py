"""The end of the time of a run of tools: its calls, its tools and its hooks together."""

from __future__ import annotations

import asyncio
from contextvars import Token
from types import TracebackType

from synth_ai.errors import TimedOutError
from synth_ai.timeout import Progress, current_progress


class RunDeadline(Progress):
    """Gives up whatever runs in its `async with` blocks once they have taken the time of a run.

    The blocks may follow one another. Only the time inside them counts: what is between them is
    the time of a stream's reader.

    Args:
        total: the seconds; None for no end.

    Raises:
        TimedOutError: out of a block, when the time is over.
    """

    def __init__(self, total: float | None) -> None:
        super().__init__()
        self._total = total
        self._seconds_left = total
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: asyncio.Timeout | None = None
        self._token: Token[Progress | None] | None = None

    def note(self, phase: str, *, is_sent: bool) -> None:
        """Ignore the phases of the calls, which have been over for long when a tool runs."""

    async def __aenter__(self) -> None:
        if self._seconds_left is None:
            return

        self._token = current_progress.set(self)
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(self._seconds_left)
        await self._scope.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._scope is None:
            return

        assert self._token is not None
        current_progress.reset(self._token)
        self._seconds_left = self._measure()
        scope, self._scope = self._scope, None
        try:
            await scope.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise TimedOutError(
                f"The run was given up: its timeout= has passed ({self._total:g} s), "
                f"{self.phase}. The error's run has what was done by then."
            ) from late

    def pause(self) -> None:
        """Stop the clock."""
        scope = self._running_scope()
        if scope is None:
            return

        self._seconds_left = self._measure()
        scope.reschedule(None)

    def resume(self) -> None:
        """Let the clock go on."""
        scope = self._running_scope()
        if scope is None:
            return

        assert self._seconds_left is not None
        scope.reschedule(asyncio.get_running_loop().time() + self._seconds_left)

    def _running_scope(self) -> asyncio.Timeout | None:
        """Return what counts the time, if it can be touched here and now."""
        if self._scope is None:
            return None
        if self._scope.expired():
            return None

        # A tool, which may make calls from another thread, has the context of the run.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        return self._scope if loop is self._loop else None

    def _measure(self) -> float | None:
        """Compute the seconds that the run has left."""
        ends = None if self._scope is None else self._scope.when()
        if ends is None:
            return self._seconds_left
        return max(0.0, ends - asyncio.get_running_loop().time())
