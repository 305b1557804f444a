"""One call's way, from its options to the turn that is recorded.

Options merged, answers read into objects, reasoning left out, deadlines kept.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import (
    LM,
    BaseLMResponse,
    LMRequest,
    MemoryStore,
    ReasoningDelta,
    RetryPolicy,
    StreamEvent,
    TextDelta,
    Timeout,
    Turn,
    VendorBase,
)
from synth_ai import content as items
from synth_ai.errors import (
    ConnectionFailedError,
    ForgottenResponseError,
    OptionError,
    OverloadedError,
    RequestError,
    StoreError,
    StoreUnavailableError,
    StructuredOutputError,
    TimedOutError,
)
from synth_ai.lm.arguments import CALL_ARGUMENTS
from synth_ai.lm.streams import ResponseStream
from synth_ai.lm.vendors.apis import RESPONSES
from synth_ai.testing import ScriptedVendor, tool_call


class City(BaseModel):
    name: str
    inhabitants: int


ROME = '{"name": "Rome", "inhabitants": 3}'
REASONED = [items.reasoning_item("Let me think."), items.assistant_message("Hello")]


async def read(stream: ResponseStream) -> list[StreamEvent]:
    """All events of a stream."""
    return [event async for event in stream]


def test_help_shows_arguments_and_options() -> None:
    """`help(lm.respond)` and notebooks read the signature; `**arguments` alone says nothing."""
    for method in (LM.respond_async, LM.respond, LM.stream_async, LM.run_tools_async):
        shown = inspect.signature(method).parameters
        assert shown.keys() >= CALL_ARGUMENTS
        assert shown.keys() >= {"temperature", "top_k", "extra_body"}
        assert not any(each.kind is each.VAR_KEYWORD for each in shown.values())
    assert shown["temperature"].annotation == "float | None"
    assert {"vendor", "temperature", "top_k"} <= inspect.signature(LM).parameters.keys()


# --- options ----------------------------------------------------------------------------------


async def test_options_of_the_lm_and_of_the_call() -> None:
    """The call's lie over the LM's; each known one reaches its field, the rest goes by name."""
    vendor = ScriptedVendor(["a", "b"], api="chat")
    lm = LM(
        "x",
        vendor=vendor,
        temperature=0.5,
        max_tokens=9,
        reasoning_effort="low",
        stop="END",
        timeout=50,
        seed=1,
    )
    await lm.respond_async("Hi")
    first = vendor.requests[0]
    assert first.options == {
        "temperature": 0.5,
        "max_tokens": 9,
        "reasoning_effort": "low",
        "stop": "END",
        "seed": 1,
    }
    assert (first.stop, first.timeout.total) == (("END",), 50)
    await lm.respond_async(
        "Hi", temperature=0, max_completion_tokens=5, stop=None, tool_choice="none", top_p=0.1
    )
    second = vendor.requests[1]
    assert second.options == {
        "temperature": 0,
        "max_completion_tokens": 5,
        "reasoning_effort": "low",
        "tool_choice": "none",
        "seed": 1,
        "top_p": 0.1,
    }
    assert second.stop == ()


async def test_a_bad_option_of_a_call_is_told_before_anything_is_sent() -> None:
    """On every way to call."""
    vendor = ScriptedVendor(["a"])
    lm = LM("x", vendor=vendor)
    with pytest.raises(OptionError, match="mean 'temperature'"):
        await lm.respond_async("Hi", temprature=1)
    with pytest.raises(OptionError, match="mean 'temperature'"):
        lm.respond("Hi", temprature=1)
    with pytest.raises(OptionError, match="mean 'temperature'"):
        await read(lm.stream_async("Hi", temprature=1))
    with pytest.raises(OptionError, match="mean 'temperature'"):
        await lm.respond_batch_async(["Hi"], temprature=1)
    with pytest.raises(RequestError, match="empty"):
        lm.respond("")
    assert vendor.requests == []


# --- structured answers -----------------------------------------------------------------------


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
async def test_an_answer_is_read_into_the_model(api: Any) -> None:
    """The LM's shape holds for each call; a call may have its own, or none."""
    vendor = ScriptedVendor([ROME, '{"value": [1]}', "plain"], api=api)
    lm = LM("x", vendor=vendor, response_model=City)
    assert (await lm.respond_async("Hi")).structured_output == City(name="Rome", inhabitants=3)
    assert (await lm.respond_async("Hi", response_model=list[int])).structured_output == [1]
    assert (await lm.respond_async("Hi", response_model=None)).structured_output is None
    shapes = [request.response_format for request in vendor.requests]
    assert [shape.name if shape else None for shape in shapes] == ["City", "list", None]


async def test_an_answer_that_does_not_fit() -> None:
    """The error has the whole response, and the turn is recorded.

    It was paid for, and it can be continued.
    """
    lm = LM("x", vendor=ScriptedVendor(['{"name": "Rome"}']), response_model=City)
    with pytest.raises(
        StructuredOutputError, match=r"does not fit City: inhabitants: Field required.*Rome"
    ) as raised:
        await lm.respond_async("Hi")
    assert raised.value.response.raw_response == '{"name": "Rome"}'
    assert lm.head == raised.value.response.response_id


async def test_a_cut_answer_is_no_error() -> None:
    """It says that it is incomplete; the object is missing, with a warning."""
    cut = BaseLMResponse.of_output(
        [items.assistant_message('{"na')], status="incomplete", incomplete_reason="max"
    )
    response = await LM("x", vendor=ScriptedVendor([cut]), response_model=City).respond_async("Hi")
    assert response.structured_output is None
    assert "incomplete" in response.warnings[0]


async def test_calls_and_refusals_have_no_object() -> None:
    """The model did not answer yet, or would not."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    lm = LM(
        "x", vendor=ScriptedVendor([[refusal], tool_call("add", call_id="c")]), response_model=City
    )
    refused = await lm.respond_async("Hi")
    assert (refused.structured_output, refused.refusal) == (None, "No.")
    called = await lm.respond_async("Hi")
    assert (called.structured_output, len(called.tool_calls or ())) == (None, 1)


# --- reasoning --------------------------------------------------------------------------------


async def test_reasoning_can_be_left_out() -> None:
    """Of the response, of its items and of the stream.

    It is kept in the store, where the next turn needs it.
    """
    vendor = ScriptedVendor([REASONED] * 4)
    store = MemoryStore()
    lm = LM("x", vendor=vendor, response_store=store, include_reasoning=False)
    response = await lm.respond_async("Hi")
    assert response.reasoning is None
    assert [item["type"] for item in response.output] == ["message"]
    assert "think" not in f"{response!r}{response}{response._repr_markdown_()}"
    turn = await store.get(str(response.response_id))
    assert turn is not None
    assert [item["type"] for item in turn.output] == ["reasoning", "message"]
    events = await read(lm.stream_async("Hi"))
    assert not any(isinstance(event, ReasoningDelta) for event in events)
    assert (await lm.respond_async("Hi", include_reasoning=True)).reasoning == "Let me think."
    assert "include_reasoning" not in vendor.requests[0].options


# --- what is recorded -------------------------------------------------------------------------


async def test_the_turn_that_is_recorded() -> None:
    """A finished call whose response was returned is in the store, with all that a replay needs."""
    store = MemoryStore()
    vendor = ScriptedVendor([REASONED])
    lm = LM("x", vendor=vendor, response_store=store)
    response = await lm.respond_async("Be terse.", "Hi", tools=[{"name": "add", "parameters": {}}])
    turn = await store.get(str(response.response_id))
    assert turn is not None
    assert turn.input == vendor.requests[0].input
    assert turn.output == tuple(items.complete_items(REASONED, turn.id))
    assert (turn.instructions, turn.api_type, turn.model, turn.status) == (
        "Be terse.",
        "responses",
        "x",
        "completed",
    )
    assert turn.tools is not None
    assert turn.tools[0]["name"] == "add"
    assert (turn.server, turn.stored_on_server) == (vendor.server, True)
    assert turn.usage == {
        "input_tokens": 1,
        "output_tokens": 2,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
    }


async def test_what_a_caller_does_to_a_response_stays_with_the_caller() -> None:
    """A list of items that was emptied must not empty the turn in the store."""
    lm = LM(
        "x", vendor=ScriptedVendor([[items.assistant_message("Hello")], "more"], remembers=False)
    )
    response = await lm.respond_async("Hi")
    response.output.clear()
    again = await lm.responses.retrieve_async(str(response.response_id))
    assert again.raw_response == "Hello"


async def test_what_a_caller_does_to_given_messages_stays_with_the_caller() -> None:
    """A list of messages that grows in the caller's loop must not change the turn made of it."""
    vendor = ScriptedVendor(["a", "b"], api="chat")
    lm = LM("x", vendor=vendor)
    part = {"type": "input_text", "text": "Hi"}
    messages: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": [part]}]
    response = await lm.respond_async(messages=messages)
    part["text"] = "forged"
    messages.append({"role": "user", "content": "more"})
    chain = await lm.responses.input_items_async(str(response.response_id))
    assert [items.text_of(item) for item in chain] == ["Hi"]


# --- failures ---------------------------------------------------------------------------------


async def test_tries_are_counted_on_the_response() -> None:
    """By the LM's own policy."""
    vendor = ScriptedVendor([OverloadedError("500"), OverloadedError("500"), "done"])
    response = await LM("x", vendor=vendor, retry=RetryPolicy(wait_initial=0)).respond_async("Hi")
    assert (response.attempts, len(vendor.requests)) == (3, 3)


class SilentVendor(VendorBase):
    """Never answers, and tells whether its call was cancelled."""

    api = RESPONSES

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = False

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True
        raise AssertionError


async def test_a_call_that_takes_too_long() -> None:
    """Its backend's work is cancelled and the error is ours, streamed or not; the head stays."""
    for streamed in (False, True):
        vendor = SilentVendor()
        lm = LM("x", vendor=vendor, timeout=0.01)
        call = read(lm.stream_async("Hi")) if streamed else lm.respond_async("Hi")
        with pytest.raises(TimedOutError, match=r"timeout= has passed"):
            await call
        assert vendor.cancelled
        assert lm.head is None


async def test_the_wait_for_a_place_has_a_time_of_its_own() -> None:
    """Behind a full gate `timeout=` does not run, `Timeout(queue=)` does; no place is lost."""
    vendor = SilentVendor()
    lm = LM("x", vendor=vendor, max_concurrency=1)
    blocking = asyncio.create_task(lm.respond_async("Hi"))
    await vendor.started.wait()
    short = Timeout(queue=0.01)
    with pytest.raises(TimedOutError, match=r"0.01 s \(Timeout\(queue=.* 1 places.* never sent"):
        await lm.respond_async("Hi", timeout=short)
    with pytest.raises(TimedOutError, match="never sent"):
        await read(lm.stream_async("Hi", timeout=short))

    waiting = asyncio.create_task(lm.respond_async("Hi", timeout=0.05))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    blocking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocking
    with pytest.raises(
        TimedOutError, match=r"has passed \(0.05 s\), while it waited for the answer"
    ):
        await waiting


async def test_an_outer_timeout_is_left_to_its_owner() -> None:
    """`asyncio.timeout` around a call raises its own TimeoutError, not ours."""
    lm = LM("x", vendor=SilentVendor(), timeout=50)
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.01):
            await lm.respond_async("Hi")
    assert not isinstance(raised.value, TimedOutError)


# --- what failures keep -----------------------------------------------------------------------


async def test_an_error_says_how_often_the_call_was_sent() -> None:
    """As a note in the traceback, and as a number."""
    lm = LM(
        "x",
        vendor=ScriptedVendor([OverloadedError("busy")] * 3),
        retry=RetryPolicy(attempts=3, wait_initial=0),
    )
    with pytest.raises(OverloadedError) as raised:
        await lm.respond_async("Hi")
    assert raised.value.attempts == 3
    assert raised.value.__notes__ == ["The call was sent 3 times; this is what the last one met."]


async def test_an_answer_that_cannot_be_stored_is_on_the_error() -> None:
    """It was paid for."""

    class Full(MemoryStore):
        async def put(self, turn: Turn) -> None:
            raise StoreUnavailableError("the disk is full")

    with pytest.raises(StoreUnavailableError) as raised:
        await LM("x", vendor=ScriptedVendor(["The answer."]), response_store=Full()).respond_async(
            "Hi"
        )
    assert raised.value.response.text == "The answer."


async def test_a_backend_that_forgets_the_whole_history_too() -> None:
    """It is asked once with an id and once with the history, not for ever."""

    class Forgetful(ScriptedVendor):
        async def respond(self, request: LMRequest) -> BaseLMResponse:
            if request.previous_response_id or request.history:
                self.requests.append(request)
                raise ForgottenResponseError("never heard of it")
            return await super().respond(request)

    vendor = Forgetful(["one"])
    lm = LM("x", vendor=vendor)
    await lm.respond_async("Hi")
    with pytest.raises(ForgottenResponseError):
        await lm.respond_async("And?")
    assert [bool(request.history) for request in vendor.requests] == [False, False, True]


async def test_the_log_has_a_line_for_each_answer(caplog: pytest.LogCaptureFixture) -> None:
    """With its id, tokens and time, and not a word of what was said."""
    caplog.set_level(logging.DEBUG, "synth_ai")
    vendor = ScriptedVendor(["a secret answer"] * 2)
    lm = LM("x", vendor=vendor)
    first = await lm.respond_async("a secret question")
    vendor.forget(str(first.response_id))
    second = await lm.respond_async("another secret")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0].startswith(f"{first.response_id} completed answered by x (responses) in 0.")
    assert lines[1].startswith(f"{second.response_id} was answered from a replay: ")
    assert lines[2].endswith(f"sent 2 time(s), after {first.response_id}")
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("system", "warned"),
    [("Be exact.\nReasoning: high", True), ("Reasoning: show your work", False)],
)
async def test_effort_in_a_system_message_is_warned_about(system: str, warned: bool) -> None:
    """Only the option reaches the place where the model looks for it."""
    lm = LM("m", vendor=ScriptedVendor(["ok"]))
    response = await lm.respond_async(system, "Hi")
    assert any("reasoning_effort='high'" in each for each in response.warnings) is warned


class FullStore(MemoryStore):
    """Keeps nothing."""

    async def put(self, turn: Turn) -> None:
        raise StoreError("The disk is full.")


async def test_reasoning_is_left_out_of_an_error_s_response_too() -> None:
    """The caller did not want to see it, whatever became of the turn; the cost is counted."""
    vendor = ScriptedVendor([REASONED])
    lm = LM("x", vendor=vendor, include_reasoning=False, response_store=FullStore())
    with pytest.raises(StoreError) as raised:
        await lm.respond_async("Hi")
    assert raised.value.response is not None
    assert raised.value.response.reasoning is None
    assert lm.totals.calls == 1


class BreaksOff(ScriptedVendor):
    """Fails once before its stream begins, and then in the middle of it."""

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        self.requests.append(request)
        if len(self.requests) == 1:
            raise OverloadedError("busy")
        yield TextDelta("Hel")
        raise ConnectionFailedError("The stream broke off.")


async def test_a_stream_that_breaks_off_says_how_often_it_was_sent() -> None:
    """A retry before its first event is not forgotten when it fails later."""
    lm = LM("x", vendor=BreaksOff(), retry=RetryPolicy(wait_initial=0))
    with pytest.raises(ConnectionFailedError) as raised:
        await read(lm.stream_async("Hi"))
    assert raised.value.attempts == 2
    assert "sent 2 times" in raised.value.__notes__[0]
