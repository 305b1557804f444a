"""JSON schemas in the form that OpenAI's strict mode takes. Pure.

In strict mode the server holds the model to a schema, which has to be of a subset of JSON schema:
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas. What that page leaves
open is read from a check in OpenAI's Java library, `JsonSchemaValidator.kt` of openai-java-core:
https://github.com/openai/openai-java
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

#: Keywords whose value is a schema for each of some names.
_SCHEMA_MAPS = frozenset({"properties", "$defs", "definitions"})

#: Keywords for a list of schemas. Strict mode takes the first; one of pydantic's discriminated
#: unions, which uses the second, means the same.
_ALTERNATIVES = frozenset({"anyOf", "oneOf"})

#: Keywords that strict mode takes as they are.
_SUPPORTED = frozenset(
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
        # Bounds of numbers and arrays
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    }
)

#: The values of `format` that strict mode takes.
_SUPPORTED_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)

# The beginning of a lookahead or lookbehind, which no `pattern` may have:
#   ^(?=a)   ^(?!a)   (?<=a)b   (?<!a)b   -> found
#   (?:a|b)   (?P<name>a)                 -> not found
_LOOKAROUND = re.compile(r"\(\?<?[=!]")

#: Keywords that strict mode does not take, whose constraints pydantic checks afterwards: the
#: description mentions them to the model.
_DESCRIBED = frozenset(
    {"format", "pattern", "minLength", "maxLength", "uniqueItems", "contentMediaType"}
)

#: Keywords that strict mode does not take, and that change the shape too much to be left out. Any
#: other keyword, such as `examples`, constrains nothing.
_UNSUPPORTED = frozenset(
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
        # Arrays
        "prefixItems",
        "additionalItems",
        "unevaluatedItems",
        "contains",
        "minContains",
        "maxContains",
        # Objects
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
        "minProperties",
        "maxProperties",
    }
)

#: What JSON schema calls the types of the values of an `enum`.
_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class _UnsupportedError(Exception):
    """Strict mode has no way to express a part of a schema."""


def to_strict(schema: Mapping[str, Any]) -> Schema | None:
    """Bring a schema into the form of strict mode.

    ::

        {"type": "object", "properties": {"a": {"type": "string", "minLength": 1, "default": "x"}}}
        ->  {"type": "object",
             "properties": {"a": {"type": "string", "description": "(minLength: 1)"}},
             "additionalProperties": False, "required": ["a"]}

        {"type": "object", "additionalProperties": {"type": "integer"}}  ->  None: any property

    Returns:
        The schema; None if strict mode cannot express it.
    """
    try:
        return _convert(schema)
    except _UnsupportedError:
        return None


def _convert(schema: object) -> Schema:
    """Convert a schema and all schemas in it."""
    if not isinstance(schema, Mapping):
        raise _UnsupportedError
    if _UNSUPPORTED & schema.keys():
        raise _UnsupportedError

    strict: Schema = {}
    constraints = []
    for keyword, value in schema.items():
        if keyword in _SCHEMA_MAPS:
            strict[keyword] = _convert_map(value)
        elif keyword in _ALTERNATIVES:
            strict["anyOf"] = _convert_list(value)
        elif keyword == "items":
            strict["items"] = _convert(value)
        elif _is_supported(keyword, value):
            strict[keyword] = value
        elif keyword in _DESCRIBED:
            constraints.append(f"{keyword}: {json.dumps(value)}")

    if constraints:
        description = strict.get("description", "")
        strict["description"] = f"{description} ({', '.join(constraints)})".lstrip()

    _split_reference(strict)
    _split_enum(strict)
    _check_kind(strict)
    _check_array(strict)
    _close_object(strict)
    return strict


def _convert_map(schemas: object) -> dict[str, Schema]:
    if not isinstance(schemas, Mapping):
        raise _UnsupportedError
    return {name: _convert(schema) for name, schema in schemas.items()}


def _convert_list(schemas: object) -> list[Schema]:
    if not isinstance(schemas, list):
        raise _UnsupportedError
    return [_convert(schema) for schema in schemas]


def _is_supported(keyword: str, value: object) -> bool:
    """Whether strict mode takes a keyword with this value."""
    if keyword in _SUPPORTED:
        return True
    if not isinstance(value, str):
        return False
    if keyword == "format":
        return value in _SUPPORTED_FORMATS
    if keyword == "pattern":
        return _LOOKAROUND.search(value) is None
    return False


def _split_reference(schema: Schema) -> None:
    """Put a reference that has other keywords beside it one level down: it must stand alone.

    ::

        {"$ref": "#/$defs/City", "description": "Home."}
        ->  {"description": "Home.", "anyOf": [{"$ref": "#/$defs/City"}]}
    """
    if "$ref" not in schema or len(schema) == 1:
        return

    reference = {"$ref": schema.pop("$ref")}
    _check_kind(reference)
    schema["anyOf"] = [reference]


def _split_enum(schema: Schema) -> None:
    """Split an `enum` without a type into alternatives of one type each.

    ::

        {"enum": ["a", 1, "b"]}
        ->  {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "integer", "enum": [1]}]}
    """
    if "enum" not in schema or "type" in schema:
        return

    values = schema.pop("enum")
    if not isinstance(values, (list, tuple)):
        raise _UnsupportedError

    values_by_type: dict[str, list[Any]] = {}
    for value in values:
        json_type = _JSON_TYPES.get(type(value))
        if json_type is None:
            raise _UnsupportedError
        values_by_type.setdefault(json_type, []).append(value)

    schema["anyOf"] = [
        {"type": json_type, "enum": values} for json_type, values in values_by_type.items()
    ]


def _check_kind(schema: Schema) -> None:
    """Check that a schema is exactly one of a type, alternatives, and a reference into itself."""
    reference = str(schema.get("$ref", "#"))
    if not reference.startswith("#"):
        raise _UnsupportedError

    kinds = {"type", "anyOf", "$ref"} & schema.keys()
    if len(kinds) != 1:
        raise _UnsupportedError


def _check_array(schema: Schema) -> None:
    if "array" not in _types_of(schema):
        return
    if "items" not in schema:
        raise _UnsupportedError


def _close_object(schema: Schema) -> None:
    """Require every property of an object, and allow no others."""
    if "object" not in _types_of(schema):
        return

    if "properties" not in schema:
        raise _UnsupportedError
    if schema.get("additionalProperties") not in (None, False):
        raise _UnsupportedError

    schema["additionalProperties"] = False

    # A list that names all properties keeps its order: a schema in strict form is left as it is.
    names = list(schema["properties"])
    required = schema.get("required")
    is_complete = isinstance(required, list) and set(map(str, required)) == set(names)
    if not is_complete:
        schema["required"] = names


def _types_of(schema: Schema) -> list[Any]:
    types = schema.get("type")
    return types if isinstance(types, list) else [types]
