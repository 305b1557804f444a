"""Tools as people write them, turned into one spec: the flat shape of the Responses API.

A tool may be a Python function (or anything else that is called with named arguments), a `BaseTool`, a pydantic model
whose fields are the arguments, or a schema as either API has it. A name or a dict of another type is a built-in tool
of the API and is left as it is. Functions and a `BaseTool` with a `run` can be run here; the others only say what the
model may ask for.
"""

from __future__ import annotations

import copy
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from typing import Any, ClassVar, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticUserError

from synth_ai.errors import ToolError

ToolSpec: TypeAlias = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: Types of a default that say what an argument without a type hint has to be.
_PLAIN_TYPES = (bool, int, float, str, list, tuple, dict)

#: Where a docstring speaks of parameters, and how one of them begins: as Google, NumPy and Sphinx write it.
_DOCUMENTED = (
    (
        re.compile(
            r"^(?:Args|Arguments|Parameters|Params):[ \t]*\n(?P<body>(?:[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+)",
            re.MULTILINE,
        ),
        re.compile(
            r"^(?P<name>\w+)[ \t]*(?:\(.*?\))?[ \t]*:(?P<text>.*(?:\n(?:[ \t].*)?)*)", re.MULTILINE
        ),
    ),
    (
        re.compile(
            r"^Parameters[ \t]*\n-{3,}[ \t]*\n(?P<body>(?s:.*?))(?=^\S.*\n-{3,}|\Z)", re.MULTILINE
        ),
        re.compile(r"^(?P<name>\w+)[ \t]*(?::.*)?(?P<text>(?:\n(?:[ \t].*)?)+)", re.MULTILINE),
    ),
    (
        re.compile(r"^(?P<body>:(?:param|type)\b.*(?:\n[ \t]+\S.*)*)\n?", re.MULTILINE),
        re.compile(r"^:param\b[^:]*?(?P<name>\w+):(?P<text>.*(?:\n[ \t].*)*)"),
    ),
)


class BaseTool(BaseModel):
    """A tool as a class: its fields are the arguments, its docstring the description, `run` the work.

    Set `name` as a class variable to call it something other than the class's own name. Without a `run` of its own it
    is a schema: its calls are left to the caller.
    """

    model_config = ConfigDict(extra="forbid")

    name: ClassVar[str | None] = None

    def run(self) -> Any:
        """Do the work with the arguments in the fields; the result goes back to the model."""
        raise ToolError(
            f"{type(self).__name__} has no run(); give it one to have the call answered here."
        )


class RunnableSpec(dict[str, Any]):
    """The spec of a tool that can be run here, with the way to run it beside it.

    So the function goes wherever the spec goes in this process, down a branch too. Pickled or written as JSON, it is
    a plain spec.

    Args:
        spec: the spec.
        arguments: the model that checks a call's arguments.
        function: what is called with them; None for a `BaseTool`, which is called itself.
    """

    __slots__ = ("_arguments", "_function")

    def __init__(
        self, spec: ToolSpec, arguments: type[BaseModel], function: Callable[..., Any] | None = None
    ) -> None:
        super().__init__(spec)
        self._arguments = arguments
        self._function = function

    def bound(self, arguments: Any) -> Callable[[], Any]:
        """The tool with checked arguments, ready to be called.

        Raises:
            ValidationError: the arguments do not fit.
        """
        checked = self._arguments.model_validate(arguments)
        if self._function is None:
            assert isinstance(checked, BaseTool)
            return checked.run
        return partial(
            self._function, **{name: getattr(checked, name) for name in checked.model_fields_set}
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> RunnableSpec:
        return RunnableSpec(copy.deepcopy(dict(self), memo), self._arguments, self._function)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


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

    A function's docstring describes it; what that says of a parameter describes the parameter, where its annotation
    does not (`Annotated[int, Field(description=...)]`).

    Raises:
        ToolError: its name cannot be used, or its arguments have no schema.
    """
    if isinstance(tool, str):
        return {"type": tool}
    if isinstance(tool, Mapping):
        return tool if isinstance(tool, RunnableSpec) else _from_schema(tool)
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        return _from_class(tool)
    if callable(tool):
        arguments = arguments_model(tool)
        schema = _schema(arguments)
        description, documented = split_docstring(_description(tool) or "")
        for name in documented.keys() & schema["properties"].keys():
            schema["properties"][name].setdefault("description", documented[name])
        return RunnableSpec(_function(arguments.__name__, description, schema), arguments, tool)
    raise ToolError(
        f"A tool is a function, a BaseTool, a pydantic model or a schema, not {tool!r}."
    )


def arguments_model(function: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of a function's parameters, which checks a call's arguments; it has the function's name.

    A parameter without a type hint takes what its default is, and anything where that says nothing. What a
    `functools.partial` has bound is not a parameter any more.

    Raises:
        ToolError: a parameter is variadic, has a name that pydantic keeps for itself, or its type has no schema.
    """
    name = _name(function)
    bound = function.keywords if isinstance(function, partial) else {}
    try:
        hints = _hints(function)
        parameters = [
            each
            for each in inspect.signature(function).parameters.values()
            if each.name not in bound
        ]
    except NameError as error:
        raise ToolError(
            f"The tool {name!r} has a type that cannot be resolved: {error}."
        ) from error
    except (TypeError, ValueError) as error:
        raise ToolError(f"The parameters of the tool {name!r} cannot be read: {error}.") from error
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
            parameter.POSITIONAL_ONLY,
        ):
            raise ToolError(
                f"The tool {name!r} has the parameter {parameter}; a model fills named parameters alone."
            )
        if parameter.name.startswith("_") or (
            parameter.name.startswith("model_") and hasattr(BaseModel, parameter.name)
        ):
            raise ToolError(
                f"The tool {name!r} has the parameter {parameter.name!r}, a name that pydantic keeps for itself; "
                "rename it, or bind it with functools.partial if the model is not to fill it."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, _type_of(default)), default)
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise _without_schema(name, error) from error


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if isinstance(name, str):
        return name
    return _name(function.func) if isinstance(function, partial) else type(function).__name__


def _description(function: Callable[..., Any]) -> str | None:
    if isinstance(function, partial):
        # The docstring of `partial` itself describes no tool; one that was set on the object does.
        return inspect.cleandoc(vars(function).get("__doc__") or "") or _description(function.func)
    text = inspect.getdoc(function)
    if text is None and not inspect.isroutine(function):
        text = inspect.cleandoc(type(function).__call__.__doc__ or "")
    return text


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """A docstring, as `inspect.getdoc` has it, without what it says of the parameters; and that, by parameter.

    It may be written as Google's guide has it (`Args:`), NumPy's (`Parameters` underlined) or Sphinx's (`:param x:`).
    """
    documented: dict[str, str] = {}
    for section, entry in _DOCUMENTED:
        bodies = [textwrap.dedent(found["body"]) for found in section.finditer(text)]
        entries = [found for body in bodies for found in entry.finditer(body)]
        if entries:
            documented |= {found["name"]: " ".join(found["text"].split()) for found in entries}
            text = section.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip(), {
        name: said for name, said in documented.items() if said
    }


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(function, partial):
        return _hints(function.func)
    function = inspect.unwrap(function)
    if isinstance(function, type):
        own = get_type_hints(function, include_extras=True)
        return own | get_type_hints(function.__init__, include_extras=True)  # type: ignore[misc]
    return get_type_hints(
        function if inspect.isroutine(function) else type(function).__call__, include_extras=True
    )


def _type_of(default: Any) -> Any:
    return type(default) if type(default) in _PLAIN_TYPES or isinstance(default, Enum) else Any


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    try:
        return arguments.model_json_schema()
    except PydanticUserError as error:
        raise _without_schema(arguments.__name__, error) from error


def _without_schema(name: str, error: PydanticUserError) -> ToolError:
    return ToolError(f"The tool {name!r} has a parameter without a JSON schema: {error}")


def _from_class(tool: type[BaseModel]) -> ToolSpec:
    name = getattr(tool, "name", None) if issubclass(tool, BaseTool) else None
    spec = _function(name or tool.__name__, inspect.getdoc(tool), _schema(tool))
    works = issubclass(tool, BaseTool) and tool.run is not BaseTool.run
    return RunnableSpec(spec, tool) if works else spec


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
    return {
        "type": "function",
        "name": name,
        "description": description or "",
        "parameters": parameters,
    }


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ToolError(
            f"The tool name {name!r} cannot be used: names have 1 to 64 letters, digits, underscores and hyphens. "
            "(Anything else could forge a message header in Harmony, and OpenAI refuses it too.)"
        )
