"""OpenAI's shapes over a real engine: the tiny gpt-oss on vLLM, whatever it writes."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

from openai_api.asking import (
    ask,
    ask_completion,
    ask_response,
    stream_completion,
    stream_response,
)
from openai_api.backends import FLAT_TOOL, NESTED_TOOL
from openai_api.shapes import (
    assemble,
    check_chunks,
    check_completion,
    check_events,
    check_response,
)
from servers.vllm import VLLMServer
from synth_ai import LM, VLLMEngine, openai_api

pytestmark = pytest.mark.vllm

PROMPTS = ("Hi", "My name is Ada.", "What is the weather in Oslo?", "2 + 2?")


@pytest.fixture
def tiny_lm(tiny_engine: VLLMEngine) -> LM:
    """The tiny model, which answers the same each time."""
    return LM("tiny", engine=tiny_engine, temperature=0, max_tokens=64)


def texts(body: dict[str, Any]) -> list[str]:
    """What the items of a response say, in order."""
    found = []
    for item in body["output"]:
        parts = item.get("content") or [{"text": item.get("arguments", "")}]
        found.append("\n".join(part["text"] for part in parts))
    return found


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("tools", [False, True])
async def test_what_it_writes_has_both_shapes(tiny_lm: LM, prompt: str, tools: bool) -> None:
    """Streamed or not, it is the same."""
    flat: Any = {"tools": [FLAT_TOOL]} if tools else {}
    nested: Any = {"tools": [NESTED_TOOL]} if tools else {}
    plain = await ask_response(tiny_lm, input=prompt, **flat)
    check_response(plain)
    events = await stream_response(tiny_lm, input=prompt, **flat)
    check_events(events)
    streamed = events[-1]["response"]
    check_response(streamed)
    assert "\n".join(texts(streamed)) == "\n".join(texts(plain))
    assert streamed["status"] == plain["status"]
    assert streamed["usage"]["output_tokens"] == plain["usage"]["output_tokens"]

    messages = [{"role": "user", "content": prompt}]
    status, completion = await ask(
        tiny_lm, "POST", "/chat/completions", {"messages": messages, **nested}
    )
    if status != 200:
        assert plain["status"] == "failed"
        return
    check_completion(completion)
    chunks = await stream_completion(tiny_lm, messages=messages, **nested)
    check_chunks(chunks)
    choice = assemble(chunks).to_dict()["choices"][0]
    assert choice["finish_reason"] == completion["choices"][0]["finish_reason"]
    for field in ("content", "reasoning"):
        assert choice["message"].get(field) == completion["choices"][0]["message"].get(field)


async def test_a_forced_call_and_its_output(tiny_lm: LM) -> None:
    """The call has arguments that are sent back with its output, by id and as a whole."""
    forced = {"type": "function", "name": "weather"}
    first = await ask_response(tiny_lm, tools=[FLAT_TOOL], tool_choice=forced)
    check_response(first)
    assert first["tool_choice"] == forced
    call = first["output"][-1]
    if call["type"] != "function_call":
        assert first["status"] == "incomplete"
        return

    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    by_id = await ask_response(
        tiny_lm, input=[output], tools=[FLAT_TOOL], previous_response_id=first["id"]
    )
    check_response(by_id)
    history = [{"role": "user", "content": "Hi"}, *first["output"], output]
    whole = await ask_response(tiny_lm, input=history, tools=[FLAT_TOOL])
    check_response(whole)


class City(BaseModel):
    """A city. What the tiny model may write has an end."""

    name: Literal["Oslo", "Rome"]
    is_capital: bool


async def test_an_answer_of_a_shape(tiny_engine: VLLMEngine) -> None:
    """The engine holds the model to the schema that the SDK sends."""
    lm = LM("tiny", engine=tiny_engine, temperature=0)
    client = openai_api.client(lm)
    parsed = await client.responses.parse(model="tiny", input="Oslo", text_format=City)
    assert isinstance(parsed.output_parsed, City)
    async with client.chat.completions.stream(
        model="tiny", messages=[{"role": "user", "content": "Oslo"}], response_format=City
    ) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.parsed == parsed.output_parsed


async def test_a_chained_request_begins_with_the_tokens_before(tiny_lm: LM) -> None:
    """The ids that were sampled are used again, as when an LM continues."""
    first = await ask_response(tiny_lm, input="My name is Ada.")
    second = await ask_response(tiny_lm, input="Who am I?", previous_response_id=first["id"])
    continued = await tiny_lm.respond_async("Who am I?", previous_response_id=first["id"])
    assert second["usage"]["input_tokens"] == continued.usage.input_tokens  # type: ignore[union-attr]
    assert texts(second) == texts(await ask_response_of(tiny_lm, continued.response_id))


async def ask_response_of(lm: LM, response_id: str) -> dict[str, Any]:
    """Retrieve a response."""
    _, body = await ask(lm, "GET", f"/responses/{response_id}")
    return body


async def test_a_stream_that_is_left_frees_the_engine(tiny_lm: LM) -> None:
    """The next request does not wait for it."""
    client = openai_api.client(tiny_lm)
    stream = await client.responses.create(
        model="tiny", input="Hi", stream=True, max_output_tokens=4000
    )
    await anext(aiter(stream))
    await stream.close()
    completion = await ask_completion(tiny_lm, max_tokens=8)
    check_completion(completion)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("tools", [False, True])
async def test_a_server_s_answers_have_both_shapes(
    vllm_server: VLLMServer, api: str, tools: bool
) -> None:
    """Those of `vllm serve`, on both of its APIs."""
    flat: Any = {"tools": [FLAT_TOOL]} if tools else {}
    nested: Any = {"tools": [NESTED_TOOL]} if tools else {}
    options: Any = {"api": api, "base_url": vllm_server.base_url, "api_key": "none"}
    async with LM(vllm_server.model, temperature=0, max_tokens=64, **options) as lm:
        plain = await ask_response(lm, **flat)
        check_response(plain)
        events = await stream_response(lm, **flat)
        check_events(events)
        if "response" in events[-1]:
            check_response(events[-1]["response"])

        completion = await ask_completion(lm, **nested)
        check_completion(completion)
        chunks = await stream_completion(lm, **nested)
        check_chunks(chunks)
