"""Chat Completions' bodies: items become messages, messages become items, chunks add up to the same."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from servers.checks import request_problems
from synth_ai import ReasoningDelta, TextDelta, ToolCallDelta, Turn
from synth_ai.errors import MalformedAnswerError, OptionError, RequestError
from synth_ai.lm import items
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured import ResponseFormat
from synth_ai.lm.vendors.formats import chat

TOOL = {"type": "function", "name": "add", "description": "", "parameters": {"type": "object", "properties": {}}}
USER = {"type": "message", "role": "user", "content": "Hi"}


class City(BaseModel):
    name: str


def request(*new: dict[str, Any], **fields: Any) -> LMRequest:
    """A request with these new items, or with a plain greeting."""
    return LMRequest(model="gpt-5", input=new or (USER,), **fields)


def test_a_full_body_is_one_that_the_sdk_allows() -> None:
    """Every field of a request at its place in the body."""
    body = chat.request_body(
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
        chat.OPENAI,
    )
    assert request_problems("/v1/chat/completions", body) == []
    assert body["messages"] == [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi"}]
    assert body["tools"][0]["function"]["name"] == "add"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert body["response_format"]["json_schema"]["name"] == "City"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["temperature"], body["max_completion_tokens"], body["reasoning_effort"]) == (0.5, 9, "low")
    assert (body["stop"], body["top_p"], body["metadata"]) == (["END"], 0.9, {"a": "b"})


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    """The server's defaults are the server's."""
    assert chat.request_body(request()) == {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
        ({"type": "function", "name": "add"}, {"type": "function", "function": {"name": "add"}}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_tool_choice_in_either_api_s_shape(choice: Any, sent: Any) -> None:
    """A name is enough, and the shape of Responses is understood."""
    assert chat.request_body(request(tool_choice=choice))["tool_choice"] == sent


def test_servers_differ_in_the_limit_of_tokens() -> None:
    """OpenAI's newer models refuse `max_tokens`; many other servers know nothing else."""
    asked = request(max_tokens=9)
    assert chat.request_body(asked, chat.OPENAI)["max_completion_tokens"] == 9
    assert chat.request_body(asked, chat.COMPATIBLE)["max_tokens"] == 9


def test_two_shapes_contradict_each_other() -> None:
    """`response_model` and the API's own parameter cannot both hold."""
    with pytest.raises(OptionError, match="response_model= and response_format= both shape the answer"):
        chat.request_body(
            request(response_format=ResponseFormat.of(City), options={"response_format": {"type": "json_object"}})
        )


def test_an_assistant_s_items_are_one_message() -> None:
    """Reasoning, text and parallel calls of a turn belong together; their outputs follow as tool messages."""
    conversation = [
        USER,
        items.reasoning_item("One."),
        items.reasoning_item("Two."),
        items.assistant_message("Wait.", phase="commentary"),
        items.function_call("call_1", "add", '{"a": 1}'),
        items.function_call("call_2", "add", '{"a": 2}'),
        items.function_call_output("call_1", "1"),
        items.function_call_output("call_2", "2"),
        items.reasoning_item("Done."),
        items.assistant_message("3"),
    ]
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "add", "arguments": f'{{"a": {n}}}'}}
        for n in (1, 2)
    ]
    said = {"role": "assistant", "content": "Wait.", "tool_calls": calls}
    reasoning = {"reasoning": "One.\n\nTwo.", "reasoning_content": "One.\n\nTwo."}
    rest = [
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "tool", "tool_call_id": "call_2", "content": "2"},
        {"role": "assistant", "content": "3"},
    ]
    user = {"role": "user", "content": "Hi"}
    assert chat.messages(conversation) == [user, said | reasoning, *rest]
    assert chat.messages(conversation, reasoning=False) == [user, said, *rest]


def test_a_history_comes_before_the_new_input() -> None:
    """The turns before, each with its input and output, then what is new; the system message first."""
    turns = tuple(
        Turn(f"resp_{n}", None, "chat", "gpt-5", ({**USER, "content": f"u{n}"},), (items.assistant_message(f"a{n}"),))
        for n in (1, 2)
    )
    body = chat.request_body(request(history=turns, instructions="Be terse."))
    assert [message["content"] for message in body["messages"]] == ["Be terse.", "u1", "a1", "u2", "a2", "Hi"]


def test_a_turn_of_reasoning_alone_leaves_no_empty_message() -> None:
    """An answer that was cut while thinking has no text; servers refuse an empty assistant."""
    conversation = [USER, items.reasoning_item("Hm"), USER]
    assert chat.messages(conversation) == [{"role": "user", "content": "Hi"}] * 2


def test_a_refusal_goes_back_as_what_was_said() -> None:
    """It is part of the conversation; an empty assistant message in its place would be a riddle to the model."""
    refusal = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    (message,) = chat.messages([refusal])
    assert message["role"] == "assistant"
    assert "No." in (message.get("refusal") or message["content"])


def test_content_parts_are_said_in_chat_s_words() -> None:
    """Text and pictures; a picture by file id has no counterpart."""
    image = {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"}
    (message,) = chat.messages([{"role": "user", "content": [{"type": "input_text", "text": "Look"}, image]}])
    assert message["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
    ]
    with pytest.raises(RequestError, match="file id exists on the Responses API alone"):
        chat.messages([{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}])


@pytest.mark.parametrize("kind", ["web_search_call", "item_reference", "mcp_approval_response"])
def test_items_without_a_counterpart(kind: str) -> None:
    """What only Responses has is an error, not a gap in the conversation."""
    with pytest.raises(RequestError, match=f"{kind}.*no counterpart in Chat Completions; use the responses API"):
        chat.messages([{"type": kind, "id": "x_1"}])


def completion(message: dict[str, Any], finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """A chat completion's body."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason, "logprobs": None}
    return {"id": "chatcmpl-1", "model": "gpt-5-x", "choices": [choice], **fields}


CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def test_an_answer_is_read() -> None:
    """Text, usage and model; the id is left to LM, as this server keeps nothing."""
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    response = chat.read_response(completion({"content": "Hello"}, usage=usage))
    assert (response.raw_response, response.model, response.status) == ("Hello", "gpt-5-x", "completed")
    assert response.response_id is None
    assert response.usage is not None
    assert response.usage.model_dump() == {
        "input_tokens": 5,
        "output_tokens": 3,
        "cached_tokens": 2,
        "reasoning_tokens": 1,
    }
    assert response.usage.total_tokens == 8


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_under_both_names(name: str) -> None:
    """vLLM renamed it; others did not."""
    response = chat.read_response(completion({"content": "4", name: "2 + 2"}))
    assert (response.reasoning, response.raw_response) == ("2 + 2", "4")


def test_tool_calls_a_refusal_and_sparse_bodies_are_read() -> None:
    """Fields may be null or missing."""
    response = chat.read_response(completion({"content": None, "tool_calls": [CALL]}, "tool_calls"))
    assert response.tool_calls == [CALL]
    assert (response.raw_response, response.status) == ("", "completed")
    refused = chat.read_response(completion({"content": None, "refusal": "No."}))
    assert (refused.refusal, refused.raw_response) == ("No.", "")
    empty = chat.read_response({"choices": [{"message": {}}]})
    assert (empty.raw_response, empty.usage, empty.tool_calls) == ("", None, None)


def test_a_call_without_an_id_gets_one() -> None:
    """Some servers give none, and an output must be able to name its call."""
    calls = [{"function": CALL["function"]}, {"id": "", "function": CALL["function"]}]
    read = chat.read_response(completion({"tool_calls": calls})).tool_calls or []
    assert len({call["id"] for call in read}) == 2
    assert all(call["id"].startswith("call_") for call in read)


@pytest.mark.parametrize(
    ("finish_reason", "status", "reason"),
    [
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
    ],
)
def test_why_an_answer_ended(finish_reason: str, status: str, reason: str | None) -> None:
    """An answer that was cut says so."""
    response = chat.read_response(completion({"content": "Hel"}, finish_reason))
    assert (response.status, response.incomplete_reason) == (status, reason)


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": None}, {"choices": [{}]}, {"choices": ["a"]}])
def test_a_body_that_is_no_completion(body: dict[str, Any]) -> None:
    """Another service behind the address, or half an answer."""
    with pytest.raises(MalformedAnswerError, match="no chat completion") as raised:
        chat.read_response(body)
    assert raised.value.body == body


def test_chunks_add_up() -> None:
    """Events as the chunks come, and in the end the body that an unstreamed call would have had."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"reasoning": "Hm"},
        {"reasoning_content": "."},
        {"content": "Hel"},
        {"content": "lo"},
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "add", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "sub", "arguments": '{"b"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": ": 2}"}}]},
    ]
    chunks: list[dict[str, Any]] = [
        {"id": "chatcmpl-1", "model": "gpt-5-x", "choices": [{"delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    reader = chat.ChunkReader()
    events = [event for chunk in chunks[:-2] for event in reader.read(chunk)]
    assert reader.body() is None, "the answer is not finished before its finish_reason"
    events += [event for chunk in chunks[-2:] for event in reader.read(chunk)]
    assert events == [
        ReasoningDelta("Hm"),
        ReasoningDelta("."),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallDelta(0, "add", "", "call_1"),
        ToolCallDelta(1, "sub", '{"b"', "call_2"),
        ToolCallDelta(0, None, '{"a": 1}'),
        ToolCallDelta(1, None, ": 2}"),
    ]
    whole = reader.body()
    assert whole is not None
    response = chat.read_response(whole)
    assert (response.reasoning, response.raw_response, response.model) == ("Hm.", "Hello", "gpt-5-x")
    assert [call["function"]["arguments"] for call in response.tool_calls or ()] == ['{"a": 1}', '{"b": 2}']
    assert response.usage is not None
    assert response.usage.total_tokens == 3
