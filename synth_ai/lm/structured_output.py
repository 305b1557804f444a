"""Answers of a given shape: the schema for a server, and how its text becomes an object.

The shape is a pydantic model, any other type that pydantic has a schema for, or a JSON schema.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from synth_ai.errors import OptionError
from synth_ai.lm.strict_schema import to_strict

# vLLM's server (0.32) leaves the Harmony header before a constrained answer of gpt-oss, and the
# control tokens after it:
#   <|channel|>final<|message|>{"a": 1}                                      -> {"a": 1}
#   <|start|>assistant<|channel|>final <|constrain|>json<|message|>{"a": 1}  -> {"a": 1}
_HEADER = re.compile(
    r"\s*(<\|start\|>assistant)?<\|channel\|>[^<]*(<\|constrain\|>[^<]*)?<\|message\|>"
)
#   {"a": 1}<|return|>        -> {"a": 1}
#   {"a": 1}<|end|><|return|> -> {"a": 1}
# It begins where no other control token is before it, and so is not tried again from each of them.
_END = re.compile(r"(?<!<\|end\|>)(?<!<\|return\|>)(?<!\s)\s*+(<\|(end|return)\|>\s*+)++$")

# Open models put their JSON into a Markdown block if no server holds them to a schema. But for the
# space around it:
#   ```json\n{"a": 1}\n```  -> {"a": 1}
#   ```\n{"a": 1}```        -> {"a": 1}
#   ```JSON {"a": 1}```     -> {"a": 1}
# No character is looked at twice, as blanks and line breaks are read apart.
_FENCED = re.compile(
    r"\s*+```[ \t]*+(?:[\w-]*+[^\S\n]*+\n|json)?(.*?)```\s*+", re.DOTALL | re.IGNORECASE
)

# The beginning of such a block, whose end is not written yet:
#   ```json\n{"a": 1  -> {"a": 1
_FENCE = re.compile(r"\s*+```[ \t]*+(?:[\w-]*+[^\S\n]*+\n|json)?", re.IGNORECASE)

# What a name may not have: My city -> My_city
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
#: OpenAI's limit, in characters.
_MAX_NAME_LENGTH = 64

#: A text with more errors is not explained any better by all of them: to a reader, and to the model
#: that has to mend it.
MAX_ERRORS_SHOWN = 3
MAX_ERRORS_TO_MEND = 20


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The shape that an answer must have.

    Attributes:
        name: what the servers call it: letters, digits, underscores and hyphens.
        schema: the JSON schema for a server. A type whose schema is not an object (`list[int]`, an
            enum, a union) is the one property `value` of an object, which servers ask for at the
            root. A schema that is given as a dict is sent as it is.
        grammar: the JSON schema for an engine, which can hold the model to all that a type says,
            whatever its root.
        strict: whether OpenAI's strict mode takes the schema.
        type: the type that the schema is of; None for a schema that is given as a dict.
        is_wrapped: whether the schema is that of an object with the one property `value`.
    """

    name: str
    schema: Mapping[str, Any]
    grammar: Mapping[str, Any] = field(repr=False)
    strict: bool
    type: Any = field(default=None, repr=False, compare=False)
    is_wrapped: bool = field(default=False, repr=False, compare=False)
    _adapter: TypeAdapter[Any] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, shape: Any) -> ResponseFormat:
        """Make the format of what `response_model=` takes.

        The schema of a type is brought into the form of strict mode if that can express it. A
        constraint that strict mode has no keyword for (`minLength`, `uniqueItems`, most formats)
        moves into the description; `parse` checks it all the same. A dict is sent as it is, and is
        strict only if it already has that form.

        Args:
            shape: a pydantic model, another type, a JSON schema as a dict, or a format.

        Raises:
            OptionError: it has no JSON schema.
        """
        if isinstance(shape, ResponseFormat):
            return shape
        if isinstance(shape, Mapping):
            return cls._of_schema(shape)
        if isinstance(shape, type):
            return _format_of_class(shape)
        return cls.of_type(shape)

    @classmethod
    def _of_schema(cls, schema: Mapping[str, Any]) -> ResponseFormat:
        try:
            json.dumps(dict(schema), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise OptionError(f"response_model={schema!r:.200} is not JSON: {error}.") from error

        name = str(schema.get("title", "answer"))
        # A schema that is brought into strict form requires more than its author wrote.
        is_strict = schema.get("type") == "object" and to_strict(schema) == schema
        return cls(_clean_name(name), dict(schema), dict(schema), is_strict)

    @classmethod
    def of_type(cls, shape: Any) -> ResponseFormat:
        """Make the format of a type.

        Raises:
            OptionError: it has no JSON schema.
        """
        # pydantic has schemas for functions, those of their arguments, for names of types, and for
        # a model's instances.
        if inspect.isroutine(shape) or isinstance(shape, (str, BaseModel)):
            raise _no_schema_error(shape)

        try:
            adapter = TypeAdapter(shape)
            schema = adapter.json_schema()
        except Exception as error:  # it runs the code of types, which may raise anything
            first_line, _, _ = str(error).partition("\n")
            raise _no_schema_error(shape, first_line) from error

        grammar = _inline_root(schema)
        is_wrapped = grammar.get("type") != "object"
        server_schema = _wrap(schema) if is_wrapped else grammar
        strict_schema = to_strict(server_schema)

        return cls(
            name=_clean_name(getattr(shape, "__name__", "answer")),
            schema=server_schema if strict_schema is None else strict_schema,
            grammar=grammar,
            strict=strict_schema is not None,
            type=shape,
            is_wrapped=is_wrapped,
            _adapter=adapter,
        )

    def parse(self, text: str) -> Any:
        """Read an answer into an object.

        Returns:
            A model's instance or a type's value, checked by pydantic. For a JSON schema it is plain
            data, which is not checked.

        Raises:
            ValueError: the text is not JSON, or does not fit the type.
        """
        # Models put raw line breaks into JSON strings, which pydantic's own reader refuses.
        try:
            data = json.loads(_strip_wrapping(text), strict=False)
        except RecursionError:
            raise ValueError("the JSON is nested too deep to be read") from None
        if self._adapter is None:
            return data
        if not self.is_wrapped or not _has_value_alone(data):
            return validate(self._adapter, data)

        try:
            return validate(self._adapter, data["value"])
        except ValidationError as error:
            # A server that ignores the schema may send one of a union's models unwrapped, and that
            # may have a field called `value`, too.
            try:
                return validate(self._adapter, data)
            except ValidationError:
                raise error from None


# Calls in a loop have one class, and its schema costs as much as all the rest of a call. Other
# types are not kept: `int | str` and `str | int` are equal, and say different things.
@lru_cache(maxsize=128)
def _format_of_class(class_: type) -> ResponseFormat:
    return ResponseFormat.of_type(class_)


def describe_error(error: ValueError, limit: int = MAX_ERRORS_SHOWN) -> str:
    """Describe in a line why a text does not fit a type, by its first errors."""
    if not isinstance(error, ValidationError):
        return str(error)

    described = []
    for details in error.errors()[:limit]:
        location = ".".join(map(str, details["loc"])) or "answer"
        described.append(f"{location}: {details['msg']}")
    return "; ".join(described)


def _strip_wrapping(text: str) -> str:
    """Strip what a server or a model puts around the JSON of an answer."""
    # The end alone may belong to a string inside the answer.
    if _HEADER.match(text):
        text = _HEADER.sub("", text, count=1)
        text = _END.sub("", text)

    fenced = _FENCED.fullmatch(text)
    return text if fenced is None else fenced[1]


def strip_opening(text: str) -> str:
    """Strip what is put around the JSON of an answer from one that is still being written."""
    text = _HEADER.sub("", text, count=1) if _HEADER.match(text) else text
    fence = _FENCE.match(text)
    if fence is None:
        return text
    # No JSON ends so, but the block does.
    return text[fence.end() :].rstrip("`\n ")


def validate(adapter: TypeAdapter[Any], data: object) -> Any:
    """Validate data of JSON as a type.

    Raises:
        ValidationError: it does not fit.
    """
    # As JSON: a model that is strict takes a date from JSON text, and not from a Python string.
    return adapter.validate_json(json.dumps(data))


def _has_value_alone(data: object) -> bool:
    return isinstance(data, dict) and data.keys() == {"value"}


def _clean_name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)[:_MAX_NAME_LENGTH] or "answer"


def _no_schema_error(shape: object, reason: str = "") -> OptionError:
    message = (
        f"response_model={shape!r} has no JSON schema; "
        f"it takes a pydantic model, a type or a schema. {reason}"
    )
    return OptionError(message.rstrip())


def _inline_root(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a reference at the root by the definition that it names: a recursive model has one.

    ::

        {"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", ...}}}
        ->  {"type": "object", ..., "$defs": {"Node": {...}}}
    """
    if "$ref" not in schema:
        return dict(schema)

    definitions = schema["$defs"]
    name = schema["$ref"].rsplit("/", 1)[-1]
    return {**definitions[name], "$defs": definitions}


def _wrap(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Make the schema of an object whose one property `value` has this schema.

    The definitions stay at the root, which is where references look for them.
    """
    value = dict(schema)
    definitions = value.pop("$defs", None)

    wrapped = {
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
        "additionalProperties": False,
    }
    if definitions is not None:
        wrapped["$defs"] = definitions
    return wrapped
