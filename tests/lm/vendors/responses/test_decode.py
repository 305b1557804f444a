"""Bodies of the Responses API as responses."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai import content
from synth_ai.errors import MalformedAnswerError
from synth_ai.lm.vendors.responses.decode import decode_response

OUTPUT = (
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    content.function_call("call_1", "add", "{}", id="fc_1"),
    content.assistant_message("Hello", id="msg_1", phase="final_answer"),
)


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
    read = decode_response(response(*OUTPUT, usage=usage))
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
    part = content.output_text("Hi") | {"logprobs": [{"token": "Hi", "logprob": -0.5}]}
    message = {"type": "message", "role": "assistant", "content": [part]}
    assert decode_response(response(message, message)).logprobs == part["logprobs"] * 2
    assert decode_response(response(*OUTPUT)).logprobs is None


def test_how_a_response_ended() -> None:
    """Incomplete and failed ones say why."""
    cut = decode_response(
        response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    )
    assert (cut.status, cut.incomplete_reason) == ("incomplete", "max_output_tokens")
    error = {"code": "server_error", "message": "It failed."}
    failed = decode_response(response(status="failed", error=error))
    assert (failed.status, failed.error) == ("failed", "server_error: It failed.")


ODD_STATUS = response(status="odd")


@pytest.mark.parametrize(
    "body",
    [{}, {"output": []}, {"id": "resp_1"}, {"choices": []}, ODD_STATUS],
)
def test_a_body_that_is_no_response(body: dict[str, Any]) -> None:
    """Another service behind the address, or half an answer."""
    with pytest.raises(MalformedAnswerError, match="not a response of the Responses API") as raised:
        decode_response(body)
    assert raised.value.body == body
