"""Tools as people write them, turned into one spec: the flat shape of the Responses API.

A tool may be a typed Python function, a `BaseTool`, a pydantic model whose fields are the arguments, or a schema
as either API has it. A name or a dict of another type is a built-in tool of the API and is left as it is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticUserError

from synth_ai.errors import ToolError

ToolSpec: TypeAlias = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BaseTool(BaseModel):
    """A tool as a class: its fields are the arguments, its docstring the description, `run` the work.

    Set `name` as a class variable to call it something other than the class's own name.
    """

    model_config = ConfigDict(extra="forbid")

    name: ClassVar[str | None] = None

    def run(self) -> Any:
        """Do the work with the arguments in the fields; the result goes back to the model."""
        raise ToolError(f"{type(self).__name__} has no run(); give it one to have the call answered here.")


Tool: TypeAlias = Callable[..., Any] | type[BaseModel] | Mapping[str, Any] | str


def tool_specs(tools: Iterable[Tool]) -> tuple[ToolSpec, ...]:
    """The specs of a list of tools, in order.

    Raises:
        ToolError: a name cannot be used or is given twice, or a function's arguments have no schema.
    """
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable):
        raise ToolError(f"tools= takes a list of tools, not {type(tools).__name__}.")
    specs = tuple(tool_spec(tool) for tool in tools)
    seen: set[str] = set()
    for spec in specs:
        name = spec.get("name")
        if name in seen:
            raise ToolError(f"Two tools are called {name!r}; a model could not tell them apart.")
        if name is not None:
            seen.add(name)
    return specs


def tool_spec(tool: Tool) -> ToolSpec:
    """The spec of one tool.

    Raises:
        ToolError: its name cannot be used, or its arguments have no schema.
    """
    if isinstance(tool, str):
        return {"type": tool}
    if isinstance(tool, Mapping):
        return _from_schema(tool)
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        name = getattr(tool, "name", None) if issubclass(tool, BaseTool) else None
        return _function(name or tool.__name__, inspect.getdoc(tool), _schema(tool))
    if callable(tool):
        return _function(tool.__name__, inspect.getdoc(tool), _schema(arguments_model(tool)))
    raise ToolError(f"A tool is a function, a BaseTool, a pydantic model or a schema, not {tool!r}.")


def arguments_model(function: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of a function's parameters, which checks a call's arguments.

    Raises:
        ToolError: a parameter is variadic, or its type has no schema.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ToolError(f"The tool {function.__name__!r} has a type that cannot be resolved: {error}.") from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ToolError(
                f"The tool {function.__name__!r} has the parameter {parameter}; a model fills named parameters alone."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, str), default)
    try:
        return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise _without_schema(function.__name__, error) from error


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    try:
        return arguments.model_json_schema()
    except PydanticUserError as error:
        raise _without_schema(arguments.__name__, error) from error


def _without_schema(name: str, error: PydanticUserError) -> ToolError:
    return ToolError(f"The tool {name!r} has a parameter without a JSON schema: {error}")


def _from_schema(tool: Mapping[str, Any]) -> ToolSpec:
    nested = tool.get("function")
    if isinstance(nested, Mapping):
        tool = {"type": "function", **nested}
    if tool.get("type", "function") != "function":
        return dict(tool)
    if "name" not in tool:
        raise ToolError(f"A function tool has no name: {dict(tool)!r}.")
    spec = {"type": "function", **tool}
    _check_name(spec["name"])
    return spec


def _function(name: str, description: str | None, parameters: dict[str, Any]) -> ToolSpec:
    _check_name(name)
    parameters.pop("title", None)
    parameters.pop("description", None)
    return {"type": "function", "name": name, "description": description or "", "parameters": parameters}


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ToolError(
            f"The tool name {name!r} cannot be used: names have 1 to 64 letters, digits, underscores and hyphens. "
            "(Anything else could forge a message header in Harmony, and OpenAI refuses it too.)"
        )
