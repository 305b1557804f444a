"""The end of a call's time, its waits and retries included."""

from __future__ import annotations

import asyncio
from types import TracebackType

from synth_ai.errors import TimedOutError


class Deadline:
    """So many seconds from now on: what runs in its `async with` blocks, one after another, is given up at their end.

    Args:
        seconds: None for no such end.

    Raises:
        TimedOutError: the time is over.
    """

    __slots__ = ("_ends", "_scope")

    # No generator: thousands of calls may wait in here, and each would hold a frame more.
    def __init__(self, seconds: float | None) -> None:
        self._ends = None if seconds is None else asyncio.get_running_loop().time() + seconds

    async def __aenter__(self) -> None:
        if self._ends is not None:
            self._scope = asyncio.timeout_at(self._ends)
            await self._scope.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ends is None:
            return
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise TimedOutError(
                "The call was given up: its timeout= has passed. It may still have run."
            ) from late
