"""Requests of any content: each is answered or refused in OpenAI's shape, and none is a crash."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openai_api.asking import ask
from openai_api.shapes import check_completion, check_response
from synth_ai import LM, LMRequest
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "auto", "user", "function", "message", "text", "low", "m", "x" * 70]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "role", "content", "name", "function", "parameters", "format"),
                    *("schema", "json_schema", "effort", "summary", "call_id", "output", "text"),
                    *("tool_calls", "id", "arguments", "input_text", "image_url", "verbosity"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)

COMMON = [
    *("model", "stream_options", "store", "metadata", "tools", "tool_choice", "temperature"),
    *("top_p", "parallel_tool_calls", "top_logprobs", "truncation", "user", "service_tier"),
]
RESPONSES = [
    *COMMON,
    *("input", "instructions", "previous_response_id", "reasoning", "text", "include"),
    *("max_output_tokens", "background", "prompt", "conversation", "max_tool_calls"),
]
CHAT = [
    *COMMON,
    *("messages", "response_format", "n", "stop", "max_tokens", "max_completion_tokens"),
    *("logprobs", "seed", "reasoning_effort", "logit_bias", "functions", "audio", "modalities"),
]


def bodies(fields: list[str], **usual: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with some of the fields, those that are usual mostly as they should be."""
    given_fields = st.dictionaries(st.sampled_from(fields), VALUES, max_size=4)
    return given_fields.map(lambda body: {**usual, **body})


def make_lm(api: str) -> LM:
    """An LM that always answers."""
    if api == "harmony":
        return LM("m", engine=ScriptedEngine([final_text("Hi")]), response_store=False)

    def answer(_: LMRequest) -> str:
        return "Hi"

    return LM("m", vendor=ScriptedVendor([answer], api=api), response_store=False)


APIS = st.sampled_from(["chat", "responses", "harmony"])


async def check(api: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Send a request; the body of an answer, or None for a refusal in the right shape."""
    status, answer = await ask(make_lm(api), "POST", path, json.loads(json.dumps(body)))
    if status == 200:
        return answer

    assert status in (400, 404), answer
    assert answer["error"].keys() == {"message", "type", "param", "code"}
    assert answer["error"]["message"]
    return None


@settings(max_examples=150, deadline=None)
@given(api=APIS, body=bodies(RESPONSES, input="Hi"))
async def test_any_request_of_the_responses_api(api: str, body: dict[str, Any]) -> None:
    """A response, or an error that says what is wrong."""
    answer = await check(api, "/responses", body)
    # What a request has that no type allows, such as a tool of nothing, comes back as it is.
    if answer is not None and not body.keys() & {"tools", "tool_choice", "text", "reasoning"}:
        check_response(answer)


@settings(max_examples=150, deadline=None)
@given(api=APIS, body=bodies(CHAT, messages=[{"role": "user", "content": "Hi"}]))
async def test_any_request_of_chat_completions(api: str, body: dict[str, Any]) -> None:
    """A completion, or an error that says what is wrong."""
    answer = await check(api, "/chat/completions", body)
    if answer is not None:
        check_completion(answer)
