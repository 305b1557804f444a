"""Runs of tools: rounds, failures, parallel calls, and which calls are left to the caller."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import LM, BaseTool, ToolRun, harmony
from synth_ai.errors import OptionError, ToolError, ToolRunError, UnknownResponseError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

SCHEMA = {
    "type": "function",
    "name": "ask_user",
    "parameters": {"type": "object", "properties": {}},
}

user: ContextVar[str] = ContextVar("user")


def get_weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    return f"sunny in {city} for {days}"


async def get_time(city: str) -> str:
    """The time in a city."""
    return f"noon in {city}"


def fail(city: str) -> str:
    """Fails."""
    raise KeyError(city)


def scripted(*answers: Any, **options: Any) -> tuple[ScriptedVendor, LM]:
    vendor = ScriptedVendor(answers)
    return vendor, LM("any-name", vendor=vendor, **options)


def sent(vendor: ScriptedVendor) -> dict[str, str]:
    """The outputs in the last request, by call id."""
    return {item["call_id"]: item["output"] for item in vendor.requests[-1].input}


WAYS = pytest.mark.parametrize("way", ["async", "sync"])


async def run(way: str, lm: LM, *prompt: str, **arguments: Any) -> ToolRun:
    if way == "async":
        return await lm.run_tools_async(*prompt, **arguments)
    return await asyncio.to_thread(lm.run_tools, *prompt, **arguments)


# --- rounds -----------------------------------------------------------------------------------


@WAYS
async def test_rounds_until_the_answer(way: str) -> None:
    """Outputs go back under their call ids, in order, and every round is in the steps."""
    vendor, lm = scripted(
        [
            tool_call("get_weather", call_id="call_a", city="Oslo"),
            tool_call("get_time", call_id="call_b", city="Oslo"),
        ],
        tool_call("get_weather", call_id="call_c", city="Rome", days=2),
        "Dress lightly.",
    )
    done = await run(way, lm, "What should I wear?", tools=[get_weather, get_time])
    assert done.text == "Dress lightly."
    assert [[result.output for result in step.results] for step in done.steps] == [
        ["sunny in Oslo for 1", "noon in Oslo"],
        ["sunny in Rome for 2"],
    ]
    assert [result.arguments for result in done.steps[1].results] == ['{"city": "Rome", "days": 2}']
    assert sent(vendor) == {"call_c": "sunny in Rome for 2"}
    assert [request.previous_response_id for request in vendor.requests[1:]] == [
        step.response.response_id for step in done.steps
    ]
    assert (done.pending, done.outputs) == ([], {})
    vendor.assert_exhausted()


@WAYS
async def test_a_run_on_gpt_oss(way: str) -> None:
    """The rendered prompt has the tool's output where the model looks for it."""
    engine = ScriptedEngine([call_text("get_weather", city="Oslo"), final_text("Dress lightly.")])
    lm = LM("gpt-oss-20b", engine=engine)
    done = await run(way, lm, "What should I wear?", tools=[get_weather])
    assert done.text == "Dress lightly."
    assert "functions.get_weather to=assistant<|channel|>commentary<|message|>" in harmony.decode(
        engine.prompts[-1]
    )
    assert "sunny in Oslo for 1" in harmony.decode(engine.prompts[-1])


@WAYS
async def test_the_rounds_are_bounded(way: str) -> None:
    """A model that never stops calling is an error; the rounds and the response are on it."""
    vendor, lm = scripted(
        *(tool_call("get_weather", city="Oslo") for _ in range(3)), tools=[get_weather]
    )
    with pytest.raises(
        ToolRunError, match="still calls tools after 2 rounds; max_rounds= allows more"
    ) as caught:
        await run(way, lm, "Hi", max_rounds=2)
    assert [len(step.results) for step in caught.value.steps] == [1, 1]
    assert caught.value.response.tool_calls
    vendor.assert_exhausted()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_rounds": "3"}, "max_rounds='3'"),
        ({"max_rounds": 0}, "max_rounds=0"),
        ({"max_rounds": True}, "max_rounds=True"),
        ({"max_rounds": None}, "max_rounds=None"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"on_step": "print"}, "on_step='print'"),
    ],
)
async def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """They are named before the model is asked anything."""
    vendor, lm = scripted()
    with pytest.raises(OptionError, match=message):
        await lm.run_tools_async("Hi", **options)
    assert not vendor.requests


@pytest.mark.parametrize(
    ("name", "meant"),
    [("max_round", "max_rounds"), ("aprove", "approve"), ("on_steps", "on_step")],
)
async def test_a_misspelt_argument_of_a_run(name: str, meant: str) -> None:
    """The nearest one of a run is named, and not an option of the API."""
    _, lm = scripted()
    misspelt: dict[str, Any] = {name: None}
    with pytest.raises(OptionError, match=f"{name}= is not an argument of a run. .*'{meant}'"):
        await lm.run_tools_async("Hi", **misspelt)
    with pytest.raises(OptionError, match=r"temprature= .*'temperature'"):
        await lm.run_tools_async("Hi", temprature=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["approve", "on_step", "on_error", "max_rounds", "max_cost"])
async def test_an_argument_of_a_run_given_to_a_call(name: str) -> None:
    """It is said where it belongs."""
    _, lm = scripted()
    misplaced: dict[str, Any] = {name: None}
    with pytest.raises(OptionError, match=r"run_tools\(\) and stream_tools\(\)"):
        await lm.respond_async("Hi", **misplaced)


@WAYS
async def test_on_step_of_both_kinds(way: str) -> None:
    """It is called with each round as it ends; an async one is awaited before the next round."""
    seen: list[tuple[int, int]] = []
    vendor, lm = scripted(*[tool_call("get_weather", city="Oslo"), "done"] * 2, tools=[get_weather])

    async def later(step: Any) -> None:
        await asyncio.sleep(0)
        seen.append((len(step.results), len(vendor.requests)))

    await run(
        way, lm, "Hi", on_step=lambda step: seen.append((len(step.results), len(vendor.requests)))
    )
    await run(way, lm, "Hi", on_step=later)
    assert seen == [(1, 1), (1, 3)]


# --- tool_choice ------------------------------------------------------------------------------

ALLOWED = {
    "type": "allowed_tools",
    "mode": "required",
    "tools": [{"type": "function", "name": "get_weather"}],
}
ALLOWED_CHAT = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("required", None),
        ("get_weather", None),
        ({"type": "function", "name": "get_weather"}, None),
        ("none", "none"),
        ("auto", "auto"),
        (ALLOWED, {**ALLOWED, "mode": "auto"}),
        (ALLOWED_CHAT, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
    ],
)
@pytest.mark.parametrize("of_the_lm", [True, False])
async def test_a_forced_call_is_forced_once(first: Any, then: Any, of_the_lm: bool) -> None:
    """A forced call holds for the first turn, or the model could never answer; others stay."""
    vendor, lm = scripted(
        tool_call("get_weather", city="Oslo"),
        "done",
        tools=[get_weather],
        **({"tool_choice": first} if of_the_lm else {}),
    )
    done = await lm.run_tools_async("Hi", **({} if of_the_lm else {"tool_choice": first}))
    assert done.text == "done"
    assert [request.options.get("tool_choice") for request in vendor.requests] == [first, then]


async def test_a_forced_call_is_forced_once_on_gpt_oss() -> None:
    """The header that begins the forced call is in the first prompt alone."""
    start = (
        "<|start|>assistant<|channel|>commentary to=functions.get_weather "
        "<|constrain|>json<|message|>"
    )
    engine = ScriptedEngine(['{"city": "Oslo"}<|call|>', final_text("done")])
    done = await LM("gpt-oss-20b", engine=engine).run_tools_async(
        "Hi", tools=[get_weather], tool_choice="get_weather"
    )
    assert done.text == "done"
    assert [harmony.decode(prompt).endswith(start) for prompt in engine.prompts] == [True, False]


# --- what goes wrong --------------------------------------------------------------------------


@WAYS
async def test_a_failure_goes_back_to_the_model(way: str) -> None:
    """The model reads the error's class and message; the error itself is in the step."""
    vendor, lm = scripted(
        [
            tool_call("fail", call_id="call_a", city="Oslo"),
            tool_call("get_weather", call_id="call_b", city="Oslo"),
        ],
        "Sorry.",
        tools=[fail, get_weather],
    )
    done = await run(way, lm, "Hi")
    assert sent(vendor) == {"call_a": "Error: KeyError: 'Oslo'", "call_b": "sunny in Oslo for 1"}
    assert [type(result.error) for result in done.steps[0].results] == [KeyError, type(None)]


@WAYS
async def test_a_failure_ends_the_run_by_choice(way: str) -> None:
    """The other calls of the turn have ended by then; the error has the response and steps."""
    steps: list[Any] = []
    vendor, lm = scripted(
        tool_call("get_weather", city="Oslo"),
        [tool_call("fail", city="Oslo"), tool_call("get_weather", city="Rome")],
        tools=[fail, get_weather],
    )
    with pytest.raises(
        ToolRunError, match=r"'fail' failed on .*Oslo.*: KeyError: 'Oslo'"
    ) as caught:
        await run(way, lm, "Hi", on_error="raise", on_step=steps.append)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.steps == tuple(steps)
    assert [result.output for result in caught.value.steps[1].results][1] == "sunny in Rome for 1"
    assert caught.value.response is caught.value.steps[1].response
    vendor.assert_exhausted()


BAD_ARGUMENTS = [
    ('{"city": 5}', "the arguments do not fit: city: Input should be a valid string"),
    ("{}", "the arguments do not fit: city: Field required"),
    (
        '{"city": "Oslo", "country": "Norway"}',
        "the arguments do not fit: country: Extra inputs are not permitted",
    ),
    ('{"city": ', "the arguments do not fit: Expecting value"),
    ('["Oslo"]', "the arguments do not fit: .*valid dictionary"),
    ("[" * 100_000, "RecursionError"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=range(len(BAD_ARGUMENTS)))
async def test_bad_arguments(arguments: str, message: str) -> None:
    """They reach the model as an error and the tool not at all, or end the run by choice."""
    called: list[str] = []

    def look(city: str) -> None:
        called.append(city)

    call = {**tool_call("look"), "arguments": arguments}
    vendor, lm = scripted(call, "Sorry.", call, tools=[look])
    await lm.run_tools_async("Hi")
    (told,) = sent(vendor).values()
    assert told.startswith("Error: ")
    with pytest.raises(ToolRunError, match=message):
        await lm.run_tools_async("Hi", on_error="raise")
    assert not called


async def test_what_a_tool_finds_not_to_fit_is_its_own_error() -> None:
    """A ValidationError out of the tool's work is not blamed on the arguments."""

    class Row(BaseModel):
        n: int

    def read(path: str) -> object:
        return Row.model_validate({"n": path})

    vendor, lm = scripted(tool_call("read", path="x"), "Sorry.", tools=[read])
    await lm.run_tools_async("Hi")
    (told,) = sent(vendor).values()
    assert told.startswith("Error: ValidationError: 1 validation error for Row")


def test_stop_iteration_out_of_a_tool() -> None:
    """A future cannot hold it, so it comes as an error that one can."""

    def first(city: str) -> str:
        return next(iter(()))

    vendor, lm = scripted(tool_call("first", city="x"), "Sorry.", tools=[first])
    done = lm.run_tools("Hi")
    (told,) = sent(vendor).values()
    assert told == "Error: RuntimeError: the tool raised StopIteration"
    assert done.steps[0].results[0].error is not None


@WAYS
async def test_a_tool_that_there_is_not(way: str) -> None:
    """The model is told which there are, the nearest first; the valid calls of the turn are run."""
    vendor, lm = scripted(
        [
            tool_call("get_wether", call_id="call_a", city="Oslo"),
            tool_call("get_weather", call_id="call_b", city="Oslo"),
        ],
        "done",
        tools=[get_time, get_weather],
    )
    done = await run(way, lm, "Hi")
    assert done.text == "done"
    assert sent(vendor) == {
        "call_a": "Error: There is no tool 'get_wether'. The tools are: get_weather, get_time.",
        "call_b": "sunny in Oslo for 1",
    }
    assert isinstance(done.steps[0].results[0].error, ToolError)


async def test_a_tool_that_there_is_not_ends_the_run_by_choice() -> None:
    """With on_error="raise"; what the valid calls gave is on the error."""
    _, lm = scripted(
        [tool_call("nope"), tool_call("get_weather", city="Oslo")], tools=[get_weather]
    )
    with pytest.raises(
        ToolRunError, match=r"There is no tool 'nope'\. The tools are: get_weather"
    ) as caught:
        await lm.run_tools_async("Hi", on_error="raise")
    assert caught.value.steps[0].results[1].output == "sunny in Oslo for 1"


async def test_a_tool_that_was_taken_away() -> None:
    """tools=None leaves none, whatever the LM has."""
    vendor, lm = scripted(tool_call("get_weather", city="Oslo"), "done", tools=[get_weather])
    await lm.run_tools_async("Hi", tools=None)
    assert list(sent(vendor).values()) == [
        "Error: There is no tool 'get_weather'. The tools are: none."
    ]
    assert vendor.requests[-1].tools == ()


# --- tools that are not run here --------------------------------------------------------------


class Answer(BaseModel):
    """The answer as an object."""

    city: str


class Idle(BaseTool):
    """A class without a run()."""

    city: str


@pytest.mark.parametrize(
    ("tool", "name"), [(SCHEMA, "ask_user"), (Answer, "Answer"), (Idle, "Idle")]
)
async def test_a_schema_is_left_to_the_caller(tool: Any, name: str) -> None:
    """Nothing is known here of what it does, so its call ends the run."""
    vendor, lm = scripted(tool_call(name, call_id="call_a", city="Oslo"), "thanks", tools=[tool])
    done = await lm.run_tools_async("Hi")
    assert ([call["id"] for call in done.pending], done.outputs, done.steps) == (["call_a"], {}, ())
    assert (await lm.respond_async(tool_outputs={**done.outputs, "call_a": "x"})).text == "thanks"
    assert len(vendor.requests) == 2


@WAYS
async def test_calls_of_both_kinds_in_one_turn(way: str) -> None:
    """What can be run is run, and its output waits for the caller's own."""
    vendor, lm = scripted(
        [
            tool_call("get_weather", call_id="call_a", city="Oslo"),
            tool_call("ask_user", call_id="call_b"),
            tool_call("nope", call_id="call_c"),
        ],
        "thanks",
        tools=[get_weather, SCHEMA],
    )
    done = await run(way, lm, "Hi", max_rounds=1)
    assert [call["id"] for call in done.pending] == ["call_b"]
    assert done.outputs["call_a"] == "sunny in Oslo for 1"
    assert done.steps[-1].response is done.response
    assert (await lm.respond_async(tool_outputs={**done.outputs, "call_b": "yes"})).text == "thanks"
    assert set(sent(vendor)) == {"call_a", "call_b", "call_c"}


async def test_a_built_in_tool_is_left_to_the_caller() -> None:
    """gpt-oss calls `browser` under names of its own, which are not invented."""
    engine = ScriptedEngine(["<|channel|>analysis to=browser.search<|message|>{}<|call|>"])
    done = await LM("gpt-oss-20b", engine=engine).run_tools_async(
        "Hi", tools=[{"type": "browser"}, get_weather]
    )
    assert [call["function"]["name"] for call in done.pending] == ["browser.search"]


async def test_a_function_in_a_namespace_is_left_to_the_caller() -> None:
    """It is declared one level down, and not invented either."""
    crm = {"type": "namespace", "name": "crm", "tools": [SCHEMA]}
    _, lm = scripted(tool_call("ask_user"), tools=[crm, get_weather])
    assert (await lm.run_tools_async("Hi")).pending


# --- tools of the branch ----------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "file"])
@WAYS
async def test_tools_of_the_branch_are_run(way: str, store: str, tmp_path: Path) -> None:
    """A branch keeps its tools: a run that names none runs those, after a call and after a run."""
    kept = {"response_store": tmp_path / "turns.db"} if store == "file" else {}
    vendor, lm = scripted("ok", *[tool_call("get_weather", city="Oslo"), "done"] * 2, **kept)
    await lm.respond_async("Hi", tools=[get_weather])
    assert [(await run(way, lm, "go")).text for _ in range(2)] == ["done", "done"]
    assert [spec["name"] for spec in vendor.requests[-1].tools] == ["get_weather"]
    await lm.aclose()


async def test_branches_with_tools_of_one_name() -> None:
    """Each branch runs the function that it was given, not another one of that name."""

    def named(who: str) -> Any:
        def whoami() -> str:
            return who

        return whoami

    vendor, lm = scripted("ok", "ok", "ok", tools=[named("nobody")])
    start = await lm.respond_async("Hi", auto_store=False)
    ada, bob = lm.fork(start.response_id), lm.fork(start.response_id)
    await ada.respond_async("Hi", tools=[named("Ada")])
    await bob.respond_async("Hi", tools=[named("Bob")])
    for branch, who in ((ada, "Ada"), (bob, "Bob"), (lm, "nobody")):
        vendor.add(tool_call("whoami"), "done")
        done = await branch.run_tools_async("Who am I?")
        assert [result.output for result in done.steps[0].results] == [who]


async def test_a_branch_from_a_file(tmp_path: Path) -> None:
    """A file has schemas alone: the LM's functions of those names are run, others are pending."""
    _, before = scripted("ok", response_store=tmp_path / "turns.db")
    start = await before.respond_async("Hi", tools=[get_weather, get_time])
    await before.aclose()
    vendor = ScriptedVendor(
        [
            tool_call("get_weather", city="Oslo"),
            tool_call("get_time", call_id="call_b", city="Oslo"),
        ],
        api="chat",
    )
    async with LM(
        "any-name", vendor=vendor, response_store=tmp_path / "turns.db", tools=[get_weather]
    ) as lm:
        done = await lm.run_tools_async("go", previous_response_id=start.response_id)
    assert [result.output for step in done.steps for result in step.results] == [
        "sunny in Oslo for 1"
    ]
    assert [call["id"] for call in done.pending] == ["call_b"]


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_run_without_a_store(api: Any) -> None:
    """The rounds continue one another with instructions and tools, and nothing is kept after."""
    calls = [tool_call("get_weather", city=city) for city in ("Oslo", "Rome")]
    vendor = ScriptedVendor([*calls, "done"], api=api)
    lm = LM("any-name", vendor=vendor, response_store=False)
    done = await lm.run_tools_async("Be terse.", "Hi", tools=[get_weather])
    assert done.text == "done"
    assert [len(request.tools) for request in vendor.requests] == [1, 1, 1]
    assert [request.instructions for request in vendor.requests] == ["Be terse."] * 3
    assert [len(request.history) for request in vendor.requests] == (
        [0, 1, 2] if api == "chat" else [0, 0, 0]
    )
    with pytest.raises(UnknownResponseError):
        await lm.responses.retrieve(done.response.response_id or "")


async def test_a_reset_in_the_middle_of_a_run_holds() -> None:
    """The rounds still to come belong to the conversation that was left."""
    _, lm = scripted(tool_call("forget"), "done", "fresh")

    def forget() -> str:
        lm.reset()
        return "forgotten"

    assert (await lm.run_tools_async("go", tools=[forget])).text == "done"
    assert lm.head is None
    assert (await lm.respond_async("Hi")).previous_response_id is None


async def test_something_cancelled_inside_a_tool_is_its_failure() -> None:
    """Only the caller's own cancelling ends the run."""

    async def wait_for_nothing() -> str:
        nothing = asyncio.ensure_future(asyncio.sleep(60))
        nothing.cancel()
        await nothing
        return "never"

    _, lm = scripted(tool_call("wait_for_nothing"), "done")
    run = await lm.run_tools_async("go", tools=[wait_for_nothing])
    assert run.text == "done"
    assert run.steps[0].results[0].output == "Error: CancelledError"


# --- side by side -----------------------------------------------------------------------------


@WAYS
async def test_calls_of_one_turn_run_at_once(way: str) -> None:
    """Each of the tools, async and on threads, waits until all of them are under way."""
    together = threading.Barrier(12, timeout=10)

    def meet(city: str) -> str:
        together.wait()
        return city

    async def meet_async(city: str) -> str:
        return await asyncio.to_thread(meet, city)

    names = ["meet"] * 10 + ["meet_async"] * 2
    _, lm = scripted(
        [tool_call(name, city=str(n)) for n, name in enumerate(names)],
        "done",
        tools=[meet, meet_async],
    )
    done = await run(way, lm, "Hi")
    assert [result.output for result in done.steps[0].results] == [str(n) for n in range(12)]


async def test_a_sync_tool_leaves_the_event_loop_free() -> None:
    """It waits for something that only the loop can do."""
    loop, free = asyncio.get_running_loop(), threading.Event()

    def wait() -> bool:
        loop.call_soon_threadsafe(free.set)
        return free.wait(timeout=10)

    _, lm = scripted(tool_call("wait"), "done", tools=[wait])
    assert (await lm.run_tools_async("Hi")).steps[0].results[0].output is True


@WAYS
async def test_tools_see_the_context_of_the_caller(way: str) -> None:
    """A context variable, such as the current user or trace, is set in tools of both kinds."""

    def who() -> str:
        return user.get()

    async def who_async() -> str:
        return user.get()

    user.set("Ada")
    _, lm = scripted([tool_call("who"), tool_call("who_async")], "done", tools=[who, who_async])
    done = await run(way, lm, "Hi")
    assert [result.output for result in done.steps[0].results] == ["Ada", "Ada"]


async def test_cancelling_the_run_cancels_its_tools() -> None:
    """Async tools get the cancellation, and nothing more is asked of the model."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    vendor, lm = scripted(tool_call("hang"), "done", tools=[hang])
    task = asyncio.create_task(lm.run_tools_async("Hi"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_ends_a_program_is_no_failure_of_a_tool(
    error: type[BaseException], kind: str
) -> None:
    """It passes through the run, is never told to the model, and takes the other tools with it."""
    cancelled, hanging = asyncio.Event(), threading.Event()

    def end() -> None:
        hanging.wait(timeout=10)
        raise error

    async def end_async() -> None:
        await asyncio.sleep(0)
        raise error

    async def hang() -> None:
        hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    name = "end" if kind == "sync" else "end_async"
    vendor, lm = scripted(
        [tool_call(name), tool_call("hang")], "done", tools=[end, end_async, hang]
    )
    with pytest.raises(error):
        await lm.run_tools_async("Hi")
    assert cancelled.is_set()
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_tool_that_exits_leaves_the_shared_loop_alive(kind: str) -> None:
    """sys.exit() in a tool reaches the caller of the sync method; later sync calls still work."""

    def leave() -> None:
        sys.exit(3)

    async def leave_async() -> None:
        sys.exit(3)

    name = "leave" if kind == "sync" else "leave_async"
    _, lm = scripted(tool_call(name), tools=[leave, leave_async])
    with pytest.raises(SystemExit, match="3"):
        lm.run_tools("Hi")
    assert scripted("still here")[1].respond("Hi").text == "still here"
