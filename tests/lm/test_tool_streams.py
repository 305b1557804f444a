"""Streams of whole runs: the events of all rounds in order, and what is left if one ends early."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from synth_ai import (
    LM,
    Completed,
    RunCompleted,
    RunEvent,
    SyncToolStream,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    ToolStarted,
    ToolStream,
    content,
)
from synth_ai.errors import NotFoundError, OptionError, RequestError, ToolError, ToolRunError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

WAYS = pytest.mark.parametrize("way", ["async", "sync"])


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def fail() -> str:
    """Fails."""
    raise KeyError("Oslo")


def scripted(*answers: Any, **options: Any) -> tuple[ScriptedVendor, LM]:
    vendor = ScriptedVendor(answers)
    return vendor, LM("any-name", vendor=vendor, **options)


def say_and_call(text: str, *calls: Any) -> list[Any]:
    return [content.assistant_message(text), *calls]


async def read(
    way: str, lm: LM, *prompt: str, **arguments: Any
) -> tuple[list[RunEvent], ToolStream | SyncToolStream]:
    """Read a stream of a run to its end."""
    if way == "async":
        async with lm.stream_tools_async(*prompt, **arguments) as stream:
            return [event async for event in stream], stream

    def read_all() -> tuple[list[RunEvent], SyncToolStream]:
        with lm.stream_tools(*prompt, **arguments) as stream:
            return list(stream), stream

    return await asyncio.to_thread(read_all)


def shapes(events: list[RunEvent]) -> list[str]:
    """The events by name, deltas of one kind that follow each other once."""
    names: list[str] = []
    for event in events:
        name = type(event).__name__
        if name != "TextDelta" or names[-1:] != [name]:
            names.append(name)
    return names


# --- events -----------------------------------------------------------------------------------


@WAYS
async def test_the_events_of_all_rounds(way: str) -> None:
    """Each round ends with its response, tools come between rounds, the run comes last."""
    _, lm = scripted(
        say_and_call("Let me see.", tool_call("get_weather", call_id="call_a", city="Oslo")),
        tool_call("get_weather", call_id="call_b", city="Rome"),
        "Dress lightly.",
        tools=[get_weather],
    )
    events, stream = await read(way, lm, "What should I wear?")
    assert shapes(events) == [
        *("TextDelta", "ToolCallDelta", "Completed", "ToolStarted", "ToolFinished"),
        *("ToolCallDelta", "Completed", "ToolStarted", "ToolFinished"),
        *("TextDelta", "Completed", "RunCompleted"),
    ]
    responses = [event.response for event in events if isinstance(event, Completed)]
    assert stream.run.responses == responses
    assert events[-1] == RunCompleted(stream.run)
    assert (stream.text, stream.run.text) == ("Dress lightly.", "Dress lightly.")
    assert lm.head == stream.run.response.response_id


@WAYS
async def test_what_the_events_of_a_tool_say(way: str) -> None:
    """The call, the arguments as the model wrote them, the round, and what came of it."""
    _, lm = scripted(
        tool_call("get_weather", call_id="call_a", city="Oslo"),
        tool_call("fail", call_id="call_b"),
        "done",
        tools=[get_weather, fail],
    )
    events, stream = await read(way, lm, "Hi")
    started = [event for event in events if isinstance(event, ToolStarted)]
    assert started == [
        ToolStarted("call_a", "get_weather", '{"city": "Oslo"}', round=1),
        ToolStarted("call_b", "fail", "{}", round=2),
    ]
    sunny, failed = [event for event in events if isinstance(event, ToolFinished)]
    assert (sunny.call_id, sunny.name, sunny.arguments) == (
        "call_a",
        "get_weather",
        '{"city": "Oslo"}',
    )
    assert (sunny.output, sunny.error, sunny.round) == ("sunny in Oslo", None, 1)
    assert (failed.output, type(failed.error), failed.round) == (
        "Error: KeyError: 'Oslo'",
        KeyError,
        2,
    )
    assert sunny.seconds > 0
    assert [step.results for step in stream.run.steps] == [(sunny,), (failed,)]


async def test_calls_that_never_reach_a_tool_do_not_start() -> None:
    """An unknown tool, and arguments that do not fit, have a result alone, which took no time."""
    _, lm = scripted(
        [tool_call("nope"), tool_call("get_weather", town="Oslo")], "done", tools=[get_weather]
    )
    events, _ = await read("async", lm, "Hi")
    assert not [event for event in events if isinstance(event, ToolStarted)]
    finished = [event for event in events if isinstance(event, ToolFinished)]
    assert [event.seconds for event in finished] == [0, 0]
    assert all(event.output.startswith("Error: ") for event in finished)


@WAYS
async def test_tools_are_reported_as_they_end(way: str) -> None:
    """The fast one of a round first, while the slow one runs; steps keep the order of calls."""
    seen_fast = threading.Event()

    def slow() -> str:
        assert seen_fast.wait(timeout=10)
        return "slow"

    def fast() -> str:
        return "fast"

    _, lm = scripted([tool_call("slow"), tool_call("fast")], "done", tools=[slow, fast])
    names: list[str] = []

    def note(event: RunEvent) -> None:
        if isinstance(event, ToolFinished):
            names.append(event.name)
            seen_fast.set()

    def read_all() -> SyncToolStream:
        with lm.stream_tools("Hi") as stream:
            for event in stream:
                note(event)
        return stream

    if way == "async":
        async with lm.stream_tools_async("Hi") as async_stream:
            async for event in async_stream:
                note(event)
        run = async_stream.run
    else:
        run = (await asyncio.to_thread(read_all)).run
    assert names == ["fast", "slow"]
    assert [result.name for result in run.steps[0].results] == ["slow", "fast"]


@WAYS
async def test_five_rounds_stream_their_first_text_before_the_second_tool_ends(way: str) -> None:
    """Nothing is held back until a round or the run has ended."""
    has_text = threading.Event()
    runs: list[bool] = []

    def look(n: int) -> str:
        if n == 1:
            runs.append(has_text.wait(timeout=10))
        return str(n)

    answers = [say_and_call(f"Round {n}.", tool_call("look", n=n)) for n in range(5)]
    _, lm = scripted(*answers, "done", tools=[look])

    def note(event: RunEvent) -> None:
        if isinstance(event, TextDelta):
            has_text.set()

    if way == "async":
        async for event in lm.stream_tools_async("Hi"):
            note(event)
    else:

        def read_all() -> None:
            for event in lm.stream_tools("Hi"):
                note(event)

        await asyncio.to_thread(read_all)
    assert runs == [True]


async def test_a_stream_on_gpt_oss() -> None:
    """Deltas of the parser, tools between, and the answer."""
    engine = ScriptedEngine([call_text("get_weather", city="Oslo"), final_text("Dress lightly.")])
    lm = LM("gpt-oss-20b", engine=engine)
    events, stream = await read("async", lm, "Hi", tools=[get_weather])
    assert any(isinstance(event, ToolCallDelta) for event in events)
    assert stream.run.text == "Dress lightly."
    assert stream.run.steps[0].results[0].output == "sunny in Oslo"


@WAYS
async def test_a_run_and_a_stream_do_the_same(way: str) -> None:
    """They are one loop: same requests, same steps."""
    script = [
        [tool_call("get_weather", call_id="call_a", city="Oslo"), tool_call("fail", call_id="b")],
        tool_call("get_weather", call_id="call_c", city="Rome"),
        "done",
    ]
    vendor, lm = scripted(*script, *script, tools=[get_weather, fail])
    run = await lm.run_tools_async("Hi", temperature=0)
    lm.reset()
    _, stream = await read(way, lm, "Hi", temperature=0)
    half = len(vendor.requests) // 2
    for whole, streamed in zip(vendor.requests[:half], vendor.requests[half:], strict=True):
        assert whole.options == streamed.options
        assert whole.input == streamed.input
    outputs = [[result.output for result in step.results] for step in run.steps]
    assert outputs == [[result.output for result in step.results] for step in stream.run.steps]


@WAYS
async def test_a_run_that_is_left_to_the_caller_ends_too(way: str) -> None:
    """Its last event is the run with what is pending."""
    schema = {"type": "function", "name": "ask_user", "parameters": {"type": "object"}}
    _, lm = scripted(
        [tool_call("ask_user", call_id="call_a"), tool_call("get_weather", city="Oslo")],
        tools=[schema, get_weather],
    )
    events, stream = await read(way, lm, "Hi")
    assert isinstance(events[-1], RunCompleted)
    assert [call["id"] for call in stream.run.pending] == ["call_a"]


# --- where mistakes show ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_rounds": 0}, OptionError),
        ({"approve": "yes"}, OptionError),
        ({"temprature": 1}, OptionError),
        ({"timeout": -1}, OptionError),
        ({"max_cost": 1}, OptionError),  # no price
        ({"tools": [5]}, ToolError),
    ],
)
def test_mistakes_are_told_when_the_stream_is_made(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """A web service that has begun to answer cannot take that back."""
    vendor, lm = scripted("done")
    with pytest.raises(error):
        lm.stream_tools_async("Hi", **arguments)
    with pytest.raises(error):
        lm.stream_tools("Hi", **arguments)
    assert vendor.requests == []


@WAYS
async def test_entering_raises_what_the_server_refuses(way: str) -> None:
    """As the stream of a call does."""
    _, lm = scripted(NotFoundError("no such model"), tools=[get_weather])
    entered: list[object] = []

    async def enter_async() -> None:
        async with lm.stream_tools_async("Hi") as stream:
            entered.append(stream)

    def enter() -> None:
        with lm.stream_tools("Hi") as stream:
            entered.append(stream)

    with pytest.raises(NotFoundError, match="no such model"):
        await (enter_async() if way == "async" else asyncio.to_thread(enter))
    assert entered == []


async def test_before_the_end_there_is_no_run() -> None:
    """What was done so far is there all the same."""
    _, lm = scripted(tool_call("get_weather", city="Oslo"), "done", tools=[get_weather])
    async with lm.stream_tools_async("Hi") as stream:
        assert stream.run_so_far is None
        async for event in stream:
            if isinstance(event, ToolFinished):
                break
        with pytest.raises(RequestError, match="has no whole run yet"):
            _ = stream.run
    assert stream.run_so_far is not None
    assert stream.run_so_far.steps[0].results[0].output == "sunny in Oslo"


@WAYS
async def test_an_error_in_the_middle_keeps_the_rounds(way: str) -> None:
    """On the error, and on the stream."""
    _, lm = scripted(
        tool_call("get_weather", city="Oslo"), tool_call("fail"), tools=[get_weather, fail]
    )
    with pytest.raises(ToolRunError, match="'fail' failed") as caught:
        await read(way, lm, "Hi", on_error="raise")
    outputs = [[result.output for result in step.results] for step in caught.value.run.steps]
    assert outputs == [["sunny in Oslo"], ["Error: KeyError: 'Oslo'"]]
    assert caught.value.steps == caught.value.run.steps


# --- left early -------------------------------------------------------------------------------


async def left_early(stream: AsyncIterator[RunEvent], kind: type) -> None:
    async for event in stream:
        if isinstance(event, kind):
            return


@WAYS
async def test_leaving_early_cancels_the_tools(way: str) -> None:
    """The async ones get the time to clean up before the block has ended."""
    begun, cleaned = threading.Event(), threading.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    vendor, lm = scripted(tool_call("hang"), "done", tools=[hang])
    if way == "async":
        async with lm.stream_tools_async("Hi") as stream:
            await left_early(aiter(stream), ToolStarted)
            assert await asyncio.to_thread(begun.wait, 10)
        assert len(asyncio.all_tasks()) == 1
    else:

        def leave() -> None:
            with lm.stream_tools("Hi") as stream:
                for event in stream:
                    if isinstance(event, ToolStarted):
                        assert begun.wait(timeout=10)
                        break

        await asyncio.to_thread(leave)
    assert cleaned.is_set()
    assert len(vendor.requests) == 1


async def test_leaving_early_aborts_the_call() -> None:
    """The engine stops generating in the middle of the second round's answer."""
    engine = ScriptedEngine(
        [call_text("get_weather", city="Oslo"), final_text("A long answer of many words.")]
    )
    lm = LM("gpt-oss-20b", engine=engine)
    async with lm.stream_tools_async("Hi", tools=[get_weather]) as stream:
        await left_early(aiter(stream), TextDelta)
    assert engine.aborted == 1
    assert stream.run_so_far is not None
    assert len(stream.run_so_far.steps) == 1


async def test_a_stream_that_is_forgotten_ends_its_tools() -> None:
    """Nobody refers to it any more, so nobody could."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    _, lm = scripted(tool_call("hang"), "done", tools=[hang])
    stream = lm.stream_tools_async("Hi")
    events = aiter(stream)
    await left_early(events, ToolStarted)
    await begun.wait()
    del stream, events
    async with asyncio.timeout(10):
        await ended.wait()


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_tool_that_exits_leaves_the_shared_loop_alive(kind: str) -> None:
    """sys.exit() in a tool reaches the reader of a sync stream; later sync calls still work."""

    def leave() -> None:
        raise SystemExit(3)

    async def leave_async() -> None:
        raise SystemExit(3)

    name = "leave" if kind == "sync" else "leave_async"
    _, lm = scripted(tool_call(name), tools=[leave, leave_async])
    with pytest.raises(SystemExit, match="3"):
        list(lm.stream_tools("Hi"))
    assert scripted("still here")[1].respond("Hi").text == "still here"


# --- what a run has used ----------------------------------------------------------------------


async def test_usage_and_cost_of_a_run() -> None:
    """The sums over its responses; the cost is None without a price."""
    answers = [tool_call("get_weather", city="Oslo"), "done"]
    _, lm = scripted(
        *answers, tools=[get_weather], prices={"any-name": {"input": 1e6, "output": 0}}
    )
    run = await lm.run_tools_async("Hi")
    used = [response.usage for response in run.responses]
    assert run.usage.input_tokens == sum(usage.input_tokens for usage in used if usage)
    assert run.usage.input_tokens > 0
    assert run.cost == run.usage.input_tokens
    _, unpriced = scripted(*answers, tools=[get_weather])
    run = await unpriced.run_tools_async("Hi")
    assert run.cost is None
    assert len(run.responses) == 2


# --- the end of the loop ------------------------------------------------------------------------

_SCRIPT = """
import asyncio, sys, time
from synth_ai import LM, ToolStarted
from synth_ai.testing import ScriptedVendor, tool_call

async def hang() -> None:
    await asyncio.sleep(100)

def block() -> None:
    time.sleep(100)

def make():
    vendor = ScriptedVendor([[tool_call("hang"), tool_call("block")]])
    return LM("any-name", vendor=vendor, tools=[hang, block])

kept = []

async def read():
    stream = make().stream_tools_async("Hi")
    events = aiter(stream)
    if sys.argv[1] == "kept":
        kept.extend([stream, events])
    async for event in events:
        if isinstance(event, ToolStarted):
            return

async def run():
    kept.append(asyncio.create_task(make().run_tools_async("Hi")))
    await asyncio.sleep(0.1)

if sys.argv[1] == "sync":
    for event in make().stream_tools("Hi"):
        if isinstance(event, ToolStarted):
            break
elif sys.argv[1] == "never read":
    make().stream_tools_async("Hi")
    asyncio.run(asyncio.sleep(0))
else:
    asyncio.run(run() if sys.argv[1] == "run" else read())
print("ended")
"""


@pytest.mark.parametrize("way", ["sync", "dropped", "kept", "run", "never read"])
def test_a_run_in_the_middle_of_its_tools_at_the_end_of_the_program(way: str) -> None:
    """In Python's development mode, where each thing that is left open says so."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _SCRIPT, way],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
