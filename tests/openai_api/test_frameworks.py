"""The stock model classes of frameworks over an LM of every API: a run with two tools.

`make test-matrix` runs these in an environment that has the frameworks.
"""

from __future__ import annotations

from typing import Any

import pytest

from openai_api.backends import APIS, make_lm
from synth_ai import openai_api

ANSWER = "Sunny, and 700000 people."
TURNS = (("weather", {"city": "Oslo"}), ("inhabitants", {"city": "Oslo"}), ANSWER)
QUESTION = "How is Oslo?"

SHAPES = ("responses", "chat")


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def inhabitants(city: str) -> int:
    """How many people live in a city."""
    return 700_000


async def seen_by_the_model(lm: Any) -> list[str]:
    """The outputs of tools that the stored conversation has, which is one though all was resent."""
    turns = await lm.responses.list_async()
    ids = [turn.response_id for turn in turns]
    assert [turn.previous_response_id for turn in turns] == [None, *ids[:-1]]
    items = await lm.responses.input_items_async(turns[-1].response_id)
    return [str(item["output"]) for item in items if item["type"] == "function_call_output"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("api", APIS)
async def test_openai_agents(api: str, shape: str, stream: bool) -> None:
    """`Runner.run` and `Runner.run_streamed`."""
    agents = pytest.importorskip("agents")
    agents.set_tracing_disabled(True)
    lm = make_lm(api, *TURNS)
    models = {
        "responses": agents.OpenAIResponsesModel,
        "chat": agents.OpenAIChatCompletionsModel,
    }
    agent = agents.Agent(
        name="Guide",
        instructions="Be terse.",
        model=models[shape](model="m", openai_client=openai_api.client(lm)),
        tools=[agents.function_tool(weather), agents.function_tool(inhabitants)],
    )
    if stream:
        result = agents.Runner.run_streamed(agent, QUESTION)
        kinds = [event.type async for event in result.stream_events()]
        assert "raw_response_event" in kinds
    else:
        result = await agents.Runner.run(agent, QUESTION)

    assert result.final_output == ANSWER
    assert await seen_by_the_model(lm) == ["sunny in Oslo", "700000"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("api", APIS)
async def test_pydantic_ai(api: str, shape: str, stream: bool) -> None:
    """`Agent.run` and `Agent.run_stream`."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    lm = make_lm(api, *TURNS)
    models: dict[str, Any] = {"responses": OpenAIResponsesModel, "chat": OpenAIChatModel}
    provider = OpenAIProvider(openai_client=openai_api.client(lm))
    agent = pydantic_ai.Agent(
        models[shape]("m", provider=provider),
        instructions="Be terse.",
        tools=[weather, inhabitants],
    )
    if stream:
        async with agent.run_stream(QUESTION) as result:
            text = await result.get_output()
    else:
        text = (await agent.run(QUESTION)).output

    assert text == ANSWER
    assert await seen_by_the_model(lm) == ["sunny in Oslo", "700000"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("api", APIS)
async def test_langchain(api: str, shape: str, stream: bool) -> None:
    """`ChatOpenAI` with tools bound to it, in the loop that every agent has."""
    langchain_openai = pytest.importorskip("langchain_openai")
    from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage

    lm = make_lm(api, *TURNS)
    client = openai_api.client(lm)
    model = langchain_openai.ChatOpenAI(
        model="m",
        api_key="none",
        use_responses_api=shape == "responses",
        async_client=client.chat.completions,
        root_async_client=client,
    ).bind_tools([weather, inhabitants])
    tools = {"weather": weather, "inhabitants": inhabitants}

    messages: list[Any] = [SystemMessage("Be terse."), HumanMessage(QUESTION)]
    for _ in range(5):
        message = await ask_langchain(model, messages, stream=stream)
        messages.append(message)
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            output = tools[call["name"]](**call["args"])
            messages.append(ToolMessage(str(output), tool_call_id=call["id"]))

    assert messages[-1].text == ANSWER
    assert await seen_by_the_model(lm) == ["sunny in Oslo", "700000"]


async def ask_langchain(model: Any, messages: list[Any], *, stream: bool) -> Any:
    """Ask for the next message, in one piece or in chunks that add up."""
    if not stream:
        return await model.ainvoke(messages)

    whole = None
    async for chunk in model.astream(messages):
        whole = chunk if whole is None else whole + chunk
    return whole
