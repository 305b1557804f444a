"""A stream of events that ends with the whole response, for async and for sync callers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Self

from synth_ai.errors import RequestError
from synth_ai.lm import portal
from synth_ai.lm.events import Completed, StreamEvent
from synth_ai.lm.response import BaseLMResponse


class ResponseStream:
    """Events of one call. Nothing is sent before the first one is asked for; leaving early aborts the call."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._events = events
        self._begun = False
        self._response: BaseLMResponse | None = None

    @property
    def response(self) -> BaseLMResponse:
        """The whole response, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        return _finished(self._response)

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        _begin(self)
        async with aclosing(self._events) as events:
            async for event in events:
                if isinstance(event, Completed):
                    self._response = event.response
                yield event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream; the call is aborted if it is still under way."""
        await self._events.aclose()


class SyncResponseStream:
    """The same for callers without an event loop."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._events = events
        self._begun = False
        self._response: BaseLMResponse | None = None

    @property
    def response(self) -> BaseLMResponse:
        """The whole response, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        return _finished(self._response)

    def __iter__(self) -> Iterator[StreamEvent]:
        return self._read()

    def _read(self) -> Generator[StreamEvent, None, None]:
        _begin(self)
        try:
            while True:
                event = portal.run(_next(self._events))
                if event is None:
                    return
                if isinstance(event, Completed):
                    self._response = event.response
                yield event
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; the call is aborted if it is still under way."""
        portal.run(_close(self._events))


async def _next(events: AsyncGenerator[StreamEvent, None]) -> StreamEvent | None:
    # StopAsyncIteration cannot travel through a future, so the end is None.
    return await anext(events, None)


async def _close(events: AsyncGenerator[StreamEvent, None]) -> None:
    await events.aclose()


def _begin(stream: ResponseStream | SyncResponseStream) -> None:
    if stream._begun:
        raise RequestError("A stream is read once: keep its events, or ask again for another answer.")
    stream._begun = True


def _finished(response: BaseLMResponse | None) -> BaseLMResponse:
    if response is None:
        raise RequestError("The stream has not ended, so there is no whole response yet.")
    return response
