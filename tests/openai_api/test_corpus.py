"""Answers of many services, shown in the shapes of both APIs: the SDK's types take every one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from openai_api.asking import ask_completion, ask_response, stream_completion, stream_response
from openai_api.shapes import (
    assemble,
    check_chunks,
    check_completion,
    check_events,
    check_response,
)
from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM, openai_api
from synth_ai.content import name_and_text

Hosted = Callable[..., LM]

FILES = sorted((Path(servers.__file__).parent / "services").glob("*.json"))
SERVICES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES
}
WHOLE = [name for name, service in SERVICES.items() if "answer" in service]
STREAMED = [name for name, service in SERVICES.items() if "events" in service]


def as_raw(service: dict[str, Any]) -> Raw:
    """The answer of a service as it goes over the wire."""
    if "answer" in service:
        return Raw(service["answer"])

    texts = [event if event == "[DONE]" else json.dumps(event) for event in service["events"]]
    body = "".join(f"data: {text}\n\n" for text in texts)
    return Raw(body, headers={"content-type": "text/event-stream"})


def text_of_response(body: dict[str, Any]) -> str:
    """The text of the answer, without preambles."""
    messages = [item for item in body["output"] if item["type"] == "message"]
    parts = [part for message in messages for part in message["content"]]
    return "".join(part.get("text", "") for part in parts)


def calls_of_response(body: dict[str, Any]) -> list[list[str]]:
    """The calls of an answer, by name and arguments."""
    calls = [item for item in body["output"] if item["type"] == "function_call"]
    return [[call["name"], call["arguments"]] for call in calls]


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_has_both_shapes(
    openai_server: OpenAIServer, hosted: Hosted, name: str
) -> None:
    """What the service meant is what the shapes say."""
    service = SERVICES[name]
    expected = service["expected"]
    openai_server.respond_with(lambda _: as_raw(service))
    lm = hosted(service["api"], retry=False)

    response = await ask_response(lm)
    check_response(response)
    assert text_of_response(response) == expected["text"]
    assert calls_of_response(response) == expected["calls"]

    completion = await ask_completion(lm)
    check_completion(completion)
    message = completion["choices"][0]["message"]
    calls = [list(name_and_text(call)) for call in message.get("tool_calls", ())]
    assert (message["content"] or "") == expected["text"]
    assert calls == expected["calls"]
    assert message.get("reasoning") == expected["reasoning"]

    usage = expected["usage"]
    counts = completion["usage"]
    assert (counts and [counts["prompt_tokens"], counts["completion_tokens"]]) == usage

    answer = await lm.respond_async("Hi", auto_store=False)
    check_response(openai_api.response(answer))
    check_completion(openai_api.chat_completion(answer))
    openai_server.violations.clear()


@pytest.mark.parametrize("name", STREAMED)
async def test_a_streamed_answer_has_both_shapes(
    openai_server: OpenAIServer, hosted: Hosted, name: str
) -> None:
    """The events add up to the answer that they end with."""
    service = SERVICES[name]
    expected = service["expected"]
    openai_server.respond_with(lambda _: as_raw(service))
    lm = hosted(service["api"], retry=False)

    events = await stream_response(lm)
    check_events(events)
    response = events[-1]["response"]
    check_response(response)
    assert text_of_response(response) == expected["text"]
    assert calls_of_response(response) == expected["calls"]

    chunks = await stream_completion(lm, stream_options={"include_usage": True})
    check_chunks(chunks)
    completion = assemble(chunks)
    message = completion.choices[0].message
    calls = [[call.function.name, call.function.arguments] for call in message.tool_calls or ()]
    assert (message.content or "") == expected["text"]
    assert calls == expected["calls"]
    assert (message.model_extra or {}).get("reasoning") == expected["reasoning"]
    openai_server.violations.clear()
