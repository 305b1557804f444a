"""Streams of an LM as bytes of server-sent events: the same for async and for sync callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from synth_ai.content import new_response_id
from synth_ai.errors import StructuredOutputError, SynthAIError
from synth_ai.events import Completed, StreamEvent
from synth_ai.lm.streams import ResponseStream, SyncResponseStream
from synth_ai.openai_api.error_bodies import describe_error
from synth_ai.openai_api.item_events import ServerEvent
from synth_ai.openai_api.replies import StreamedReply
from synth_ai.openai_api.server_sent_events import encode_event


class _EventEncoder:
    """Encodes the events of one stream. Pure."""

    def __init__(self, reply: StreamedReply, response_id: str) -> None:
        self._writer = reply.make_writer(response_id)
        self._last = reply.last

    def begin(self) -> bytes:
        return _encode(self._writer.begin())

    def feed(self, event: StreamEvent) -> bytes:
        return _encode(self._writer.write(event))

    def fail(self, error: SynthAIError) -> bytes:
        """Encode the end of a stream that broke off."""
        if isinstance(error, StructuredOutputError):
            # Whoever asked for a shape checks it: the answer goes out as the model wrote it.
            return self.feed(Completed(error.response))
        return _encode(self._writer.fail(describe_error(error)))

    def end(self) -> bytes:
        return self._last


def _encode(events: Iterable[ServerEvent]) -> bytes:
    return b"".join(map(encode_event, events))


class AsyncEvents:
    """The bytes of one stream, for callers that await.

    Args:
        reply: what to stream.
    """

    def __init__(self, reply: StreamedReply) -> None:
        self._reply = reply
        self._stream: ResponseStream = reply.lm.stream_async(**reply.arguments)

    async def open(self) -> None:
        """Send the call, and wait for the first event of the backend.

        Raises:
            SynthAIError: it was refused; nothing has gone out.
        """
        await self._stream.__aenter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        encoder = _EventEncoder(self._reply, find_id(self._stream))
        yield encoder.begin()
        try:
            async for event in self._stream:
                yield encoder.feed(event)
        except SynthAIError as error:
            yield encoder.fail(error)
        yield encoder.end()

    async def aclose(self) -> None:
        """End the stream, and abort the call if it is still under way."""
        await self._stream.aclose()


class SyncEvents:
    """The bytes of one stream, for callers that do not await.

    Args:
        reply: what to stream.
    """

    def __init__(self, reply: StreamedReply) -> None:
        self._reply = reply
        self._stream: SyncResponseStream = reply.lm.stream_sync(**reply.arguments)

    def open(self) -> None:
        """Send the call, and wait for the first event of the backend.

        Raises:
            SynthAIError: it was refused; nothing has gone out.
        """
        self._stream.__enter__()

    def __iter__(self) -> Iterator[bytes]:
        encoder = _EventEncoder(self._reply, find_id(self._stream))
        yield encoder.begin()
        try:
            for event in self._stream:
                yield encoder.feed(event)
        except SynthAIError as error:
            yield encoder.fail(error)
        yield encoder.end()

    def close(self) -> None:
        """End the stream, and abort the call if it is still under way."""
        self._stream.close()


def find_id(stream: ResponseStream | SyncResponseStream) -> str:
    """Find the id of the response that a stream brings."""
    response_id = getattr(stream, "response_id", None)
    return response_id or new_response_id()
