"""The Responses API's bodies: what is sent, what is left out, and what is read back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from servers.checks import request_problems
from synth_ai import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta, Turn
from synth_ai import content as items
from synth_ai.errors import MalformedAnswerError, OptionError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.responses import encode as responses
from synth_ai.lm.vendors.responses.history import prepared

HERE = "https://here.test/v1"
LOST = "1 reasoning item(s) that this server does not take back were left out of the history."
TOOL = {
    "type": "function",
    "name": "add",
    "description": "",
    "parameters": {"type": "object", "properties": {}},
}
USER = {"type": "message", "role": "user", "content": "Hi"}
OUTPUT = (
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    items.function_call("call_1", "add", "{}", id="fc_1"),
    items.assistant_message("Hello", id="msg_1", phase="final_answer"),
)


class City(BaseModel):
    name: str


def request(*new: dict[str, Any], **fields: Any) -> LMRequest:
    """A request with these new items, or with a plain greeting."""
    return LMRequest(model="gpt-5", input=new or (USER,), **fields)


def turn(origin: str | None, output: tuple[dict[str, Any], ...] = OUTPUT) -> Turn:
    """A turn that was made at `origin`."""
    return Turn("resp_1", None, "responses", "gpt-5", (USER,), output, server=origin)


def body_of(asked: LMRequest) -> dict[str, Any]:
    """The body of a request that goes to `HERE`."""
    return responses.request_body(prepared(asked, HERE)[0])


def notes_of(asked: LMRequest) -> list[str]:
    """The warnings of a request that goes to `HERE`."""
    return prepared(asked, HERE)[1]


def test_a_full_body_is_one_that_the_sdk_allows() -> None:
    """Every field of a request at its place in the body."""
    body = responses.request_body(
        request(
            previous_response_id="resp_1",
            instructions="Be terse.",
            tools=(TOOL, {"type": "web_search"}),
            temperature=0.5,
            max_tokens=9,
            reasoning_effort="low",
            tool_choice="add",
            response_format=ResponseFormat.of(City),
            options={"truncation": "auto", "text": {"verbosity": "low"}},
        )
    )
    assert request_problems("/v1/responses", body) == []
    schema = {
        "type": "json_schema",
        "name": "City",
        "schema": ResponseFormat.of(City).schema,
        "strict": True,
    }
    assert body == {
        "model": "gpt-5",
        "input": "Hi",
        "previous_response_id": "resp_1",
        "instructions": "Be terse.",
        "tools": [TOOL | {"strict": False}, {"type": "web_search"}],
        "temperature": 0.5,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "tool_choice": {"type": "function", "name": "add"},
        "truncation": "auto",
        "text": {"verbosity": "low", "format": schema},
    }


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    """The server's defaults are the server's, and a lone user's text is a plain string."""
    assert responses.request_body(request()) == {"model": "gpt-5", "input": "Hi"}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("add", {"type": "function", "name": "add"}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "function", "name": "add"}),
        ({"type": "web_search"}, {"type": "web_search"}),
    ],
)
def test_tool_choice_in_either_api_s_shape(choice: Any, sent: Any) -> None:
    """A name is enough, and the shape of Chat is understood."""
    assert responses.request_body(request(tool_choice=choice))["tool_choice"] == sent


def test_two_shapes_contradict_each_other() -> None:
    """`response_model` and the API's own parameter cannot both hold."""
    with pytest.raises(OptionError, match="both shape the answer"):
        responses.request_body(
            request(
                response_format=ResponseFormat.of(City),
                options={"text": {"format": {"type": "json_object"}}},
            )
        )


def test_a_strict_tool_stays_strict() -> None:
    """Only a missing `strict` is filled in."""
    body = responses.request_body(request(tools=(TOOL | {"strict": True},)))
    assert body["tools"][0]["strict"] is True


def test_history_of_this_server_keeps_what_it_made() -> None:
    """Ids, phase and encrypted reasoning go back whole and in order, so that the replay is accepted."""
    body = body_of(request(history=(turn(HERE),)))
    assert body["input"] == [
        {"role": "user", "content": "Hi"},
        *OUTPUT,
        {"role": "user", "content": "Hi"},
    ]
    assert request_problems("/v1/responses", body) == []


@pytest.mark.parametrize("origin", ["https://elsewhere.test/v1", None])
def test_history_of_elsewhere_loses_ids_and_reasoning(origin: str | None) -> None:
    """Another server knows neither the ids nor the cipher; what was said and called stays."""
    asked = request(history=(turn(origin),))
    body = body_of(asked)
    assert body["input"] == [
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"},
        {"role": "assistant", "content": "Hello", "phase": "final_answer"},
        {"role": "user", "content": "Hi"},
    ]
    assert request_problems("/v1/responses", body) == []
    without_reasoning = body_of(request(history=(turn(origin, OUTPUT[1:]),)))
    assert without_reasoning == body
    assert notes_of(asked) == [LOST]
    assert prepared(asked, origin)[1] == []


def test_replayed_reasoning_that_the_server_has_lost_is_left_out() -> None:
    """Without its ciphertext a reasoning item is a name for something that only its server kept, and may have lost."""
    bare = {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "Hm"}]}
    answer = items.assistant_message("Hello", id="msg_2")
    body = body_of(request(history=(turn(HERE, (bare, answer)),)))
    assert body["input"][1] == {"role": "assistant", "content": "Hello"}
    assert len(body["input"]) == 3
    assert notes_of(request(history=(turn(HERE, (bare, answer)),))) == [LOST]


def test_reasoning_in_the_open_goes_back_to_its_server() -> None:
    """vLLM takes it, and gpt-oss needs it with the tool calls it led to."""
    reasoning = items.reasoning_item("Hm", id="rs_3")
    body = body_of(request(history=(turn(HERE, (reasoning, OUTPUT[1])),)))
    assert body["input"][1:3] == [reasoning, OUTPUT[1]]


def test_items_written_by_hand_go_in_their_short_form() -> None:
    """A history of one's own has no ids; the API demands them of the long form."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    given = [
        USER,
        items.assistant_message("Hello"),
        refusal,
        {"type": "message", "role": "developer", "content": "x"},
    ]
    body = responses.request_body(request(*given))
    assert body["input"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": "No."},
        {"role": "developer", "content": "x"},
    ]
    assert request_problems("/v1/responses", body) == []


def test_reasoning_written_by_hand_is_no_item_for_a_server() -> None:
    """A history from Chat may hold reasoning in the open, which the API has no way to take without an id."""
    body = responses.request_body(
        request(USER, items.reasoning_item("Hm"), items.assistant_message("Hello"), USER)
    )
    assert [item.get("role") for item in body["input"]] == ["user", "assistant", "user"]
    assert request_problems("/v1/responses", body) == []


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


def test_an_answer_is_read() -> None:
    """Texts, calls, usage and the server's id."""
    usage = {
        "input_tokens": 5,
        "output_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    read = responses.read_response(response(*OUTPUT, usage=usage))
    assert (read.response_id, read.raw_response, read.model) == ("resp_9", "Hello", "gpt-5-x")
    assert read.tool_calls == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    ]
    assert read.output == list(OUTPUT)
    assert read.usage is not None
    assert read.usage.cached_tokens == 2
    assert read.usage.reasoning_tokens == 1


def test_logprobs_are_gathered() -> None:
    """One entry per token, over all parts of the answer."""
    part = items.output_text("Hi") | {"logprobs": [{"token": "Hi", "logprob": -0.5}]}
    message = {"type": "message", "role": "assistant", "content": [part]}
    assert responses.read_response(response(message, message)).logprobs == part["logprobs"] * 2
    assert responses.read_response(response(*OUTPUT)).logprobs is None


def test_how_a_response_ended() -> None:
    """Incomplete and failed ones say why."""
    cut = responses.read_response(
        response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    )
    assert (cut.status, cut.incomplete_reason) == ("incomplete", "max_output_tokens")
    error = {"code": "server_error", "message": "It failed."}
    failed = responses.read_response(response(status="failed", error=error))
    assert (failed.status, failed.error) == ("failed", "server_error: It failed.")


ODD_STATUS = response(status="odd")


@pytest.mark.parametrize(
    "body",
    [{}, {"output": []}, {"id": "resp_1"}, {"id": 1, "output": []}, {"choices": []}, ODD_STATUS],
)
def test_a_body_that_is_no_response(body: dict[str, Any]) -> None:
    """Another service behind the address, or half an answer."""
    with pytest.raises(MalformedAnswerError, match="no response of the Responses API") as raised:
        responses.read_response(body)
    assert raised.value.body == body


def test_events_are_told_apart() -> None:
    """Preamble, reasoning, text and calls by their item; events unknown here are passed over."""
    commentary = {"type": "message", "phase": "commentary"}
    final = {"type": "message", "phase": "final_answer"}
    call = {"type": "function_call", "name": "add", "arguments": "", "call_id": "call_1"}
    other = {"type": "function_call", "name": "sub", "arguments": "", "call_id": "call_2"}
    text, arguments = "response.output_text.delta", "response.function_call_arguments.delta"
    reader = responses.EventReader()
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
    reader = responses.EventReader()
    assert (
        list(reader.read({"type": f"response.{status}", "response": response(status=status)})) == []
    )
    assert reader.body == response(status=status)


def test_reasoning_that_a_chat_call_left_here_is_counted() -> None:
    """One address may serve both APIs; reasoning without an id of the server's is not taken back by it."""
    reasoning = items.reasoning_item("Hm")
    asked = request(history=(turn(HERE, (reasoning, items.assistant_message("Hello"))),))
    assert notes_of(asked) == [LOST]
    assert len(body_of(asked)["input"]) == 3


ENCRYPTED, LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"


@pytest.mark.parametrize(
    ("options", "include"),
    [
        ({"store": False}, [ENCRYPTED]),
        ({"store": False, "include": [LOGPROBS]}, [LOGPROBS, ENCRYPTED]),
        ({"store": False, "include": [ENCRYPTED]}, [ENCRYPTED]),
        ({"store": False, "include": []}, None),
        ({"include": [ENCRYPTED], "logprobs": True}, [ENCRYPTED, LOGPROBS]),
        ({"logprobs": True, "top_logprobs": 2}, [LOGPROBS]),
        ({"logprobs": False}, None),
    ],
)
def test_what_the_answer_brings_along(options: dict[str, Any], include: list[str] | None) -> None:
    """A wish of the caller's own does not push out what other options need; an empty list says no to reasoning."""
    body = responses.request_body(request(options=options))
    assert body.get("include") == include
    assert "logprobs" not in body
    assert request_problems("/v1/responses", body) == []


def test_effort_and_verbosity_join_what_else_is_said_there() -> None:
    """They have names of their own here, and share an object there with the summary and the shape."""
    asked = request(
        reasoning_effort="high",
        response_format=ResponseFormat.of(City),
        options={"reasoning": {"summary": "auto"}, "verbosity": "low"},
    )
    body = responses.request_body(asked)
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert (body["text"]["verbosity"], body["text"]["format"]["name"]) == ("low", "City")
    assert "verbosity" not in body
    assert request_problems("/v1/responses", body) == []


def test_custom_tools_in_either_api_s_shape() -> None:
    """The tool, the choice of it, its call and the output."""
    grammar = {"definition": "start: WORD", "syntax": "lark"}
    nested = {
        "type": "custom",
        "custom": {"name": "sql", "format": {"type": "grammar", "grammar": grammar}},
    }
    flat = {"type": "custom", "name": "sql", "format": {"type": "grammar", **grammar}}
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"}
    said = (USER, items.custom_tool_call("call_1", "sql", "select 1"), output)
    for tool in (nested, flat):
        for choice in (
            "sql",
            {"type": "custom", "name": "sql"},
            {"type": "custom", "custom": {"name": "sql"}},
        ):
            body = responses.request_body(request(*said, tools=(tool,), tool_choice=choice))
            assert body["tools"] == [flat]
            assert body["tool_choice"] == {"type": "custom", "name": "sql"}
            assert body["input"][1] == {
                "type": "custom_tool_call",
                "call_id": "call_1",
                "name": "sql",
                "input": "select 1",
            }
            assert request_problems("/v1/responses", body) == []


def test_a_custom_tool_s_call_is_streamed() -> None:
    """Its input comes like a function's arguments."""
    call = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_1",
        "name": "sql",
        "input": "",
    }
    reader = responses.EventReader()
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
