"""Requests as bodies of Chat Completions: items become messages."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from servers.checks import request_problems
from synth_ai import Turn, content
from synth_ai.errors import OptionError, RequestError
from synth_ai.lm import prompt
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.chat.decode import decode_response
from synth_ai.lm.vendors.chat.encode import COMPATIBLE, OPENAI, encode_messages, encode_request

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
            instructions="Be terse.",
            tools=(TOOL,),
            temperature=0.5,
            max_tokens=9,
            reasoning_effort="low",
            stop=("END",),
            tool_choice="add",
            response_format=ResponseFormat.of(City),
            options={"top_p": 0.9, "metadata": {"a": "b"}},
        ),
        OPENAI,
    )
    assert request_problems("/v1/chat/completions", body) == []
    assert body["messages"] == [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "Hi"},
    ]
    assert body["tools"][0]["function"]["name"] == "add"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert body["response_format"]["json_schema"]["name"] == "City"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["temperature"], body["max_completion_tokens"], body["reasoning_effort"]) == (
        0.5,
        9,
        "low",
    )
    assert (body["stop"], body["top_p"], body["metadata"]) == (["END"], 0.9, {"a": "b"})


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    """The server's defaults are the server's."""
    assert encode_request(request()) == {
        "model": "gpt-5",
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_a_stream_asks_for_its_usage() -> None:
    """OpenAI's service sends none unasked; servers refuse the option in calls without a stream."""
    body = encode_request(request(), stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})

    given = request(options={"stream_options": {"include_usage": False}})
    assert encode_request(given, stream=True)["stream_options"] == {"include_usage": False}
    assert encode_request(given) == encode_request(request())


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
        ({"type": "function", "name": "add"}, {"type": "function", "function": {"name": "add"}}),
        (
            {"type": "function", "function": {"name": "add"}},
            {"type": "function", "function": {"name": "add"}},
        ),
    ],
)
def test_tool_choice_in_either_api_s_shape(choice: Any, sent: Any) -> None:
    """A name is enough, and the shape of Responses is understood."""
    assert encode_request(request(tool_choice=choice))["tool_choice"] == sent


def test_servers_differ_in_the_limit_of_tokens() -> None:
    """OpenAI's newer models refuse `max_tokens`; many other servers know nothing else."""
    asked = request(max_tokens=9)
    assert encode_request(asked, OPENAI)["max_completion_tokens"] == 9
    assert encode_request(asked, COMPATIBLE)["max_tokens"] == 9


def test_two_shapes_contradict_each_other() -> None:
    """`response_model` and the API's own parameter cannot both hold."""
    with pytest.raises(
        OptionError, match="response_model= and response_format= both shape the answer"
    ):
        encode_request(
            request(
                response_format=ResponseFormat.of(City),
                options={"response_format": {"type": "json_object"}},
            )
        )


def test_an_assistant_s_items_are_one_message() -> None:
    """Reasoning, text and parallel calls of a turn belong together; their outputs follow."""
    conversation = [
        USER,
        content.reasoning_item("One."),
        content.reasoning_item("Two."),
        content.assistant_message("Wait.", phase="commentary"),
        content.function_call("call_1", "add", '{"a": 1}'),
        content.function_call("call_2", "add", '{"a": 2}'),
        content.function_call_output("call_1", "1"),
        content.function_call_output("call_2", "2"),
        content.reasoning_item("Done."),
        content.assistant_message("3"),
    ]
    calls = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": "add", "arguments": f'{{"a": {n}}}'},
        }
        for n in (1, 2)
    ]
    said = {"role": "assistant", "content": "Wait.", "tool_calls": calls}
    reasoning = {"reasoning": "One.\n\nTwo."}
    rest = [
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "tool", "tool_call_id": "call_2", "content": "2"},
        {"role": "assistant", "content": "3"},
    ]
    user = {"role": "user", "content": "Hi"}
    assert encode_messages(conversation) == [user, said | reasoning, *rest]
    assert encode_messages(conversation, include_reasoning=False) == [user, said, *rest]


def test_encrypted_reasoning_leaves_no_gap() -> None:
    """It has no text here, and blank lines in its place would be shown to the model."""
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = content.function_call("call_1", "add", "{}")
    (message,) = encode_messages([secret, content.reasoning_item("One."), secret, call])
    assert message["reasoning"] == "One."


def test_a_history_comes_before_the_new_input() -> None:
    """The turns before with their input and output, then what is new; the system message first."""
    turns = tuple(
        Turn(
            f"resp_{n}",
            None,
            "chat",
            "gpt-5",
            ({**USER, "content": f"u{n}"},),
            (content.assistant_message(f"a{n}"),),
        )
        for n in (1, 2)
    )
    body = encode_request(request(history=turns, instructions="Be terse."))
    assert [message["content"] for message in body["messages"]] == [
        "Be terse.",
        "u1",
        "a1",
        "u2",
        "a2",
        "Hi",
    ]


def test_a_turn_of_reasoning_alone_leaves_no_empty_message() -> None:
    """An answer that was cut while thinking has no text; servers refuse an empty assistant."""
    conversation = [USER, content.reasoning_item("Hm"), USER]
    assert encode_messages(conversation) == [{"role": "user", "content": "Hi"}] * 2


def test_a_refusal_goes_back_as_what_was_said() -> None:
    """It is part of the conversation; an empty message in its place would puzzle the model."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    (message,) = encode_messages([refusal])
    assert message["role"] == "assistant"
    assert "No." in (message.get("refusal") or message["content"])


def test_content_parts_are_said_in_chat_s_words() -> None:
    """Text and pictures; a picture by file id has no counterpart."""
    image = {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"}
    (message,) = encode_messages(
        [{"role": "user", "content": [{"type": "input_text", "text": "Look"}, image]}]
    )
    assert message["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
    ]
    with pytest.raises(RequestError, match="file id exists on the Responses API alone"):
        encode_messages(
            [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]
        )


@pytest.mark.parametrize("kind", ["web_search_call", "item_reference", "mcp_approval_response"])
def test_items_without_a_counterpart(kind: str) -> None:
    """What only Responses has is an error, not a gap in the conversation."""
    with pytest.raises(
        RequestError, match=f"{kind}.*no counterpart in Chat Completions; use the responses API"
    ):
        encode_messages([{"type": kind, "id": "x_1"}])


# --- custom tools -----------------------------------------------------------------------------

GRAMMAR = {"definition": "start: WORD", "syntax": "lark"}


FLAT = {
    "type": "custom",
    "name": "sql",
    "description": "Ask.",
    "format": {"type": "grammar", **GRAMMAR},
}


NESTED = {
    "type": "custom",
    "custom": {
        "name": "sql",
        "description": "Ask.",
        "format": {"type": "grammar", "grammar": GRAMMAR},
    },
}


@pytest.mark.parametrize("tool", [FLAT, NESTED])
@pytest.mark.parametrize(
    "choice",
    ["sql", {"type": "custom", "name": "sql"}, {"type": "custom", "custom": {"name": "sql"}}],
)
def test_a_custom_tool_in_either_api_s_shape(tool: dict[str, Any], choice: Any) -> None:
    """Its grammar too, and the choice of it, by name or in full."""
    body = encode_request(request(tools=(TOOL, tool), tool_choice=choice))
    assert body["tools"][1] == NESTED
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "sql"}}
    assert request_problems("/v1/chat/completions", body) == []


def test_a_custom_tool_s_call_and_its_output() -> None:
    """Read as the item of Responses, and said again in the words of Chat."""
    call = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    response = decode_response({"choices": [{"message": {"content": None, "tool_calls": [call]}}]})
    assert response.output == [content.custom_tool_call("call_1", "sql", "select 1")]
    assert response.tool_calls == [call]
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"}
    body = encode_request(request(USER, *response.output, output))
    assert body["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    assert request_problems("/v1/chat/completions", body) == []


# --- images and files -------------------------------------------------------------------------


def test_pictures_in_tool_outputs_follow_in_a_user_s_message() -> None:
    """A tool message takes text alone, and outputs stand together; each image says whose it is."""
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    outputs = [
        content.function_call_output("call_1", [{"type": "input_text", "text": "see:"}, image]),
        content.function_call_output("call_2", [image]),
        content.function_call_output("call_3", "3"),
    ]
    calls = [content.function_call(f"call_{n}", "look", "{}") for n in (1, 2, 3)]
    body = encode_request(request(USER, *calls, *outputs, USER))
    picture = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
    }
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "see:"},
        {"role": "tool", "tool_call_id": "call_2", "content": "The next message shows the output."},
        {"role": "tool", "tool_call_id": "call_3", "content": "3"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Output of the tool call call_1:"},
                picture,
                {"type": "text", "text": "Output of the tool call call_2:"},
                picture,
            ],
        },
        {"role": "user", "content": "Hi"},
    ]
    assert request_problems("/v1/chat/completions", body) == []


def test_a_sound_in_a_tool_s_output_is_an_error() -> None:
    """It was left out without a word."""
    output = content.function_call_output("call_1", [{"type": "input_audio", "input_audio": {}}])
    with pytest.raises(RequestError, match="'input_audio' in a tool's output has no counterpart"):
        encode_messages([content.function_call("call_1", "look", "{}"), output])


FILE = {
    "type": "file",
    "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
}


INPUT_FILE = {
    "type": "input_file",
    "file_data": "data:application/pdf;base64,AAAA",
    "filename": "a.pdf",
}


@pytest.mark.parametrize("part", [FILE, INPUT_FILE])
def test_a_file_in_either_api_s_shape(part: dict[str, Any]) -> None:
    """Kept in the shape of Responses and sent in that of Chat, from a user or from a tool."""
    given, _ = prompt.read_messages([{"role": "user", "content": [part]}])
    assert given[0]["content"] == [INPUT_FILE]
    [output] = prompt.read_tool_outputs({"call_1": [part]})
    body = encode_request(request(*given, content.function_call("call_1", "read", "{}"), output))
    assert body["messages"][0] == {"role": "user", "content": [FILE]}
    assert body["messages"][-1]["content"] == [
        {"type": "text", "text": "Output of the tool call call_1:"},
        FILE,
    ]
    assert request_problems("/v1/chat/completions", body) == []
