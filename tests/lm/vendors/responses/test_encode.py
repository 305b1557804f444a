"""Requests as bodies of the Responses API: what is sent, and what is left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from servers.checks import request_problems
from synth_ai import content
from synth_ai.errors import OptionError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.responses.encode import encode_request

TOOL = {
    "type": "function",
    "name": "add",
    "description": "",
    "parameters": {"type": "object", "properties": {}},
}


USER = {"type": "message", "role": "user", "content": "Hi"}


class City(BaseModel):
    name: str


def request(*new: dict[str, Any], **fields: Any) -> LMRequest:
    """A request with these new items, or with a plain greeting; options by their names."""
    names = {field.name for field in dataclasses.fields(LMRequest)}
    options = {name: fields.pop(name) for name in fields.keys() - names}
    options |= fields.pop("options", {})
    return LMRequest(model="gpt-5", input=new or (USER,), options=options, **fields)


def test_a_full_body_is_one_that_the_sdk_allows() -> None:
    """Every field of a request at its place in the body."""
    body = encode_request(
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
    assert encode_request(request()) == {"model": "gpt-5", "input": "Hi"}


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
    assert encode_request(request(tool_choice=choice))["tool_choice"] == sent


def test_two_shapes_contradict_each_other() -> None:
    """`response_model` and the API's own parameter cannot both hold."""
    with pytest.raises(OptionError, match="both shape the answer"):
        encode_request(
            request(
                response_format=ResponseFormat.of(City),
                options={"text": {"format": {"type": "json_object"}}},
            )
        )


def test_a_strict_tool_stays_strict() -> None:
    """Only a missing `strict` is filled in."""
    body = encode_request(request(tools=(TOOL | {"strict": True},)))
    assert body["tools"][0]["strict"] is True


def test_items_written_by_hand_go_in_their_short_form() -> None:
    """A history of one's own has no ids; the API demands them of the long form."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    given = [
        USER,
        content.assistant_message("Hello"),
        refusal,
        {"type": "message", "role": "developer", "content": "x"},
    ]
    body = encode_request(request(*given))
    assert body["input"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": "No."},
        {"role": "developer", "content": "x"},
    ]
    assert request_problems("/v1/responses", body) == []


def test_reasoning_written_by_hand_is_no_item_for_a_server() -> None:
    """A history from Chat may have reasoning in the open, which the API takes only with an id."""
    body = encode_request(
        request(USER, content.reasoning_item("Hm"), content.assistant_message("Hello"), USER)
    )
    assert [item.get("role") for item in body["input"]] == ["user", "assistant", "user"]
    assert request_problems("/v1/responses", body) == []


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
    """The caller's wish stands beside what other options need; an empty list says no."""
    body = encode_request(request(options=options))
    assert body.get("include") == include
    assert "logprobs" not in body
    assert request_problems("/v1/responses", body) == []


def test_effort_and_verbosity_join_what_else_is_said_there() -> None:
    """They are options here, and share an object there with the summary and the format."""
    asked = request(
        reasoning_effort="high",
        response_format=ResponseFormat.of(City),
        options={"reasoning": {"summary": "auto"}, "verbosity": "low"},
    )
    body = encode_request(asked)
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
    said = (USER, content.custom_tool_call("call_1", "sql", "select 1"), output)
    for tool in (nested, flat):
        for choice in (
            "sql",
            {"type": "custom", "name": "sql"},
            {"type": "custom", "custom": {"name": "sql"}},
        ):
            body = encode_request(request(*said, tools=(tool,), tool_choice=choice))
            assert body["tools"] == [flat]
            assert body["tool_choice"] == {"type": "custom", "name": "sql"}
            assert body["input"][1] == {
                "type": "custom_tool_call",
                "call_id": "call_1",
                "name": "sql",
                "input": "select 1",
            }
            assert request_problems("/v1/responses", body) == []
