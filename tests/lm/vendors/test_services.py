"""Answers in the shapes of compatible services, one file a habit, and the turn after each.

The bodies are made up; the habits are those of recorded answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from servers.answers import Raw
from servers.checks import answer_problems
from servers.openai_fake import OpenAIServer
from synth_ai import LM, MemoryStore, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.content import name_and_text
from synth_ai.errors import ConnectionFailedError, RejectedError

Hosted = Callable[..., LM]

FILES = sorted((Path(servers.__file__).parent / "services").glob("*.json"))
SERVICES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES
}

KINDS = {
    ("chat", "answer"): "chat completion",
    ("chat", "events"): "chat chunk",
    ("responses", "answer"): "response",
    ("responses", "events"): "response event",
}


def as_raw(service: dict[str, Any]) -> Raw:
    """The answer of a service as it goes over the wire."""
    if "answer" in service:
        return Raw(service["answer"])

    texts = [event if event == "[DONE]" else json.dumps(event) for event in service["events"]]
    body = "".join(f"data: {text}\n\n" for text in texts)
    return Raw(body, headers={"content-type": "text/event-stream"})


async def ask(lm: LM, service: dict[str, Any]) -> Any:
    """Ask for the answer in the way in which the service gave it, and check the deltas of it."""
    if "answer" in service:
        return await lm.respond_async("Hi")

    texts = {TextDelta: "", ReasoningDelta: ""}
    calls: list[list[Any]] = []
    async with lm.stream_async("Hi") as stream:
        async for event in stream:
            if isinstance(event, ToolCallDelta):
                if event.index == len(calls):
                    calls.append([event.name, "", event.call_id])
                calls[event.index][1] += event.arguments
            elif type(event) in texts:
                texts[type(event)] += event.text  # type: ignore[attr-defined]

    response = stream.response
    called = [[*name_and_text(call), call["id"]] for call in response.tool_calls or ()]
    assert texts[TextDelta] == response.text
    assert texts[ReasoningDelta] == (response.reasoning or "")
    assert calls == called
    return response


async def read(lm: LM, **options: Any) -> None:
    """Read a stream to its end."""
    async with lm.stream_async("Hi", **options) as stream:
        async for _ in stream:
            pass


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("name", SERVICES)
async def test_an_answer_is_read_as_the_service_means_it(
    openai_server: OpenAIServer, hosted: Hosted, name: str, transport: str
) -> None:
    """Text, calls, reasoning, usage and status; and the next turn is one that it takes."""
    service = SERVICES[name]
    expected = service["expected"]
    openai_server.enqueue(as_raw(service))
    lm = hosted(service["api"], transport=transport, retry=False)
    response = await ask(lm, service)

    calls = [list(name_and_text(call)) for call in response.tool_calls or ()]
    usage = response.usage and [response.usage.input_tokens, response.usage.output_tokens]
    assert (response.text, calls, response.reasoning) == (
        expected["text"],
        expected["calls"],
        expected["reasoning"],
    )
    assert (usage, response.status) == (expected["usage"], expected["status"])

    ids = [call["id"] for call in response.tool_calls or ()]
    assert len(set(ids)) == len(ids)
    if ids:
        outputs = dict.fromkeys(ids, "sunny")
        previous = response.response_id
        await lm.respond_async(tool_outputs=outputs, previous_response_id=previous)
    else:
        await lm.respond_async("And now?", previous_response_id=response.response_id)

    if "sent_back" in service:
        assert openai_server.bodies[-1]["messages"][1] == service["sent_back"]
    # What a service has beside OpenAI's fields is in no type of the SDK.
    unknown = ("reasoning", "content")
    assert all(any(f".{each}" in line for each in unknown) for line in openai_server.violations)
    openai_server.violations.clear()


@pytest.mark.parametrize("name", SERVICES)
def test_the_sdk_s_types_allow_what_they_can(name: str) -> None:
    """A file says whether its answer is within them, so that it does not drift from them."""
    service = SERVICES[name]
    kind = "answer" if "answer" in service else "events"
    bodies = [service["answer"]] if kind == "answer" else service["events"]
    problems = []
    for body in bodies:
        if body != "[DONE]":
            problems += answer_problems(KINDS[service["api"], kind], body)
    assert service["allowed_by_sdk"] is not bool(problems), problems


@pytest.mark.parametrize("name", ["responses_not_stored", "responses_vllm", "responses_odd_calls"])
async def test_what_a_service_does_not_keep_is_sent_again(
    openai_server: OpenAIServer, hosted: Hosted, name: str
) -> None:
    """By an answer's word, though nobody asked for it; and the reason is the true one."""
    service = SERVICES[name]
    openai_server.enqueue(as_raw(service))
    lm = hosted("responses", retry=False)
    first = await lm.respond_async("My name is Ada.")
    assert not first.stored_on_server
    outputs = {call["id"]: "sunny" for call in first.tool_calls or ()}
    second = await lm.respond_async("Who am I?", tool_outputs=outputs or None)

    body = openai_server.bodies[-1]
    assert "previous_response_id" not in body
    assert "My name is Ada." in json.dumps(body["input"])
    assert second.replayed
    is_vllm = name == "responses_vllm"
    assert ("instructions and tools" in str(second.replay_reason)) is is_vllm
    assert ("does not keep" in str(second.replay_reason)) is not is_vllm


async def test_reasoning_moves_to_the_field_of_the_next_server(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """A field or a signature of one server is refused, or not understood, by another."""
    first, second = SERVICES["chat_reasoning_details"], SERVICES["chat_reasoning_content"]
    openai_server.enqueue(as_raw(first), as_raw(second))
    store = MemoryStore()
    lm = hosted("chat", retry=False, response_store=store)
    one = await lm.respond_async("Hi")
    ids = [call["id"] for call in one.tool_calls or ()]

    other_url = openai_server.base_url.replace("127.0.0.1", "localhost")
    other = LM("m", api="chat", base_url=other_url, api_key="k", response_store=store)
    two = await other.respond_async(
        tool_outputs=dict.fromkeys(ids, "sunny"), previous_response_id=one.response_id
    )
    message = openai_server.bodies[-1]["messages"][1]
    assert message["reasoning"] == "I look it up."
    assert message.keys().isdisjoint({"reasoning_content", "reasoning_details"})

    ids = [call["id"] for call in two.tool_calls or ()]
    await other.respond_async(
        tool_outputs=dict.fromkeys(ids, "sunny"), previous_response_id=two.response_id
    )
    for place in (1, 3):
        message = openai_server.bodies[-1]["messages"][place]
        assert message["reasoning_content"] == "I look it up."
        assert message.keys().isdisjoint({"reasoning", "reasoning_details"})
    openai_server.violations.clear()
    await other.aclose()


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gpt-4o", False),
        ("gpt-4o-mini-2024-07-18", False),
        ("gpt-4.1-nano", False),
        ("gpt-4-turbo", False),
        ("gpt-3.5-turbo", False),
        ("gpt-5-chat-latest", False),
        ("ft:gpt-4o-mini:my-team::8abc", False),
        ("openai/gpt-4.1", False),
        ("gpt-5.5", True),
        ("o4-mini", True),
        ("gpt-oss-20b", True),
    ],
)
async def test_encrypted_reasoning_is_asked_of_models_that_reason(
    openai_server: OpenAIServer, model: str, asked: bool
) -> None:
    """The others answer 400 to it; what a caller asks for himself goes out all the same."""
    async with LM(
        model, api="responses", base_url=openai_server.base_url, api_key="k", retry=False
    ) as lm:
        await lm.respond_async("Hi", store=False)
        assert ("include" in openai_server.bodies[-1]) is asked
        await lm.respond_async("Hi", store=False, include=["reasoning.encrypted_content"])
        assert openai_server.bodies[-1]["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_background_call_names_what_vllm_needs(
    openai_server: OpenAIServer, hosted: Hosted, stream: bool
) -> None:
    """The store of `vllm serve` is off by default, and a response in the background needs it."""
    refused = {"error": {"message": "background can only be used when `store` is true"}}
    openai_server.enqueue(Raw(refused, status=400))
    lm = hosted("responses", retry=False)
    with pytest.raises(RejectedError, match="VLLM_ENABLE_RESPONSES_API_STORE=1"):
        await (read(lm, background=True) if stream else lm.respond_async("Hi", background=True))


async def test_an_empty_event_is_not_the_end(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Only `[DONE]` ends a stream that does not say why; what was cut off is no answer."""
    chunk = SERVICES["chat_stream_without_end"]["events"][0]
    for empty in ("{}", "null", "[]"):
        body = f"data: {json.dumps(chunk)}\n\ndata: {empty}\n\n"
        openai_server.enqueue(Raw(body, headers={"content-type": "text/event-stream"}))
        with pytest.raises(ConnectionFailedError, match="broke off"):
            await read(hosted("chat", retry=False))


async def test_a_conversation_on_vllm_is_sent_whole_whatever_its_store(
    openai_server: OpenAIServer,
) -> None:
    """Also where the answer has none of vLLM's own keys; the reason is not that it forgets."""
    async with LM(
        "m", vendor="vllm", api="responses", base_url=openai_server.base_url, retry=False
    ) as lm:
        await lm.respond_async("You are terse.", "My name is Ada.")
        second = await lm.respond_async("Be kind.", "Who am I?")
    assert "previous_response_id" not in openai_server.bodies[-1]
    assert openai_server.bodies[-1]["instructions"] == "Be kind."
    assert second.replayed
    assert "instructions and tools" in str(second.replay_reason)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_of_tokens_goes_out_under_the_name_that_was_given(
    openai_server: OpenAIServer, hosted: Hosted, name: str
) -> None:
    """Azure's /openai/v1 knows the long one alone, many servers the short one."""
    lm = hosted("chat", retry=False, max_tokens=9)
    await lm.respond_async("Hi", **{name: 5})
    body = openai_server.bodies[-1]
    assert {key: value for key, value in body.items() if "max" in key} == {name: 5}
