"""Chat Completions' bodies: items become messages, messages become items, chunks add up to the same."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from servers.checks import request_problems
from synth_ai import Turn
from synth_ai import content as items
from synth_ai.errors import MalformedAnswerError, OptionError, RequestError
from synth_ai.lm import prompt
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.chat import decode as chat_answer
from synth_ai.lm.vendors.chat import encode as chat
from synth_ai.lm.vendors.chat.history import prepared

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
    assert chat.request_body(request()) == {
        "model": "gpt-5",
        "messages": [{"role": "user", "content": "Hi"}],
    }


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
    assert chat.request_body(request(tool_choice=choice))["tool_choice"] == sent


def test_servers_differ_in_the_limit_of_tokens() -> None:
    """OpenAI's newer models refuse `max_tokens`; many other servers know nothing else."""
    asked = request(max_tokens=9)
    assert chat.request_body(asked, chat.OPENAI)["max_completion_tokens"] == 9
    assert chat.request_body(asked, chat.COMPATIBLE)["max_tokens"] == 9


def test_two_shapes_contradict_each_other() -> None:
    """`response_model` and the API's own parameter cannot both hold."""
    with pytest.raises(
        OptionError, match="response_model= and response_format= both shape the answer"
    ):
        chat.request_body(
            request(
                response_format=ResponseFormat.of(City),
                options={"response_format": {"type": "json_object"}},
            )
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
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": "add", "arguments": f'{{"a": {n}}}'},
        }
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
        Turn(
            f"resp_{n}",
            None,
            "chat",
            "gpt-5",
            ({**USER, "content": f"u{n}"},),
            (items.assistant_message(f"a{n}"),),
        )
        for n in (1, 2)
    )
    body = chat.request_body(request(history=turns, instructions="Be terse."))
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
    conversation = [USER, items.reasoning_item("Hm"), USER]
    assert chat.messages(conversation) == [{"role": "user", "content": "Hi"}] * 2


def test_a_refusal_goes_back_as_what_was_said() -> None:
    """It is part of the conversation; an empty assistant message in its place would be a riddle to the model."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    (message,) = chat.messages([refusal])
    assert message["role"] == "assistant"
    assert "No." in (message.get("refusal") or message["content"])


def test_content_parts_are_said_in_chat_s_words() -> None:
    """Text and pictures; a picture by file id has no counterpart."""
    image = {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"}
    (message,) = chat.messages(
        [{"role": "user", "content": [{"type": "input_text", "text": "Look"}, image]}]
    )
    assert message["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
    ]
    with pytest.raises(RequestError, match="file id exists on the Responses API alone"):
        chat.messages([{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}])


@pytest.mark.parametrize("kind", ["web_search_call", "item_reference", "mcp_approval_response"])
def test_items_without_a_counterpart(kind: str) -> None:
    """What only Responses has is an error, not a gap in the conversation."""
    with pytest.raises(
        RequestError, match=f"{kind}.*no counterpart in Chat Completions; use the responses API"
    ):
        chat.messages([{"type": kind, "id": "x_1"}])


def completion(
    message: dict[str, Any], finish_reason: str = "stop", **fields: Any
) -> dict[str, Any]:
    """A chat completion's body."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish_reason,
        "logprobs": None,
    }
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
    response = chat_answer.read_response(completion({"content": "Hello"}, usage=usage))
    assert (response.raw_response, response.model, response.status) == (
        "Hello",
        "gpt-5-x",
        "completed",
    )
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
    response = chat_answer.read_response(completion({"content": "4", name: "2 + 2"}))
    assert (response.reasoning, response.raw_response) == ("2 + 2", "4")


def test_tool_calls_a_refusal_and_sparse_bodies_are_read() -> None:
    """Fields may be null or missing."""
    response = chat_answer.read_response(
        completion({"content": None, "tool_calls": [CALL]}, "tool_calls")
    )
    assert response.tool_calls == [CALL]
    assert (response.raw_response, response.status) == ("", "completed")
    refused = chat_answer.read_response(completion({"content": None, "refusal": "No."}))
    assert (refused.refusal, refused.raw_response) == ("No.", "")
    empty = chat_answer.read_response({"choices": [{"message": {}}]})
    assert (empty.raw_response, empty.usage, empty.tool_calls) == ("", None, None)


def test_a_call_without_an_id_gets_one() -> None:
    """Some servers give none, and an output must be able to name its call."""
    calls = [{"function": CALL["function"]}, {"id": "", "function": CALL["function"]}]
    read = chat_answer.read_response(completion({"tool_calls": calls})).tool_calls or []
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
    response = chat_answer.read_response(completion({"content": "Hel"}, finish_reason))
    assert (response.status, response.incomplete_reason) == (status, reason)


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"choices": [{}]}, {"choices": ["a"]}]
)
def test_a_body_that_is_no_completion(body: dict[str, Any]) -> None:
    """Another service behind the address, or half an answer."""
    with pytest.raises(MalformedAnswerError, match="no chat completion") as raised:
        chat_answer.read_response(body)
    assert raised.value.body == body


# --- custom tools ---------------------------------------------------------------------------------------------------

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
    body = chat.request_body(request(tools=(TOOL, tool), tool_choice=choice))
    assert body["tools"][1] == NESTED
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "sql"}}
    assert request_problems("/v1/chat/completions", body) == []


def test_a_custom_tool_s_call_and_its_output() -> None:
    """Read as the item of Responses, and said again in the words of Chat."""
    call = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    response = chat_answer.read_response(
        completion({"content": None, "tool_calls": [call]}, "tool_calls")
    )
    assert response.output == [items.custom_tool_call("call_1", "sql", "select 1")]
    assert response.tool_calls == [call]
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"}
    body = chat.request_body(request(USER, *response.output, output))
    assert body["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    assert request_problems("/v1/chat/completions", body) == []


# --- pictures from tools --------------------------------------------------------------------------------------------


def test_pictures_in_tool_outputs_follow_in_a_user_s_message() -> None:
    """A tool message takes text alone, and all outputs must stand together; each picture says whose it is."""
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    outputs = [
        items.function_call_output("call_1", [{"type": "input_text", "text": "see:"}, image]),
        items.function_call_output("call_2", [image]),
        items.function_call_output("call_3", "3"),
    ]
    calls = [items.function_call(f"call_{n}", "look", "{}") for n in (1, 2, 3)]
    body = chat.request_body(request(USER, *calls, *outputs, USER))
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
    output = items.function_call_output("call_1", [{"type": "input_audio", "input_audio": {}}])
    with pytest.raises(RequestError, match="'input_audio' in a tool's output has no counterpart"):
        chat.messages([items.function_call("call_1", "look", "{}"), output])


# --- spoken answers -------------------------------------------------------------------------------------------------

AUDIO = {"id": "audio_1", "data": "AAAA", "transcript": "Hello Ada", "expires_at": 100}


def spoken_turn(origin: str) -> Turn:
    """A turn that was answered aloud by the server at `origin`."""
    output = chat_answer.read_response(completion({"content": None, "audio": AUDIO})).output
    return Turn("resp_1", None, "chat", "gpt-audio", (USER,), tuple(output), server=origin)


def test_a_spoken_answer_has_its_transcript_for_text() -> None:
    """The answer would seem empty otherwise."""
    response = chat_answer.read_response(completion({"content": None, "audio": AUDIO}))
    assert response.raw_response == "Hello Ada"
    assert response.output[0]["audio"] == {"id": "audio_1", "expires_at": 100}


@pytest.mark.parametrize(
    ("origin", "now", "said"),
    [
        ("here", 99, {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}),
        ("here", 101, {"role": "assistant", "content": "Hello Ada"}),
        ("there", 99, {"role": "assistant", "content": "Hello Ada"}),
    ],
)
def test_a_spoken_answer_goes_back_by_its_id_where_it_is_known(
    origin: str, now: float, said: dict[str, Any]
) -> None:
    """Elsewhere, or once it has expired, its transcript goes instead, and the response says so."""
    asked, notes = prepared(request(history=(spoken_turn(origin),)), server="here", now=now)
    body = chat.request_body(asked)
    assert body["messages"][1] == said
    assert bool(notes) is ("audio" not in said)
    assert all("1 spoken answer(s)" in note for note in notes)
    assert request_problems("/v1/chat/completions", body) == []


# --- conversations from elsewhere -----------------------------------------------------------------------------------


def moved(
    *output: dict[str, Any], dialect: chat.Dialect = chat.COMPATIBLE, api: str = "responses"
) -> list[str]:
    """The warnings of a call that goes on from a turn with this output, made on another API."""
    turn = Turn("resp_1", None, api, "gpt-5", (USER,), output)
    return prepared(request(history=(turn,)), dialect)[1]


def test_reasoning_that_a_chat_server_does_not_get_is_listed() -> None:
    """Ciphertext, what led to a finished answer, and on OpenAI's service all of it; a turn of its own is no move."""
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    plain = items.reasoning_item("Hm")
    call, answer = items.function_call("call_1", "add", "{}"), items.assistant_message("Hi")
    assert moved(plain, call) == []
    (unreadable,) = moved(secret, call)
    assert unreadable.startswith("1 reasoning item(s) of another backend were left out")
    assert "only the server that made it can read it" in unreadable
    (finished,) = moved(plain, plain, answer, api="harmony")
    assert finished.startswith("2 reasoning item(s)")
    (hosted,) = moved(plain, call, dialect=chat.OPENAI)
    assert "OpenAI's chat API has no field for it" in hosted
    assert moved(plain, answer, api="chat") == []


# --- files ----------------------------------------------------------------------------------------------------------

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
    body = chat.request_body(request(*given, items.function_call("call_1", "read", "{}"), output))
    assert body["messages"][0] == {"role": "user", "content": [FILE]}
    assert body["messages"][-1]["content"] == [
        {"type": "text", "text": "Output of the tool call call_1:"},
        FILE,
    ]
    assert request_problems("/v1/chat/completions", body) == []


def test_a_file_by_its_address_is_refused() -> None:
    """Chat Completions takes no address; in a history from elsewhere such a file is left out."""
    by_url = {
        **USER,
        "content": [{"type": "input_file", "file_url": "https://x.test/a.pdf"}, INPUT_FILE],
    }
    with pytest.raises(RequestError, match="file by URL"):
        chat.request_body(request(by_url))
    turn = Turn(
        "resp_1", None, "responses", "gpt-5", (by_url,), (items.assistant_message("Seen."),)
    )
    moved, notes = prepared(request(USER, history=(turn,)))
    assert chat.request_body(moved)["messages"][0]["content"] == [FILE]
    assert notes == ["Left out of the history, as the chat API has no counterpart: 1 input_file."]
