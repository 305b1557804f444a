"""Conversations over requests: what a turn has from the one before, and what it has not."""

from __future__ import annotations

from typing import Any

import pytest

from openai_api.asking import ask, ask_response, stream_response
from openai_api.backends import APIS, CALL, FLAT_TOOL, NESTED_TOOL, make_lm
from synth_ai import LM, LMRequest, harmony, openai_api
from synth_ai.content import text_of
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text


def shown(request: LMRequest) -> list[tuple[str, str]]:
    """Who said what in the prompt of a request, the system message first."""
    texts = [] if request.instructions is None else [("system", request.instructions)]
    for item in request.items():
        if item["type"] == "message":
            texts.append((item["role"], text_of(item)))
    return texts


@pytest.mark.parametrize("api", APIS)
async def test_a_streamed_response_is_continued_and_retrieved(api: str) -> None:
    """By the id that its first event has; its items have the ids that they had."""
    lm = make_lm(api, "One.", "Two.")
    events = await stream_response(lm)
    response_id = events[0]["response"]["id"]
    second = await ask_response(lm, input="On", previous_response_id=response_id)
    assert second["previous_response_id"] == response_id

    _, stored = await ask(lm, "GET", f"/responses/{response_id}")
    assert stored["output"] == events[-1]["response"]["output"]
    assert stored["status"] == "completed"


async def test_instructions_and_tools_are_the_request_s_own() -> None:
    """Neither the LM's nor those of the turn before, as on OpenAI."""
    vendor = ScriptedVendor(["One.", "Two.", "Three."], remembers=False)
    lm = LM("m", vendor=vendor, system_message="Of the LM.", tools=[FLAT_TOOL])
    first = await ask_response(lm)
    second = await ask_response(
        lm, instructions="Be terse.", tools=[FLAT_TOOL], previous_response_id=first["id"]
    )
    await ask_response(lm, previous_response_id=second["id"])

    instructions = [request.instructions for request in vendor.requests]
    assert instructions == [None, "Be terse.", None]
    assert [len(request.tools) for request in vendor.requests] == [0, 1, 0]


async def test_options_of_the_lm_stand_in() -> None:
    """For what a request leaves out."""
    vendor = ScriptedVendor(["One.", "Two."])
    lm = LM("m", vendor=vendor, temperature=0.1, max_tokens=9)
    await ask_response(lm, temperature=0.9)
    await ask_response(lm, temperature=None)
    assert [request.options["temperature"] for request in vendor.requests] == [0.9, 0.1]
    assert [request.options["max_tokens"] for request in vendor.requests] == [9, 9]


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_system_message_of_the_input_stays_in_the_conversation(role: str) -> None:
    """Instructions go with their request, and what was said stays said."""
    vendor = ScriptedVendor(["One.", "Two.", "Three."], remembers=False)
    lm = LM("m", vendor=vendor)
    said = [{"role": role, "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    first = await ask_response(lm, input=said, instructions="Be terse.")
    second = await ask_response(lm, input="On", previous_response_id=first["id"])
    await ask_response(lm, input="On", instructions="Be brief.", previous_response_id=second["id"])
    prompts = [shown(request) for request in vendor.requests]
    assert ("system", "Be terse.") in prompts[0]
    assert all((role, "Be kind.") in prompt for prompt in prompts)
    assert ("system", "Be terse.") not in prompts[1]
    assert ("system", "Be brief.") in prompts[2]


async def test_metadata_is_kept_with_the_response() -> None:
    """Where no server keeps it, too."""
    lm = make_lm("harmony", "One.")
    made = await ask_response(lm, metadata={"user": "ada"})
    assert made["metadata"] == {"user": "ada"}
    _, stored = await ask(lm, "GET", f"/responses/{made['id']}")
    assert stored["metadata"] == {"user": "ada"}


@pytest.mark.parametrize("api", APIS)
async def test_a_whole_history_continues_what_is_known(api: str) -> None:
    """Frameworks send everything again; what the model wrote stays as it was sampled."""
    lm = make_lm(api, CALL, "Sunny.")
    user = {"role": "user", "content": "Weather?"}
    first = await ask_response(lm, input=[user], tools=[FLAT_TOOL])
    call_id = first["output"][-1]["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "sunny"}
    second = await ask_response(lm, input=[user, *first["output"], output], tools=[FLAT_TOOL])
    assert "Sunny." in str(second["output"])
    assert second["previous_response_id"] is None
    turns = await lm.responses.list_async()
    assert [turn.previous_response_id for turn in turns] == [None, first["id"]]


async def test_many_requests_at_once_do_not_meet() -> None:
    """No head is shared."""
    import asyncio

    answers: list[Any] = [lambda request: text_of(request.input[-1])] * 20
    client = openai_api.client(LM("m", vendor=ScriptedVendor(answers)))
    asked = [client.responses.create(model="m", input=f"{number}") for number in range(20)]
    answered = await asyncio.gather(*asked)
    assert [response.output_text for response in answered] == [str(number) for number in range(20)]
    assert {response.previous_response_id for response in answered} == {None}


@pytest.mark.parametrize(
    ("shape", "keeps_reasoning"), [("responses", True), ("chat", True), ("chat", False)]
)
async def test_a_whole_history_keeps_the_sampled_tokens(shape: str, keeps_reasoning: bool) -> None:
    """Odd spaces in a call are not written anew; messages need not bring the reasoning back."""
    sampled = (
        "<|channel|>analysis<|message|>I look it up.<|end|><|start|>assistant<|channel|>commentary"
        ' to=functions.weather <|constrain|>json<|message|>{ "city":"Oslo" }<|call|>'
    )
    engine = ScriptedEngine([sampled, final_text("Sunny.")])
    client = openai_api.client(LM("m", engine=engine))
    conversation: list[Any] = [{"role": "user", "content": "Weather?"}]

    if shape == "responses":
        asked = await client.responses.create(model="m", input=conversation, tools=[FLAT_TOOL])
        items = [item.model_dump(exclude_none=True) for item in asked.output]
        conversation += items
        call_id = items[-1]["call_id"]
        conversation.append({"type": "function_call_output", "call_id": call_id, "output": "sunny"})
        await client.responses.create(model="m", input=conversation, tools=[FLAT_TOOL])
    else:
        completion = await client.chat.completions.create(
            model="m", messages=conversation, tools=[NESTED_TOOL]
        )
        message = completion.choices[0].message.model_dump(exclude_none=True)
        if not keeps_reasoning:
            message.pop("reasoning")
        conversation.append(message)
        call_id = message["tool_calls"][0]["id"]
        conversation.append({"role": "tool", "tool_call_id": call_id, "content": "sunny"})
        await client.chat.completions.create(model="m", messages=conversation, tools=[NESTED_TOOL])

    first, second = engine.prompts
    read = [*first, *harmony.encode(sampled, control_tokens=True)]
    assert second[: len(read)] == read
