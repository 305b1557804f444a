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
_HEADER = re.compile(r"\s*(<\|start\|>assistant)?<\|channel\|>[^<]*(<\|constrain\|>[^<]*)?<\|message\|>")
_END = re.compile(r"(<\|(end|return)\|>\s*)+$")


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The shape that an answer must have.

    Attributes:
        name: what the servers call it: letters, digits, underscores and hyphens.
        schema: the JSON schema.
        strict: whether the schema is one that OpenAI's strict mode takes.
    """

    name: str
    schema: Mapping[str, Any]
    strict: bool
    _adapter: TypeAdapter[Any] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, shape: Any) -> ResponseFormat:
        """The format of a pydantic model, another type, or a JSON schema given as a dict.

        Raises:
            OptionError: there is no JSON schema of it.
        """
        if isinstance(shape, cls):
            return shape
        if isinstance(shape, Mapping):
            # A schema of the caller's own is sent as written: making fields required would change what it says.
            return cls(_name(str(shape.get("title", "answer"))), dict(shape), _closed(shape) == shape)
        if inspect.isroutine(shape):
            # pydantic has schemas for functions: those of their arguments.
            raise _no_shape(shape)
        try:
            adapter = TypeAdapter(shape)
            schema = _inlined(adapter.json_schema())
        except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
            raise _no_shape(shape) from error
        strict = _closed(schema)
        name = _name(getattr(shape, "__name__", "answer"))
        if strict is None or strict.get("type") != "object":
            return cls(name, schema, False, adapter)
        return cls(name, strict, True, adapter)

    def parse(self, text: str) -> BaseModel | Any:
        """The answer as an object: a model's instance, or plain data for a JSON schema.

        Raises:
            ValueError: the text is not JSON, or does not fit.
        """
        if _HEADER.match(text):
            text = _END.sub("", _HEADER.sub("", text, count=1))
        # Models put raw line breaks into JSON strings, which pydantic's own reader refuses.
        data = json.loads(text, strict=False)
        return data if self._adapter is None else self._adapter.validate_json(json.dumps(data))


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:64] or "answer"


def _no_shape(shape: Any) -> OptionError:
    return OptionError(f"response_model={shape!r} has no JSON schema; it takes a pydantic model, a type or a schema.")


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A recursive model's schema is a reference into its own definitions; OpenAI wants an object at the root."""
    if "$ref" not in schema:
        return dict(schema)
    return {**schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]], "$defs": schema["$defs"]}


#: What a schema says at least one of; one that says none of them allows anything.
_SAYING = frozenset({"type", "$ref", "anyOf", "enum", "const"})
_UNSAYABLE = frozenset({"allOf", "not", "prefixItems", "patternProperties", "if", "then", "else", "dependentSchemas"})


def _closed(schema: Any) -> Any:
    """`schema` in the form of OpenAI's strict mode, or None when that mode cannot say it (a dict of anything).

    Strict mode wants every property required and no others allowed, and references without company:
    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    if isinstance(schema, list):
        parts = [_closed(part) for part in schema]
        return None if any(part is None for part in parts) else parts
    if not isinstance(schema, Mapping):
        return schema
    closed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions"):
            inner = {name: _closed(part) for name, part in value.items()}
            if any(part is None for part in inner.values()):
                return None
            closed[key] = inner
        elif key in ("items", "anyOf", "oneOf"):
            part = _closed(value)
            if part is None:
                return None
            closed["anyOf" if key == "oneOf" else key] = part
        elif key in _UNSAYABLE:
            return None
        elif key not in ("default", "discriminator"):
            closed[key] = value
    if not _SAYING & closed.keys():
        return None
    if "$ref" in closed and len(closed) > 1:
        closed["anyOf"] = [{"$ref": closed.pop("$ref")}]
    if closed.get("type") == "object":
        if closed.get("additionalProperties") not in (None, False):
            return None
        if "properties" not in closed:
            return None
        closed["additionalProperties"] = False
        closed["required"] = list(closed["properties"])
    return closed


def describe(error: ValueError) -> str:
    """Why an answer did not fit, in a line or two."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3])
    return str(error)
