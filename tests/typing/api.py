"""The public API as type checkers see it. This file is checked by mypy and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, assert_type

from pydantic import BaseModel

from synth_ai import (
    LM,
    BaseLMResponse,
    Completed,
    LMRequest,
    MemoryStore,
    PreambleDelta,
    ReasoningDelta,
    ResponseStream,
    RetryPolicy,
    StreamEvent,
    SyncResponseStream,
    TextDelta,
    ToolCallDelta,
    ToolRun,
    Usage,
    VendorBase,
)
from synth_ai.content import Message, ToolCall, is_call, is_message


class City(BaseModel):
    name: str


def get_weather(city: str) -> str:
    return city


def constructing() -> None:
    LM("gpt-5")
    LM("gpt-5", api="chat", retry=3, timeout=5.0, max_concurrency=8, top_p=0.5)
    LM(
        "gpt-5",
        retry=RetryPolicy(attempts=2),
        response_store=MemoryStore(),
        tools=[get_weather, "web_search"],
    )
    LM("gpt-5", response_store=False, response_model=City, auto_store_responses=False)
    LM(5)  # type: ignore[arg-type]
    LM("gpt-5", temperature="hot")  # type: ignore[arg-type]
    LM("gpt-5", temprature=1)  # type: ignore[call-arg]


async def calling(lm: LM) -> None:
    assert_type(await lm.respond_async("Hi"), BaseLMResponse)
    assert_type(
        await lm.respond_async("Be terse.", "Hi", tools=None, temperature=0), BaseLMResponse
    )
    assert_type(lm.respond("Hi"), BaseLMResponse)
    assert_type(lm.respond_sync("Hi", previous_response_id="resp_1"), BaseLMResponse)
    assert_type(
        await lm.respond_batch_async(["a", ("b", "c"), {"user_message": "d"}]), list[BaseLMResponse]
    )
    assert_type(lm.respond_batch(["a"]), list[BaseLMResponse])
    errors_too = await lm.respond_batch_async(
        ["a"], return_exceptions=True, progress=True, temperature=0
    )
    assert_type(errors_too, list[BaseLMResponse | BaseException])
    assert_type(
        lm.respond_batch(["a"], return_exceptions=True), list[BaseLMResponse | BaseException]
    )
    assert_type(await lm.run_tools_async("Hi", max_rounds=3), ToolRun)
    assert_type(lm.run_tools("Hi", on_error="raise"), ToolRun)
    await lm.respond_async(tool_outputs={"call_1": 5}, images=[b"", "a.png"])
    await lm.respond_async(5)  # type: ignore[arg-type]
    await lm.respond_async("Hi", previous_response_id=5)  # type: ignore[arg-type]
    lm.respond("Hi", messages="Hi")  # type: ignore[arg-type]


async def options(lm: LM) -> None:
    lm.respond("Hi", temperature=1, top_k=5, reasoning={"summary": "auto"}, tools=[get_weather])
    lm.respond("Hi", temprature=1)  # type: ignore[call-arg]
    lm.respond("Hi", temperature="hot")  # type: ignore[arg-type]
    await lm.respond_async("Hi", temprature=1)  # type: ignore[call-arg]
    lm.stream_async("Hi", temprature=1)  # type: ignore[call-arg]
    lm.respond_batch(["Hi"], temprature=1)  # type: ignore[call-overload]
    await lm.run_tools_async("Hi", temprature=1)  # type: ignore[call-arg]

    # An option of a vendor of one's own: type checkers know it by this dictionary alone.
    own: dict[str, Any] = {"thinking": {"budget": 1024}}
    lm.respond("Hi", **own)


def narrowing(response: BaseLMResponse) -> None:
    for call in response.tool_calls or ():
        if call["type"] == "function":
            assert_type(call["function"]["name"], str)
    for item in response.output:
        if is_message(item):
            assert_type(item, Message)
        elif is_call(item):
            assert_type(item["call_id"], str)


async def streaming(lm: LM) -> None:
    assert_type(lm.stream_async("Hi"), ResponseStream)
    assert_type(lm.stream_sync("Hi"), SyncResponseStream)
    async with lm.stream_async("Hi", auto_store=False) as stream:
        async for event in stream:
            assert_type(
                event, TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta | Completed
            )
            if isinstance(event, TextDelta):
                assert_type(event.text, str)
            elif isinstance(event, Completed):
                assert_type(event.response, BaseLMResponse)
    assert_type(stream.response, BaseLMResponse)
    with lm.stream_sync("Hi") as other:
        for event in other:
            assert_type(
                event, TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta | Completed
            )
    lm.stream_async(5)  # type: ignore[arg-type]


async def branching(lm: LM) -> None:
    assert_type(lm.fork(), LM)
    assert_type(lm.fork("resp_1"), LM)
    assert_type(lm.head, str | None)
    async with lm.fork() as branch:
        assert_type(branch, LM)
    with lm as same:
        assert_type(same, LM)
    assert_type(await lm.responses.list_async(), list[BaseLMResponse])
    assert_type(lm.responses.retrieve("resp_1"), BaseLMResponse)
    assert_type(lm.models(), list[str])


def reading(response: BaseLMResponse) -> None:
    assert_type(response.raw_response, str)
    assert_type(response.text, str)
    assert_type(response.reasoning, str | None)
    assert_type(response.tool_calls, list[ToolCall] | None)
    assert_type(response.usage, Usage | None)
    assert_type(response.response_id, str)


class OwnVendor(VendorBase):
    async def respond(self, request: LMRequest) -> BaseLMResponse:
        return BaseLMResponse(raw_response=request.model)

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        yield TextDelta("Hi")
        yield Completed(await self.respond(request))


def own_vendor() -> None:
    LM("mine", vendor=OwnVendor())
    VendorBase()  # type: ignore[abstract]
