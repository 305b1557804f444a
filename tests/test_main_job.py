"""The main job: LM talks with a real gpt-oss network on a real vLLM engine in this process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from synth_ai import LM, TextDelta, ToolCallDelta, VLLMEngine

pytestmark = pytest.mark.vllm


@pytest.fixture
async def lm(tiny_model: Path, tiny_engine: VLLMEngine) -> AsyncIterator[LM]:
    """An LM on the shared engine, with a head and a store of its own; the engine outlives it."""
    holder = LM(str(tiny_model), engine=tiny_engine)
    lm = LM(str(tiny_model), engine=tiny_engine, temperature=0)
    yield lm
    await lm.aclose()
    del holder


def get_weather(location: str) -> str:
    """Gets the current weather in the provided location."""
    return json.dumps({"temperature": 21, "condition": "sunny", "location": location})


async def test_name_is_recalled_over_a_chain(lm: LM) -> None:
    """The second call continues the first by itself."""
    first = await lm.respond_async("My name is Ada.")
    second = await lm.respond_async("What is my name?")
    assert second.text == "Your name is Ada."
    assert second.previous_response_id == first.response_id
    assert (second.api_type, second.status) == ("harmony", "completed")
    assert second.reasoning


async def test_two_forks_of_one_response_differ(lm: LM) -> None:
    """Two branches of one response know what they share, and nothing of each other."""
    root = await lm.respond_async("My name is Ada.")
    left, right = await asyncio.gather(
        lm.respond_async("My favourite colour is teal.", previous_response_id=root.response_id),
        lm.respond_async("My favourite colour is gold.", previous_response_id=root.response_id),
    )
    answers = await asyncio.gather(
        *(
            lm.respond_async(question, previous_response_id=branch.response_id)
            for branch in (left, right)
            for question in ("What is my favourite colour?", "What is my name?")
        )
    )
    assert [answer.text for answer in answers] == [
        "Your favourite colour is teal.",
        "Your name is Ada.",
        "Your favourite colour is gold.",
        "Your name is Ada.",
    ]


async def test_tool_call_and_the_answer_from_its_result(lm: LM) -> None:
    """The model calls a function with valid JSON, and answers from what it returns."""
    asked = await lm.respond_async("What is the weather in Tokyo?", tools=[get_weather])
    assert asked.tool_calls is not None
    (call,) = asked.tool_calls
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"location": "Tokyo"}
    told = await lm.respond_async(tool_outputs={call["id"]: get_weather("Tokyo")})
    assert told.text == "It is 21 degrees and sunny in Tokyo."


async def test_a_tool_call_streams(lm: LM) -> None:
    """The arguments come piece by piece, and the call's id with the first of them."""
    stream = lm.stream_async("What is the weather in Oslo?", tools=[get_weather])
    deltas = [event async for event in stream if isinstance(event, ToolCallDelta)]
    (call,) = stream.response.tool_calls or ()
    assert len(deltas) > 2
    assert (deltas[0].name, deltas[0].call_id) == ("get_weather", call["id"])
    assert "".join(delta.arguments for delta in deltas) == call["function"]["arguments"]


class Weather(BaseModel):
    city: str = Field(max_length=12)
    degrees: int = Field(ge=-60, le=60)


async def test_an_answer_of_a_given_shape(lm: LM) -> None:
    """The answer fits, the reasoning stays free text, and calls without a shape are left alone."""
    plain = lm.fork()
    shaped, answered = await asyncio.gather(
        lm.respond_async(
            "What is the weather in Oslo?",
            response_model=Weather,
            reasoning_budget=40,
            max_tokens=300,
        ),
        plain.respond_async("My name is Ada."),
    )
    assert isinstance(shaped.structured_output, Weather)
    assert Weather.model_validate_json(shaped.text) == shaped.structured_output
    assert shaped.reasoning
    assert answered.text == "Nice to meet you, Ada!"


async def test_tools_are_run_until_the_answer(lm: LM) -> None:
    """`run_tools_async` does the same by itself."""
    run = await lm.run_tools_async("What is the weather in Paris?", tools=[get_weather])
    assert run.text == "It is 21 degrees and sunny in Paris."
    assert [result.name for step in run.steps for result in step.results] == ["get_weather"]


async def test_instructions_carry_over(lm: LM) -> None:
    """A system message given once stays in force down the branch."""
    await lm.respond_async("Talk like a pirate.", "Hello")
    again = await lm.respond_async("What is 2 + 3?")
    assert again.text == "Arr, matey! 2 + 3 = 5."


async def test_effort_changes_the_reasoning(lm: LM) -> None:
    """Low effort thinks less than high effort."""
    low, high = await asyncio.gather(
        lm.fork().respond_async("What is the capital of France?", reasoning_effort="low"),
        lm.fork().respond_async("What is the capital of France?", reasoning_effort="high"),
    )
    assert len(low.reasoning or "") < len(high.reasoning or "")


async def test_stream_comes_in_pieces_and_ends_with_the_same_answer(lm: LM) -> None:
    """The deltas of a stream make up the answer of the response."""
    async with lm.stream_async("Tell me a story.") as stream:
        pieces = [event.text async for event in stream if isinstance(event, TextDelta)]
    assert len(pieces) > 20
    assert "".join(pieces) == stream.response.text
    assert stream.response.text.startswith("Once upon a time")


async def test_sync_calls_work_inside_a_running_loop(lm: LM) -> None:
    """A notebook's cell, which runs inside an event loop, can call `respond`."""
    assert lm.respond("What is the capital of France?").text == "The capital of France is Paris."


async def test_event_loop_is_not_blocked_by_a_call(lm: LM) -> None:
    """While a call is under way, other tasks of the loop go on."""
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)

    ticking = asyncio.create_task(tick())
    response = await lm.respond_async("Tell me a story.")
    ticking.cancel()
    assert response.usage is not None
    assert len(gaps) > response.usage.output_tokens


async def test_batch_is_in_order_and_leaves_the_head(lm: LM) -> None:
    """Independent prompts are answered in the order they were given."""
    responses = await lm.respond_batch_async([f"What is {n} + 1?" for n in range(5)])
    assert [response.text for response in responses] == [f"{n} + 1 = {n + 1}." for n in range(5)]
    assert lm.head is None


async def test_training_ids_are_those_that_the_engine_saw(lm: LM) -> None:
    """The exported sequence of a branch is the engine's prompt and completion, id by id."""
    response = await lm.respond_async("My name is Ada.")
    (example,) = await lm.responses.training_examples_async(response.response_id or "")
    assert example.token_ids == [
        *(response.prompt_token_ids or []),
        *(response.output_token_ids or []),
    ]
    assert sum(example.loss_mask) == len(response.output_token_ids or [])
