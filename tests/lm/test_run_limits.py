"""What bounds a whole run, its time and its cost, and what is left of one that ended early."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

import pytest

from synth_ai import LM, RunCompleted, Timeout, ToolRun, ToolStep
from synth_ai.errors import (
    OptionError,
    OverloadedError,
    SpendingCapError,
    StructuredOutputError,
    SynthAIError,
    TimedOutError,
    ToolRunError,
)
from synth_ai.lm.request import LMRequest
from synth_ai.response import BaseLMResponse
from synth_ai.testing import ScriptedVendor, tool_call

#: One dollar a token of the prompt, of which a scripted call has one for each item.
PRICES = {"any-name": {"input": 1e6, "output": 0}}

WAYS = pytest.mark.parametrize("way", ["async", "sync", "async stream", "sync stream"])


def look(city: str) -> str:
    """Looks."""
    return f"seen {city}"


async def hang() -> None:
    """Never ends."""
    await asyncio.Event().wait()


def scripted(*answers: Any, **options: Any) -> tuple[ScriptedVendor, LM]:
    vendor = ScriptedVendor(answers, remembers=False)
    return vendor, LM("any-name", vendor=vendor, tools=[look, hang], **options)


async def run(way: str, lm: LM, *prompt: str, **arguments: Any) -> ToolRun:
    """Run, in any of the four ways."""

    def run_stream() -> ToolRun:
        with lm.stream_tools(*prompt, **arguments) as stream:
            for _ in stream:
                pass
        return stream.run

    if way == "async":
        return await lm.run_tools_async(*prompt, **arguments)
    if way == "sync":
        return await asyncio.to_thread(lm.run_tools, *prompt, **arguments)
    if way == "sync stream":
        return await asyncio.to_thread(run_stream)

    async with lm.stream_tools_async(*prompt, **arguments) as stream:
        async for _ in stream:
            pass
    return stream.run


# --- time -------------------------------------------------------------------------------------


@WAYS
async def test_the_time_of_a_run_ends_it_in_a_tool(way: str) -> None:
    """The error says in which round, and has the rounds before it."""
    _, lm = scripted(tool_call("look", city="Oslo"), tool_call("hang", call_id="call_b"), "done")
    with pytest.raises(TimedOutError, match=r"\(1 s\), in round 2, while hang ran") as caught:
        await run(way, lm, "Hi", timeout=1)
    error = caught.value
    assert [step.results[0].output for step in error.run.steps] == ["seen Oslo"]
    assert [call["id"] for call in error.run.pending] == ["call_b"]
    assert lm.head == error.run.response.response_id


@WAYS
async def test_the_time_of_a_run_ends_it_in_a_call(way: str) -> None:
    """Though the call itself would have as long as it takes."""

    async def think(request: LMRequest) -> str:
        await asyncio.Event().wait()
        return "never"

    _, lm = scripted(tool_call("look", city="Oslo"), think)
    with pytest.raises(TimedOutError, match="in round 2, while the model was asked") as caught:
        await run(way, lm, "Hi", timeout=1)
    assert len(caught.value.run.steps) == 1


@WAYS
async def test_hooks_are_part_of_the_time(way: str) -> None:
    """A run ends in time whoever holds it up."""

    async def wait(step: ToolStep) -> None:
        await asyncio.Event().wait()

    _, lm = scripted(tool_call("look", city="Oslo"), "done")
    with pytest.raises(TimedOutError, match="in round 1, while on_step= ran") as caught:
        await run(way, lm, "Hi", timeout=1, on_step=wait)
    assert len(caught.value.run.steps) == 1


async def test_before_the_first_response_there_is_no_run() -> None:
    """There is nothing to keep."""
    _, lm = scripted(OverloadedError("busy"), retry=False)
    with pytest.raises(OverloadedError) as caught:
        await lm.run_tools_async("Hi")
    assert caught.value.run is None


async def test_the_reader_of_a_stream_has_the_time_it_takes() -> None:
    """Only what the run itself takes is counted."""
    _, lm = scripted(tool_call("look", city="Oslo"), "done")
    async with lm.stream_tools_async("Hi", timeout=2) as stream:
        async for _ in stream:
            await asyncio.sleep(0.5)
    assert stream.run.text == "done"


@pytest.mark.parametrize(
    ("given", "of_the_lm", "of_calls"),
    [
        ({}, None, Timeout()),
        ({"timeout": None}, 7, Timeout(7)),
        ({"timeout": 60}, None, Timeout()),
        ({"timeout": 60}, 7, Timeout(7)),
        ({"timeout": 60}, Timeout(7, connect=2), Timeout(7, connect=2)),
        ({"timeout": Timeout(60, first_byte=5)}, None, Timeout(first_byte=5)),
        (
            {"timeout": Timeout(60, first_byte=5)},
            Timeout(7, connect=2, first_byte=6),
            Timeout(7, connect=2, first_byte=5),
        ),
    ],
)
async def test_the_times_of_the_calls(
    given: dict[str, Any], of_the_lm: Any, of_calls: Timeout
) -> None:
    """A number is the run's alone; the other times of a `Timeout` are those of each call."""
    vendor, lm = scripted(tool_call("look", city="Oslo"), "done", timeout=of_the_lm)
    await lm.run_tools_async("Hi", **given)
    assert [request.timeout for request in vendor.requests] == [of_calls, of_calls]


async def test_the_lm_s_own_time_bounds_each_call() -> None:
    """A run may take longer than one of its calls."""

    async def think(request: LMRequest) -> str:
        await asyncio.Event().wait()
        return "never"

    _, lm = scripted(tool_call("look", city="Oslo"), think, timeout=1)
    with pytest.raises(TimedOutError, match=r"The call was given up.*\(1 s\)") as caught:
        await lm.run_tools_async("Hi", timeout=60)
    assert len(caught.value.run.steps) == 1


@pytest.mark.parametrize("timeout", [0, -1, "5", True, float("nan")])
async def test_a_time_that_makes_no_sense(timeout: Any) -> None:
    """It is named before the model is asked anything."""
    vendor, lm = scripted("done")
    with pytest.raises(OptionError, match="must be a number of seconds above 0"):
        await lm.run_tools_async("Hi", timeout=timeout)
    assert vendor.requests == []


# --- cost -------------------------------------------------------------------------------------

CALLS = [tool_call("look", call_id=f"call_{n}", city=str(n)) for n in range(5)]


@WAYS
async def test_the_cost_of_a_run_ends_it(way: str) -> None:
    """After the round that reaches it the model is not asked again."""
    # A call of the first round has one item, and each round adds two.
    vendor, lm = scripted(*CALLS, "done", prices=PRICES)
    with pytest.raises(SpendingCapError, match=r"have cost \$4, and max_cost=4") as caught:
        await run(way, lm, "Hi", max_cost=4)
    error = caught.value
    assert (error.max_cost, error.cost, error.run.cost) == (4, 4, 4)
    assert len(vendor.requests) == len(error.run.responses) == 2
    assert error.run.outputs == {"call_1": "seen 1"}

    answer = await lm.respond_async(tool_outputs=error.run.outputs)
    assert answer.previous_response_id == error.run.response.response_id


async def test_a_run_that_ends_before_its_cap() -> None:
    """The last call may reach it: nothing comes after."""
    _, lm = scripted(CALLS[0], "done", prices=PRICES)
    run = await lm.run_tools_async("Hi", max_cost=4)
    assert (run.text, run.cost) == ("done", 4)


async def test_a_cap_of_nothing_buys_nothing() -> None:
    """As the cap of an LM does."""
    vendor, lm = scripted("done", prices=PRICES)
    with pytest.raises(SpendingCapError) as caught:
        await lm.run_tools_async("Hi", max_cost=0)
    assert caught.value.run is None
    assert vendor.requests == []


async def test_a_cap_without_a_price() -> None:
    """It could not be kept, so nothing is sent."""
    vendor, lm = scripted("done")
    with pytest.raises(OptionError, match="max_cost= needs the price of 'any-name'"):
        await lm.run_tools_async("Hi", max_cost=1)
    assert vendor.requests == []


async def test_tries_that_did_not_fit_count() -> None:
    """A call that asks again costs what all its answers cost; the cap holds between them, too."""
    vendor, lm = scripted(CALLS[0], "no number", "no number", "5", prices=PRICES)
    with pytest.raises(SpendingCapError) as caught:
        await lm.run_tools_async("Hi", max_cost=8, response_model=int, reask=5)
    assert len(vendor.requests) == 3
    assert caught.value.cost == sum(
        request_items for request_items in (len(each.items()) for each in vendor.requests)
    )
    assert lm.totals.calls == 3


async def test_a_cap_where_the_usage_is_not_told() -> None:
    """What the first call cost is not known, so no second one is made."""
    silent = BaseLMResponse.of_output([CALLS[0]])
    vendor, lm = scripted(silent, "done", prices=PRICES)
    with pytest.raises(SpendingCapError, match="did not say how many tokens") as caught:
        await lm.run_tools_async("Hi", max_cost=100)
    assert len(vendor.requests) == len(caught.value.run.steps) == 1


@pytest.mark.parametrize("max_cost", [-1, -0.01, "5", True, float("nan"), [1]])
async def test_a_cap_that_makes_no_sense(max_cost: Any) -> None:
    """It is named before the model is asked anything."""
    vendor, lm = scripted("done", prices=PRICES)
    with pytest.raises(OptionError, match="max_cost must be a number of US dollars"):
        await lm.run_tools_async("Hi", max_cost=max_cost)
    assert vendor.requests == []


async def test_the_cap_of_the_lm_ends_a_run_too() -> None:
    """It is shared by all calls; the error has the run."""
    _, lm = scripted(*CALLS, "done", prices=PRICES, max_cost=4)
    with pytest.raises(SpendingCapError) as caught:
        await lm.run_tools_async("Hi")
    assert len(caught.value.run.steps) == 2


# --- what is left of a run that ended early -----------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    ("answer", "arguments", "error"),
    [
        (OverloadedError("busy"), {}, OverloadedError),
        (tool_call("look", city="Rome"), {"max_rounds": 1}, ToolRunError),
        (tool_call("look", town="Rome"), {"on_error": "raise"}, ToolRunError),
        ("no number", {"response_model": int}, StructuredOutputError),
    ],
)
async def test_an_error_has_the_run(
    way: str, answer: Any, arguments: dict[str, Any], error: type[SynthAIError]
) -> None:
    """Whatever it is, the finished rounds are on it."""
    _, lm = scripted(tool_call("look", city="Oslo"), answer, retry=False)
    with pytest.raises(error) as caught:
        await run(way, lm, "Hi", **arguments)
    assert caught.value.run.steps[0].results[0].output == "seen Oslo"


async def test_an_error_of_the_user_s_hook_has_the_run() -> None:
    """Any exception can carry it."""

    def stop(step: ToolStep) -> None:
        raise KeyError("enough")

    _, lm = scripted(tool_call("look", city="Oslo"))
    with pytest.raises(KeyError) as caught:
        await lm.run_tools_async("Hi", on_step=stop)
    assert len(caught.value.run.steps) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["run", "stream"])
async def test_cancelled(way: str) -> None:
    """The finished rounds, and the results of the round under way, are on the error."""
    ended = asyncio.Event()

    async def quick() -> str:
        asyncio.get_running_loop().call_soon(ended.set)
        return "quick"

    vendor = ScriptedVendor(
        [
            tool_call("look", city="Oslo"),
            [tool_call("hang", call_id="call_b"), tool_call("quick", call_id="call_c")],
        ]
    )
    lm = LM("any-name", vendor=vendor, tools=[look, hang, quick])

    async def read() -> None:
        async for event in lm.stream_tools_async("Hi"):
            assert not isinstance(event, RunCompleted)

    task = asyncio.create_task(lm.run_tools_async("Hi") if way == "run" else read())  # type: ignore[arg-type]
    await ended.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    left: ToolRun = caught.value.run  # type: ignore[attr-defined]
    assert [[result.output for result in step.results] for step in left.steps] == [
        ["seen Oslo"],
        ["quick"],
    ]
    assert [call["id"] for call in left.pending] == ["call_b"]
    vendor.add("done")
    answer = await lm.respond_async(tool_outputs={**left.outputs, "call_b": "given up"})
    assert answer.text == "done"


@pytest.mark.parametrize("way", ["run", "stream"])
def test_ctrl_c(way: str) -> None:
    """The finished rounds are on the KeyboardInterrupt of a sync run, and on a stream itself."""
    hanging = threading.Event()

    async def wait() -> None:
        hanging.set()
        await asyncio.Event().wait()

    vendor = ScriptedVendor([tool_call("look", city="Oslo"), tool_call("wait")])
    lm = LM("any-name", vendor=vendor, tools=[look, wait])

    main = threading.get_ident()

    def interrupt() -> None:
        hanging.wait(timeout=10)
        time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    stream = lm.stream_tools("Hi")
    thread = threading.Thread(target=interrupt)
    # What is started in the background may ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            lm.run_tools("Hi") if way == "run" else list(stream)
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    left = caught.value.run if way == "run" else stream.run_so_far  # type: ignore[attr-defined]
    assert [result.output for result in left.steps[0].results] == ["seen Oslo"]
    assert left.response.tool_calls
    assert lm.head == left.response.response_id


async def test_a_time_limit_around_a_run() -> None:
    """asyncio.timeout makes a TimeoutError of the CancelledError, which is its cause."""
    _, lm = scripted(tool_call("look", city="Oslo"), tool_call("hang"))
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1):
            await lm.run_tools_async("Hi")
    left: ToolRun = caught.value.__cause__.run  # type: ignore[union-attr]
    assert [result.output for result in left.steps[0].results] == ["seen Oslo"]
