"""Streams of an LM in the shape of an API: as events, and as bytes of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from synth_ai.errors import StructuredOutputError, SynthAIError
from synth_ai.events import Completed, StreamEvent
from synth_ai.lm.streams import ResponseStream
from synth_ai.openai_api.encoding import encode_event
from synth_ai.openai_api.error_bodies import describe_error
from synth_ai.openai_api.item_events import ServerEvent
from synth_ai.openai_api.replies import EventWriter, StreamedReply


class TranslatedStream:
    """The events of an LM's stream in the shape of an API.

    Args:
        stream: the stream.
        make_writer: makes what writes the events, for the id of the response.
    """

    # A class, no generator: what reads a stream may be dropped at any time, see `lm.streams`.
    def __init__(self, stream: ResponseStream, make_writer: Callable[[str], EventWriter]) -> None:
        self._stream = stream
        self._make_writer = make_writer
        self._events: AsyncIterator[StreamEvent] = aiter(stream)
        self._writer: EventWriter | None = None

    async def next(self) -> list[ServerEvent] | None:
        """Read the next event of the LM, and return what it stands for; None at the end.

        Raises:
            SynthAIError: the stream broke off.
        """
        try:
            if self._writer is None:
                return await self._begin()
            event = await anext(self._events)
        except StopAsyncIteration:
            return None
        except StructuredOutputError as error:
            # Whoever asked for a shape checks it: the answer goes out as the model wrote it.
            event = Completed(error.response)

        return self._write([event])

    def fail(self, error: SynthAIError) -> list[ServerEvent]:
        """Write the end of a stream that broke off."""
        writer = self._writer or self._make_writer("")
        return list(writer.fail(describe_error(error)))

    async def aclose(self) -> None:
        """End the stream, and abort the call if it is still under way."""
        await self._stream.aclose()

    async def _begin(self) -> list[ServerEvent]:
        """Read as far as the id of the response is known: to the end, if only that has it."""
        await self._stream.__aenter__()

        events: list[StreamEvent] = []
        response_id = self._stream.response_id
        while response_id is None:
            event = await anext(self._events)
            events.append(event)
            response_id = self._stream.response_id
            if isinstance(event, Completed):
                response_id = event.response.response_id

        self._writer = self._make_writer(response_id)
        return [*self._writer.begin(), *self._write(events)]

    def _write(self, events: Iterable[StreamEvent]) -> list[ServerEvent]:
        assert self._writer is not None
        written: list[ServerEvent] = []
        for event in events:
            written += self._writer.write(event)
        return written


class EncodedStream:
    """The bytes of one streamed answer, read piece by piece.

    ::

        encoded = EncodedStream(reply)
        await encoded.open()
        while piece := await encoded.next():
            ...

    Args:
        reply: what to stream.
    """

    def __init__(self, reply: StreamedReply) -> None:
        stream = reply.lm.stream_async(**reply.arguments)
        self._events = TranslatedStream(stream, reply.make_writer)
        self._last = reply.last
        self._waiting = b""
        self._is_over = False

    async def open(self) -> None:
        """Send the call, and wait for the first event of the backend.

        Raises:
            SynthAIError: it was refused; nothing has gone out.
        """
        self._waiting = await self._read_piece()

    async def next(self) -> bytes:
        """Read the next piece; none is empty but the one behind the end."""
        piece, self._waiting = self._waiting, b""
        while not piece and not self._is_over:
            try:
                piece = await self._read_piece()
            except SynthAIError as error:
                self._is_over = True
                piece = _encode(self._events.fail(error)) + self._last
        return piece

    async def aclose(self) -> None:
        """End the stream, and abort the call if it is still under way."""
        self._is_over = True
        await self._events.aclose()

    async def _read_piece(self) -> bytes:
        events = await self._events.next()
        if events is not None:
            return _encode(events)

        self._is_over = True
        return self._last


def _encode(events: Iterable[ServerEvent]) -> bytes:
    return b"".join(map(encode_event, events))
