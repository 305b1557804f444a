"""A stream of events that ends with the whole response, for async and for sync callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Self

from synth_ai.errors import RequestError
from synth_ai.events import Completed, StreamEvent, TextDelta
from synth_ai.lm import sync
from synth_ai.response import BaseLMResponse


class _Stream:
    """What async and sync streams have in common."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._reader = _StreamReader(events)

    @property
    def text(self) -> str:
        """The text of the answer so far, also after the stream was left or has broken off."""
        return "".join(self._reader.texts)

    @property
    def response(self) -> BaseLMResponse:
        """The whole response, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        if self._reader.response is None:
            raise RequestError(
                "The stream has not ended, so it has no whole response yet; "
                ".text is what came so far."
            )
        return self._reader.response


class ResponseStream(_Stream):
    """The events of one call, as `lm.stream_async()` returns them.

    ::

        async with lm.stream_async("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    print(event.text, end="")
        print(stream.response.usage)

    A bare `async for` works too. Nothing is sent before the first event is asked for. Leaving the
    block early aborts the call. A stream can be read once.
    """

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        self._reader.start()
        try:
            while True:
                event = await self._reader.next()
                if event is None:
                    return
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
        """End the stream, and abort the call if it is still under way."""
        await self._reader.aclose()


class SyncResponseStream(_Stream):
    """The events of one call, as `lm.stream_sync()` returns them.

    ::

        with lm.stream_sync("Hi") as stream:
            for event in stream:
                ...

    The same as `ResponseStream`, for callers that do not await.
    """

    def __iter__(self) -> Iterator[StreamEvent]:
        return self._events()

    def _events(self) -> Generator[StreamEvent, None, None]:
        self._reader.start()
        try:
            while True:
                event = sync.run(self._reader.next())
                if event is None:
                    return
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
        """End the stream, and abort the call if it is still under way."""
        sync.run(self._reader.aclose())


class _StreamReader:
    """Reads one stream, and collects what came so far.

    A generator must not be closed while a step of it runs: somebody else may be reading, or a step
    that was interrupted is still being cancelled. So steps and closing wait for one another.

    Attributes:
        texts: the pieces of the answer's text so far.
        response: the whole response; None until the stream has ended.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        self._events = events
        self._step = asyncio.Lock()
        self._started = False
        self.texts: list[str] = []
        self.response: BaseLMResponse | None = None

    def start(self) -> None:
        """Refuse a second reading, which would pass for an empty answer."""
        if self._started:
            raise RequestError(
                "A stream is read once: keep its events, or ask again for another answer."
            )
        self._started = True

    async def next(self) -> StreamEvent | None:
        """Read the next event; None at the end, as a future cannot hold StopAsyncIteration."""
        async with self._step:
            event = await anext(self._events, None)

        if isinstance(event, TextDelta):
            self.texts.append(event.text)
        elif isinstance(event, Completed):
            self.response = event.response
        return event

    async def aclose(self) -> None:
        async with self._step:
            await self._events.aclose()
