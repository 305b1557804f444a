"""A stream of events that ends with the whole response, for async and for sync callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Self

from synth_ai.errors import RequestError
from synth_ai.events import Completed, StreamEvent, TextDelta
from synth_ai.lm import sync as portal
from synth_ai.response import BaseLMResponse


class ResponseStream:
    """Events of one call. Nothing is sent before the first one is asked for; leaving early aborts the call."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._reading = _Reading(events)

    @property
    def text(self) -> str:
        """The text of the answer so far, also where the stream was left or broke off."""
        return "".join(self._reading.texts)

    @property
    def response(self) -> BaseLMResponse:
        """The whole response, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        return self._reading.whole()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        self._reading.begin()
        try:
            while (event := await self._reading.next()) is not None:
                yield event
        finally:
            await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream; the call is aborted if it is still under way."""
        await self._reading.aclose()


class SyncResponseStream:
    """The same for callers without an event loop."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._reading = _Reading(events)

    @property
    def text(self) -> str:
        """The text of the answer so far, also where the stream was left or broke off."""
        return "".join(self._reading.texts)

    @property
    def response(self) -> BaseLMResponse:
        """The whole response, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        return self._reading.whole()

    def __iter__(self) -> Iterator[StreamEvent]:
        return self._events()

    def _events(self) -> Generator[StreamEvent, None, None]:
        self._reading.begin()
        try:
            while (event := portal.run(self._reading.next())) is not None:
                yield event
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; the call is aborted if it is still under way."""
        portal.run(self._reading.aclose())


class _Reading:
    """The reading of one stream, and what it has said so far.

    A generator must not be closed while a step of it runs: one that was interrupted is still being cancelled, or
    somebody else reads or closes. So each waits for the other.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._events = events
        self._step = asyncio.Lock()
        self._begun = False
        self._response: BaseLMResponse | None = None
        self.texts: list[str] = []

    def begin(self) -> None:
        if self._begun:
            raise RequestError(
                "A stream is read once: keep its events, or ask again for another answer."
            )
        self._begun = True

    async def next(self) -> StreamEvent | None:
        """The next event; None at the end, as StopAsyncIteration cannot travel through a future."""
        async with self._step:
            event = await anext(self._events, None)
        if isinstance(event, TextDelta):
            self.texts.append(event.text)
        elif isinstance(event, Completed):
            self._response = event.response
        return event

    async def aclose(self) -> None:
        async with self._step:
            await self._events.aclose()

    def whole(self) -> BaseLMResponse:
        if self._response is None:
            raise RequestError(
                "The stream has not ended, so there is no whole response; .text is what came so far."
            )
        return self._response
