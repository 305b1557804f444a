"""The public API as type checkers see it. This file is checked by mypy and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, assert_type

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from synth_ai import (
    LM,
    ApprovalDecision,
    ApprovalRequest,
    Approve,
    BaseLMResponse,
    Completed,
    Defer,
    Deny,
    LMRequest,
    MemoryStore,
    PreambleDelta,
    ReasoningDelta,
    ResponseStream,
    RetryPolicy,
    RunCompleted,
    StreamEvent,
    SyncResponseStream,
    SyncToolStream,
    TextDelta,
    TokenCount,
    Tool,
    ToolCallDelta,
    ToolFinished,
    ToolLike,
    ToolRun,
    ToolStarted,
    ToolStream,
    Usage,
    VendorBase,
)
from synth_ai.content import Message, ToolCall, is_call, is_message


class City(BaseModel):
    name: str


class Country(TypedDict):
    capital: City


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


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
    LM(5)  # type: ignore[call-overload]
    LM("gpt-5", temperature="hot")  # type: ignore[call-overload]
    LM("gpt-5", temprature=1)  # type: ignore[call-overload]


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
    await lm.respond_async(5)  # type: ignore[call-overload]
    await lm.respond_async("Hi", previous_response_id=5)  # type: ignore[call-overload]
    lm.respond("Hi", messages="Hi")  # type: ignore[arg-type]


async def options(lm: LM) -> None:
    lm.respond("Hi", temperature=1, top_k=5, reasoning={"summary": "auto"}, tools=[get_weather])
    lm.respond("Hi", temprature=1)  # type: ignore[call-overload]
    lm.respond("Hi", temperature="hot")  # type: ignore[call-overload]
    await lm.respond_async("Hi", temprature=1)  # type: ignore[call-overload]
    lm.stream_async("Hi", temprature=1)  # type: ignore[call-overload]
    lm.respond_batch(["Hi"], temprature=1)  # type: ignore[call-overload]
    await lm.run_tools_async("Hi", temprature=1)  # type: ignore[call-overload]

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
    lm.stream_async(5)  # type: ignore[call-overload]


def approve(request: ApprovalRequest) -> ApprovalDecision:
    if request.name == "get_weather":
        return Approve(arguments={"city": "Oslo"})
    return Deny("Not that one.") if request.round > 1 else Defer()


async def approve_later(request: ApprovalRequest) -> bool:
    return bool(request.arguments["city"] == "Oslo")


async def running_tools(lm: LM) -> None:
    tool = Tool("get_weather", "The weather.", {"type": "object"}, get_weather, strict=True)
    tools: list[ToolLike] = [tool, get_weather, "web_search", {"type": "mcp"}, City]
    run = await lm.run_tools_async(
        "Hi", tools=tools, approve=approve, timeout=60, max_cost=0.5, temperature=0
    )
    assert_type(run, ToolRun)
    assert_type(run.usage, Usage)
    assert_type(run.cost, float | None)
    assert_type(run.responses, list[BaseLMResponse])
    assert_type(lm.stream_tools_async("Hi"), ToolStream)
    assert_type(lm.stream_tools("Hi", on_error="raise"), SyncToolStream)
    async with lm.stream_tools_async("Hi", approve=approve_later) as stream:
        async for event in stream:
            if isinstance(event, ToolStarted | ToolFinished):
                assert_type(event.round, int)
            elif isinstance(event, RunCompleted):
                assert_type(event.run, ToolRun)
    assert_type(stream.run, ToolRun)
    assert_type(stream.run_so_far, ToolRun | None)

    Tool("f", "", None, "f")  # type: ignore[arg-type]
    lm.stream_tools("Hi", approve=True)  # type: ignore[call-overload]
    lm.stream_tools("Hi", max_round=3)  # type: ignore[call-overload]
    lm.run_tools("Hi", max_cost="1")  # type: ignore[call-overload]
    lm.run_tools("Hi", approve=lambda request: None)  # type: ignore[arg-type, return-value]


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


async def typed_answers(lm: LM) -> None:
    """What `response_model=` says is what comes back, whichever way it is asked."""
    answer = await lm.respond_async("Hi", response_model=City)
    assert_type(answer, BaseLMResponse[City])
    assert_type(answer.structured_output, City | None)
    assert_type(lm.respond("Hi", response_model=City), BaseLMResponse[City])
    assert_type(lm.respond_sync("Hi", response_model=City, reask=2), BaseLMResponse[City])
    assert_type(lm.respond("Hi", response_model=list[City]), BaseLMResponse[list[City]])
    assert_type(lm.respond("Hi", response_model=City | None), BaseLMResponse[City | None])
    assert_type(lm.respond("Hi", response_model=City | Point), BaseLMResponse[City | Point])
    assert_type(
        lm.respond("Hi", response_model=Annotated[City, Field(description="A capital.")]),
        BaseLMResponse[City],
    )
    assert_type(lm.respond("Hi", response_model=Colour), BaseLMResponse[Colour])
    assert_type(lm.respond("Hi", response_model=Point), BaseLMResponse[Point])
    assert_type(lm.respond("Hi", response_model=Country), BaseLMResponse[Country])
    assert_type(
        lm.respond("Hi", response_model=Literal["yes", "no"]), BaseLMResponse[Literal["yes", "no"]]
    )
    assert_type(lm.respond("Hi", response_model={"type": "object"}), BaseLMResponse)

    if answer.structured_output is not None:
        assert_type(answer.structured_output.name, str)
        print(answer.structured_output.nam)  # type: ignore[attr-defined]
    print(answer.structured_output.name)  # type: ignore[union-attr]
    lm.respond("Hi", response_model=5)  # type: ignore[call-overload]
    lm.respond("Hi", reask="twice")  # type: ignore[call-overload]
    lm.respond("Hi", response_model=City, temprature=1)  # type: ignore[call-overload]


async def typed_batches(lm: LM) -> None:
    answers = await lm.respond_batch_async(["a"], response_model=City)
    assert_type(answers, list[BaseLMResponse[City]])
    assert_type(lm.respond_batch(["a"], response_model=City), list[BaseLMResponse[City]])
    assert_type(
        lm.respond_batch(["a"], response_model=City, return_exceptions=True),
        list[BaseLMResponse[City] | BaseException],
    )
    assert_type(lm.respond_batch(["a"], response_model={"type": "object"}), list[Any])


async def typed_streams(lm: LM) -> None:
    async with lm.stream_async("Hi", response_model=City) as stream:
        assert_type(stream, ResponseStream[City])
        async for event in stream:
            if isinstance(event, Completed):
                assert_type(event.response, BaseLMResponse[City])
            assert_type(stream.partial, City | None)
    assert_type(stream.response.structured_output, City | None)
    with lm.stream_sync("Hi", response_model=list[City]) as other:
        assert_type(other, SyncResponseStream[list[City]])
        assert_type(other.partial, list[City] | None)


async def typed_runs(lm: LM) -> None:
    run = await lm.run_tools_async("Hi", response_model=City, max_rounds=3, reask=1)
    assert_type(run, ToolRun[City])
    assert_type(run.response.structured_output, City | None)
    assert_type(lm.run_tools("Hi", response_model=list[City]), ToolRun[list[City]])
    assert_type(LM("gpt-5", response_model=City).run_tools("Hi"), ToolRun[City])
    assert_type(lm.stream_tools_async("Hi", response_model=City).run, ToolRun[City])
    assert_type(lm.stream_tools("Hi", response_model=City), SyncToolStream[City])


async def typed_lms() -> None:
    lm = LM("gpt-5", response_model=City, reask=1)
    assert_type(lm, LM[City])
    assert_type(lm.fork(), LM[City])
    with lm as same:
        assert_type(same, LM[City])
    assert_type(lm.respond("Hi"), BaseLMResponse[City])
    assert_type(await lm.respond_async("Hi"), BaseLMResponse[City])
    assert_type(lm.respond_batch(["Hi"]), list[BaseLMResponse[City]])
    assert_type(lm.stream_async("Hi").partial, City | None)
    assert_type(lm.respond("Hi", response_model=Point), BaseLMResponse[Point])
    assert_type(lm.respond("Hi", response_model=None), BaseLMResponse)
    assert_type(LM("gpt-5"), LM)
    assert_type(LM("gpt-5", response_model=None), LM)
    assert_type(LM("gpt-5", response_model={"type": "object"}), LM)
    assert_type(LM("gpt-5", response_model=City | Point), LM[City | Point])
    LM("gpt-5", response_model=5)  # type: ignore[call-overload]
    print(lm.respond("Hi").structured_output.name)  # type: ignore[union-attr]


def passing_on(response: BaseLMResponse[City], lm: LM[City], stream: ResponseStream[City]) -> None:
    """What takes any answer takes each of them; one of a city is one of its base."""
    any_response: BaseLMResponse = response
    any_lm: LM = lm
    any_stream: ResponseStream = stream
    base: BaseLMResponse[BaseModel] = response
    other: BaseLMResponse[Point] = response  # type: ignore[assignment]
    print(any_response, any_lm, any_stream, base, other)


def reading(response: BaseLMResponse) -> None:
    assert_type(response.raw_response, str)
    assert_type(response.text, str)
    assert_type(response.reasoning, str | None)
    assert_type(response.tool_calls, list[ToolCall] | None)
    assert_type(response.usage, Usage | None)
    assert_type(response.response_id, str)


def handles(lm: LM[City], messages: list[dict[str, Any]]) -> None:
    """A handle is of the LM's own type, and so are its answers."""
    assert_type(lm.detached(), LM[City])
    assert_type(lm.detached().respond(messages=messages, continue_known=True), BaseLMResponse[City])
    assert_type(lm.stream_sync("Hi").response_id, str | None)
    assert_type(lm.count_tokens("Hi"), TokenCount)
    assert_type(lm.accepts("top_k"), bool)
    LM("gpt-5", api_key=lambda: "sk")
    lm.async_respond("Hi")  # type: ignore[attr-defined]
    lm.respond("Hi", continue_known="yes")  # type: ignore[call-overload]


class OwnVendor(VendorBase):
    async def respond(self, request: LMRequest) -> BaseLMResponse:
        return BaseLMResponse(raw_response=request.model)

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        yield TextDelta("Hi")
        yield Completed(await self.respond(request))


def own_vendor() -> None:
    LM("mine", vendor=OwnVendor())
    VendorBase()  # type: ignore[abstract]
