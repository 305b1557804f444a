"""Schemas in the form of OpenAI's strict mode, one keyword at a time."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai.lm.strict_schema import to_strict


def strict_object(**properties: Any) -> dict[str, Any]:
    """An object in strict form with these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def test_objects_are_closed() -> None:
    """Every property is required and no other is allowed, at every depth; a default goes."""
    inner = {"type": "object", "properties": {"b": {"type": "string", "default": "x"}}}
    schema = {"type": "object", "properties": {"a": inner}}
    assert to_strict(schema) == strict_object(a=strict_object(b={"type": "string"}))
    assert schema == {"type": "object", "properties": {"a": inner}}


def test_required_properties_keep_their_order() -> None:
    """A schema in strict form is left as it is."""
    schema = {**strict_object(a={"type": "null"}, b={"type": "null"}), "required": ["b", "a"]}
    assert to_strict(schema) == schema


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (
            {"type": "string", "minLength": 1, "description": "A name."},
            {"type": "string", "description": "A name. (minLength: 1)"},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        (
            {"type": "string", "format": "uri"},
            {"type": "string", "description": '(format: "uri")'},
        ),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^a"}),
        (
            {"type": "string", "pattern": "(?<!a)b"},
            {"type": "string", "description": '(pattern: "(?<!a)b")'},
        ),
        (
            {"$ref": "#/$defs/City", "description": "Home."},
            {"description": "Home.", "anyOf": [{"$ref": "#/$defs/City"}]},
        ),
        (
            {"enum": ["a", 1, "b"]},
            {
                "anyOf": [
                    {"type": "string", "enum": ["a", "b"]},
                    {"type": "integer", "enum": [1]},
                ]
            },
        ),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
    ],
)
def test_how_a_keyword_changes(schema: dict[str, Any], strict: dict[str, Any]) -> None:
    """What strict mode has no keyword for is described; what it writes otherwise is rewritten."""
    assert to_strict(schema) == strict


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}},
        {"type": "array"},
        {"type": "array", "items": True},
        {"type": "string", "anyOf": [{"type": "string"}]},
        {"$ref": "https://schemas.test/a"},
        {"enum": [["a"]]},
        {"anyOf": {"type": "null"}},
        {"allOf": [{"type": "null"}]},
        {"type": "object", "properties": {"a": {"patternProperties": {}}}},
    ],
)
def test_what_cannot_be_expressed(schema: dict[str, Any]) -> None:
    """A schema that strict mode would refuse, or whose meaning it would change, is not strict."""
    assert to_strict(schema) is None
