"""`approve=`: what it is asked, what each answer does, and that no other one runs a tool."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import LM, ApprovalRequest, Approve, Defer, Deny, ToolFinished, ToolRun, ToolStarted
from synth_ai.errors import ApprovalError, OptionError, ToolDeniedError, ToolRunError
from synth_ai.testing import ScriptedVendor, tool_call


@dataclass
class Shop:
    """Sells what it is told to, and remembers it."""

    sold: list[tuple[str, int]] = field(default_factory=list)

    def buy(self, what: str, count: int = 1) -> str:
        """Buy something."""
        self.sold.append((what, count))
        return f"bought {count} {what}"


class Order(BaseModel):
    """What somebody buys."""

    what: str


class Ways:
    """One way to run and one kind of hook, so that each test goes through all four."""

    def __init__(self, way: str, kind: str) -> None:
        self.way = way
        self.kind = kind

    def hook(self, decide: Callable[[ApprovalRequest], Any]) -> Callable[[ApprovalRequest], Any]:
        if self.kind == "sync hook":
            return decide

        async def decide_later(request: ApprovalRequest) -> Any:
            await asyncio.sleep(0)
            return decide(request)

        return decide_later

    async def run(
        self, lm: LM, decide: Callable[[ApprovalRequest], Any], **arguments: Any
    ) -> ToolRun:
        hook = self.hook(decide)
        if self.way == "async":
            return await lm.run_tools_async("Hi", approve=hook, **arguments)
        return await asyncio.to_thread(lm.run_tools, "Hi", approve=hook, **arguments)


@pytest.fixture(params=["async", "sync"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync hook", "async hook"])
def ways(way: str, request: pytest.FixtureRequest) -> Ways:
    return Ways(way, str(request.param))


def scripted(shop: Shop, *answers: Any, **options: Any) -> tuple[ScriptedVendor, LM]:
    vendor = ScriptedVendor(answers)
    return vendor, LM("any-name", vendor=vendor, tools=[shop.buy], **options)


def sent(vendor: ScriptedVendor) -> dict[str, str]:
    """The outputs in the last request, by call id."""
    return {item["call_id"]: item["output"] for item in vendor.requests[-1].input}


BUY = [
    tool_call("buy", call_id="call_a", what="tea"),
    tool_call("buy", call_id="call_b", what="milk"),
]


# --- what it is asked -------------------------------------------------------------------------


async def test_what_the_hook_is_asked(ways: Ways) -> None:
    """Each call, with its arguments as the tool would get them, its tool, and the round."""
    requests: list[ApprovalRequest] = []

    def decide(request: ApprovalRequest) -> bool:
        requests.append(request)
        return True

    shop = Shop()
    _, lm = scripted(shop, BUY, tool_call("buy", call_id="call_c", what="jam", count=2), "done")
    run = await ways.run(lm, decide)
    assert run.text == "done"
    assert [(each.call_id, each.name, each.arguments, each.round) for each in requests] == [
        ("call_a", "buy", {"what": "tea"}, 1),
        ("call_b", "buy", {"what": "milk"}, 1),
        ("call_c", "buy", {"what": "jam", "count": 2}, 2),
    ]
    assert requests[0].tool["description"] == "Buy something."
    assert shop.sold == [("tea", 1), ("milk", 1), ("jam", 2)]


async def test_calls_are_asked_one_at_a_time(ways: Ways) -> None:
    """Two questions on one screen would be answered by one key."""
    asked: list[str] = []
    under_way = threading.Lock()

    def decide(request: ApprovalRequest) -> bool:
        assert under_way.acquire(blocking=False)
        threading.Event().wait(0.01)
        asked.append(request.call_id)
        under_way.release()
        return True

    calls = [tool_call("buy", call_id=f"call_{n}", what=str(n)) for n in range(8)]
    _, lm = scripted(Shop(), calls, "done")
    await ways.run(lm, decide)
    assert asked == [f"call_{n}" for n in range(8)]


async def test_a_tool_runs_while_the_next_call_is_asked() -> None:
    """A slow answer to one question does not hold up what is approved already."""
    has_bought = threading.Event()

    def buy(what: str) -> str:
        has_bought.set()
        return what

    def decide(request: ApprovalRequest) -> bool:
        return request.arguments["what"] == "tea" or has_bought.wait(timeout=10)

    vendor = ScriptedVendor([BUY, "done"])
    run = await LM("any-name", vendor=vendor, tools=[buy]).run_tools_async("Hi", approve=decide)
    assert [result.output for result in run.steps[0].results] == ["tea", "milk"]


async def test_a_hook_that_blocks_leaves_the_loop_free() -> None:
    """It waits for something that only the loop can do."""
    loop, free = asyncio.get_running_loop(), threading.Event()

    def decide(request: ApprovalRequest) -> bool:
        loop.call_soon_threadsafe(free.set)
        return free.wait(timeout=10)

    shop = Shop()
    _, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    await lm.run_tools_async("Hi", approve=decide)
    assert shop.sold == [("tea", 1)]


async def test_what_never_reaches_a_tool_is_not_asked(ways: Ways) -> None:
    """An unknown tool, and arguments that do not fit."""
    requests: list[ApprovalRequest] = []
    shop = Shop()
    _, lm = scripted(shop, [tool_call("nope"), tool_call("buy", count=1)], "done")
    await ways.run(lm, requests.append)
    assert (requests, shop.sold) == ([], [])


async def test_a_hook_that_changes_the_request_changes_nothing(ways: Ways) -> None:
    """What it was asked is what runs."""

    def decide(request: ApprovalRequest) -> bool:
        request.arguments["what"] = "gold"
        request.tool["name"] = "sell"
        return True

    shop = Shop()
    vendor, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    run = await ways.run(lm, decide)
    assert shop.sold == [("tea", 1)]
    assert run.steps[0].results[0].arguments == '{"what": "tea"}'
    assert vendor.requests[-1].tools[0]["name"] == "buy"


# --- what it may answer -----------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, Approve()])
async def test_approved(ways: Ways, answer: object) -> None:
    """The tool runs as if there were no hook."""
    shop = Shop()
    vendor, lm = scripted(shop, tool_call("buy", call_id="call_a", what="tea"), "done")
    await ways.run(lm, lambda request: answer)
    assert sent(vendor) == {"call_a": "bought 1 tea"}


async def test_approved_with_other_arguments(ways: Ways) -> None:
    """They take the place of the model's for the tool, in the result, and in the events."""
    shop = Shop()
    vendor, lm = scripted(shop, tool_call("buy", call_id="call_a", what="tea", count=9), "done")
    run = await ways.run(lm, lambda request: Approve({**request.arguments, "count": 2}))
    assert shop.sold == [("tea", 2)]
    assert run.steps[0].results[0].arguments == '{"what": "tea", "count": 2}'
    assert sent(vendor) == {"call_a": "bought 2 tea"}


async def test_other_arguments_as_json(ways: Ways) -> None:
    """A text is read as the model's is."""
    shop = Shop()
    _, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    await ways.run(lm, lambda request: Approve('{"what": "milk"}'))
    assert shop.sold == [("milk", 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"what": 5}, "what: Input should be a valid string"),
        ({"thing": "tea"}, "what: Field required"),
        ("not json", "arguments do not fit"),
        (["tea"], "arguments do not fit"),
        (5, "arguments do not fit"),
        ({"what": object()}, "TypeError"),
    ],
)
async def test_other_arguments_that_do_not_fit(ways: Ways, arguments: Any, message: str) -> None:
    """The hook is at fault, and not the model: it is an error, and the tool does not run."""
    shop = Shop()
    vendor, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    with pytest.raises(ApprovalError, match=message):
        await ways.run(lm, lambda request: Approve(arguments))
    assert shop.sold == []
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Deny("Not on a Sunday."), "Not on a Sunday."),
        (Deny(), "This call was not allowed."),
        (False, "This call was not allowed."),
    ],
)
async def test_denied(ways: Ways, answer: object, told: str) -> None:
    """The model is told why, and goes on; the other calls of the turn run."""
    shop = Shop()
    vendor, lm = scripted(shop, BUY, "done")
    run = await ways.run(lm, lambda request: answer if request.call_id == "call_a" else True)
    assert sent(vendor) == {"call_a": told, "call_b": "bought 1 milk"}
    assert shop.sold == [("milk", 1)]
    assert (run.text, run.pending) == ("done", [])
    denied, bought = run.steps[0].results
    assert (type(denied.error), str(denied.error)) == (ToolDeniedError, told)
    assert bought.error is None


async def test_a_denial_is_no_failure_of_a_tool(ways: Ways) -> None:
    """on_error="raise" is about tools."""
    _, lm = scripted(Shop(), tool_call("buy", what="tea"), "done")
    run = await ways.run(lm, lambda request: Deny("No."), on_error="raise")
    assert run.text == "done"


async def test_deferred(ways: Ways) -> None:
    """The round ends, the call is pending, and the caller answers it whenever it is decided."""
    shop = Shop()
    vendor, lm = scripted(shop, BUY, "done")
    run = await ways.run(lm, lambda request: request.call_id == "call_b" or Defer())
    assert [call["id"] for call in run.pending] == ["call_a"]
    assert run.outputs == {"call_b": "bought 1 milk"}
    assert shop.sold == [("milk", 1)]
    answer = await lm.respond_async(tool_outputs={**run.outputs, "call_a": "bought by hand"})
    assert answer.text == "done"
    assert sent(vendor) == {"call_b": "bought 1 milk", "call_a": "bought by hand"}


async def test_all_deferred(ways: Ways) -> None:
    """Nothing was answered, so the turn is no round yet."""
    steps: list[object] = []
    _, lm = scripted(Shop(), BUY)
    run = await ways.run(lm, lambda request: Defer(), on_step=steps.append)
    assert [call["id"] for call in run.pending] == ["call_a", "call_b"]
    assert (run.steps, run.outputs, steps) == ((), {}, [])


async def test_the_events_of_denied_and_deferred_calls() -> None:
    """A denied call has its result alone; of a deferred one nothing happened."""
    answers = {"call_a": Deny("No."), "call_b": Defer()}
    _, lm = scripted(Shop(), BUY)
    stream = lm.stream_tools_async("Hi", approve=lambda request: answers[request.call_id])
    events = [event async for event in stream]
    assert not [event for event in events if isinstance(event, ToolStarted)]
    (finished,) = [event for event in events if isinstance(event, ToolFinished)]
    assert (finished.call_id, finished.output, finished.seconds) == ("call_a", "No.", 0)
    assert [call["id"] for call in stream.run.pending] == ["call_b"]


# --- what never runs a tool -------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, 1, "yes", Approve, Deny, Defer, [True], {}, "", 0])
async def test_any_other_answer_is_an_error(ways: Ways, answer: object) -> None:
    """Most of all None, which a function returns that forgot to decide."""
    shop = Shop()
    vendor, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    with pytest.raises(ApprovalError, match="It may return True, Approve") as caught:
        await ways.run(lm, lambda request: answer)
    assert repr(answer) in str(caught.value)
    assert shop.sold == []
    assert len(vendor.requests) == 1


async def test_a_hook_that_raises(ways: Ways) -> None:
    """The tools that were approved before it end first; nothing is asked or run after it."""
    asked: list[str] = []

    def decide(request: ApprovalRequest) -> bool:
        asked.append(request.call_id)
        if request.call_id == "call_b":
            raise KeyError("who?")
        return True

    shop = Shop()
    vendor, lm = scripted(
        shop,
        tool_call("buy", call_id="call_0", what="salt"),
        [*BUY, tool_call("buy", call_id="call_c", what="jam")],
        "done",
    )
    with pytest.raises(ApprovalError, match="approve= failed on the call of 'buy'") as caught:
        await ways.run(lm, decide)
    assert isinstance(caught.value, ToolRunError)
    assert isinstance(caught.value.__cause__, KeyError)
    assert asked == ["call_0", "call_a", "call_b"]
    assert shop.sold == [("salt", 1), ("tea", 1)]
    run = caught.value.run
    assert [[result.call_id for result in step.results] for step in run.steps] == [
        ["call_0"],
        ["call_a"],
    ]
    assert [call["id"] for call in run.pending] == ["call_b", "call_c"]
    assert caught.value.response is run.response
    assert len(vendor.requests) == 2

    answer = await lm.respond_async(
        tool_outputs={**run.outputs, "call_b": "no", "call_c": "no"},
        previous_response_id=run.response.response_id,
    )
    assert answer.text == "done"


async def test_a_slow_tool_ends_before_the_error_comes() -> None:
    """It was approved and has begun, so its result is not thrown away."""
    asked = asyncio.Event()

    async def buy(what: str) -> str:
        await asked.wait()
        return what

    async def decide(request: ApprovalRequest) -> bool:
        if request.call_id == "call_b":
            asyncio.get_running_loop().call_later(0.02, asked.set)
            raise RuntimeError("out of order")
        return True

    vendor = ScriptedVendor([BUY])
    with pytest.raises(ApprovalError, match="RuntimeError: out of order") as caught:
        await LM("any-name", vendor=vendor, tools=[buy]).run_tools_async("Hi", approve=decide)
    assert caught.value.run.outputs == {"call_a": "tea"}


async def test_a_hook_whose_own_wait_is_cancelled(way: str) -> None:
    """That is its failure, and not the end of the run by its caller."""

    async def decide(request: ApprovalRequest) -> bool:
        nothing = asyncio.ensure_future(asyncio.sleep(60))
        nothing.cancel()
        await nothing
        return True

    shop = Shop()
    _, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    with pytest.raises(ApprovalError, match="CancelledError"):
        await Ways(way, "sync hook").run(lm, decide)
    assert shop.sold == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_ends_a_program_passes_through_a_hook(
    error: type[BaseException], ways: Ways
) -> None:
    """It is no answer, so nothing runs."""

    def decide(request: ApprovalRequest) -> bool:
        raise error

    shop = Shop()
    _, lm = scripted(shop, tool_call("buy", what="tea"), "done")
    with pytest.raises(error):
        await ways.run(lm, decide)
    assert shop.sold == []


@pytest.mark.parametrize("hook", ["yes", True, 5, {}])
async def test_a_hook_that_cannot_be_called(hook: Any) -> None:
    """It is named before the model is asked anything."""
    vendor, lm = scripted(Shop(), "done")
    with pytest.raises(OptionError, match=r"approve=.* cannot be called"):
        await lm.run_tools_async("Hi", approve=hook)
    assert vendor.requests == []


def test_a_reason_that_is_no_text() -> None:
    """The model is told it, so it must be one."""
    with pytest.raises(OptionError, match="must be a string, not 5"):
        Deny(5)  # type: ignore[arg-type]


async def test_cancelled_while_the_hook_thinks() -> None:
    """Nothing runs, and the hook is cancelled too."""
    cancelled = asyncio.Event()
    asked = asyncio.Event()

    async def decide(request: ApprovalRequest) -> bool:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    shop = Shop()
    _, lm = scripted(shop, BUY, "done")
    task = asyncio.create_task(lm.run_tools_async("Hi", approve=decide))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert cancelled.is_set()
    assert shop.sold == []
    assert caught.value.run.response.tool_calls  # type: ignore[attr-defined]


async def test_a_hook_sees_checked_arguments() -> None:
    """Only what fits the tool's types is asked about, JSON as the model wrote it."""

    taken: list[Order] = []

    def order(order: Order) -> str:
        taken.append(order)
        return "ok"

    requests: list[ApprovalRequest] = []

    def decide(request: ApprovalRequest) -> Approve:
        requests.append(request)
        return Approve({"order": {"what": "milk"}})

    vendor = ScriptedVendor([tool_call("order", order={"what": "tea"}), "done"])
    await LM("any-name", vendor=vendor, tools=[order]).run_tools_async("Hi", approve=decide)
    assert requests[0].arguments == {"order": {"what": "tea"}}
    assert taken == [Order(what="milk")]
