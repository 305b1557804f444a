"""JSON schemas as types: what openai-harmony 0.0.8 gives up on is said in full."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from synth_ai.errors import ToolError
from synth_ai.harmony.typescript import to_typescript


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "null"}, "null"),
        ({"const": "on"}, '"on"'),
        ({"const": 3}, "3"),
        ({"enum": [1, 2, None]}, "1 | 2 | null"),
        ({"type": "integer", "enum": [1, 2]}, "1 | 2"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}, "string | number | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "number"),
        ({"allOf": [{"type": "string"}]}, "string"),
        ({"type": "array", "items": {"enum": [1, 2]}}, "(1 | 2)[]"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "(string | null)[]"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}, "boolean[][]"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}, "[string, number]"),
        ({"type": ["array", "null"], "items": {"type": "string"}}, "string[] | null"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "Record<string, number>"),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, "{\na: string,\n}"),
        ({"type": "object", "properties": {"a": True, "b": False}}, "{\na?: any,\nb?: never,\n}"),
        ({"type": "object", "properties": {"a b": {}, 'c"d': {}}}, '{\n"a b"?: any,\n"c\\"d"?: any,\n}'),
        ({}, "any"),
        (True, "any"),
    ],
)
def test_types(schema: Any, wanted: str) -> None:
    """Each form of a schema has the type that it describes."""
    assert to_typescript(schema) == wanted


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(BaseModel):
    """A place on the page."""

    x: float
    y: float = 0.0


class Drawing(BaseModel):
    color: Color
    level: Level | None = None
    kind: Literal["line"] = "line"
    points: list[Point] = Field(description="Where it goes\nthrough")
    start: Annotated[Point, Field(description="Where it begins")]
    names: dict[str, int] = Field(default_factory=dict)
    size: int | str = 3
    pair: tuple[int, str] | None = None


def test_pydantic_model() -> None:
    """A pydantic model, with references, enums and unions, is readable and complete, without its generated titles."""
    assert (
        to_typescript(Drawing.model_json_schema())
        == """{
color: "red" | "blue",
level?: 1 | 2 | null, // default: null
kind?: "line", // default: "line"
// Where it goes through
points:     // A place on the page.
{
    x: number,
    y?: number, // default: 0.0
    }[],
// Where it begins
start:     // Where it begins
{
    x: number,
    y?: number, // default: 0.0
    },
names?: Record<string, number>,
size?: number | string, // default: 3
pair?: [number, string] | null, // default: null
}"""
    )


def test_titles() -> None:
    """A title that says more than the name is kept, one that repeats it is not."""
    properties = {"max_size": {"type": "number", "title": "Max Size"}, "b": {"type": "number", "title": "In bytes"}}
    wanted = "{\nmax_size?: number,\n// In bytes\n//\nb?: number,\n}"
    assert to_typescript({"type": "object", "properties": properties}) == wanted


def test_recursive_schema() -> None:
    """A type that contains itself ends where it would begin again."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "value": {"type": "string"}}}
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    assert to_typescript(schema) == "{\nnext?: any,\nvalue?: string,\n}"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/Missing"},
        {"$ref": "https://example.com/schema"},
        {"$ref": 5},
        {"type": "object", "properties": {"a": "string"}},
        {"$ref": "#/$defs/A", "$defs": {"A": "string"}},
        "string",
        None,
    ],
)
def test_bad_schema(schema: Any) -> None:
    """A schema that cannot be read is an error of the tool, not of Python."""
    with pytest.raises(ToolError):
        to_typescript(schema)
