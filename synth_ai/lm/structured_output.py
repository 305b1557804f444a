"""Answers of a given shape: what to ask a server for, and how its text becomes an object.

The shape is a pydantic model, any type that pydantic has a schema for, or a JSON schema of one's own.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from synth_ai.errors import OptionError

# vLLM's server (0.32) leaves the Harmony header before a constrained answer of gpt-oss, and its end behind it.
_HEADER = re.compile(
    r"\s*(<\|start\|>assistant)?<\|channel\|>[^<]*(<\|constrain\|>[^<]*)?<\|message\|>"
)
_END = re.compile(r"(<\|(end|return)\|>\s*)+$")

# Open models put their JSON into a Markdown block where nothing holds them to a schema.
_FENCED = re.compile(r"\s*```[ \t]*(?:[\w-]*\s*\n|json)?(.*?)```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The shape that an answer must have.

    Attributes:
        name: what the servers call it: letters, digits, underscores and hyphens.
        schema: the JSON schema for a server; an object at its root, unless the caller's own says otherwise. A type that
            is none (`list[int]`, an enum, a union) is the one property `value` of it.
        grammar: the JSON schema for an engine, which can hold the model to all that a type says, whatever its root.
        strict: whether the schema is one that OpenAI's strict mode takes.
    """

    name: str
    schema: Mapping[str, Any]
    grammar: Mapping[str, Any] = field(repr=False)
    strict: bool
    _adapter: TypeAdapter[Any] | None = field(default=None, repr=False, compare=False)
    _wrapped: bool = field(default=False, repr=False, compare=False)

    @classmethod
    def of(cls, shape: Any) -> ResponseFormat:
        """The format of a pydantic model, another type, or a JSON schema given as a dict.

        The schema of a type is brought into the form of strict mode where that can say it. What strict mode has no
        keyword for (`minLength`, `uniqueItems`, a format it does not know) moves into the description, since `parse`
        checks it all the same. A dict is sent as written, and is strict only if it already has that form.

        Raises:
            OptionError: there is no JSON schema of it.
        """
        if isinstance(shape, cls):
            return shape
        if isinstance(shape, Mapping):
            # Making the fields of a caller's own schema required would change what it says.
            strict = shape.get("type") == "object" and _closed(shape) == shape
            return cls(_name(str(shape.get("title", "answer"))), dict(shape), dict(shape), strict)
        if inspect.isroutine(shape):
            # pydantic has schemas for functions: those of their arguments.
            raise _no_shape(shape)
        try:
            adapter = TypeAdapter(shape)
            schema = adapter.json_schema()
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
            raise _no_shape(shape, str(error).partition("\n")[0]) from error
        rooted = _inlined(schema)
        wrapped = rooted.get("type") != "object"
        sent = _wrapped(schema) if wrapped else rooted
        closed = _closed(sent)
        name = _name(getattr(shape, "__name__", "answer"))
        return cls(
            name, sent if closed is None else closed, rooted, closed is not None, adapter, wrapped
        )

    def parse(self, text: str) -> BaseModel | Any:
        """The answer as an object: a model's instance or a type's value, checked by pydantic.

        For a JSON schema of the caller's own it is plain data, which is not checked against that schema.

        Raises:
            ValueError: the text is not JSON, or does not fit the type.
        """
        if _HEADER.match(text):
            text = _END.sub("", _HEADER.sub("", text, count=1))
        if fenced := _FENCED.fullmatch(text):
            text = fenced[1]
        # Models put raw line breaks into JSON strings, which pydantic's own reader refuses.
        data = json.loads(text, strict=False)
        if self._adapter is None:
            return data
        if not self._wrapped or not isinstance(data, dict) or data.keys() != {"value"}:
            return self._adapter.validate_json(json.dumps(data))
        try:
            return self._adapter.validate_json(json.dumps(data["value"]))
        except ValidationError as error:
            # A server that enforces no schema may send one of a union's models as it is, and that has a `value` too.
            try:
                return self._adapter.validate_json(json.dumps(data))
            except ValidationError:
                raise error from None


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:64] or "answer"


def _no_shape(shape: Any, reason: str = "") -> OptionError:
    takes = "it takes a pydantic model, a type or a schema"
    return OptionError(f"response_model={shape!r} has no JSON schema; {takes}. {reason}".rstrip())


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A recursive model's schema is a reference into its own definitions; OpenAI wants an object at the root."""
    if "$ref" not in schema:
        return dict(schema)
    return {**schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]], "$defs": schema["$defs"]}


def _wrapped(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object with the schema's value in it; the definitions stay at the root, where references look for them."""
    value = {key: part for key, part in schema.items() if key != "$defs"}
    root = {
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
        "additionalProperties": False,
    }
    return root | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


# The subset of JSON schema that OpenAI's strict mode takes, by
# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas and the check of OpenAI's Java library:
# https://github.com/openai/openai-java/blob/main/openai-java-core/src/main/kotlin/com/openai/core/JsonSchemaValidator.kt
_SCHEMA_MAPS = frozenset({"properties", "$defs", "definitions"})
_PLAIN = frozenset(
    {
        "$schema",
        "$id",
        "$ref",
        "type",
        "title",
        "description",
        "enum",
        "const",
        "required",
        "additionalProperties",
    }
    | {
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    }
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_LOOKAROUND = re.compile(r"\(\?<?[=!]")

#: What it does not take, and pydantic checks afterwards: said in the description instead.
_TOLD = frozenset(
    {"format", "pattern", "minLength", "maxLength", "uniqueItems", "contentMediaType"}
)
#: What it does not take, and changes the shape too much to be left out. Any other keyword constrains nothing.
_UNSAYABLE = frozenset(
    {
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "$dynamicRef",
    }
    | {
        "prefixItems",
        "additionalItems",
        "unevaluatedItems",
        "contains",
        "minContains",
        "maxContains",
    }
    | {
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
        "minProperties",
        "maxProperties",
    }
)

_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class _UnsayableError(Exception):
    """Strict mode has no words for a part of a schema."""


def _closed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """`schema` in the form of OpenAI's strict mode, or None when that mode cannot say it (a dict of anything)."""
    try:
        return _closed_part(schema)
    except _UnsayableError:
        return None


def _closed_part(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or _UNSAYABLE & schema.keys():
        raise _UnsayableError
    closed: dict[str, Any] = {}
    told = []
    for key, value in schema.items():
        if key in _SCHEMA_MAPS:
            closed[key] = {
                name: _closed_part(part) for name, part in _expected(Mapping, value).items()
            }
        elif key in ("anyOf", "oneOf"):
            closed["anyOf"] = [_closed_part(part) for part in _expected(list, value)]
        elif key == "items":
            closed[key] = _closed_part(value)
        elif key in _PLAIN or _is_taken(key, value):
            closed[key] = value
        elif key in _TOLD:
            told.append(f"{key}: {json.dumps(value)}")
    if told:
        closed["description"] = f"{closed.get('description', '')} ({', '.join(told)})".lstrip()
    return _closed_object(_typed(closed))


def _is_taken(key: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return (key == "format" and value in _FORMATS) or (
        key == "pattern" and not _LOOKAROUND.search(value)
    )


def _expected(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise _UnsayableError
    return value


def _typed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with exactly one of a type, alternatives and a reference in each place, as strict mode wants it."""
    if "$ref" in schema and len(schema) > 1:
        schema["anyOf"] = [_typed({"$ref": schema.pop("$ref")})]
    if "enum" in schema and "type" not in schema:
        kinds: dict[str, list[Any]] = {}
        for value in schema.pop("enum"):
            if type(value) not in _JSON_TYPES:
                raise _UnsayableError
            kinds.setdefault(_JSON_TYPES[type(value)], []).append(value)
        schema["anyOf"] = [{"type": kind, "enum": values} for kind, values in kinds.items()]
    elsewhere = not str(schema.get("$ref", "#")).startswith("#")
    if elsewhere or len({"type", "anyOf", "$ref"} & schema.keys()) != 1:
        raise _UnsayableError
    return schema


def _closed_object(schema: dict[str, Any]) -> dict[str, Any]:
    """Strict mode wants every property required and no others allowed, and arrays of something."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "array" in kinds and "items" not in schema:
        raise _UnsayableError
    if "object" in kinds:
        if "properties" not in schema or schema.get("additionalProperties") not in (None, False):
            raise _UnsayableError
        schema["additionalProperties"] = False
        required = schema.get("required")
        if not isinstance(required, list) or set(map(str, required)) != set(schema["properties"]):
            schema["required"] = list(schema["properties"])
    return schema


def describe(error: ValueError) -> str:
    """Why an answer did not fit, in a line or two."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3]
        )
    return str(error)
