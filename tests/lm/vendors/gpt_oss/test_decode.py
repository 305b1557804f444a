"""A completion alone, read as its ids come: no LM, no engine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from synth_ai import TextDelta, ToolCallDelta, harmony
from synth_ai.engines.base import FinishReason, TokenDelta
from synth_ai.events import StreamEvent
from synth_ai.lm.vendors.gpt_oss.decode import CompletionReader
from synth_ai.response import BaseLMResponse
from synth_ai.testing import call_text, final_text


def read(
    text: str, *, tools: Sequence[str] = (), stop: Sequence[str] = ()
) -> tuple[list[StreamEvent], BaseLMResponse]:
    """The events and the response of a completion that comes id by id."""
    reader = CompletionReader(tools=tools, stop=stop)
    events: list[StreamEvent] = []
    for token_id in harmony.encode(text, control_tokens=True):
        events += reader.feed(TokenDelta([token_id]))
        if reader.stopped:
            break

    events += reader.finish()
    return events, reader.response([1, 2, 3], "gpt-oss-20b")


def answer_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_each_call_has_the_id_of_its_first_delta() -> None:
    """Who follows a stream knows the calls by the ids that the response has."""
    first = call_text("add", a=1).replace("<|call|>", "<|end|>")
    text = first + "<|start|>assistant" + call_text("multiply", b=2)
    events, response = read(text)
    first_deltas = [event for event in events if isinstance(event, ToolCallDelta) and event.name]
    assert response.tool_calls is not None
    assert [call["id"] for call in response.tool_calls] == [d.call_id for d in first_deltas]
    assert [call["function"]["name"] for call in response.tool_calls] == ["add", "multiply"]


def test_a_call_that_begins_anew_is_another_one() -> None:
    """Arguments that were repaired come anew at the end; the response has the id that came last."""
    text = '<|channel|>commentary to=functions.add<|message|>{"a": 1}}<|call|>'
    events, response = read(text)
    ids = [event.call_id for event in events if isinstance(event, ToolCallDelta) and event.call_id]
    assert len(ids) == 2
    assert response.tool_calls is not None
    assert [call["id"] for call in response.tool_calls] == ids[1:]


def test_a_call_of_a_tool_without_a_name_has_an_id_too() -> None:
    """The parser takes a call without a name for one of the only tool, whatever it is called."""
    events, response = read('<|channel|>commentary<|message|>{"a": 1}<|call|>', tools=[""])
    [delta] = [event for event in events if isinstance(event, ToolCallDelta)]
    assert response.tool_calls is not None
    assert response.tool_calls[0]["id"] == delta.call_id


def test_a_cut_answer_is_one_message_behind_the_rest() -> None:
    """What the events said, the response says, and it does not count as all that was sampled."""
    events, response = read(final_text("alpha beta", reasoning="Hm."), stop=["a be"])
    assert answer_of(events) == response.text == "alph"
    assert [item["type"] for item in response.output] == ["reasoning", "message"]
    assert response.output[1]["content"][0]["text"] == "alph"
    assert not response.tokens_exact


def test_what_may_begin_a_stop_string_comes_at_the_end() -> None:
    """Text is withheld only as long as the stop string may still follow."""
    events, response = read(final_text("alpha be"), stop=["beta"])
    assert answer_of(events) == response.text == "alpha be"
    assert response.tokens_exact


def read_constrained(text: str, *, finish_reason: FinishReason = "stop") -> BaseLMResponse:
    """The response of a completion whose answer must be JSON."""
    reader = CompletionReader(constrained=True)
    reader.feed(TokenDelta(harmony.encode(text, control_tokens=True), finish_reason))
    reader.finish()
    return reader.response([1, 2, 3], "gpt-oss-20b")


FINAL = "<|channel|>final<|message|>"


@pytest.mark.parametrize(
    "text",
    [
        f'{FINAL}{{"a": "x<|end|><|start|>assistant"}}<|return|>',
        f'{FINAL}{{"a": "x<|end|><|start|>assistant{FINAL}y"}}<|return|>',
        f'{FINAL}{{"a": "x<|message|>y"}}<|return|>',
        f'{FINAL}{{"a": "x<|constrain|>y"}}<|return|>',
        f'{FINAL}{{"a": "x<|reserved_200100|>y"}}<|return|>',
        f'{FINAL}{{"a": "x<|channel|>y"}}<|return|>',
        f'<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant{FINAL}{{"a": "<|end|>"}}',
    ],
)
def test_a_control_token_inside_a_constrained_answer(text: str) -> None:
    """An engine that lets one in gave no answer of the shape, and the response says so."""
    response = read_constrained(text)
    assert (response.status, response.incomplete_reason) == ("incomplete", "control_token")
    assert any("broke out" in warning for warning in response.warnings)


@pytest.mark.parametrize("end", ["<|return|>", "<|call|>", ""])
def test_a_constrained_answer_that_is_whole(end: str) -> None:
    """Control tokens in front of it and at its end are none inside it."""
    text = f'<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant{FINAL}{{"a": "<end>"}}{end}'
    response = read_constrained(text)
    assert (response.status, response.warnings) == ("completed", [])


@pytest.mark.parametrize(
    "text",
    [
        f'{FINAL}{{"a": "whole"}}',
        f'{FINAL}{{"a": "whole"}}<|end|>',
        f"{FINAL}One.<|end|><|start|>assistant<|channel|>analysis<|message|>Hm",
        '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}',
        "<|channel|>commentary<|message|>One moment.<|end|>",
        "<|channel|>analysis<|message|>Hm",
        "",
    ],
)
def test_what_reached_max_tokens_is_incomplete(text: str) -> None:
    """Whatever it holds so far: the model had more to say."""
    response = read_constrained(text, finish_reason="length")
    assert (response.status, response.incomplete_reason) == ("incomplete", "max_output_tokens")


def test_what_ended_with_its_last_token_is_complete() -> None:
    """A stop token is an end, also if it was the last token that the call had."""
    text = f"{FINAL}One.<|return|>"
    assert read_constrained(text, finish_reason="length").status == "completed"
    call = call_text("add", a=1)
    assert read_constrained(call, finish_reason="length").status == "completed"


@pytest.mark.parametrize(
    "text",
    [
        " to=functions<|channel|> x<|return|>",
        " to=functions y<|message|> z<|endoftext|>",
        "<|channel|>commentary to=functions y<|return|>",
        '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": <|call|>',
        "<|channel|>analysis<|message|>t<|end|><|start|>assistant to=functions$<|return|>",
    ],
)
def test_a_garbled_call_is_no_constrained_answer(text: str) -> None:
    """Only the start of a call is constrained: what follows may be neither a call nor an answer."""
    reader = CompletionReader(tools=["functions.add"], constrained=True)
    reader.feed(TokenDelta(harmony.encode(text, control_tokens=True), "stop"))
    reader.finish()
    response = reader.response([1], "gpt-oss-20b")
    assert (response.status, response.incomplete_reason) == ("incomplete", "control_token")
    assert any("without an answer" in warning for warning in response.warnings)


def test_a_call_in_place_of_a_constrained_answer() -> None:
    """It is complete, as an answer of its shape is."""
    for text in (call_text("add", a=1), '<|channel|>final<|message|>{"a": 1}<|return|>'):
        reader = CompletionReader(tools=["functions.add"], constrained=True)
        reader.feed(TokenDelta(harmony.encode(text, control_tokens=True), "stop"))
        reader.finish()
        assert reader.response([1], "gpt-oss-20b").status == "completed"
