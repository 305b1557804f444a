"""A real vLLM server of the tiny gpt-oss behind LM, on Chat and on Responses, as users get it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from servers.vllm import VLLMServer
from synth_ai import LM, Completed, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.errors import NotFoundError, RejectedError, ServerError

pytestmark = pytest.mark.vllm

APIS = ("chat", "responses")
LMOn = Callable[..., LM]


@pytest.fixture
def lm_on(vllm_server: VLLMServer) -> LMOn:
    """Make an LM of the server's model on one API, greedy, as the tiny model is measured."""

    def make(api: str, **options: Any) -> LM:
        model = options.pop("model", vllm_server.model)
        return LM(model, base_url=vllm_server.base_url, api=api, temperature=0, **options)

    return make


def get_weather(city: str) -> str:
    """Gets the current weather in the provided location."""
    return json.dumps({"temperature": 20, "condition": "sunny"})


class City(BaseModel):
    name: str


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_and_its_reasoning(lm_on: LMOn, api: str) -> None:
    """Text, reasoning and counts arrive under the names that this server gives them."""
    response = await lm_on(api).respond_async("What is the capital of France?")
    assert response.raw_response == "The capital of France is Paris."
    assert response.reasoning == "The user asks for the capital of France. It is Paris."
    assert (response.status, response.api_type) == ("completed", api)
    assert response.usage is not None
    assert response.usage.input_tokens > 50
    assert response.usage.output_tokens > response.usage.reasoning_tokens > 0


@pytest.mark.parametrize("api", APIS)
async def test_two_forks_of_one_turn(lm_on: LMOn, api: str) -> None:
    """Each branch knows what was said before it, and nothing of the other."""
    lm = lm_on(api)
    one = await lm.respond_async("My name is Ada.")
    fork = lm.fork(one.response_id)
    colour = await fork.respond_async("My favourite colour is teal.")
    asked = [
        (one, "What is my name?"),
        (colour, "What is my favourite colour?"),
        (colour, "What is my name?"),
    ]
    name, shade, still = await asyncio.gather(
        *(lm.respond_async(text, previous_response_id=turn.response_id) for turn, text in asked)
    )
    assert name.raw_response == "Your name is Ada."
    assert shade.raw_response == "Your favourite colour is teal."
    assert still.raw_response == "Your name is Ada."


async def test_chained_responses_are_replayed(lm_on: LMOn) -> None:
    """This server ignores new instructions and tools on turns chained by id.

    So the conversation is sent in full.
    """
    lm = lm_on("responses")
    one = await lm.respond_async("My name is Ada.")
    two = await lm.respond_async("Talk like a pirate.", "What is my name?")
    assert two.previous_response_id == one.response_id
    assert (two.replayed, two.attempts) == (True, 1)
    assert "does not take new instructions and tools" in str(two.replay_reason)
    assert two.raw_response == "Arr, matey! Your name is Ada."
    three = await lm.respond_async("What is the capital of Italy?")
    assert three.raw_response == "Arr, matey! The capital of Italy is Rome."


async def test_a_streamed_turn_is_replayed_too(lm_on: LMOn) -> None:
    """The server is told by its last event, as by its body."""
    lm = lm_on("responses")
    stream = lm.stream_async("My name is Ada.")
    _ = [event async for event in stream]
    two = await lm.respond_async("What is my name?")
    assert two.previous_response_id == stream.response.response_id
    assert (two.replayed, two.attempts, two.raw_response) == (True, 1, "Your name is Ada.")


async def test_an_id_of_the_server_s_own(lm_on: LMOn) -> None:
    """An id that is not in our store goes to the server as it is."""
    one = await lm_on("responses").respond_async("My name is Ada.")
    two = await lm_on("responses").respond_async(
        "What is my name?", previous_response_id=one.response_id
    )
    assert two.raw_response == "Your name is Ada."
    assert not two.replayed


async def test_an_id_that_the_server_does_not_have(lm_on: LMOn) -> None:
    """Told as such, as it is in no store either."""
    with pytest.raises(ValueError, match="resp_nobody"):
        await lm_on("responses").respond_async("Hi", previous_response_id="resp_nobody")


@pytest.mark.parametrize("api", APIS)
async def test_a_tool_call_and_an_answer_from_its_result(lm_on: LMOn, api: str) -> None:
    """From one Python function: the call has valid JSON, and the answer uses the output."""
    lm = lm_on(api, tools=[get_weather]).fork()
    asked = await lm.respond_async("What is the weather in Tokyo?")
    assert asked.tool_calls is not None
    (call,) = asked.tool_calls
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Tokyo"}
    done = await lm.respond_async(tool_outputs={call["id"]: get_weather("Tokyo")})
    assert "Tokyo" in done.raw_response
    assert "20" in done.raw_response
    assert not done.tool_calls


@pytest.mark.parametrize("api", APIS)
async def test_a_structured_answer(lm_on: LMOn, api: str) -> None:
    """The server holds the model to the schema.

    The answer is read though the server leaves a header before it.
    """
    lm = lm_on(api, auto_store_responses=False, max_tokens=60)
    # Schemas of one's own go out as written; this model never gets through the object that a type
    # would be wrapped in.
    city = await lm.respond_async(
        "What is the capital of France?", response_model={"enum": ["Paris", "Rome"]}
    )
    assert city.structured_output == "Paris"
    assert isinstance(
        (await lm.respond_async("Hello", response_model={"type": "boolean"})).structured_output,
        bool,
    )


@pytest.mark.parametrize("api", APIS)
async def test_a_structured_answer_that_was_cut(lm_on: LMOn, api: str) -> None:
    """This model fills an object with blanks for ever.

    The response says that it is not whole, and raises nothing.
    """
    response = await lm_on(api, max_tokens=60).respond_async(
        "What is the capital of France?", response_model=City
    )
    assert (response.status, response.structured_output) == ("incomplete", None)
    assert "structured_output is empty" in response.warnings[-1]


@pytest.mark.parametrize("api", APIS)
async def test_a_stream(lm_on: LMOn, api: str) -> None:
    """Reasoning and text in pieces, then the same response as without streaming."""
    lm = lm_on(api, auto_store_responses=False)
    stream = lm.stream_async("Tell me a story.")
    events: list[Any] = [event async for event in stream]
    whole = await lm.respond_async("Tell me a story.")
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(texts) > 20
    assert "".join(texts) == whole.raw_response == stream.response.raw_response
    assert (
        "".join(event.text for event in events if isinstance(event, ReasoningDelta))
        == whole.reasoning
    )
    assert isinstance(events[-1], Completed)
    assert stream.response.usage == whole.usage


@pytest.mark.parametrize("api", APIS)
async def test_a_streamed_tool_call(lm_on: LMOn, api: str) -> None:
    """Its arguments in pieces add up to the call of the response, which can be answered."""
    lm = lm_on(api, tools=[get_weather]).fork()
    stream = lm.stream_async("What is the weather in Tokyo?")
    events: list[Any] = [event async for event in stream]
    (call,) = stream.response.tool_calls or [{}]
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(delta.arguments for delta in deltas) == call["function"]["arguments"]
    assert [delta.name for delta in deltas if delta.name] == ["get_weather"]
    done = await lm.respond_async(tool_outputs={call["id"]: get_weather("Tokyo")})
    assert "20" in done.raw_response


@pytest.mark.parametrize("api", APIS)
async def test_leaving_a_stream_early(lm_on: LMOn, api: str) -> None:
    """The server is free for the next call, which does not see the abandoned one."""
    lm = lm_on(api).fork()
    async with lm.stream_async("Tell me a story.") as stream:
        async for _ in stream:
            break
    assert lm.head is None
    assert (await lm.respond_async("What is 2 + 3?")).raw_response == "2 + 3 = 5."


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_that_was_cut(lm_on: LMOn, api: str) -> None:
    """The limit is the server's to keep, and the response says so."""
    response = await lm_on(api).respond_async("Tell me a story.", max_tokens=30)
    assert (response.status, response.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert response.usage is not None
    assert response.usage.output_tokens == 30


ERRORS: dict[str, tuple[dict[str, Any], str, type[ServerError], int, str]] = {
    "a wrong model": ({"model": "no-such-model"}, "Hi", NotFoundError, 404, "no-such-model"),
    "a prompt that is too long": ({}, "hello " * 5000, RejectedError, 400, "4096"),
    "an option out of range": ({"top_p": 7}, "Hi", RejectedError, 400, "top_p"),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("options", "prompt", "kind", "status", "words"), ERRORS.values(), ids=ERRORS
)
async def test_errors_of_the_server(
    lm_on: LMOn,
    api: str,
    options: dict[str, Any],
    prompt: str,
    kind: type[ServerError],
    status: int,
    words: str,
) -> None:
    """Typed, with the server's own words."""
    with pytest.raises(kind, match=words) as raised:
        await lm_on(api, **options).respond_async(prompt)
    assert raised.value.status_code == status


@pytest.mark.parametrize("api", APIS)
async def test_an_address_without_the_route(vllm_server: VLLMServer, api: str) -> None:
    """A forgotten `/v1` is a 404 that names the address it went to."""
    address = vllm_server.base_url.removesuffix("/v1")
    with pytest.raises(NotFoundError, match="404"):
        await LM(vllm_server.model, base_url=address, api=api).respond_async("Hi")


async def test_the_server_s_models(lm_on: LMOn, vllm_server: VLLMServer) -> None:
    """By the names that it serves them under."""
    assert await lm_on("chat").models_async() == [vllm_server.model]


async def test_a_conversation_moves_between_the_apis(lm_on: LMOn) -> None:
    """Begun on Chat, gone on with on Responses, and back: one conversation."""
    chat = lm_on("chat")
    responses = lm_on("responses", response_store=chat._config.store)
    one = await chat.respond_async("My name is Ada.")
    two = await responses.respond_async(
        "My favourite colour is teal.", previous_response_id=one.response_id
    )
    three = await chat.respond_async(
        "What is my favourite colour?", previous_response_id=two.response_id
    )
    four = await responses.respond_async("What is my name?", previous_response_id=three.response_id)
    assert three.raw_response == "Your favourite colour is teal."
    assert four.raw_response == "Your name is Ada."


def test_sync_calls_and_batches(lm_on: LMOn) -> None:
    """Without an event loop, many at once."""
    lm = lm_on("chat", max_concurrency=4)
    prompts = [f"What is {number} + 1?" for number in range(5)]
    assert [response.raw_response for response in lm.respond_batch(prompts)] == [
        f"{number} + 1 = {number + 1}." for number in range(5)
    ]
