"""Events of the Responses API, told apart as they come."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.events import Started
from synth_ai.lm.vendors.responses.stream import EventReader


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A response's body."""
    return {
        "id": "resp_9",
        "model": "gpt-5-x",
        "status": "completed",
        "output": list(output),
        "error": None,
        **fields,
    }


def test_events_are_told_apart() -> None:
    """Preamble, reasoning, text and calls by their item; events unknown here are passed over."""
    commentary = {"type": "message", "phase": "commentary"}
    final = {"type": "message", "phase": "final_answer"}
    call = {"type": "function_call", "name": "add", "arguments": "", "call_id": "call_1"}
    other = {"type": "function_call", "name": "sub", "arguments": "", "call_id": "call_2"}
    text, arguments = "response.output_text.delta", "response.function_call_arguments.delta"
    reader = EventReader()
    sent: list[dict[str, Any]] = [
        {"type": "response.created", "response": response()},
        {"type": "response.novelty", "delta": "?"},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm"},
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "."},
        {"type": "response.output_item.added", "output_index": 1, "item": commentary},
        {"type": text, "output_index": 1, "delta": "Wait"},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.output_item.added", "output_index": 3, "item": other},
        {"type": arguments, "output_index": 3, "delta": "{}"},
        {"type": arguments, "output_index": 2, "delta": "[]"},
        {"type": "response.output_item.added", "output_index": 4, "item": final},
        {"type": text, "output_index": 4, "delta": "Hello"},
    ]
    assert [event for one in sent for event in reader.read(one)] == [
        Started(response()["id"]),
        ReasoningDelta("Hm"),
        ReasoningDelta("."),
        PreambleDelta("Wait"),
        ToolCallDelta(0, "add", "", "call_1"),
        ToolCallDelta(1, "sub", "", "call_2"),
        ToolCallDelta(1, None, "{}"),
        ToolCallDelta(0, None, "[]"),
        TextDelta("Hello"),
    ]
    assert reader.body is None


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_the_last_event_brings_the_body(status: str) -> None:
    """However the response ended."""
    reader = EventReader()
    assert (
        list(reader.read({"type": f"response.{status}", "response": response(status=status)})) == []
    )
    assert reader.body == response(status=status)


def test_a_custom_tool_s_call_is_streamed() -> None:
    """Its input comes like a function's arguments."""
    call = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_1",
        "name": "sql",
        "input": "",
    }
    reader = EventReader()
    events = [
        *reader.read({"type": "response.output_item.added", "output_index": 1, "item": call}),
        *reader.read(
            {
                "type": "response.custom_tool_call_input.delta",
                "output_index": 1,
                "delta": "select 1",
            }
        ),
    ]
    assert events == [ToolCallDelta(0, "sql", "", "call_1"), ToolCallDelta(0, None, "select 1")]


def test_halves_of_a_character_find_together() -> None:
    """Each part by itself, as deltas of several parts may take turns."""
    first, second = "\ud83d", "\ude00"
    call = {"type": "function_call", "name": "add", "arguments": first, "call_id": "call_1"}
    text, arguments = "response.output_text.delta", "response.function_call_arguments.delta"
    reasoning = "response.reasoning_text.delta"
    sent: list[dict[str, Any]] = [
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": text, "output_index": 2, "delta": f"a{first}"},
        {"type": reasoning, "output_index": 0, "delta": first},
        {"type": arguments, "output_index": 1, "delta": f"{second}{first}"},
        {"type": reasoning, "output_index": 0, "delta": f"{second}r"},
        {"type": text, "output_index": 2, "delta": f"{second}b"},
        {"type": arguments, "output_index": 1, "delta": "x"},
    ]
    reader = EventReader()
    events = [event for one in sent for event in reader.read(one)]
    face = "\N{GRINNING FACE}"
    assert [event for event in events if not isinstance(event, ToolCallDelta)] == [
        TextDelta("a"),
        ReasoningDelta(""),
        ReasoningDelta(f"{face}r"),
        TextDelta(f"{face}b"),
    ]
    pieces = [event.arguments for event in events if isinstance(event, ToolCallDelta)]
    assert pieces == ["", face, "\ufffdx"]


def test_the_last_event_says_what_the_deltas_said() -> None:
    """Half a character at the end of an answer that was cut off is mended in both."""
    part = {"type": "output_text", "text": "Hi \ud83d", "annotations": []}
    message = {"type": "message", "role": "assistant", "content": [part]}
    reader = EventReader()
    list(reader.read({"type": "response.output_text.delta", "delta": "Hi \ud83d"}))
    list(reader.read({"type": "response.incomplete", "response": response(message)}))
    assert reader.body is not None
    assert reader.body["output"] == [{**message, "content": [{**part, "text": "Hi \ufffd"}]}]
