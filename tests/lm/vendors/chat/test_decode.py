"""Bodies of Chat Completions as responses: messages become items."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai.errors import MalformedAnswerError
from synth_ai.lm.vendors.chat.decode import decode_response


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
    response = decode_response(completion({"content": "Hello"}, usage=usage))
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
    response = decode_response(completion({"content": "4", name: "2 + 2"}))
    assert (response.reasoning, response.raw_response) == ("2 + 2", "4")


def test_tool_calls_a_refusal_and_sparse_bodies_are_read() -> None:
    """Fields may be null or missing."""
    response = decode_response(completion({"content": None, "tool_calls": [CALL]}, "tool_calls"))
    assert response.tool_calls == [CALL]
    assert (response.raw_response, response.status) == ("", "completed")
    refused = decode_response(completion({"content": None, "refusal": "No."}))
    assert (refused.refusal, refused.raw_response) == ("No.", "")
    empty = decode_response({"choices": [{"message": {}}]})
    assert (empty.raw_response, empty.usage, empty.tool_calls) == ("", None, None)


def test_a_call_without_an_id_gets_one() -> None:
    """Some servers give none, and an output must be able to name its call."""
    calls = [{"function": CALL["function"]}, {"id": "", "function": CALL["function"]}]
    read = decode_response(completion({"tool_calls": calls})).tool_calls or []
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
    response = decode_response(completion({"content": "Hel"}, finish_reason))
    assert (response.status, response.incomplete_reason) == (status, reason)


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"choices": [{}]}, {"choices": ["a"]}]
)
def test_a_body_that_is_no_completion(body: dict[str, Any]) -> None:
    """Another service behind the address, or half an answer."""
    with pytest.raises(MalformedAnswerError, match="not a chat completion") as raised:
        decode_response(body)
    assert raised.value.body == body


AUDIO = {"id": "audio_1", "data": "AAAA", "transcript": "Hello Ada", "expires_at": 100}


def test_a_spoken_answer_has_its_transcript_for_text() -> None:
    """The answer would seem empty otherwise."""
    response = decode_response(completion({"content": None, "audio": AUDIO}))
    assert response.raw_response == "Hello Ada"
    assert response.output[0]["audio"] == {"id": "audio_1", "expires_at": 100}
