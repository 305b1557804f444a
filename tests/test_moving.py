"""Branches that move: to a server that forgets, and from one backend to another and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from servers.answers import Answer, Raw, ToolCall
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, MemoryStore, VLLMEngine
from synth_ai.errors import RequestError
from synth_ai.testing import ScriptedEngine, final_text

if TYPE_CHECKING:
    from servers.vllm import VLLMServer

TOOL = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
Volatile = ("id", "call_id", "encrypted_content", "status")


async def hold_conversation(
    server: OpenAIServer, lm: LM, after_each: Callable[[BaseLMResponse], None]
) -> str:
    """Ten turns, of which the fourth makes two calls at once and the fifth answers them.

    Returns the last id.
    """
    calls: list[dict[str, Any]] = []
    response = None
    for number in range(10):
        if number == 3:
            asked = tuple(ToolCall("look", json.dumps({"city": city})) for city in ("Oslo", "Rome"))
            server.enqueue(Answer(reasoning="Both at once.", tool_calls=asked))
        else:
            server.enqueue(Answer(text=f"answer {number}", reasoning=f"thought {number}"))
        if number == 4:
            response = await lm.respond_async(
                tool_outputs={call["id"]: f"{n} degrees" for n, call in enumerate(calls)}
            )
        else:
            response = await lm.respond_async(
                *(["Be exact."] if number == 0 else []), f"question {number}", tools=[TOOL]
            )
        calls = response.tool_calls or []
        after_each(response)
    assert response is not None
    return response.response_id or ""


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items as their content: each run makes its own ids."""
    return [{key: value for key, value in item.items() if key not in Volatile} for item in items]


async def test_a_server_that_forgets_every_id_sees_the_same_items(
    openai_server: OpenAIServer,
) -> None:
    """Ten turns with two parallel tool calls end with what a remembering server would have seen."""
    settings: dict[str, Any] = {
        "api": "responses",
        "base_url": openai_server.base_url,
        "api_key": "sk-test",
        # A server that forgets wants its reasoning back in ciphertext.
        "include": ["reasoning.encrypted_content"],
    }
    async with LM("gpt-5", **settings) as lm:
        remembered = await hold_conversation(openai_server, lm, lambda response: None)
        expected = without_ids(openai_server.context_of(remembered))

    replayed: list[bool] = []

    def forget(response: BaseLMResponse) -> None:
        replayed.append(response.replayed)
        openai_server.forget(response.response_id or "")

    async with LM("gpt-5", **settings) as lm:
        await hold_conversation(openai_server, lm, forget)
        body = openai_server.bodies[-1]
    assert replayed == [False] + [True] * 9
    sent = [item if item.get("type") else {"type": "message", **item} for item in body["input"]]
    seen = [{"type": "message", **item} if "type" not in item else item for item in expected]
    assert without_ids(sent) == seen
    assert "previous_response_id" not in body
    assert body["instructions"] == "Be exact."


async def test_a_branch_with_a_search_moves_everywhere_and_back(
    openai_server: OpenAIServer,
) -> None:
    """A hosted tool's items stay behind on chat and harmony, listed, and return on the way back."""
    store = MemoryStore()
    served: dict[str, Any] = {
        "base_url": openai_server.base_url,
        "api_key": "sk-test",
        "response_store": store,
    }
    responses, chat = (LM("gpt-5", api=api, **served) for api in ("responses", "chat"))
    here = LM(
        "gpt-oss-20b", engine=ScriptedEngine([final_text("Oslo, I think.")]), response_store=store
    )
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    }
    part = {"type": "output_text", "text": "Found.", "annotations": []}
    answer = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    openai_server.enqueue(
        Raw({"id": "resp_1", "object": "response", "model": "gpt-5", "output": [search, answer]})
    )
    found = await responses.respond_async("Search", tools=[{"type": "web_search"}])
    on_chat = await chat.respond_async("And?", previous_response_id=found.response_id)
    assert [message["content"] for message in openai_server.bodies[-1]["messages"]] == [
        "Search",
        "Found.",
        "And?",
    ]
    assert "tools" not in openai_server.bodies[-1]
    on_harmony = await here.respond_async("Where?", previous_response_id=on_chat.response_id)
    for moved in (on_chat, on_harmony):
        assert ["web_search" in warning for warning in moved.warnings] == [True, True]
    back = await responses.respond_async("Sure?", previous_response_id=on_harmony.response_id)
    assert (back.text, back.replayed) == ("You said: Sure?", True)
    assert openai_server.bodies[-1]["tools"] == [{"type": "web_search"}]
    sent = [item.get("type", item.get("role")) for item in openai_server.bodies[-1]["input"]]
    assert sent == [
        "user",
        "web_search_call",
        "message",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]


async def test_what_a_call_itself_brings_is_still_an_error(openai_server: OpenAIServer) -> None:
    """Only the turns before are fitted; a history given by hand is the caller's to write."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    given = [{"role": "user", "content": "Search"}, search]
    chat = LM("gpt-5", api="chat", base_url=openai_server.base_url, api_key="sk-test")
    here = LM("gpt-oss-20b", engine=ScriptedEngine())
    for lm in (chat, here):
        with pytest.raises(RequestError, match="web_search_call"):
            await lm.respond_async(messages=given)


@pytest.mark.vllm
async def test_a_conversation_that_alternates_backends(
    tiny_model: Path, tiny_engine: VLLMEngine, vllm_server: VLLMServer
) -> None:
    """A name told on harmony in turn 1 is recalled at turn 6.

    Chat and Responses servers answer in between.
    """
    store = MemoryStore()
    keeper = LM(str(tiny_model), engine=tiny_engine)
    served: dict[str, Any] = {
        "base_url": vllm_server.base_url,
        "response_store": store,
        "temperature": 0,
    }
    here = LM(str(tiny_model), engine=tiny_engine, response_store=store, temperature=0)
    chat = LM(vllm_server.model, api="chat", **served)
    responses = LM(vllm_server.model, api="responses", **served)
    turns = [
        (here, "My name is Ada."),
        (chat, "What is the capital of France?"),
        (responses, "What is 2 + 3?"),
        (here, "What is the capital of Italy?"),
        (chat, "What is 1 + 1?"),
        (responses, "What is my name?"),
    ]
    answers: list[str] = []
    last = None
    for lm, question in turns:
        response = await lm.respond_async(question, previous_response_id=last)
        last = response.response_id
        answers.append(response.text)
    assert answers[1:] == [
        "The capital of France is Paris.",
        "2 + 3 = 5.",
        "The capital of Italy is Rome.",
        "1 + 1 = 2.",
        "Your name is Ada.",
    ]
    assert any("reasoning" in warning for warning in response.warnings)
    back = await here.respond_async("What is my name?", previous_response_id=last)
    assert back.text == "Your name is Ada."
    for lm in (chat, responses, here):
        await lm.aclose()
    del keeper
