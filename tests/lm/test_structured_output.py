"""Answers of a given shape: which schema is sent, and how a text becomes an object."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import pytest
from pydantic import (
    UUID4,
    BaseModel,
    Field,
    HttpUrl,
    RootModel,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from synth_ai.errors import OptionError
from synth_ai.lm.structured_output import ResponseFormat, describe_error


class City(BaseModel):
    name: str
    inhabitants: int | None = None


class Country(BaseModel):
    """A country."""

    name: str
    capital: City
    cities: list[City] = Field(default_factory=list)
    founded: date | None = None


def schemas_of(schema: Any) -> list[dict[str, Any]]:
    """Every dict inside a schema, itself included."""
    parts = (
        schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    )
    own = [schema] if isinstance(schema, dict) else []
    return own + [found for part in parts for found in schemas_of(part)]


def test_a_model_s_schema_is_strict() -> None:
    """Strict mode wants every property required and no others, at every depth, and no defaults."""
    shape = ResponseFormat.of(Country)
    assert (shape.name, shape.strict) == ("Country", True)
    found = [schema for schema in schemas_of(shape.schema) if schema.get("type") == "object"]
    assert len(found) == 2
    for schema in found:
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
    assert "'default'" not in repr(shape.schema)


def test_a_property_called_default_is_kept() -> None:
    """Only the keyword goes, not a field of that name."""

    class Odd(BaseModel):
        default: int
        properties: str

    shape = ResponseFormat.of(Odd)
    assert shape.strict
    assert set(shape.schema["properties"]) == {"default", "properties"}


class Node(BaseModel):
    """A recursive model, each of whose references has a description beside it."""

    value: int
    left: Node | None = Field(default=None, description="Smaller.")
    right: Node = Field(description="Greater.")


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    home: City = Field(description="Where they live.")


def test_references_stand_alone() -> None:
    """Strict mode refuses keywords beside a `$ref`, and a `$ref` at the root."""
    for shape in (ResponseFormat.of(Node), ResponseFormat.of(Owner)):
        assert shape.strict
        assert shape.schema["type"] == "object"
        found = schemas_of(shape.schema)
        assert any("$ref" in schema for schema in found)
        assert all(len(schema) == 1 for schema in found if "$ref" in schema)
        assert not any({"oneOf", "discriminator"} & schema.keys() for schema in found)
    described = ResponseFormat.of(Owner).schema["properties"]["home"]
    assert described["description"] == "Where they live."


class Loose(BaseModel):
    extra: dict[str, int]


class Pair(BaseModel):
    both: tuple[int, str]


class Anything(BaseModel):
    value: Any


@pytest.mark.parametrize("shape", [Loose, Anything, Pair, dict[str, int], dict])
def test_what_strict_mode_cannot_say_is_sent_loosely(shape: Any) -> None:
    """A dict of anything and a tuple are asked for without strict, and unchanged."""
    assert ResponseFormat.of(shape).strict is False
    assert ResponseFormat.of(shape).schema == TypeAdapter(shape).json_schema()


class Colour(Enum):
    """A colour."""

    RED = "red"
    NONE = 0


class Tree(RootModel[list["Tree"]]):
    """A recursive shape that is no object."""


@pytest.mark.parametrize(
    ("shape", "answer", "value", "strict"),
    [
        (list[int], "[1, 2]", [1, 2], True),
        (int, "3", 3, True),
        (bool, "true", True, True),
        (Literal["yes", "no"], '"yes"', "yes", True),
        (Literal["a", 1, None], "null", None, True),
        (Colour, "0", Colour.NONE, True),
        (City | Country, '{"name": "Rome"}', City(name="Rome"), True),
        (Node | None, "null", None, True),
        (Tree, "[[], [[]]]", Tree([Tree([]), Tree([Tree([])])]), True),
        (set[int], "[1, 1, 2]", {1, 2}, True),
        (tuple[int, str], '[1, "a"]', (1, "a"), False),
        (list[Any], "[[], 1]", [[], 1], False),
    ],
)
def test_a_type_that_is_no_object_is_wrapped(
    shape: Any, answer: str, value: Any, strict: bool
) -> None:
    """Servers want an object at the root; an answer is read whether or not it came wrapped."""
    format_ = ResponseFormat.of(shape)
    assert format_.strict is strict
    assert format_.schema.keys() - {"$defs"} == {
        "type",
        "properties",
        "required",
        "additionalProperties",
    }
    assert (format_.schema["type"], format_.schema["additionalProperties"]) == ("object", False)
    assert format_.schema["required"] == list(format_.schema["properties"]) == ["value"]
    assert "$defs" not in format_.schema["properties"]["value"]
    for text in (answer, f'{{"value": {answer}}}'):
        assert format_.parse(text) == value


class Valued(BaseModel):
    value: int


def test_an_answer_with_a_value_of_its_own() -> None:
    """A model of a union may have a field called value: what fits is what was meant."""
    shape = ResponseFormat.of(Valued | City)
    assert shape.parse('{"value": {"value": 1}}') == shape.parse('{"value": 1}') == Valued(value=1)
    assert ResponseFormat.of(Valued).parse('{"value": 1}') == Valued(value=1)
    with pytest.raises(ValidationError) as raised:
        ResponseFormat.of(list[int]).parse('{"value": ["x"]}')
    assert describe_error(raised.value).startswith("0: Input should be a valid integer")


class Constrained(BaseModel):
    """One of each thing that pydantic says and strict mode has no words for."""

    link: HttpUrl
    path: Path = Field(description="Where it is.", examples=["/a"], deprecated=True)
    key: SecretStr
    raw: bytes
    numbers: set[int]
    exact: UUID4
    short: Annotated[str, StringConstraints(max_length=3, pattern="^[a-z]+$")]
    odd: str = Field(json_schema_extra={"pattern": "^(?!a)", "ui": "wide"})
    mixed: Literal["a", 1, None] = Field("a", description="Either.")


def test_what_strict_mode_has_no_keyword_for_is_described() -> None:
    """Such a constraint is described, and pydantic checks it afterwards; the rest is left out."""
    shape = ResponseFormat.of(Constrained)
    assert shape.strict
    found = {name: {**part, "title": None} for name, part in shape.schema["properties"].items()}
    assert found["link"]["description"] == '(format: "uri", maxLength: 2083, minLength: 1)'
    assert found["path"] == {
        "type": "string",
        "description": 'Where it is. (format: "path")',
        "title": None,
    }
    assert found["numbers"]["description"] == "(uniqueItems: true)"
    assert found["short"]["pattern"] == "^[a-z]+$"
    assert found["odd"]["description"] == '(pattern: "^(?!a)")'
    assert found["mixed"] == {
        "anyOf": [
            {"type": "string", "enum": ["a"]},
            {"type": "integer", "enum": [1]},
            {"type": "null", "enum": [None]},
        ],
        "description": "Either.",
        "title": None,
    }
    keywords = {
        "format",
        "uniqueItems",
        "maxLength",
        "minLength",
        "writeOnly",
        "examples",
        "deprecated",
        "ui",
    }
    assert not any(keywords & part.keys() for part in found.values())
    with pytest.raises(ValueError, match="at most 3 characters"):
        ResponseFormat.of(Annotated[str, StringConstraints(max_length=3)]).parse(
            '{"value": "long"}'
        )


class Plain(BaseModel):
    when: date
    id: UUID
    price: Decimal = Field(gt=0, multiple_of=5)
    names: list[str] = Field(min_length=1, max_length=3)


def test_what_strict_mode_takes_is_kept() -> None:
    """The formats and bounds that it documents stay, so the server enforces them."""
    shape = ResponseFormat.of(Plain)
    assert shape.strict
    said = repr(shape.schema)
    for kept in (
        "'date'",
        "'uuid'",
        "'exclusiveMinimum'",
        "'multipleOf'",
        "'minItems'",
        "'maxItems'",
    ):
        assert kept in said
    assert "description" not in said


def test_a_schema_of_one_s_own_is_sent_as_written() -> None:
    """It is strict only if it has strict form already, and its answer is not checked."""
    loose = {"title": "My city", "type": "object", "properties": {"name": {"type": "string"}}}
    closed = {**loose, "required": ["name"], "additionalProperties": False}
    assert ResponseFormat.of(loose).schema == loose
    assert (ResponseFormat.of(loose).name, ResponseFormat.of(loose).strict) == ("My_city", False)
    assert ResponseFormat.of(closed).strict is True
    assert ResponseFormat.of(loose).parse('{"name": 5}') == {"name": 5}
    listed = {"type": "array", "items": {"type": "integer"}}
    assert (ResponseFormat.of(listed).schema, ResponseFormat.of(listed).strict) == (listed, False)
    assert ResponseFormat.of(listed).parse('{"value": [1]}') == {"value": [1]}


def closed(**properties: Any) -> dict[str, Any]:
    """A schema of one's own in strict form, but for what is in its properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (closed(a={"type": "string", "format": "email"}), True),
        (closed(a={"type": ["string", "null"]}, b={"const": 1, "type": "integer"}), True),
        (closed(a={"$ref": "#"}), True),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", **closed(a={"type": "null"})},
            True,
        ),
        ({**closed(a={"type": "null"}, b={"type": "null"}), "required": ["b", "a"]}, True),
        ({**closed(a={"type": "null"}, b={"type": "null"}), "required": ["b"]}, False),
        (closed(a={"type": "string", "format": "uri"}), False),
        (closed(a={"type": "string", "minLength": 1}), False),
        (closed(a={"type": "string", "pattern": "^(?=a)"}), False),
        (closed(a={"type": "array"}), False),
        (closed(a={"type": "array", "items": [{"type": "string"}]}), False),
        (closed(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}), False),
        (closed(a={"enum": ["a", "b"]}), False),
        (closed(a={"enum": [["a"]]}), False),
        (closed(a={"enum": 5}), False),
        (closed(a={"type": "string", "examples": ["b"]}), False),
        (closed(a={"type": ["object", "null"], "properties": {}}), False),
        (closed(a={"$ref": "https://schemas.test/a"}), False),
        (closed(a=True), False),
        ({**closed(a={"type": "null"}), "anyOf": []}, False),
        ({"type": "object", "properties": [], "required": 5}, False),
    ],
)
def test_when_a_schema_of_one_s_own_is_strict(schema: dict[str, Any], strict: bool) -> None:
    """Strict is claimed for what OpenAI documents that it takes, and for nothing else."""
    assert ResponseFormat.of(schema).strict is strict
    assert ResponseFormat.of(schema).schema == schema


def test_other_types_are_shapes_too() -> None:
    """Anything that pydantic has a schema for."""
    assert ResponseFormat.of(list[City]).parse('[{"name": "Rome"}]') == [City(name="Rome")]
    assert ResponseFormat.of(Literal["yes", "no"]).parse('"yes"') == "yes"
    assert ResponseFormat.of(ResponseFormat.of(City)).name == "City"


@pytest.mark.parametrize("shape", [lambda: None, 5, "City", object()])
def test_what_is_no_shape(shape: Any) -> None:
    """The error says what it takes."""
    with pytest.raises(OptionError, match=r"response_model=.*pydantic model, a type or a schema"):
        ResponseFormat.of(shape)


def test_a_class_is_read_once() -> None:
    """Also by thousands of calls; an incomplete one is tried again, and unions keep their order."""
    assert ResponseFormat.of(City) is ResponseFormat.of(City)
    first, second = ResponseFormat.of(int | str), ResponseFormat.of(str | int)
    assert first.grammar != second.grammar

    class Later(BaseModel):
        home: Unknown  # noqa: F821

    with pytest.raises(OptionError, match=r"Later.* has no JSON schema"):
        ResponseFormat.of(Later)
    Later.model_rebuild(_types_namespace={"Unknown": City})
    assert ResponseFormat.of(Later).parse('{"home": {"name": "Rome"}}').home == City(name="Rome")


class Old(TypedDict):
    name: str


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes it there")
def test_what_pydantic_advises_is_said() -> None:
    """A TypedDict of Python 3.11 has no schema, and there is a way out."""
    with pytest.raises(
        OptionError, match=r"Old.* has no JSON schema; .* use `typing_extensions.TypedDict`"
    ):
        ResponseFormat.of(Old)


def test_line_breaks_inside_strings_are_read() -> None:
    """Models write them raw, which JSON forbids."""
    assert ResponseFormat.of(City).parse('{"name": "New\nYork"}') == City(name="New\nYork")


@pytest.mark.parametrize(
    "fenced", ["```json\n{}\n```", "\n```\n{}```\n", "```JSON {}```", "``` json\n\n{}\n```  "]
)
def test_a_markdown_block_around_an_answer_is_passed_over(fenced: str) -> None:
    """Open models write one; a block inside a string is part of the answer."""
    text = '{"name": "```json\n{}\n```"}'
    assert ResponseFormat.of(City).parse(fenced.replace("{}", text)) == ResponseFormat.of(
        City
    ).parse(text)


@pytest.mark.parametrize("header", ["final json", "final <|constrain|>json", "final"])
@pytest.mark.parametrize("end", ["", "<|return|>", "<|end|><|return|>"])
def test_a_harmony_header_left_by_a_server_is_passed_over(header: str, end: str) -> None:
    """vLLM's server leaves it around a constrained answer; one inside is part of the answer."""
    text = '{"name": "<|message|> <|end|>"}'
    leaked = f"<|start|>assistant<|channel|>{header}<|message|>{text}{end}"
    assert ResponseFormat.of(City).parse(leaked) == ResponseFormat.of(City).parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no JSON", "Expecting value"),
        ('{"name": ', "Expecting value"),
        ('{"name": "Rome", "inhabitants": "many"}', "inhabitants: Input should be a valid integer"),
        ("{}", "name: Field required"),
        ("[]", "answer: Input should be"),
    ],
)
def test_why_a_text_does_not_fit(text: str, why: str) -> None:
    """The reason fits in a line."""
    with pytest.raises(ValueError, match=r".+") as raised:
        ResponseFormat.of(City).parse(text)
    assert why in describe_error(raised.value)
    assert "\n" not in describe_error(raised.value)
