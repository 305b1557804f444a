"""The end of a call's time, its waits and retries included."""

from __future__ import annotations

import asyncio
from types import TracebackType

from synth_ai.errors import TimedOutError


class Deadline:
    """A point in time at which whatever runs in its `async with` blocks is given up.

    The blocks may follow one another, as those of a stream do: the time between them counts too.

    Args:
        seconds: from now until the deadline; None for none.

    Raises:
        TimedOutError: out of a block, when the deadline has passed.
    """

    __slots__ = ("_ends", "_scope")

    # A class and not a generator with @asynccontextmanager: thousands of calls may wait in here,
    # and each would hold one more frame.
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
