"""JSON schemas as types: what openai-harmony 0.0.8 gives up on is said in full."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from synth_ai.errors import ToolError
from synth_ai.harmony.typescript import to_typescript

NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}
DESCRIBED = {
    "anyOf": [
        {"type": "string", "description": "as text"},
        {"type": "integer", "description": "as number"},
    ],
}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "null"}, "null"),
        ({"const": "on"}, '"on"'),
        ({"const": 3}, "3"),
        ({"enum": [1, 2, None]}, "1 | 2 | null"),
        ({"type": "integer", "enum": [1, 2]}, "1 | 2"),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "string | number | null",
        ),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "number"),
        ({"allOf": [{"type": "string"}]}, "string"),
        ({"type": "array", "items": {"enum": [1, 2]}}, "(1 | 2)[]"),
        (
            {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "(string | null)[]",
        ),
        (
            {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}},
            "boolean[][]",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
            "[string, number]",
        ),
        ({"type": ["array", "null"], "items": {"type": "string"}}, "string[] | null"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "Record<string, number>"),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, "{\na: string,\n}"),
        ({"allOf": [{"properties": {"a": {}}}, NULLABLE]}, "{\na?: any,\n} & (string | null)"),
        ({"allOf": [NULLABLE]}, "string | null"),
        ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, "(1 | 2) & (2 | 3)"),
        ({"allOf": [{"type": ["string", "null"]}, {"const": "a"}]}, '(string | null) & "a"'),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "string | null[]"),
        (
            {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
            "\n | string\n | number[]",
        ),
        (
            {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
            "{\na?: any,\n[key: string]: number,\n}",
        ),
        ({"properties": {"a": {}}, "additionalProperties": False}, "{\na?: any,\n}"),
        ({"properties": {"a": {}}, "additionalProperties": True}, "{\na?: any,\n}"),
        (DESCRIBED, "\n | string // as text\n | number // as number"),
        (
            {"type": "array", "items": DESCRIBED},
            "(\n | string // as text\n | number // as number\n)[]",
        ),
        (
            {"anyOf": [DESCRIBED, {"type": "null"}]},
            "(\n | string // as text\n | number // as number\n) | null",
        ),
        (
            {"additionalProperties": DESCRIBED, "type": "object"},
            "Record<string, (\n | string // as text\n | number // as number\n)>",
        ),
        ({"oneOf": []}, ""),
        ({"type": "object", "properties": {"a": True, "b": False}}, "{\na?: any,\nb?: never,\n}"),
        (
            {"type": "object", "properties": {"a b": {}, 'c"d': {}}},
            '{\n"a b"?: any,\n"c\\"d"?: any,\n}',
        ),
        ({}, "any"),
        (True, "any"),
    ],
)
def test_types(schema: Any, wanted: str) -> None:
    """Each form of a schema has the type that it describes."""
    assert to_typescript(schema) == wanted


OWN = {"type": "object", "properties": {"a": {"type": "string"}}}
OWN_TYPE = "{\na?: string,\n}"
WIDE = {"properties": {"w": {"type": "number"}}}
ROUND = {"properties": {"r": {"type": "number"}}}


@pytest.mark.parametrize("key", ["anyOf", "oneOf", "allOf"])
def test_conditions_do_not_hide_what_stands_beside_them(key: str) -> None:
    """Conditions have no type, so what is shown is what openai-harmony shows: the properties."""
    conditions = [{"required": ["a"]}, {"type": "object", "minProperties": 1}]
    assert to_typescript({**OWN, key: conditions}) == OWN_TYPE
    assert to_typescript({"type": "array", "items": {**OWN, key: conditions}}) == f"{OWN_TYPE}[]"
    texts = {"type": "array", "items": {"type": "string"}, key: [{"minItems": 1}, {"maxItems": 0}]}
    assert to_typescript(texts) == "string[]"


def test_conditions_of_a_scalar() -> None:
    """Formats and bounds leave its type as it is."""
    formats = [{"format": "date"}, {"format": "time"}]
    assert to_typescript({"type": "string", "anyOf": formats}) == "string"
    assert to_typescript({"type": "integer", "allOf": [{"minimum": 1}]}) == "number"


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({**OWN, "allOf": [WIDE]}, f"{OWN_TYPE} & {{\nw?: number,\n}}"),
        (
            {**OWN, "anyOf": [WIDE, ROUND]},
            f"{OWN_TYPE} & ({{\nw?: number,\n}} | {{\nr?: number,\n}})",
        ),
        (
            {**OWN, "oneOf": [WIDE, {"type": "null"}]},
            f"{OWN_TYPE} & (\n | {{\n   w?: number,\n   }}\n | null\n)",
        ),
        (
            {**OWN, "type": ["object", "null"], "anyOf": [WIDE]},
            f"({OWN_TYPE} | null) & {{\nw?: number,\n}}",
        ),
        (
            {"type": "array", "items": {**OWN, "allOf": [WIDE]}},
            f"({OWN_TYPE} & {{\nw?: number,\n}})[]",
        ),
        ({"allOf": [WIDE, {"required": ["w"]}]}, "{\nw?: number,\n}"),
        (
            {"properties": {"b": {**OWN, "oneOf": [{"required": ["a"]}]}}},
            "{\nb?: {\n    a?: string,\n    },\n}",
        ),
    ],
)
def test_combined_types(schema: Any, wanted: str) -> None:
    """Properties and the types that are combined with them are both shown."""
    assert to_typescript(schema) == wanted


@pytest.mark.parametrize("key", ["anyOf", "allOf"])
@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ({"enum": [1, 2]}, "(1 | 2)[]"),
        ({"enum": ["a", "b"], "type": "string"}, '("a" | "b")[]'),
        ({"type": ["string", "null"]}, "(string | null)[]"),
        (NULLABLE, "(string | null)[]"),
        ({"$ref": "#/$defs/N"}, "(string | null)[]"),
        ({"allOf": [WIDE, ROUND]}, "({\nw?: number,\n} & {\nr?: number,\n})[]"),
        ({"type": "string"}, "string[]"),
    ],
)
def test_arrays_of_a_type_that_is_wrapped(key: str, only: Any, wanted: str) -> None:
    """An `anyOf` of one is that one, also in front of the brackets."""
    schema = {"type": "array", "items": {key: [only]}, "$defs": {"N": NULLABLE}}
    assert to_typescript(schema) == wanted


def test_types_that_wrap_each_other_have_an_end() -> None:
    """A definition that is nothing but itself is any type."""
    wrapped = {"anyOf": [{"$ref": "#/$defs/A"}]}
    schema = {"type": "array", "items": {"$ref": "#/$defs/A"}, "$defs": {"A": wrapped}}
    assert to_typescript(schema) == "any /* A again */[]"


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
    """The schema of a pydantic model is complete and readable, without its generated titles."""
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
    properties = {
        "max_size": {"type": "number", "title": "Max Size"},
        "b": {"type": "number", "title": "In bytes"},
    }
    wanted = "{\nmax_size?: number,\n// In bytes\n//\nb?: number,\n}"
    assert to_typescript({"type": "object", "properties": properties}) == wanted


def test_recursive_schema() -> None:
    """A type that contains itself ends where it would begin again, and says which it is."""
    node = {
        "type": "object",
        "properties": {
            "next": {"$ref": "#/$defs/Node"},
            "all": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            "top": {"$ref": "#"},
        },
    }
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    again, top = "any /* Node again */", "any /* the same again */"
    assert to_typescript(schema) == f"{{\nnext?: {again},\nall?: {again}[],\ntop?: {top},\n}}"


def test_the_name_of_a_recursion_stays_in_its_comment() -> None:
    """A name that could end the comment is not written."""
    name = "x*~1 evil"
    schema = {
        "$ref": f"#/$defs/{name}",
        "$defs": {"x*/ evil": {"type": "array", "items": {"$ref": f"#/$defs/{name}"}}},
    }
    assert to_typescript(schema) == "any /* the same again */[]"


def test_described_variants_of_a_property() -> None:
    """Each variant of an `anyOf` keeps its description: behind it, or inside of an object."""
    color = {"enum": ["red", "blue"], "description": "A color."}
    point = {"type": "object", "description": "A place.", "properties": {"x": {"type": "number"}}}
    properties = {
        "color": {"anyOf": [{"$ref": "#/$defs/Color"}, {"type": "null"}], "default": None},
        "size": {**DESCRIBED, "description": "How large", "nullable": True},
        "place": {
            "anyOf": [{"$ref": "#/$defs/Point"}, {"type": "string", "description": "Its name"}]
        },
    }
    schema = {"type": "object", "properties": properties, "$defs": {"Color": color, "Point": point}}
    assert (
        to_typescript(schema)
        == """{
// default: null
color?:
 | "red" | "blue" // A color.
 | null
,
// How large
size?:
 | string // as text
 | number // as number
 | null
,
place?:
 |    // A place.
{
   x?: number,
   }
 | string // Its name
,
}"""
    )


def nested(depth: int) -> dict[str, Any]:
    """A schema of arrays within arrays."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


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
        {"type": "object", "properties": {5: {}}},
        {"const": {1, 2}},
        {"type": "object", "properties": {"a": {"type": "string", "default": object()}}},
        {"type": "object", "properties": {"a": {"type": "number", "default": float("nan")}}},
        {"type": "object", "properties": {"a": {"type": "number", "default": [float("inf")]}}},
        {"enum": [1.0, float("-inf")]},
        {"const": float("inf")},
        {"oneOf": [{"type": "number", "default": float("inf")}]},
        {"anyOf": [None]},
        {"type": "object", "properties": {"a": {}}, "allOf": ["a"]},
        nested(2000),
    ],
)
def test_bad_schema(schema: Any) -> None:
    """A schema that cannot be read is an error of the tool, not of Python."""
    with pytest.raises(ToolError):
        to_typescript(schema)


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "array", "items": {"type": "integer", "enum": 5}}, "number[]"),
        ({"type": "array", "items": {"anyOf": 5}}, "any[]"),
        ({"type": [["string"], "null"]}, "any | null"),
        ({"properties": {"a": {}}, "required": [["a"]]}, "{\na?: any,\n}"),
        ({"enum": [], "type": "string"}, "string"),
    ],
)
def test_keywords_of_another_type_are_ignored(schema: Any, wanted: str) -> None:
    """A keyword whose value has the wrong type says nothing, and does not make Python raise."""
    assert to_typescript(schema) == wanted


def test_null_in_a_word_is_taken_for_null() -> None:
    """As openai-harmony 0.0.8 does: the model was trained on such types."""
    schema = {"type": "string", "enum": ["nullify"], "nullable": True}
    assert to_typescript({"properties": {"a": schema}}) == '{\na?: "nullify",\n}'


def test_a_description_of_any_text_hides_no_other() -> None:
    """Cases keep their descriptions, whatever the text of the property's own."""
    cases = [{"type": "string", "description": "as text"}, {"type": "null"}]
    schema = {"properties": {"a": {"anyOf": cases, "description": "*"}}}
    assert to_typescript(schema) == "{\n// *\na?:\n | string // as text\n | null\n,\n}"


def test_references_that_multiply_are_refused() -> None:
    """Forty levels that each name the next one twice would be a million million types."""
    levels: dict[str, Any] = {
        f"L{n}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/$defs/L{n + 1}"} for side in ("left", "right")},
        }
        for n in range(40)
    }
    with pytest.raises(
        ToolError, match=r"more than 2000 references inlined, '#/\$defs/L\d+' among them"
    ):
        to_typescript({"$ref": "#/$defs/L0", "$defs": levels | {"L40": {"type": "string"}}})
