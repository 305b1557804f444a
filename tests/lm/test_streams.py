"""Streams: events, then the whole response; left early without a trace; async and sync."""

from __future__ import annotations

import _thread
import asyncio
import gc
import signal
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from synth_ai import (
    LM,
    BaseLMResponse,
    Completed,
    LMRequest,
    PreambleDelta,
    ReasoningDelta,
    RetryPolicy,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    VendorBase,
)
from synth_ai import content as items
from synth_ai.errors import (
    ConnectionFailedError,
    MalformedAnswerError,
    OverloadedError,
    RequestError,
)
from synth_ai.lm.vendors.apis import RESPONSES
from synth_ai.testing import ScriptedVendor, tool_call

ALL = [
    items.reasoning_item("Let me see."),
    items.assistant_message("One moment.", phase="commentary"),
    items.function_call("call_1", "add", '{"a": 1}'),
    items.assistant_message("It is three."),
]


class ScriptedStream(VendorBase):
    """Streams these events, or raises these errors; tells whether it was closed before its end."""

    api = RESPONSES

    def __init__(self, *events: StreamEvent | Exception) -> None:
        self.events = events
        self.begun = 0
        self.abandoned = 0
        self.left = asyncio.Event()

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        raise AssertionError("only streamed")

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        self.begun += 1
        finished = False
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                yield event
            finished = True
        finally:
            if not finished:
                self.abandoned += 1
                self.left.set()


def done(text: str = "Hello") -> Completed:
    """The last event of a stream."""
    return Completed(
        BaseLMResponse.of_output([items.assistant_message(text)], response_id="resp_1")
    )


async def test_a_bare_loop_and_a_context_manager() -> None:
    """Both yield the deltas and end with the finished response."""
    lm = LM("x", vendor=ScriptedVendor([ALL, "two words"]))
    stream = lm.stream_async("Hi")
    events = [event async for event in stream]
    assert [type(event) for event in events] == [
        ReasoningDelta,
        PreambleDelta,
        TextDelta,
        TextDelta,
        TextDelta,
        ToolCallDelta,
        Completed,
    ]
    assert isinstance(events[-1], Completed)
    assert events[-1].response is stream.response
    assert lm.head == stream.response.response_id
    async with lm.stream_async(tool_outputs={"call_1": 3}) as second:
        texts = [event.text async for event in second if isinstance(event, TextDelta)]
    assert texts == ["two ", "words"]
    assert second.response.raw_response == "two words"
    assert second.response.previous_response_id == stream.response.response_id


def test_the_sync_twin() -> None:
    """The same without an event loop, bare and as a context manager."""
    lm = LM("x", vendor=ScriptedVendor(["two words", "more"]))
    stream = lm.stream_sync("Be terse.", "Hi")
    assert [event.text for event in stream if isinstance(event, TextDelta)] == ["two ", "words"]
    assert stream.response.raw_response == "two words"
    with lm.stream_sync("Hi") as second:
        assert isinstance(list(second)[-1], Completed)
    assert second.response.previous_response_id == stream.response.response_id
    assert lm.head == second.response.response_id


async def test_the_sync_twin_inside_a_running_loop() -> None:
    """As in a notebook."""
    lm = LM("x", vendor=ScriptedVendor(["two words"]))
    assert [type(event) for event in lm.stream_sync("Hi")] == [TextDelta, TextDelta, Completed]


async def test_the_response_before_the_end() -> None:
    """There is none, and the error says so."""
    lm = LM("x", vendor=ScriptedStream(TextDelta("a"), done()))
    stream = lm.stream_async("Hi")
    with pytest.raises(RequestError, match="has not ended"):
        _ = stream.response
    async for _ in stream:
        with pytest.raises(RequestError, match="has not ended"):
            _ = stream.response
        break
    with pytest.raises(RequestError, match="has not ended"):
        _ = stream.response


async def test_leaving_early_aborts_the_call() -> None:
    """By `break`, by an error, or by closing; the head stays and nothing is recorded."""
    vendor = ScriptedStream(TextDelta("a"), TextDelta("b"), done())
    lm = LM("x", vendor=vendor, max_concurrency=1)
    async with lm.stream_async("Hi") as stream:
        async for _ in stream:
            break
    assert vendor.abandoned == 1

    async def fail_inside() -> None:
        async with lm.stream_async("Hi") as stream:
            async for _ in stream:
                raise KeyError

    with pytest.raises(KeyError):
        await fail_inside()
    assert vendor.abandoned == 2
    closed = lm.stream_async("Hi")
    async for _ in closed:
        break
    await closed.aclose()
    assert vendor.abandoned == 3
    assert lm.head is None
    assert await lm.responses.list_async() == []
    # Every place behind the gate was given back.
    assert [type(event) async for event in lm.stream_async("Hi")] == [
        TextDelta,
        TextDelta,
        Completed,
    ]


async def test_a_bare_loop_that_is_left_closes_too() -> None:
    """When nothing holds the stream any more, its call is aborted."""
    vendor = ScriptedStream(TextDelta("a"), TextDelta("b"), done())
    lm = LM("x", vendor=vendor)
    async for _ in lm.stream_async("Hi"):
        break
    gc.collect()
    await asyncio.wait_for(vendor.left.wait(), 5)
    assert lm.head is None


def test_leaving_a_sync_stream_early() -> None:
    """The same without an event loop."""
    vendor = ScriptedStream(TextDelta("a"), TextDelta("b"), done())
    lm = LM("x", vendor=vendor)
    for _ in lm.stream_sync("Hi"):
        break
    with lm.stream_sync("Hi") as stream:
        for _ in stream:
            break
    assert vendor.abandoned == 2
    assert lm.head is None


async def test_a_stream_that_was_never_entered_sends_nothing() -> None:
    """Making one costs nothing, and neither does closing it."""
    vendor = ScriptedStream(done())
    lm = LM("x", vendor=vendor)
    await lm.stream_async("Hi").aclose()
    assert vendor.begun == 0


async def test_a_stream_is_read_once() -> None:
    """A second loop over it must not pass for an empty answer."""
    lm = LM("x", vendor=ScriptedVendor(["one", "two"]))
    stream = lm.stream_async("Hi")
    assert len([event async for event in stream]) == 2
    with pytest.raises(RequestError, match="read once"):
        _ = [event async for event in stream]
    sync = lm.stream_sync("Hi")
    assert len(list(sync)) == 2
    with pytest.raises(RequestError, match="read once"):
        list(sync)


async def test_no_retry_once_a_stream_has_begun() -> None:
    """What was shown cannot be taken back; what failed before the first event is tried again."""
    failing = ScriptedStream(TextDelta("a"), OverloadedError("500"))
    lm = LM("x", vendor=failing, retry=RetryPolicy(wait_initial=0))
    shown: list[StreamEvent] = []

    async def show() -> None:
        async for event in lm.stream_async("Hi"):
            shown.append(event)

    with pytest.raises(OverloadedError):
        await show()
    assert (shown, failing.begun) == ([TextDelta("a")], 1)
    assert lm.head is None

    before = ScriptedStream(OverloadedError("500"))
    lm = LM("x", vendor=before, retry=RetryPolicy(wait_initial=0))
    with pytest.raises(OverloadedError):
        _ = [event async for event in lm.stream_async("Hi")]
    assert before.begun == 3


async def test_tries_before_the_first_event_are_counted() -> None:
    """On the response of a stream as on any other."""
    vendor = ScriptedVendor([OverloadedError("500"), ConnectionFailedError("reset"), "done"])
    stream = LM("x", vendor=vendor, retry=RetryPolicy(wait_initial=0)).stream_async("Hi")
    _ = [event async for event in stream]
    assert stream.response.attempts == 3


async def test_a_stream_without_an_end_is_an_error() -> None:
    """A backend that stops without `Completed` did not answer."""
    lm = LM("x", vendor=ScriptedStream(TextDelta("a")))
    with pytest.raises(MalformedAnswerError, match="without its Completed event"):
        _ = [event async for event in lm.stream_async("Hi")]


async def test_a_forgotten_turn_is_replayed_in_a_stream_too() -> None:
    """The caller sees one stream, and on its response that the conversation was sent again."""
    vendor = ScriptedVendor(["one", "two"])
    lm = LM("x", vendor=vendor)
    one = await lm.respond_async("Hi")
    vendor.forget(str(one.response_id))
    stream = lm.stream_async("More")
    assert [event.text async for event in stream if isinstance(event, TextDelta)] == ["two"]
    assert stream.response.replayed
    assert stream.response.attempts == 2
    assert [items.text_of(item) for item in vendor.requests[-1].items()] == ["Hi", "one", "More"]


async def test_streams_start_from_the_head_as_it_was_when_they_were_made() -> None:
    """Like any other call, and of those made at once the last one wins."""
    lm = LM("x", vendor=ScriptedVendor(["a", "b"]))
    first, last = lm.stream_async("1"), lm.stream_async("2")
    for stream in (last, first):
        _ = [event async for event in stream]
    assert first.response.previous_response_id is None
    assert lm.head == last.response.response_id


async def test_a_structured_answer_is_streamed_and_read() -> None:
    """The object is there at the end."""
    stream = LM(
        "x", vendor=ScriptedVendor(['{"value": [1, 2]}']), response_model=list[int]
    ).stream_async("Hi")
    _ = [event async for event in stream]
    assert stream.response.structured_output == [1, 2]


async def test_a_backend_that_cannot_stream() -> None:
    """VendorBase answers in one piece, in the order reasoning, preamble, text, calls."""

    class Plain(VendorBase):
        api = RESPONSES

        async def respond(self, request: LMRequest) -> BaseLMResponse:
            return BaseLMResponse.of_output([*ALL, tool_call("sub", call_id="call_2", b=2)])

    events: list[Any] = [event async for event in LM("x", vendor=Plain()).stream_async("Hi")]
    assert events[:-1] == [
        ReasoningDelta("Let me see."),
        PreambleDelta("One moment."),
        TextDelta("It is three."),
        ToolCallDelta(0, "add", '{"a": 1}', "call_1"),
        ToolCallDelta(1, "sub", '{"b": 2}', "call_2"),
    ]


# --- ends -------------------------------------------------------------------------------------


class Endless(VendorBase):
    """Says `a` for ever, and takes a moment to end."""

    ended = 0

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        raise NotImplementedError

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        try:
            while True:
                yield TextDelta("a")
                await asyncio.sleep(0.001)
        finally:
            await asyncio.sleep(0.01)
            self.ended += 1


async def test_leaving_the_loop_and_then_the_block() -> None:
    """Both end the stream, the first of them on a task of its own."""
    vendor = Endless()
    async with LM("x", vendor=vendor).stream_async("Hi") as stream:
        async for _ in stream:
            break
        await asyncio.sleep(0)
    assert vendor.ended == 1


async def test_closing_while_somebody_reads() -> None:
    """It waits for the step under way, and the reader sees the end."""
    vendor = Endless()
    stream = LM("x", vendor=vendor).stream_async("Hi")

    async def read() -> int:
        return len([event async for event in stream])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    await stream.aclose()
    assert await reading >= 1
    assert vendor.ended == 1


def test_an_interrupted_stream_ends_with_the_interrupt() -> None:
    """Ctrl-C is not hidden behind an error about the generator that it interrupts."""
    vendor = Endless()
    stream = LM("x", vendor=vendor).stream_sync("Hi")
    ends = time.monotonic() + 30
    # What is started in the background may ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, _thread.interrupt_main).start()

    def read() -> None:
        with stream:
            for _ in stream:
                assert time.monotonic() < ends

    try:
        with pytest.raises(KeyboardInterrupt):
            read()
    finally:
        signal.signal(signal.SIGINT, before)
    assert vendor.ended == 1
    assert set(stream.text) == {"a"}


async def test_the_text_so_far() -> None:
    """What was shown before a stream was left is not lost."""
    async with LM("x", vendor=ScriptedVendor(["one two three"])).stream_async("Hi") as stream:
        async for _ in stream:
            if stream.text == "one two ":
                break
    assert stream.text == "one two "
    with pytest.raises(RequestError, match=r"\.text is what came so far"):
        _ = stream.response
