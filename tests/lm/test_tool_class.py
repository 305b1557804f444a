"""`Tool`: a JSON schema and what runs it; and tools that have the names of gpt-oss's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from servers.answers import Answer, call, calls
from servers.delivery import Received
from servers.openai_fake import OpenAIServer
from synth_ai import LM, Approve, Tool, harmony
from synth_ai.errors import ToolError, ToolRunError
from synth_ai.lm.tools import RunnableSpec, tool_spec, tool_specs
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "days": {"type": "integer", "minimum": 1},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def forecast(**arguments: Any) -> str:
    return f"sunny {sorted(arguments.items())}"


async def forecast_async(**arguments: Any) -> str:
    return forecast(**arguments)


WEATHER = Tool("get_weather", "The weather in a city.", PARAMETERS, forecast)


def outputs(lm: LM, **arguments: Any) -> list[Any]:
    run = lm.run_tools("Hi", **arguments)
    return [result.output for step in run.steps for result in step.results]


# --- what it becomes --------------------------------------------------------------------------


def test_the_spec_of_a_tool() -> None:
    """The schema as it was given; without one there are no arguments."""
    assert tool_spec(WEATHER) == {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": PARAMETERS,
    }
    assert tool_spec(Tool("now", "The time.", None, forecast))["parameters"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }
    assert tool_spec(Tool("now", "", {}, forecast))["parameters"] == {
        "type": "object",
        "properties": {},
    }
    assert tool_spec(Tool("now", "", None, forecast, strict=True))["strict"] is True


def test_the_schema_given_stays_as_it_is() -> None:
    """Nothing of the caller's is changed."""
    parameters = {"title": "Arguments", **copy.deepcopy(PARAMETERS)}
    before = copy.deepcopy(parameters)
    tool_spec(Tool("get_weather", "", parameters, forecast))
    assert parameters == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "get weather"}, "tool name 'get weather' cannot be used"),
        ({"name": 5}, "tool name 5 cannot be used"),
        ({"description": None}, "description of the tool 'f' must be a string, not None"),
        ({"run": None}, r"run= of the tool 'f' must be a function of its arguments, not None"),
        ({"run": "f"}, "give the dict of it instead"),
        ({"strict": "yes"}, "strict of the tool 'f' must be True, False or None, not 'yes'"),
        ({"parameters": "city"}, "parameters of the tool 'f' must be a JSON schema"),
        ({"parameters": [1]}, "parameters of the tool 'f' must be a JSON schema"),
        ({"parameters": {"type": "array"}}, "must be the schema of an object"),
        (
            {"parameters": {"properties": {"a": {"type": "strin"}}}},
            "parameters of the tool 'f' are not a JSON schema: 'strin'",
        ),
        ({"parameters": {"properties": {"a": 5}}}, "are not a JSON schema"),
        ({"parameters": {"properties": 5}}, "are not a JSON schema"),
        ({"parameters": {"properties": {"a": {"enum": [object()]}}}}, "are not a JSON schema"),
        ({"parameters": {"properties": {"a": {"pattern": "("}}}}, "are not a JSON schema"),
    ],
)
def test_what_is_no_tool(fields: dict[str, Any], message: str) -> None:
    """The error names the tool and what is wrong, before anything is sent."""
    given: dict[str, Any] = {"name": "f", "description": "", "parameters": None, "run": forecast}
    with pytest.raises(ToolError, match=message):
        tool_specs([Tool(**{**given, **fields})])


def test_two_tools_of_one_name() -> None:
    """Whatever kind they are."""

    def get_weather(city: str) -> str:
        return city

    with pytest.raises(ToolError, match="Two tools are called 'get_weather'"):
        LM("any-name", vendor=ScriptedVendor(), tools=[WEATHER, get_weather])


# --- running it -------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [forecast, forecast_async, lambda **each: forecast_async(**each)])
def test_it_is_run_with_its_arguments(run: Callable[..., object]) -> None:
    """By name, sync or async."""
    vendor = ScriptedVendor([tool_call("get_weather", city="Oslo", days=2), "done"])
    tool = Tool("get_weather", "The weather.", PARAMETERS, run)
    lm = LM("any-name", vendor=vendor, tools=[tool])
    assert outputs(lm) == ["sunny [('city', 'Oslo'), ('days', 2)]"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "'city' is a required property"),
        ({"city": 5}, "city: 5 is not of type 'string'"),
        ({"city": "O"}, "city: 'O' is too short"),
        ({"city": "Oslo", "days": 0}, "days: 0 is less than the minimum of 1"),
        ({"city": "Oslo", "country": "no"}, "Additional properties are not allowed"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], told: str) -> None:
    """The model is told where and why, and the tool is not run."""
    runs: list[object] = []
    tool = Tool("get_weather", "", PARAMETERS, lambda **each: runs.append(each))
    vendor = ScriptedVendor([tool_call("get_weather", arguments), "done"])
    (output,) = outputs(LM("any-name", vendor=vendor, tools=[tool]))
    assert output.startswith("Error: the arguments do not fit: ")
    assert told in output
    assert runs == []


@pytest.mark.parametrize("text", ["[1]", "5", '"x"', "{", "null"])
def test_arguments_that_are_no_object(text: str) -> None:
    """They fit no tool."""
    vendor = ScriptedVendor([{**tool_call("get_weather"), "arguments": text}, "done"])
    (output,) = outputs(LM("any-name", vendor=vendor, tools=[WEATHER]))
    assert output.startswith("Error: the arguments do not fit: ")


def test_a_tool_without_arguments() -> None:
    """It takes none, written in either way."""
    tool = Tool("now", "The time.", None, lambda: "noon")
    empty = {**tool_call("now"), "arguments": ""}
    vendor = ScriptedVendor([empty, tool_call("now"), tool_call("now", zone="no"), "done"])
    first, second, third = outputs(LM("any-name", vendor=vendor, tools=[tool]))
    assert (first, second) == ("noon", "noon")
    assert third.startswith("Error: the arguments do not fit")


def test_a_long_mistake_is_told_in_short() -> None:
    """The arguments are not written back to the model as a whole."""
    vendor = ScriptedVendor([tool_call("get_weather", city=["x" * 100_000]), "done"])
    (output,) = outputs(LM("any-name", vendor=vendor, tools=[WEATHER]))
    assert len(output) < 500


def test_a_reference_to_elsewhere_is_never_fetched(openai_server: OpenAIServer) -> None:
    """A schema of others could make this process ask any address."""
    address = f"{openai_server.base_url}/models"
    tool = Tool("f", "", {"properties": {"a": {"$ref": address}}}, forecast)
    vendor = ScriptedVendor([tool_call("f", a=1), "done"])
    (output,) = outputs(LM("any-name", vendor=vendor, tools=[tool]))
    assert "refers to something it does not have" in output
    assert openai_server.requests == []


def test_changed_arguments_are_checked() -> None:
    """`approve=` cannot bring in what the schema forbids."""
    vendor = ScriptedVendor([tool_call("get_weather", city="Oslo"), "done"])
    lm = LM("any-name", vendor=vendor, tools=[WEATHER])
    with pytest.raises(ToolRunError, match="'O' is too short"):
        lm.run_tools("Hi", approve=lambda request: Approve({"city": "O"}))


def test_a_tool_goes_down_the_branch() -> None:
    """As the function behind any tool does."""
    vendor = ScriptedVendor(["ok", tool_call("get_weather", city="Oslo"), "done"])
    lm = LM("any-name", vendor=vendor)
    lm.respond("Hi", tools=[WEATHER])
    assert outputs(lm) == ["sunny [('city', 'Oslo')]"]


def test_a_copy_of_a_spec_runs_too() -> None:
    """A deep copy keeps the way to run it."""
    spec = copy.deepcopy(tool_spec(WEATHER))
    assert isinstance(spec, RunnableSpec)
    assert spec.bind({"city": "Oslo"})() == "sunny [('city', 'Oslo')]"


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_tool_on_a_server(
    hosted: Callable[..., LM], openai_server: OpenAIServer, api: str, strict: bool | None
) -> None:
    """The schema goes out in the form of each API, `strict` with it."""

    def answer(received: Received) -> Answer:
        if "sunny" in str(received.body):
            return Answer(text="done")
        return calls(call("get_weather", city="Oslo"))

    openai_server.respond_with(answer)
    tool = Tool("get_weather", "The weather.", PARAMETERS, forecast, strict)
    assert hosted(api).run_tools("Hi", tools=[tool]).text == "done"
    (sent,) = openai_server.requests[0].body["tools"]
    sent = sent.get("function", sent)
    assert (sent["name"], sent["parameters"]) == ("get_weather", PARAMETERS)
    assert bool(sent.get("strict")) is bool(strict)


def test_a_tool_on_gpt_oss() -> None:
    """It is declared as TypeScript, and its output rendered as any other's."""
    engine = ScriptedEngine([call_text("get_weather", city="Oslo"), final_text("done")])
    assert LM("gpt-oss-20b", engine=engine).run_tools("Hi", tools=[WEATHER]).text == "done"
    prompt = harmony.decode(engine.prompts[-1])
    assert "type get_weather = (_: {" in prompt
    assert "sunny [('city', 'Oslo')]" in prompt


# --- the names of gpt-oss's own tools -----------------------------------------------------------


def code_tool(seen: list[str]) -> Callable[..., str]:
    def python(code: str, timeout: int = 5) -> str:
        """Runs Python."""
        seen.append(code)
        return "4"

    return python


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("<|channel|>analysis to=python code<|message|>print(2 ** 2)<|call|>", "print(2 ** 2)"),
        (
            "<|channel|>commentary to=python <|constrain|>code<|message|>x = [1]\nx<|call|>",
            "x = [1]\nx",
        ),
        (
            '<|channel|>analysis to=python code<|message|>print({"a": 1})<|call|>',
            'print({"a": 1})',
        ),
        ('<|channel|>commentary to=functions.python<|message|>{"code": "2"}<|call|>', "2"),
        ("<|channel|>commentary to=functions.python<|message|>42<|call|>", "42"),
    ],
)
@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("kind", ["function", "Tool", "Tool without parameters"])
def test_a_python_tool_gets_the_code_as_it_was_written(
    call: str, code: str, is_declared: bool, kind: str
) -> None:
    """Whether the built-in tool is declared beside it or not; JSON for its parameters works too."""
    seen: list[str] = []
    run = code_tool(seen)
    tools: list[Any] = ["python"] if is_declared else []
    if kind == "function":
        tools.append(run)
    elif kind == "Tool":
        parameters = {"properties": {"code": {"type": "string"}}, "required": ["code"]}
        tools.append(Tool("python", "Runs Python.", parameters, run))
    else:
        if "{" in call and "functions" in call:
            pytest.skip("it has no parameters that JSON could name")
        tools.append(Tool("python", "Runs Python.", None, run))

    engine = ScriptedEngine([call, final_text("done")])
    run_of_all = LM("gpt-oss-20b", engine=engine).run_tools("Hi", tools=tools)
    assert seen == [code]
    assert run_of_all.text == "done"
    # The call is in the next prompt as it was sampled.
    assert call.removesuffix("<|call|>") in harmony.decode(engine.prompts[-1])


def test_code_that_looks_like_json() -> None:
    """With the built-in tool declared it is an expression, unless it fits the parameters."""
    seen: list[str] = []
    call = '<|channel|>analysis to=python code<|message|>{"a": 1}<|call|>'
    engine = ScriptedEngine([call, final_text("done")])
    LM("gpt-oss-20b", engine=engine).run_tools("Hi", tools=["python", code_tool(seen)])
    assert seen == ['{"a": 1}']


def test_code_is_approved_as_a_text() -> None:
    """The hook sees the code, and may change it."""
    seen: list[str] = []
    asked: list[object] = []
    call = "<|channel|>analysis to=python code<|message|>rm()<|call|>"
    engine = ScriptedEngine([call, final_text("done")])

    def approve(request: Any) -> Approve:
        asked.append(request.arguments)
        return Approve("1 + 1")

    lm = LM("gpt-oss-20b", engine=engine)
    run = lm.run_tools("Hi", tools=[code_tool(seen)], approve=approve)
    assert (asked, seen) == (["rm()"], ["1 + 1"])
    assert run.steps[0].results[0].arguments == "1 + 1"


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_browser_tool_gets_the_arguments_as_they_were_written(is_declared: bool) -> None:
    """Under each of the names by which the model calls it."""
    seen: list[dict[str, object]] = []

    def browse(**arguments: object) -> str:
        seen.append(arguments)
        return "page"

    parameters = {"type": "object", "properties": {}, "additionalProperties": True}
    tools: list[Any] = ["browser"] if is_declared else []
    tools.append(Tool("browser", "Browses.", parameters, browse))
    engine = ScriptedEngine(
        [
            '<|channel|>analysis to=browser.search<|message|>{"query": "synth"}<|call|>',
            '<|channel|>analysis to=browser.open<|message|>{"id": 3, "cursor": 0}<|call|>',
            final_text("done"),
        ]
    )
    run = LM("gpt-oss-20b", engine=engine).run_tools("Hi", tools=tools)
    assert seen == [{"query": "synth"}, {"id": 3, "cursor": 0}]
    assert [step.results[0].name for step in run.steps] == ["browser.search", "browser.open"]
    assert [response.warnings for response in run.responses] == [[], [], []]


def test_another_tool_gets_no_code() -> None:
    """Only these names are called so; text for any other tool is a mistake."""
    vendor = ScriptedVendor([{**tool_call("get_weather"), "arguments": "Oslo"}, "done"])
    (output,) = outputs(LM("any-name", vendor=vendor, tools=[WEATHER]))
    assert output.startswith("Error: the arguments do not fit")
    vendor = ScriptedVendor([tool_call("get_weather.now", city="Oslo"), "done"])
    (output,) = outputs(LM("any-name", vendor=vendor, tools=[WEATHER]))
    assert output.startswith("Error: There is no tool 'get_weather.now'")
