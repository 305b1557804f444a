"""One definition of a tool for every API: functions, classes and schemas become one flat spec."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from synth_ai import BaseTool
from synth_ai.errors import ToolError
from synth_ai.lm.tools import RunnableSpec, arguments_model, tool_spec, tool_specs

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


def get_weather(city: str, unit: Unit = Unit.CELSIUS, days: Annotated[int, Field(ge=1)] = 1) -> str:
    """The weather in a city."""
    return f"{city} {unit} {days}"


class GetTime(BaseTool):
    """The time in a city."""

    city: str = Field(description="Its name.")

    def run(self) -> str:
        return "noon"


def test_a_typed_function() -> None:
    """Its docstring describes it, its parameters are the schema, defaults make them optional."""
    spec = tool_spec(get_weather)
    assert (spec["type"], spec["name"], spec["description"]) == (
        "function",
        "get_weather",
        "The weather in a city.",
    )
    assert spec["parameters"]["required"] == ["city"]
    assert spec["parameters"]["additionalProperties"] is False
    assert spec["parameters"]["properties"]["days"]["minimum"] == 1
    assert set(spec["parameters"]["properties"]) == {"city", "unit", "days"}


def test_an_async_function_and_one_without_a_docstring() -> None:
    """Both are tools; the description is then empty."""

    async def look_up(word: Literal["a", "b"]) -> str:
        return word

    assert tool_spec(look_up)["description"] == ""
    assert tool_spec(look_up)["parameters"]["properties"]["word"]["enum"] == ["a", "b"]


def test_a_base_tool_and_a_pydantic_model() -> None:
    """Fields are the arguments; a BaseTool may be called otherwise than its class."""

    class Renamed(GetTime):
        name = "what_time"

    class Point(BaseModel):
        """A point."""

        name: str
        x: int

    assert tool_spec(GetTime)["name"] == "GetTime"
    assert tool_spec(GetTime)["parameters"]["properties"]["city"]["description"] == "Its name."
    assert tool_spec(Renamed)["name"] == "what_time"
    assert "name" not in tool_spec(Renamed)["parameters"]["properties"]
    assert tool_spec(Point)["name"] == "Point"
    assert set(tool_spec(Point)["parameters"]["properties"]) == {"name", "x"}


@pytest.mark.parametrize("base", [BaseModel, BaseTool])
def test_a_class_without_a_docstring(base: type[BaseModel]) -> None:
    """Has the docstring of the class that it extends, but not that of pydantic or BaseTool."""

    class Plain(base):  # type: ignore[valid-type, misc]
        x: int

    class Described(Plain):
        """Finds x."""

    class Inherits(Described):
        pass

    assert tool_spec(Plain)["description"] == ""
    assert tool_spec(Inherits)["description"] == "Finds x."


def test_a_parameter_is_described_where_it_says_nothing_itself() -> None:
    """The annotation comes first, the docstring second; a bound parameter is not described."""

    def look(
        city: str, unit: Unit, days: Annotated[int, Field(description="How many.")], secret: str
    ) -> None:
        """Looks.

        Args:
            city: Its name.
            unit: What it is in.
            days: Never seen.
            secret: Never seen.
        """

    spec = tool_spec(partial(look, secret="x"))
    properties = spec["parameters"]["properties"]
    described = {name: properties[name]["description"] for name in properties}
    assert described == {"city": "Its name.", "unit": "What it is in.", "days": "How many."}
    assert (spec["description"], "Never seen" in repr(spec)) == ("Looks.", False)


class Mode(Enum):
    FAST = "fast"


def test_parameters_without_a_type_hint() -> None:
    """A default says the type where it can; without one, or with None, anything goes."""

    def look(  # type: ignore[no-untyped-def]
        n, flag=True, count=3, rate=0.5, word="a", rest=None, mode=Mode.FAST, names=()
    ):
        return n

    properties = tool_spec(look)["parameters"]["properties"]
    types = {name: properties[name].get("type") for name in properties if name != "mode"}
    assert types == {
        "n": None,
        "flag": "boolean",
        "count": "integer",
        "rate": "number",
        "word": "string",
        "rest": None,
        "names": "array",
    }
    arguments = arguments_model(look)
    assert (
        dict(arguments.model_validate({"n": 3, "rest": [1], "mode": "fast"}))["mode"] is Mode.FAST
    )
    for refused in ({"n": 3, "flag": "perhaps"}, {"n": 3, "count": "many"}):
        with pytest.raises(ValidationError):
            arguments.model_validate(refused)


class Multiply:
    """Multiplies."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, number: int) -> int:
        """Does it."""
        return number * self.by


class Undescribed:
    async def __call__(self, number: int) -> int:
        """Counts."""
        return number


def add(number: int, other: int, secret: str = "") -> int:
    """Adds."""
    return number + other


bound_by_name = partial(add, other=2, secret="x")
renamed = partial(add, 2)
renamed.__name__ = "add_two"  # type: ignore[attr-defined]
renamed.__doc__ = "Adds two."


@pytest.mark.parametrize(
    ("tool", "name", "description", "parameters", "result"),
    [
        (bound_by_name, "add", "Adds.", {"number"}, 9),
        (renamed, "add_two", "Adds two.", {"other", "secret"}, 9),
        (partial(Multiply(3)), "Multiply", "Multiplies.", {"number"}, 21),
        (Multiply(3), "Multiply", "Multiplies.", {"number"}, 21),
        (Multiply(3).__call__, "__call__", "Does it.", {"number"}, 21),
        (lru_cache(add), "add", "Adds.", {"number", "other", "secret"}, 14),
    ],
)
def test_what_else_can_be_called(
    tool: Any, name: str, description: str, parameters: set[str], result: int
) -> None:
    """Partials and instances are tools; the model neither sees nor changes what a partial binds."""
    spec = tool_spec(tool)
    assert (spec["name"], spec["description"]) == (name, description)
    assert set(spec["parameters"]["properties"]) == parameters
    assert isinstance(spec, RunnableSpec)
    assert spec.bind(dict.fromkeys(parameters - {"secret"}, 7))() == result
    if "secret" not in parameters:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            spec.bind({"number": 7, "secret": "y"})


def test_an_instance_of_a_class_without_a_docstring() -> None:
    """Its call describes it."""
    assert tool_spec(Undescribed())["description"] == "Counts."


def test_a_spec_with_its_function_travels_as_a_plain_one() -> None:
    """It equals the plain spec. A deep copy can still be run; a pickled one is the plain spec."""
    spec = tool_spec(Multiply(3))
    assert spec == dict(spec)
    assert copy.deepcopy(spec).bind({"number": 7})() == 21  # type: ignore[attr-defined]
    assert type(pickle.loads(pickle.dumps(spec))) is dict
    assert tool_spec(spec) is spec


def test_both_schemas_are_one_spec() -> None:
    """The nested shape of Chat and the flat one of Responses mean the same."""
    flat = {
        "type": "function",
        "name": "get_weather",
        "description": "d",
        "parameters": PARAMETERS,
        "strict": True,
    }
    nested = {
        "type": "function",
        "function": {key: value for key, value in flat.items() if key != "type"},
    }
    assert tool_spec(flat) == tool_spec(nested) == flat
    assert tool_spec({"name": "get_weather", "parameters": PARAMETERS})["type"] == "function"


def test_built_in_tools_are_left_as_they_are() -> None:
    """A name or a dict of another type is the API's own."""
    assert tool_spec("web_search") == {"type": "web_search"}
    mcp = {"type": "mcp", "server_label": "x", "server_url": "https://x.test"}
    assert tool_spec(mcp) == mcp
    assert tool_specs([mcp, "web_search"]) == (mcp, {"type": "web_search"})


BAD_NAMES = ["", "a b", "a.b", "get_weather\n", "x" * 65, "<|start|>", "wetter_für", "to=user"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_would_break_harmony(name: str) -> None:
    """A name with anything but letters, digits, underscores and hyphens could forge a header."""
    with pytest.raises(ToolError, match=r"cannot be used: names have 1 to 64 letters"):
        tool_spec({"type": "function", "name": name, "parameters": PARAMETERS})


def variadic(*cities: str) -> None: ...


def keywords(**cities: str) -> None: ...


def positional(city: str, /) -> None: ...


def private(city: str, _day: int = 1) -> None: ...


def configured(model_config: str) -> None: ...


def dumped(model_dump: str) -> None: ...


def opaque(city: Callable[[], object]) -> None: ...


def unresolved(city: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (variadic, r"'variadic' has the parameter \*cities"),
        (keywords, r"'keywords' has the parameter \*\*cities"),
        (positional, "'positional' has the parameter city"),
        (
            private,
            r"'private' has the parameter '_day'.*rename it, or bind it with functools.partial",
        ),
        (configured, "'configured' has the parameter 'model_config'"),
        (dumped, "'dumped' has the parameter 'model_dump'"),
        (opaque, "'opaque' has a parameter without a JSON schema"),
        (unresolved, "'unresolved' has a type that cannot be resolved: .*NoSuchType"),
        (partial(lambda city: city), "tool name '<lambda>' cannot be used"),
        (max, "parameters of the tool 'max' cannot be read"),
        (lambda city: city, "tool name '<lambda>' cannot be used"),
        (5, "A tool must be a function, a BaseTool, a pydantic model or a schema, not 5"),
        ({"type": "function", "parameters": PARAMETERS}, "function tool must have a name"),
    ],
)
def test_what_is_no_tool(tool: Any, message: str) -> None:
    """The error names the tool and what is wrong with it."""
    with pytest.raises(ToolError, match=message):
        tool_spec(tool)


@pytest.mark.parametrize("tools", [get_weather, "web_search", {"name": "a"}, 5])
def test_one_tool_is_not_a_list_of_them(tools: Any) -> None:
    """A lone tool or string would otherwise be read letter by letter, or fail strangely."""
    with pytest.raises(ToolError, match="tools must be a list of tools, not"):
        tool_specs(tools)


def test_two_tools_of_one_name() -> None:
    """A model could not tell them apart."""
    with pytest.raises(ToolError, match="Two tools are called 'get_weather'"):
        tool_specs([get_weather, {"name": "get_weather", "parameters": PARAMETERS}])


def test_arguments_are_checked_by_the_same_model() -> None:
    """The model that makes the schema reads a call's arguments."""
    arguments = arguments_model(get_weather).model_validate_json(
        '{"city": "Paris", "unit": "fahrenheit"}'
    )
    assert dict(arguments) == {"city": "Paris", "unit": Unit.FAHRENHEIT, "days": 1}


def test_parameters_whose_names_only_look_kept() -> None:
    """A name that begins with model_ is free, and so is a private one that is bound."""

    def named(model_name: str) -> None: ...

    assert set(tool_spec(named)["parameters"]["properties"]) == {"model_name"}
    assert set(tool_spec(partial(private, _day=2))["parameters"]["properties"]) == {"city"}


def test_a_base_tool_without_work() -> None:
    """A class that forgot its run() says so when it is called."""

    class Idle(BaseTool):
        """Does nothing."""

    with pytest.raises(ToolError, match=r"Idle has no run\(\)"):
        Idle().run()


class Connection:
    """A type that JSON has nothing for."""


def test_a_parameter_whose_type_cannot_be_described_is_named() -> None:
    """Of a tool of many parameters, the one to change."""

    def look(city: str, connection: Connection, call: Callable[[], int]) -> None:
        """Looks."""

    with pytest.raises(
        ToolError, match="'look' has a parameter without a JSON schema: 'connection'"
    ):
        tool_spec(look)
    with pytest.raises(ToolError, match="'look' has a parameter without a JSON schema: 'call'"):
        tool_spec(partial(look, connection=Connection()))


def test_a_parameter_without_a_type_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """The model would be told nothing of it."""

    def look(city, days=3, other=None):  # type: ignore[no-untyped-def]
        """Looks."""

    assert set(tool_spec(look)["parameters"]["properties"]) == {"city", "days", "other"}
    warned = [record.getMessage() for record in caplog.records]
    assert ["'city'" in warned[0], "'other'" in warned[1], len(warned)] == [True, True, 2]
