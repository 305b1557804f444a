"""Every kind of answer in both shapes, streamed and not: cut off, failed, refused, calling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openai_api.asking import ask, ask_completion, ask_response, stream_completion, stream_response
from openai_api.backends import FLAT_TOOL, NESTED_TOOL
from openai_api.shapes import (
    assemble,
    check_chunks,
    check_completion,
    check_events,
    check_response,
)
from servers.answers import Answer, call, calls
from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.content import custom_tool_call, output_text
from synth_ai.response import BaseLMResponse
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text

Hosted = Callable[..., LM]

ANSWERS: dict[str, Answer] = {
    "text": Answer(text="Hello there"),
    "reasoning": Answer(text="Hello there", reasoning="I think so."),
    "nothing": Answer(text=""),
    "call": calls(call("weather", city="Oslo")),
    "two calls": calls(call("weather", city="Oslo"), call("weather", city="Rome")),
    "reasoning and calls": calls(call("weather", city="Oslo"), reasoning="I look it up."),
    "preamble": calls(call("weather", city="Oslo"), preamble="I look it up."),
    "refusal": Answer(refusal="No."),
    "too long": Answer(text="Hello th", incomplete="max_output_tokens"),
    "filtered": Answer(text="Hello th", incomplete="content_filter"),
    "cached": Answer(text="Hello there", cached_tokens=3),
}
RESPONSES_ALONE = ("preamble",)
CASES = [
    (api, name)
    for api in ("chat", "responses")
    for name in ANSWERS
    if api == "responses" or name not in RESPONSES_ALONE
]

LAST_EVENTS = {"completed": "response.completed", "incomplete": "response.incomplete"}


def bare(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items without their ids and statuses, reasoning by its text alone."""
    items = []
    for item in output:
        left = {key: value for key, value in item.items() if key not in ("id", "status")}
        if left["type"] == "reasoning":
            parts = item.get("content") or item["summary"]
            left = {"type": "reasoning", "text": "".join(part["text"] for part in parts)}
        items.append(left)
    return items


@pytest.mark.parametrize(("api", "name"), CASES)
async def test_an_answer_of_a_server(
    openai_server: OpenAIServer, hosted: Hosted, api: str, name: str
) -> None:
    """The stream of each shape adds up to the plain answer in that shape."""
    openai_server.respond_with(lambda _: ANSWERS[name])
    lm = hosted(api, retry=False)

    plain = await ask_response(lm, tools=[FLAT_TOOL])
    check_response(plain)
    events = await stream_response(lm, tools=[FLAT_TOOL])
    check_events(events)
    last = events[-1]
    check_response(last["response"])
    assert last["type"] == LAST_EVENTS[plain["status"]]
    assert bare(last["response"]["output"]) == bare(plain["output"])
    for field in ("status", "incomplete_details", "usage", "tools", "metadata", "model"):
        assert last["response"][field] == plain[field]

    completion = await ask_completion(lm, tools=[NESTED_TOOL])
    check_completion(completion)
    chunks = await stream_completion(
        lm, tools=[NESTED_TOOL], stream_options={"include_usage": True}
    )
    check_chunks(chunks)
    assembled = assemble(chunks).to_dict()
    choice, other = completion["choices"][0], assembled["choices"][0]
    assert other["finish_reason"] == choice["finish_reason"]
    assert assembled["usage"] == completion["usage"]
    for field in ("content", "refusal", "reasoning"):
        assert other["message"].get(field) == choice["message"].get(field)
    streamed_calls = [
        {key: value for key, value in each.items() if key != "index"}
        for each in other["message"].get("tool_calls") or ()
    ]
    assert [each["function"]["arguments"] for each in streamed_calls] == [
        each["function"]["arguments"] for each in choice["message"].get("tool_calls", ())
    ]


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "no_such_code"])
async def test_a_response_that_failed(
    openai_server: OpenAIServer, hosted: Hosted, code: str
) -> None:
    """It is a response with its error, and on Chat Completions an error of the server."""
    openai_server.respond_with(lambda _: Answer(text="Hel", failed=code))
    lm = hosted("responses", retry=False)
    plain = await ask_response(lm)
    check_response(plain)
    assert plain["status"] == "failed"
    assert plain["error"]["message"]

    events = await stream_response(lm)
    check_events(events)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == plain["error"]

    body = {"messages": [{"role": "user", "content": "Hi"}]}
    status, error = await ask(lm, "POST", "/chat/completions", body)
    assert (status, error["error"]["type"]) == (503, "server_error")
    assert "error" in (await stream_completion(lm))[-1]


async def test_a_stream_that_ends_with_an_error_of_the_server(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The event has OpenAI's type, and what the SDK raises."""
    lm = hosted("responses", retry=False)
    openai_server.enqueue(Answer(text="Hello there", stream_error="server_error"))
    events = await stream_response(lm)
    check_last = events[-1]
    assert check_last["type"] == "error"
    assert check_last["error"]["message"] == check_last["message"]
    assert check_last["code"] == "server_error"


async def test_items_of_a_server_keep_its_ids(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """While they are streamed too, as the server knows them by no others when they come back."""
    asked = calls(call("weather", city="Oslo"), reasoning="I look.", preamble="One moment.")
    openai_server.respond_with(lambda _: asked)
    lm = hosted("responses", retry=False)
    events = await stream_response(lm, tools=[FLAT_TOOL], reasoning={"summary": "auto"})
    check_events(events)
    kinds = {event["type"] for event in events}
    assert "response.reasoning_summary_text.delta" in kinds
    assert "response.reasoning_text.delta" not in kinds

    answer = await lm.responses.retrieve_async(events[-1]["response"]["id"])
    ids = [item.get("id") for item in answer.output]
    assert [item["id"] for item in events[-1]["response"]["output"]] == ids
    added = [event["item"]["id"] for event in events if event["type"].endswith("item.added")]
    assert added == ids
    assert not any("_local_" in str(item_id) for item_id in ids)


CUSTOM = [{"type": "custom", "name": "sql", "description": "Runs SQL."}]
NESTED_CUSTOM = [{"type": "custom", "custom": {"name": "sql", "description": "Runs SQL."}}]


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_call_of_a_custom_tool(api: str) -> None:
    """Its input is plain text, on either API."""
    answers = [[custom_tool_call(f"call_{number}", "sql", "select 1")] for number in range(4)]
    lm = LM("m", vendor=ScriptedVendor(answers, api=api))

    plain = await ask_response(lm, tools=CUSTOM)
    check_response(plain)
    assert plain["output"][0]["type"] == "custom_tool_call"
    assert plain["output"][0]["input"] == "select 1"
    events = await stream_response(lm, tools=CUSTOM)
    check_events(events)
    kinds = [event["type"] for event in events]
    assert "response.custom_tool_call_input.delta" in kinds
    assert events[-1]["response"]["output"][0]["input"] == "select 1"

    completion = await ask_completion(lm, tools=NESTED_CUSTOM)
    check_completion(completion)
    called = {"name": "sql", "input": "select 1"}
    assert completion["choices"][0]["message"]["tool_calls"][0]["custom"] == called
    chunks = await stream_completion(lm, tools=NESTED_CUSTOM)
    check_chunks(chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    (delta,) = [delta for delta in deltas if "tool_calls" in delta]
    assert delta["tool_calls"][0]["custom"] == called


async def test_log_probabilities_of_the_text_alone() -> None:
    """An engine has some for its reasoning and control tokens, too."""
    lm = LM("m", engine=ScriptedEngine([final_text("Hello there", reasoning="Hm.")] * 4))

    plain = await ask_response(lm, include=["message.output_text.logprobs"], top_logprobs=2)
    check_response(plain)
    logprobs = plain["output"][1]["content"][0]["logprobs"]
    assert "".join(entry["token"] for entry in logprobs) == "Hello there"
    assert all(entry["bytes"] for entry in logprobs)
    events = await stream_response(lm, top_logprobs=2)
    check_events(events)
    assert events[-1]["response"]["output"][1]["content"][0]["logprobs"] == logprobs

    completion = await ask_completion(lm, logprobs=True, top_logprobs=2)
    check_completion(completion)
    content = completion["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == "Hello there"
    chunks = await stream_completion(lm, logprobs=True, top_logprobs=2)
    check_chunks(chunks)
    assert assemble(chunks).choices[0].logprobs.to_dict()["content"] == content


async def test_citations_have_the_shape_of_each_api() -> None:
    """Flat on Responses, nested on Chat Completions."""
    citation = {
        "type": "url_citation",
        "url": "https://example.com",
        "title": "Example",
        "start_index": 0,
        "end_index": 5,
    }
    part = {**output_text("Hello"), "annotations": [citation]}
    message: Any = {"type": "message", "role": "assistant", "content": [part]}
    lm = LM("m", vendor=ScriptedVendor([[message]] * 3))

    plain = await ask_response(lm)
    check_response(plain)
    assert plain["output"][0]["content"][0]["annotations"] == [citation]
    completion = await ask_completion(lm)
    check_completion(completion)
    nested = completion["choices"][0]["message"]["annotations"]
    assert nested[0]["url_citation"]["url"] == "https://example.com"
    chunks = await stream_completion(lm)
    check_chunks(chunks)
    assert assemble(chunks).to_dict()["choices"][0]["message"]["annotations"] == nested


@pytest.mark.parametrize("reason", ["control_token", None])
async def test_a_reason_that_openai_has_no_word_for(reason: str | None) -> None:
    """The status says enough; a chat completion was cut off."""
    answer = BaseLMResponse.of_output([], status="incomplete", incomplete_reason=reason)
    lm = LM("m", vendor=ScriptedVendor([answer, answer.model_copy()]))
    plain = await ask_response(lm)
    check_response(plain)
    assert plain["incomplete_details"] == {"reason": None}
    completion = await ask_completion(lm)
    check_completion(completion)
    assert completion["choices"][0]["finish_reason"] == "length"
