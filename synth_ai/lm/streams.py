"""Streams of events for async and for sync callers, and those of one call, with its response."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from synth_ai.content import AnswerT
from synth_ai.errors import RequestError
from synth_ai.events import Completed, StreamEvent, TextDelta
from synth_ai.limiter import Place, keep_places, open_places
from synth_ai.lm import sync
from synth_ai.lm.partial_object import PartialObject
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.response import BaseLMResponse

T = TypeVar("T")
EventT = TypeVar("EventT", covariant=True)


class AsyncStream(Generic[EventT]):
    """A stream of events for callers that await.

    Args:
        events: yields the events; closing it ends what makes them.
        collect: is given each event as it is read. It must not refer to the stream, which ends once
            nobody else does.
    """

    def __init__(
        self, events: AsyncGenerator[EventT, None], collect: Callable[[EventT], None]
    ) -> None:
        self._reader = _StreamReader(events, collect)

    def __aiter__(self) -> AsyncIterator[EventT]:
        self._reader.start()
        return _Events(self)

    async def __aenter__(self) -> Self:
        _close_if_forgotten(self, self._reader, asyncio.get_running_loop())
        await self._reader.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream, and abort what is still under way."""
        await self._reader.aclose()


class SyncStream(Generic[EventT]):
    """A stream of events for callers that do not await; see `AsyncStream`."""

    def __init__(
        self, events: AsyncGenerator[EventT, None], collect: Callable[[EventT], None]
    ) -> None:
        self._reader = _StreamReader(events, collect)

    def __iter__(self) -> Iterator[EventT]:
        self._reader.start()
        return _SyncEvents(self)

    def __enter__(self) -> Self:
        _close_if_forgotten(self, self._reader, sync.shared_loop())
        run_with_places(self._reader.open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream, and abort what is still under way."""
        sync.finish(self._reader.aclose)


@dataclass(slots=True)
class StreamFacts:
    """What is known of a response while it is being streamed.

    Attributes:
        shape: the shape that was asked for; None for plain text.
        response_id: its id; None before the stream has begun.
    """

    shape: ResponseFormat | None = None
    response_id: str | None = None


class _PartialAnswer(Generic[AnswerT]):
    """What has come of an answer so far.

    Args:
        shape: the shape that was asked for; None for plain text.

    Attributes:
        texts: the pieces of its text.
        response: the whole response; None until it has ended.
    """

    def __init__(self, shape: ResponseFormat | None) -> None:
        self.texts: list[str] = []
        self.response: BaseLMResponse[AnswerT] | None = None
        self._object = None if shape is None else PartialObject(shape)

    def add(self, event: StreamEvent) -> None:
        """Take the next event of the answer."""
        if isinstance(event, TextDelta):
            self.texts.append(event.text)
        elif isinstance(event, Completed):
            self.response = event.response

    def text(self) -> str:
        """Return the text so far."""
        count = len(self.texts)
        text = "".join(self.texts[:count])
        # One piece from now on, or each look at a long answer would join all of it anew. Another
        # thread may be adding the next one.
        self.texts[:count] = [text]
        return text

    def read_object(self) -> AnswerT | None:
        """Read the text so far into an object of the shape."""
        if self._object is None:
            return None
        if self.response is not None and self.response.structured_output is not None:
            return self.response.structured_output
        partial: AnswerT | None = self._object.read(self.text())
        return partial


class _WithAnswer(Generic[AnswerT]):
    """What async and sync streams of one answer have in common."""

    _answer: _PartialAnswer[AnswerT]
    _facts: StreamFacts

    @property
    def response_id(self) -> str | None:
        """The id of the response, from the beginning of the stream on; None before.

        A server that gives ids may do so with a later event; then it is None until that has come.
        """
        return self._facts.response_id

    @property
    def text(self) -> str:
        """The text of the answer so far, also after the stream was left or has broken off."""
        return self._answer.text()

    @property
    def partial(self) -> AnswerT | None:
        """The answer so far as an object of `response_model`; None while there is nothing of it.

        A model or a dataclass is not validated before the stream has ended: a field that is not
        there yet has its default, or else None, and `model_fields_set` names those that are. Each
        look reads all of the text so far, so look as often as you show it.
        """
        return self._answer.read_object()

    @property
    def response(self) -> BaseLMResponse[AnswerT]:
        """The whole response, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        if self._answer.response is None:
            raise RequestError(
                "The stream has not ended, so it has no whole response yet; "
                ".text is what came so far."
            )
        return self._answer.response


class ResponseStream(_WithAnswer[AnswerT], AsyncStream["StreamEvent[AnswerT]"]):
    """The events of one call, as `lm.stream_async()` returns them.

    ::

        async with lm.stream_async("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    print(event.text, end="")
        print(stream.response.usage)

    Entering the block sends the call and waits for the server's first event, so that what the
    server refuses is an error there. A bare `async for` works too, and sends the call itself.
    Leaving the block early aborts the call. A stream can be read once.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent, None], facts: StreamFacts) -> None:
        self._facts = facts
        self._answer = _PartialAnswer(facts.shape)
        super().__init__(events, self._answer.add)


class SyncResponseStream(_WithAnswer[AnswerT], SyncStream["StreamEvent[AnswerT]"]):
    """The events of one call, as `lm.stream_sync()` returns them.

    ::

        with lm.stream_sync("Hi") as stream:
            for event in stream:
                ...

    The same as `ResponseStream`, for callers that do not await.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent, None], facts: StreamFacts) -> None:
        self._facts = facts
        self._answer = _PartialAnswer(facts.shape)
        super().__init__(events, self._answer.add)


# No generator, here and below: a garbage collection closes one on whatever thread it runs, and
# those that it reads from at the same time.
class _Events(Generic[EventT]):
    """Iterates over the events of a stream; its end, and an error, close the stream."""

    def __init__(self, stream: AsyncStream[EventT]) -> None:
        # Whoever has the events has the stream.
        self._stream = stream
        self._is_watched = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        reader = self._stream._reader
        if not self._is_watched:
            self._is_watched = True
            _close_if_forgotten(self, reader, asyncio.get_running_loop())

        try:
            event = await reader.next()
        except BaseException:
            await self.aclose()
            raise
        if event is None:
            await self.aclose()
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """End the stream."""
        await self._stream.aclose()


class _SyncEvents(Generic[EventT]):
    """Iterates over the events of a stream; its end, and an error, close the stream."""

    def __init__(self, stream: SyncStream[EventT]) -> None:
        self._stream = stream
        _close_if_forgotten(self, stream._reader, sync.shared_loop())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventT:
        try:
            event = run_with_places(self._stream._reader.next())
        except BaseException:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopIteration
        return event

    def close(self) -> None:
        """End the stream."""
        self._stream.close()


def _close_if_forgotten(
    owner: object, reader: _StreamReader[Any], loop: asyncio.AbstractEventLoop
) -> None:
    """Close a stream once nobody refers to it any more.

    That may be found on any thread, at any time, so it is not waited for.
    """
    finalizer = weakref.finalize(owner, sync.begin, reader.abandon, loop)
    # At the end of the program no loop runs any more, and nothing has to be given back.
    finalizer.atexit = False


def run_with_places(step: Coroutine[Any, Any, T]) -> T:
    """Run a step of a stream, and say here which place of `max_concurrency` it holds.

    A call that is made while the stream is being read has to know.
    """
    result, places = sync.run_with_user_code(_return_places(step))
    keep_places(places)
    return result


async def _return_places(step: Coroutine[Any, Any, T]) -> tuple[T, tuple[Place, ...]]:
    result = await step
    return result, open_places()


class _StreamReader(Generic[EventT]):
    """Reads one stream.

    A generator must not be closed while a step of it runs: somebody else may be reading, or a step
    that was interrupted is still being cancelled. So steps and closing wait for one another.

    Args:
        events: yields the events.
        collect: is given each event as it is read.
    """

    def __init__(
        self, events: AsyncGenerator[EventT, None], collect: Callable[[EventT], None]
    ) -> None:
        self._events = events
        self._collect = collect
        self._step = asyncio.Lock()
        self._started = False
        self._opened = False
        self._closing: asyncio.Task[None] | None = None
        self._first: EventT | None = None

    def start(self) -> None:
        """Refuse a second reading, which would pass for an empty answer."""
        if self._started:
            raise RequestError(
                "A stream is read once: keep its events, or ask again for another answer."
            )
        self._started = True

    async def open(self) -> None:
        """Send the call and wait for its first event, which `next` then gives."""
        if self._opened:
            return

        self._opened = True
        try:
            async with self._step:
                self._first = await anext(self._events, None)
        except BaseException:
            await self.aclose()
            raise

    async def next(self) -> EventT | None:
        """Read the next event; None at the end, as a future cannot hold StopAsyncIteration."""
        self._opened = True
        async with self._step:
            event, self._first = self._first, None
            if event is None:
                event = await anext(self._events, None)

        if event is not None:
            self._collect(event)
        return event

    def abandon(self) -> Coroutine[Any, Any, None]:
        """Close the stream, of which somebody has dropped the events or the stream itself."""
        if self._closing is None and not self._step.locked():
            # The generator's own coroutine: it closes the generator even if the task is cancelled
            # before it has begun, as the end of a loop does to all tasks.
            self._closing = asyncio.get_running_loop().create_task(self._events.aclose())
        return self.aclose()

    async def aclose(self) -> None:
        """Close the stream, once the step under way has ended."""
        async with self._step:
            self._first = None
            if self._closing is not None:
                await asyncio.wait([self._closing])
            await self._events.aclose()
