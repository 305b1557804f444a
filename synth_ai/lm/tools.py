"""Tools as people write them, made into one spec: the flat shape of the Responses API.

A tool may be a Python function (or anything else that is called with named arguments), a
`BaseTool`, a `Tool`, a pydantic model whose fields are the arguments, or a schema as either API has
it. A name or a dict of another type is a built-in tool of the API and is left as it is.

Functions, a `Tool` and a `BaseTool` with a `run` can be run here; the others only tell the model
what it may ask for.
"""

from __future__ import annotations

import copy
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, ClassVar, TypeAlias, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticUserError

from synth_ai.content import FunctionTool
from synth_ai.errors import ToolError
from synth_ai.lm.arguments_schema import ArgumentsSchema
from synth_ai.lm.docstrings import split_docstring

logger = logging.getLogger("synth_ai")

ToolSpec: TypeAlias = dict[str, Any]
"""A tool as backends take it: a `FunctionTool`, or a dict of another `type`, with the keys that the
API has for that."""

Bind: TypeAlias = Callable[[Any], Callable[[], object]]
"""Checks the arguments of a call, and binds a tool to them."""

# OpenAI's rule, which also keeps a name from forging a message header of Harmony:
#   get_weather, get-time, a1   -> a name
#   "", a b, a.b, <|start|>     -> not a name
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: Types of a default that tell what an argument without a type hint must be.
_PLAIN_TYPES = (bool, int, float, str, list, tuple, dict)


class BaseTool(BaseModel):
    """A tool as a class: its fields are the arguments, its docstring is the description.

    ::

        class GetWeather(BaseTool):
            \"\"\"The weather in a city.\"\"\"

            city: str = Field(description="Its name.")

            def run(self) -> str:
                return f"sunny in {self.city}"

    Give the class, not an instance, to `tools=`. Set `name` as a class variable to call the tool
    something other than the class. Without `run` it is a schema: its calls are left to the caller.
    """

    model_config = ConfigDict(extra="forbid")

    name: ClassVar[str | None] = None

    def run(self) -> Any:
        """Do the work with the arguments in the fields. May be async.

        Returns:
            What goes back to the model: text, a list of texts and `image_part(...)`, or anything
            that has a form in JSON.
        """
        raise ToolError(
            f"{type(self).__name__} has no run(); give it one to have the call answered here."
        )


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its JSON schema, and what runs it.

    ::

        parameters = {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        }
        lm.run_tools("Hi", tools=[Tool("get_weather", "The weather.", parameters, get_weather)])

    For tools that are described elsewhere, such as those of another service. What is written in
    Python needs none of this: give the function itself.

    Attributes:
        name: what the model calls it.
        description: what the model is told of it.
        parameters: the JSON schema of its arguments, an object; None for a tool without any.
        run: is called with the arguments by name, once they fit the schema; sync or async. What it
            returns goes back to the model, as with any tool.
        strict: whether a server holds the model to the schema, which must then be in the form that
            the server takes; None for the server's default.

    Raises:
        ToolError: one of them cannot be used.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] | None
    run: Callable[..., object]
    strict: bool | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not isinstance(self.description, str):
            raise ToolError(
                f"The description of the tool {self.name!r} must be a string, "
                f"not {self.description!r:.100}."
            )
        if not callable(self.run):
            raise ToolError(
                f"The run= of the tool {self.name!r} must be a function of its arguments, "
                f"not {self.run!r:.100}. A tool that is not run here is a schema: "
                "give the dict of it instead."
            )
        if self.strict is not None and not isinstance(self.strict, bool):
            raise ToolError(
                f"strict of the tool {self.name!r} must be True, False or None, "
                f"not {self.strict!r:.100}."
            )


ToolLike: TypeAlias = Callable[..., object] | Tool | type[BaseModel] | Mapping[str, object] | str
"""A tool as a caller writes it."""


class RunnableSpec(dict[str, Any]):
    """The spec of a tool that can be run here, together with the way to run it.

    So the function goes wherever the spec goes in this process, down a branch too. Pickled, or
    written as JSON, it is a plain spec.

    Args:
        spec: the spec.
        bind: checks the arguments of a call, and binds the tool to them. A text is what a model
            wrote that is no object, such as code: it goes to the first parameter.
    """

    __slots__ = ("bind",)

    def __init__(self, spec: Mapping[str, Any], bind: Bind) -> None:
        super().__init__(spec)
        self.bind = bind

    def __deepcopy__(self, memo: dict[int, object]) -> RunnableSpec:
        return RunnableSpec(copy.deepcopy(dict(self), memo), self.bind)

    def __reduce__(self) -> tuple[type[ToolSpec], tuple[ToolSpec]]:
        return dict, (dict(self),)


# --- specs ------------------------------------------------------------------------------------


def tool_specs(tools: Iterable[ToolLike]) -> tuple[ToolSpec, ...]:
    """Make the specs of a list of tools, in order.

    Raises:
        ToolError: a name cannot be used or is given twice, or a function's arguments have no
            schema.
    """
    # A single tool may be a string or a dict, which can be iterated over, too.
    is_list = isinstance(tools, Iterable) and not isinstance(tools, (str, Mapping))
    if not is_list:
        raise ToolError(f"tools must be a list of tools, not {type(tools).__name__}.")

    specs = tuple(tool_spec(tool) for tool in tools)

    names: set[str] = set()
    for spec in specs:
        name = spec.get("name")
        if name is None:
            continue
        if name in names:
            raise ToolError(f"Two tools are called {name!r}; a model could not tell them apart.")
        names.add(name)

    return specs


def tool_spec(tool: ToolLike) -> ToolSpec:
    """Make the spec of one tool.

    A function is described by its docstring. A parameter is described by its annotation
    (`Annotated[int, Field(description=...)]`), or else by what the docstring says of it.

    Raises:
        ToolError: its name cannot be used, or its arguments have no schema.
    """
    if isinstance(tool, str):
        return {"type": tool}
    if isinstance(tool, RunnableSpec):
        return tool
    if isinstance(tool, Tool):
        return _spec_of_tool(tool)
    if isinstance(tool, Mapping):
        return _spec_of_schema(tool)
    # Before functions: a class can be called, too.
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        return _spec_of_class(tool)
    if callable(tool):
        return _spec_of_function(tool)

    raise ToolError(
        f"A tool must be a function, a BaseTool, a pydantic model or a schema, not {tool!r}."
    )


def _spec_of_tool(tool: Tool) -> ToolSpec:
    schema = ArgumentsSchema.of(tool.parameters, tool.name)
    spec = _function_tool(tool.name, tool.description, dict(schema.schema))
    if tool.strict is not None:
        spec["strict"] = tool.strict

    def bind(arguments: object) -> Callable[[], object]:
        if isinstance(arguments, str):
            names = schema.names
            # Without parameters it is a tool of free text, such as code.
            if not names:
                return partial(tool.run, arguments)
            arguments = {names[0]: arguments}
        return partial(tool.run, **schema.check(arguments))

    return RunnableSpec(spec, bind)


def _spec_of_function(function: Callable[..., object]) -> ToolSpec:
    arguments = arguments_model(function)
    parameters = _json_schema(arguments)
    description, parameter_descriptions = split_docstring(_docstring_of(function))

    for name, schema in parameters["properties"].items():
        if name in parameter_descriptions:
            schema.setdefault("description", parameter_descriptions[name])

    spec = _function_tool(arguments.__name__, description, parameters)
    return RunnableSpec(spec, partial(_bind_function, arguments, function))


def _bind_function(
    model: type[BaseModel], function: Callable[..., object], arguments: object
) -> Callable[[], object]:
    """Check arguments against the model of a function's parameters, and bind the function.

    Raises:
        ValidationError: the arguments do not fit.
    """
    checked = model.model_validate(_by_name(model, arguments))
    # Only what the model wrote: the function has its defaults itself.
    given = {name: getattr(checked, name) for name in checked.model_fields_set}
    return partial(function, **given)


def _bind_class(model: type[BaseTool], arguments: object) -> Callable[[], object]:
    """Check arguments against the fields of a tool's class, and make a tool of them.

    Raises:
        ValidationError: the arguments do not fit.
    """
    return model.model_validate(_by_name(model, arguments)).run


def _by_name(model: type[BaseModel], arguments: object) -> object:
    """Give a text that is no object, such as code, the name of the first parameter."""
    if not isinstance(arguments, str) or not model.model_fields:
        return arguments
    first_name = next(iter(model.model_fields))
    return {first_name: arguments}


def _spec_of_class(tool: type[BaseModel]) -> ToolSpec:
    # Another model may have fields of these names.
    if not issubclass(tool, BaseTool):
        return dict(_function_tool(tool.__name__, _docstring_of_class(tool), _json_schema(tool)))

    name = tool.name or tool.__name__
    spec = _function_tool(name, _docstring_of_class(tool), _json_schema(tool))
    if tool.run is BaseTool.run:
        return dict(spec)
    return RunnableSpec(spec, partial(_bind_class, tool))


def _docstring_of_class(tool: type[BaseModel]) -> str:
    for cls in tool.__mro__:
        # What a base class says of itself does not describe the tool.
        if cls is BaseTool or cls.__module__.startswith("pydantic."):
            break
        if cls.__doc__ is not None:
            return inspect.cleandoc(cls.__doc__)
    return ""


def _spec_of_schema(tool: Mapping[str, object]) -> ToolSpec:
    """Make the spec of a schema in the shape of either API.

    ::

        {"type": "function", "function": {"name": "add", "parameters": {...}}}
        {"type": "function", "name": "add", "parameters": {...}}
        {"name": "add", "parameters": {...}}
        ->  {"type": "function", "name": "add", "parameters": {...}}

        {"type": "mcp", "server_label": "x"}  ->  {"type": "mcp", "server_label": "x"}
    """
    nested = tool.get("function")
    if isinstance(nested, Mapping):
        tool = {"type": "function", **nested}

    if tool.get("type", "function") != "function":
        return dict(tool)

    if "name" not in tool:
        raise ToolError(f"A function tool must have a name; this one has none: {dict(tool)!r}.")
    _check_name(tool["name"])
    return {"type": "function", **tool}


def _function_tool(name: str, description: str, parameters: dict[str, Any]) -> FunctionTool:
    _check_name(name)

    # pydantic's title repeats the name, its description is that of the tool.
    parameters.pop("title", None)
    parameters.pop("description", None)
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
    }


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ToolError(
            f"The tool name {name!r} cannot be used: names have 1 to 64 letters, digits, "
            "underscores and hyphens. (Anything else could forge a message header in Harmony, and "
            "OpenAI refuses it too.)"
        )


def _json_schema(arguments: type[BaseModel]) -> dict[str, Any]:
    try:
        return arguments.model_json_schema()
    except PydanticUserError as error:
        raise _no_schema_error(arguments.__name__, error) from error


def _no_schema_error(name: str, error: PydanticUserError) -> ToolError:
    return ToolError(f"The tool {name!r} has a parameter without a JSON schema: {error}")


# --- functions --------------------------------------------------------------------------------


def arguments_model(function: Callable[..., object]) -> type[BaseModel]:
    """Make a pydantic model of a function's parameters, which checks a call's arguments.

    A parameter without a type hint takes what its default is, and anything if that does not tell.
    A parameter that a `functools.partial` has bound by its name is left out.

    Returns:
        The model; it has the function's name.

    Raises:
        ToolError: a parameter is variadic, has a name that pydantic keeps for itself, or its type
            has no schema.
    """
    name = _name_of(function)
    try:
        hints = _type_hints_of(function)
        parameters = _free_parameters_of(function)
    except NameError as error:
        raise ToolError(
            f"The tool {name!r} has a type that cannot be resolved: {error}."
        ) from error
    except (TypeError, ValueError) as error:
        raise ToolError(f"The parameters of the tool {name!r} cannot be read: {error}.") from error

    fields: dict[str, Any] = {}
    for parameter in parameters:
        _check_parameter(parameter, name)
        default = ... if parameter.default is parameter.empty else parameter.default
        hint = hints.get(parameter.name, _type_of_default(default))
        fields[parameter.name] = (hint, default)
        if hint is Any and parameter.name not in hints:
            logger.warning(
                "The parameter %r of the tool %r has no type, so the model may write anything; "
                "give it one, such as %s: str.",
                parameter.name,
                name,
                parameter.name,
            )

    try:
        config = ConfigDict(extra="forbid")
        model: type[BaseModel] = create_model(name, __config__=config, **fields)
        model.model_json_schema()
    except PydanticUserError as error:
        raise _find_parameter_error(name, fields, error) from error
    return model


def _find_parameter_error(
    tool_name: str, fields: Mapping[str, Any], error: PydanticUserError
) -> ToolError:
    """Make the error that names the parameter whose type cannot be described."""
    for name, (hint, default) in fields.items():
        field: dict[str, Any] = {name: (hint, default)}
        try:
            create_model(tool_name, **field).model_json_schema()
        except PydanticUserError:
            reason = str(error).partition("\n")[0]
            return ToolError(
                f"The tool {tool_name!r} has a parameter without a JSON schema: {name!r}, of the "
                f"type {hint!r:.100}, which no model could fill. Use a type that JSON has, or bind "
                f"it with functools.partial. ({reason:.200})"
            )
    return _no_schema_error(tool_name, error)


def _free_parameters_of(function: Callable[..., object]) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    # The signature of a partial drops what is bound by position, and keeps what is by name.
    bound = function.keywords if isinstance(function, partial) else {}
    return [parameter for parameter in parameters if parameter.name not in bound]


def _check_parameter(parameter: inspect.Parameter, tool_name: str) -> None:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ToolError(
            f"The tool {tool_name!r} has the parameter {parameter}; "
            "a model fills only named parameters."
        )

    name = parameter.name
    is_pydantic_method = name.startswith("model_") and hasattr(BaseModel, name)
    if name.startswith("_") or is_pydantic_method:
        raise ToolError(
            f"The tool {tool_name!r} has the parameter {name!r}, a name that pydantic keeps for "
            "itself; rename it, or bind it with functools.partial if the model is not to fill it."
        )


def _type_of_default(default: object) -> object:
    if type(default) in _PLAIN_TYPES or isinstance(default, Enum):
        return type(default)
    return Any


def _name_of(function: Callable[..., object]) -> str:
    name = getattr(function, "__name__", None)
    if isinstance(name, str):
        return name
    if isinstance(function, partial):
        return _name_of(function.func)
    return type(function).__name__


def _docstring_of(function: Callable[..., object]) -> str:
    if isinstance(function, partial):
        # The docstring of `partial` itself describes no tool; one set on the object does.
        own = vars(function).get("__doc__") or ""
        return inspect.cleandoc(own) or _docstring_of(function.func)

    docstring = inspect.getdoc(function)
    if docstring is None and not inspect.isroutine(function):
        # An object of a class without a docstring: that of its __call__ describes it.
        docstring = inspect.cleandoc(type(function).__call__.__doc__ or "")
    return docstring or ""


def _type_hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """Read the type hints of a function, of a class, or of an object that can be called."""
    if isinstance(function, partial):
        return _type_hints_of(function.func)

    function = inspect.unwrap(function)
    if isinstance(function, type):
        of_class = get_type_hints(function, include_extras=True)
        of_init = get_type_hints(function.__init__, include_extras=True)  # type: ignore[misc]
        return of_class | of_init

    if not inspect.isroutine(function):
        function = type(function).__call__
    return get_type_hints(function, include_extras=True)
