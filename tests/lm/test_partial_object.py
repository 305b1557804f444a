"""Objects of answers that are still being written: what can be seen of them at each letter."""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, NewType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    Field,
    RootModel,
    TypeAdapter,
    model_validator,
)
from typing_extensions import TypeAliasType, TypedDict

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.errors import StructuredOutputError
from synth_ai.lm.partial_object import PartialObject
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text


class City(BaseModel):
    name: str
    inhabitants: int
    founded: date | None = None


class Country(BaseModel):
    title: str
    capital: City
    cities: list[City] = Field(default_factory=list)
    by_name: dict[str, City] = Field(default_factory=dict)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    sound: str


class Owner(BaseModel):
    pet: Cat | Dog


class Node(BaseModel):
    value: int
    left: Node | None = None
    right: Node | None = None


class Sum(BaseModel):
    op: Literal["sum"]
    left: Expression
    right: Expression


class Product(BaseModel):
    op: Literal["product"]
    left: Expression
    right: Expression


Expression = Sum | Product | int


@dataclass(frozen=True)
class Point:
    x: int
    names: list[str] = field(default_factory=list)
    home: City | None = None

    def __post_init__(self) -> None:
        assert self.x is not None


class Row(TypedDict):
    name: str
    city: City


class Cities(RootModel[list[City]]):
    pass


class Colour(Enum):
    RED = "red"


class Named(BaseModel):
    first: str = Field(alias="firstName")
    last: str = Field(validation_alias=AliasChoices("lastName", "surname"))


class Checked(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def is_ordered(self) -> Checked:
        assert self.low <= self.high
        return self

    def model_post_init(self, context: object) -> None:
        assert self.low is not None


Metres = NewType("Metres", int)
Places = TypeAliasType("Places", list[City])


def partial(shape: Any, text: str) -> Any:
    """The object of one text."""
    return PartialObject(ResponseFormat.of(shape)).read(text)


def growth(shape: Any, text: str) -> list[Any]:
    """What is seen while a text comes letter by letter, each object once."""
    partial_object = PartialObject(ResponseFormat.of(shape))
    seen: list[Any] = []
    for end in range(len(text) + 1):
        value = partial_object.read(text[:end])
        if not seen or repr(value) != repr(seen[-1]):
            seen.append(value)
    return seen


def test_a_model_grows_field_by_field() -> None:
    """Text comes letter by letter; a number when it has ended, a date when it is one."""
    text = '{"name": "Oslo", "inhabitants": 700000, "founded": "1048-01-01"}'
    assert growth(City, text) == [
        None,
        City.model_construct(set(), name=None, inhabitants=None),
        *[
            City.model_construct({"name"}, name=name, inhabitants=None)
            for name in ("", "O", "Os", "Osl", "Oslo")
        ],
        City.model_construct({"name", "inhabitants"}, name="Oslo", inhabitants=700000),
        City(name="Oslo", inhabitants=700000, founded=date(1048, 1, 1)),
    ]


def test_what_is_nested_grows_too() -> None:
    """In a field, in a list and in a dictionary; defaults stand for what has not begun."""
    text = '{"title": "Norway", "capital": {"name": "Os'
    country = partial(Country, text)
    assert (country.title, country.capital.name, country.cities) == ("Norway", "Os", [])
    assert country.model_fields_set == {"title", "capital"}
    text += 'lo"}, "cities": [{"name": "Oslo", "inhabitants": 1}, {"na'
    country = partial(Country, text)
    assert country.cities[0] == City(name="Oslo", inhabitants=1)
    assert [city.name for city in country.cities] == ["Oslo", None]
    text += 'me": "B"}], "by_name": {"Bergen": {"inhabitants": 3}, "Tro'
    assert {key: city.inhabitants for key, city in partial(Country, text).by_name.items()} == {
        "Bergen": 3
    }


@pytest.mark.parametrize(
    ("shape", "text", "value"),
    [
        (list[City], '{"value": [{"name": "A', [City.model_construct({"name"}, name="A")]),
        (list[City], '[{"name": "A', [City.model_construct({"name"}, name="A")]),
        (list[int], '{"value": [1, 2', [1]),
        (list[int], '{"value": [1, 2,', [1, 2]),
        (list[int] | list[str], '{"value": ["a", "b', ["a", "b"]),
        (list[City] | str, '{"value": [{"name": "A', [City.model_construct({"name"}, name="A")]),
        (list[City] | list[Cat], '{"value": [{"name": "A', None),
        (set[int], '{"value": [1, 1, 2]', {1, 2}),
        (tuple[int, str], '{"value": [1', None),
        (tuple[int, str], '{"value": [1, "a"', (1, "a")),
        (dict[str, int], '{"a": 1, "b', {"a": 1}),
        (dict, '{"a": [1, 2', {"a": [1]}),
        (Any, '{"value": {"a": "b', {"a": "b"}),
        (Places, '{"value": [{"name": "A', [City.model_construct({"name"}, name="A")]),
        (Metres, '{"value": 1', None),
        (Metres, '{"value": 1}', 1),
        (int, "12", None),
        (Colour, '{"value": "re', None),
        (Colour, '{"value": "red', Colour.RED),
        (Literal["yes", "no"], '{"value": "ye', None),
        (str, '{"value": "New', "New"),
        (str, '"area: 48', "area: 48"),
        (Annotated[str, Field(min_length=3)], '{"value": "Ne', None),
        (City | None, '{"value": null', None),
        (City | None, '{"value": {"name": "A', City.model_construct({"name"}, name="A")),
        (Cities, '{"value": [{"name": "A', Cities.model_construct([])),
        ({"type": "object"}, '{"a": "b', {"a": "b"}),
        ({"type": "array"}, "[1, [2, {", [1, [2, {}]]),
    ],
)
def test_other_shapes(shape: Any, text: str, value: Any) -> None:
    """Plain data for what is no model, wrapped by the server or not."""
    found = partial(shape, text)
    if isinstance(found, Cities):
        assert found.root[0].name == "A"
        return
    # Fields that are missing in a constructed model are None here.
    assert repr(found) == repr(_with_missing(value))


def _with_missing(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_missing(item) for item in value]
    if isinstance(value, City):
        return City.model_construct({"name"}, name=value.name, inhabitants=None)
    return value


def test_a_dataclass_is_made_without_its_own_code() -> None:
    """It would not know what to do with a half of itself."""
    assert partial(Point, "{") is not None
    point = partial(Point, '{"x": 1, "names": ["a", "b"], "home": {"name": "Os')
    assert isinstance(point, Point)
    assert (point.x, point.names, point.home.name) == (1, ["a", "b"], "Os")  # type: ignore[union-attr]
    assert partial(Point, '{"names": ["a').x is None


def test_a_typed_dict_has_the_keys_so_far() -> None:
    """And no others."""
    assert growth(Row, '{"name": "a", "city"') == [None, {}, {"name": ""}, {"name": "a"}]
    row = partial(Row, '{"name": "a", "city": {"name": "Os')
    assert row["city"].name == "Os"


@pytest.mark.parametrize("shape", [Cat | Dog, Annotated[Cat | Dog, Field(discriminator="kind")]])
def test_a_union_waits_until_it_is_clear(shape: Any) -> None:
    """An object of the wrong class would be worse than none."""
    seen = growth(shape, '{"value": {"kind": "dog", "sound": "w"}}')
    assert seen[0] is None
    assert {type(each) for each in seen[1:]} == {Dog}
    assert seen[-1] == Dog(kind="dog", sound="w")
    assert partial(Owner, '{"pet": {"kind": "do').pet is None
    assert partial(Owner, '{"pet": {"lives": 9').pet is None
    assert partial(Owner, '{"pet": {"lives": 9,').pet.lives == 9


def test_recursive_shapes() -> None:
    """As deep as the answer, in a time that does not double with each level."""
    text = '{"value": 1, "left": ' * 40
    node = partial(Node, text)
    for _ in range(40):
        assert node.value == 1
        node = node.left
    text = '{"op": "sum", "left": 1, "right": ' * 40
    expression = partial(Expression, text + '{"op": "product"')
    for _ in range(39):
        assert isinstance(expression, Sum)
        expression = expression.right


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the statement is new in Python 3.12")
def test_a_type_statement() -> None:
    """An alias is what it stands for, also one that stands for itself in part."""
    names: dict[str, Any] = {"City": City}
    exec("type Cities = list[City]\ntype Nested = list[Nested] | str", names)
    assert partial(names["Cities"], '{"value": [{"name": "Os')[0].name == "Os"
    assert partial(names["Nested"], '{"value": ["a", ["b", ["c') == ["a", ["b", ["c"]]]


def test_aliases() -> None:
    """A field is known by the names that the server was told, and by its own."""
    named = partial(Named, '{"firstName": "Ada", "lastName": "Lovelace"')
    assert (named.first, named.last) == ("Ada", None)
    assert partial(Named, '{"firstName": "A').first == "A"


def test_code_of_the_model_that_needs_all_fields() -> None:
    """Validators do not run; what runs in any case, and fails, leaves nothing to be seen."""
    assert partial(Checked, '{"high": 1') is None
    checked = partial(Checked, '{"low": 5, "high": 1}')
    assert (checked.low, checked.high) == (5, 1)


def test_a_validator_that_cannot_do_with_half_a_text() -> None:
    """Whatever it raises, there is no value yet."""
    second = Annotated[str, AfterValidator(lambda text: text.split(",")[1])]
    assert growth(second, '{"value": "a,b"}') == [None, "", "b"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('```json\n{"name": "Oslo', "Oslo"),
        ('```\n{"name": "Oslo"}\n``', "Oslo"),
        ('<|channel|>final <|constrain|>json<|message|>{"name": "Oslo', "Oslo"),
        ('{"name": "Oslo"}<|ret', "Oslo"),
        ('{"name": "New\nYork', "New\nYork"),
        ('{"name": "a \\"b\\" c', 'a "b" c'),
    ],
)
def test_what_models_and_servers_put_around_json(text: str, name: str) -> None:
    """As in a whole answer: blocks, headers, raw line breaks, halves of escapes."""
    assert partial(City, text).name == name


@pytest.mark.parametrize("half", ["\\", "\\u", "\\u00e"])
def test_half_of_an_escape(half: str) -> None:
    """What was there before it stays."""
    partial_object = PartialObject(ResponseFormat.of(City))
    text = '{"name": "New'
    assert partial_object.read(text).name == "New"
    assert partial_object.read(text + half).name == "New"
    assert partial_object.read(text + "\\u00e9").name == "Newé"


@pytest.mark.parametrize("text", ["", " ", "`", "```js", "<|channel|>final", "Sure! ", "nul"])
def test_before_the_json_there_is_nothing(text: str) -> None:
    """No object and no error."""
    assert partial(City, text) is None


def test_the_last_object_stays() -> None:
    """What comes behind it takes nothing back."""
    partial_object = PartialObject(ResponseFormat.of(list[int]))
    assert partial_object.read("[1, 2,") == [1, 2]
    assert partial_object.read("no JSON any more") == [1, 2]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(string.printable),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(string.printable), inner),
)


@settings(max_examples=200, deadline=None)
@given(value=values, data=st.data())
def test_any_beginning_of_any_json_is_read(value: Any, data: Any) -> None:
    """Without an error; and the whole is the value itself."""
    text = json.dumps({"value": value})
    end = data.draw(st.integers(0, len(text)))
    for shape in (Any, dict[str, Any], City, Country, Cat | Dog, {"type": "object"}):
        partial(shape, text[:end])
    assert partial({"type": "object"}, text) == {"value": value}


countries = st.builds(
    Country,
    title=st.text(),
    capital=st.builds(City, name=st.text(), inhabitants=st.integers()),
    cities=st.lists(st.builds(City, name=st.text(), inhabitants=st.integers()), max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(country=countries)
def test_the_whole_text_is_the_whole_object(country: Country) -> None:
    """And what is there of it was never anything else, but for texts that had not ended."""
    text = TypeAdapter(Country).dump_json(country).decode()
    seen = growth(Country, text)
    assert seen[-1] == country
    for each in seen[1:]:
        assert country.title.startswith(each.title or "")
        assert len(each.cities) <= len(country.cities)
        if each.capital is not None:
            assert each.capital.inhabitants in (None, country.capital.inhabitants)


# --- streams ----------------------------------------------------------------------------------

OSLO = '{"name": "Oslo, the capital of Norway", "inhabitants": 700000}'


def check_growth(seen: list[City | None]) -> None:
    """The name is longer each time, and the last object is the whole one."""
    names = [city.name for city in seen if city is not None and city.name]
    assert len(set(names)) > 2
    assert names == sorted(names, key=len)
    assert seen[-1] == City(name="Oslo, the capital of Norway", inhabitants=700000)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_stream_of_a_server_grows(
    openai_server: OpenAIServer, hosted: Callable[..., LM], api: str
) -> None:
    """With each event; at the end it is the answer itself."""
    openai_server.enqueue(Answer(text=OSLO))
    async with (
        hosted(api) as lm,
        lm.stream_async("Hi", response_model=City) as stream,
    ):
        seen = [stream.partial async for _ in stream]
    check_growth(seen)
    assert stream.partial is stream.response.structured_output


def test_a_stream_of_gpt_oss_grows() -> None:
    """Token by token, as text of the final channel; sync, of an LM with a shape."""
    engine = ScriptedEngine([final_text(OSLO, reasoning='{"name": "Bergen"}')])
    lm = LM("gpt-oss-20b", engine=engine, response_model=City)
    with lm.stream_sync("Hi") as stream:
        seen = [stream.partial for _ in stream]
    assert seen[0] is None
    check_growth(seen)


async def test_a_stream_that_is_left_keeps_its_object() -> None:
    """As it keeps its text."""
    lm = LM("x", vendor=ScriptedVendor([OSLO]), response_model=City)
    stream = lm.stream_async("Hi")
    assert stream.partial is None
    async with stream:
        async for _ in stream:
            if stream.partial is not None and stream.partial.name:
                break
    assert stream.partial is not None
    assert (stream.partial.name, stream.partial.inhabitants) == ("Oslo, ", None)


def test_a_stream_of_text_has_no_object() -> None:
    """Also where it is JSON; a call may take the LM's shape back."""
    lm = LM("x", vendor=ScriptedVendor([OSLO]), response_model=City)
    with lm.stream_sync("Hi", response_model=None) as stream:
        assert {stream.partial for _ in stream} == {None}
    assert stream.text == OSLO


def test_a_look_at_a_stream_that_does_not_fit() -> None:
    """What was seen of it stays to be seen; the end is the error of any call."""
    lm = LM("x", vendor=ScriptedVendor(['{"name": "Oslo", "inhabitants": "many"}']))
    stream = lm.stream_sync("Hi", response_model=City)
    with pytest.raises(StructuredOutputError, match="inhabitants"), stream:
        list(stream)
    assert stream.partial is not None
    assert stream.partial.name == "Oslo"
