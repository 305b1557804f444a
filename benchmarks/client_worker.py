"""One contender of `client.py`, measured in a process (and for peers an environment) of its own.

`python client_worker.py NAME API URL IN_FLIGHT CALLS` prints CPU microseconds per call, calls per
second, and how many megabytes the process grew by at most, as JSON.
Each contender is a function that makes a call: the library's own way of asking one question, set
up once.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

QUESTION = "Say hello."
Call = Callable[[], Awaitable[Any]]


def synth_ai(api: str, url: str, **options: Any) -> Call:
    from synth_ai import LM

    lm = LM("bench", api=api, base_url=url, api_key="sk-bench", **options)
    return lambda: lm.respond_async(QUESTION)


def synth_ai_manual(api: str, url: str) -> Call:
    return synth_ai(api, url, auto_store_responses=False)


def synth_ai_httpx(api: str, url: str) -> Call:
    return synth_ai(api, url, auto_store_responses=False, transport="httpx")


def bare_aiohttp(api: str, url: str) -> Call:
    """The least that a call over aiohttp can be: JSON out, JSON back."""
    import aiohttp

    message = {"role": "user", "content": QUESTION}
    body = {"model": "bench", "messages": [message]}
    path = "/chat/completions"
    if api == "responses":
        body = {"model": "bench", "input": [message]}
        path = "/responses"

    connector = aiohttp.TCPConnector(limit=1000)
    session = aiohttp.ClientSession(
        connector=connector, headers={"Authorization": "Bearer sk-bench"}
    )

    async def call() -> Any:
        async with session.post(f"{url}{path}", json=body) as response:
            return await response.json()

    return call


def openai_sdk(api: str, url: str) -> Call:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="sk-bench")
    if api == "responses":
        return lambda: client.responses.create(model="bench", input=QUESTION)
    return lambda: client.chat.completions.create(
        model="bench", messages=[{"role": "user", "content": QUESTION}]
    )


def synth_ai_stream(api: str, url: str) -> Call:
    from synth_ai import LM

    lm = LM("bench", api=api, base_url=url, api_key="sk-bench", auto_store_responses=False)

    async def call() -> None:
        async for _ in lm.stream_async(QUESTION):
            pass

    return call


def openai_stream(api: str, url: str) -> Call:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="sk-bench")
    message = {"role": "user", "content": QUESTION}

    async def call() -> None:
        if api == "responses":
            events: Any = await client.responses.create(model="bench", input=QUESTION, stream=True)
        else:
            events = await client.chat.completions.create(
                model="bench", messages=[message], stream=True
            )
        async for _ in events:
            pass

    return call


def litellm(api: str, url: str) -> Call:
    import litellm as library

    common: dict[str, Any] = {"model": "openai/bench", "api_base": url, "api_key": "sk-bench"}
    if api == "responses":
        return lambda: library.aresponses(input=QUESTION, **common)
    return lambda: library.acompletion(messages=[{"role": "user", "content": QUESTION}], **common)


def langchain_openai(api: str, url: str) -> Call:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model="bench", base_url=url, api_key="sk-bench", use_responses_api=api == "responses"
    )
    return lambda: model.ainvoke(QUESTION)


def pydantic_ai(api: str, url: str) -> Call:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    kind = OpenAIResponsesModel if api == "responses" else OpenAIChatModel
    agent = Agent(kind("bench", provider=OpenAIProvider(base_url=url, api_key="sk-bench")))
    return lambda: agent.run(QUESTION)


def openai_agents(api: str, url: str) -> Call:
    from agents import (
        Agent,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    kind = OpenAIResponsesModel if api == "responses" else OpenAIChatCompletionsModel
    client = AsyncOpenAI(base_url=url, api_key="sk-bench")
    agent = Agent(name="bench", model=kind(model="bench", openai_client=client))
    return lambda: Runner.run(agent, QUESTION)


def dspy(api: str, url: str) -> Call:
    import dspy as library

    kind = "responses" if api == "responses" else "chat"
    lm = library.LM("openai/bench", api_base=url, api_key="sk-bench", model_type=kind, cache=False)
    return lambda: lm.acall(QUESTION)


CONTENDERS: dict[str, Callable[[str, str], Call]] = {
    "openai": openai_sdk,
    "synth_ai": synth_ai_manual,
    "synth_ai chained": synth_ai,
    "synth_ai httpx": synth_ai_httpx,
    "bare aiohttp": bare_aiohttp,
    "openai stream": openai_stream,
    "synth_ai stream": synth_ai_stream,
    "litellm": litellm,
    "langchain-openai": langchain_openai,
    "pydantic-ai": pydantic_ai,
    "openai-agents": openai_agents,
    "dspy": dspy,
}


async def measure(call: Call, in_flight: int, calls: int) -> dict[str, float]:
    """CPU time and speed of `calls` calls, `in_flight` of them under way at a time."""
    await asyncio.gather(*(call() for _ in range(min(in_flight, 20))))
    left = calls

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle
    return {"cpu_us": cpu / calls * 1e6, "calls_per_s": calls / wall, "grown_mb": grown / 1024}


async def main() -> None:
    name, api, url, in_flight, calls = sys.argv[1:]
    result = await measure(CONTENDERS[name](api, url), int(in_flight), int(calls))
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
