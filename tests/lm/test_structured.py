"""Answers of a given shape: the schema that is sent, when it is strict, and how a text becomes an object."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from synth_ai.errors import OptionError
from synth_ai.lm.structured import ResponseFormat, describe


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
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
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
    """Strict mode refuses words beside a `$ref`, and one at the root; the root of a recursive model is inlined."""
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


@pytest.mark.parametrize("shape", [Loose, Anything, Pair, dict[str, int], dict, list[City], int])
def test_what_strict_mode_cannot_say_is_sent_loosely(shape: Any) -> None:
    """A dict of anything, a tuple, and a root that is no object are asked for without strict, and unchanged."""
    assert ResponseFormat.of(shape).strict is False
    assert ResponseFormat.of(shape).schema == TypeAdapter(shape).json_schema()


def test_a_schema_of_one_s_own_is_sent_as_written() -> None:
    """It is strict only if it is already in strict form; it is called by its title."""
    loose = {"title": "My city", "type": "object", "properties": {"name": {"type": "string"}}}
    closed = {**loose, "required": ["name"], "additionalProperties": False}
    assert ResponseFormat.of(loose).schema == loose
    assert (ResponseFormat.of(loose).name, ResponseFormat.of(loose).strict) == ("My_city", False)
    assert ResponseFormat.of(closed).strict is True
    assert ResponseFormat.of(loose).parse('{"name": 5}') == {"name": 5}


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


def test_line_breaks_inside_strings_are_read() -> None:
    """Models write them raw, which JSON forbids."""
    assert ResponseFormat.of(City).parse('{"name": "New\nYork"}') == City(name="New\nYork")


@pytest.mark.parametrize("header", ["final json", "final <|constrain|>json", "final"])
@pytest.mark.parametrize("end", ["", "<|return|>", "<|end|><|return|>"])
def test_a_harmony_header_left_by_a_server_is_passed_over(header: str, end: str) -> None:
    """vLLM's server leaves it around a constrained answer; markers inside the answer are the answer's own."""
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
    assert why in describe(raised.value)
    assert "\n" not in describe(raised.value)
