"""Responses that know the type of their answer: for type checkers, and one class at run time."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_type_hints

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, Completed, StreamEvent, TextDelta
from synth_ai import content as items
from synth_ai.errors import OptionError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text


class City(BaseModel):
    name: str


class Country(BaseModel):
    title: str


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Pair(TypedDict):
    city: City
    note: str


ROME = '{"name": "Rome"}'

SHAPES: list[tuple[Any, str, Any]] = [
    (City, ROME, City(name="Rome")),
    (list[City], f'{{"value": [{ROME}]}}', [City(name="Rome")]),
    (Colour, '{"value": "red"}', Colour.RED),
    (City | Country, '{"value": {"title": "Norway"}}', Country(title="Norway")),
    (Annotated[list[int], Field(max_length=2)], '{"value": [1]}', [1]),
    (Point, '{"x": 1}', Point(1)),
    (Pair, f'{{"city": {ROME}, "note": "old"}}', {"city": City(name="Rome"), "note": "old"}),
    (Literal["yes", "no"], '{"value": "yes"}', "yes"),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (City | None, '{"value": null}', None),
    ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
]


@pytest.mark.parametrize(("shape", "text", "answer"), SHAPES)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_every_shape_in_every_way(api: str, shape: Any, text: str, answer: Any) -> None:
    """By a call, a batch, a stream, a run of tools, and an LM of its own with its forks."""
    lm = LM("x", vendor=ScriptedVendor([text] * 4, api=api))
    own = LM("x", vendor=ScriptedVendor([text] * 3, api=api), response_model=shape)
    with lm.stream_sync("Hi", response_model=shape) as stream:
        for _ in stream:
            pass
    responses = [
        stream.response,
        lm.respond("Hi", response_model=shape),
        *lm.respond_batch(["Hi"], response_model=shape),
        lm.run_tools("Hi", response_model=shape).response,
        own.respond("Hi"),
        own.fork().respond("Hi"),
        *own.respond_batch(["Hi"]),
    ]
    for response in responses:
        assert type(response) is BaseLMResponse
        assert response.structured_output == answer
        assert type(response.structured_output) is type(answer)
        again = pickle.loads(pickle.dumps(response))
        assert (again, type(again)) == (response, BaseLMResponse)
        assert copy.deepcopy(response) == response


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_responses_of_a_server_can_be_pickled(
    openai_server: OpenAIServer, hosted: Callable[..., LM], api: str
) -> None:
    """With the body of the server, which `raw` reads."""
    openai_server.enqueue(Answer(text=ROME))
    async with hosted(api) as lm:
        response = await lm.respond_async("Hi", response_model=City)
    again = pickle.loads(pickle.dumps(response))
    assert again.structured_output == City(name="Rome")
    assert again.raw.model_dump() == response.raw.model_dump()


def test_one_class_at_run_time() -> None:
    """A subscript is an annotation and no class; what it makes is a plain response."""
    before = BaseLMResponse.__subclasses__()
    alias: Any = BaseLMResponse[City]
    assert alias == BaseLMResponse[City] != BaseLMResponse[Country]
    assert get_type_hints(Kept)["answer"] is BaseLMResponse
    made = alias(raw_response=ROME, structured_output=City(name="Rome"))
    plain = BaseLMResponse(raw_response=ROME, structured_output=City(name="Rome"))
    assert type(made) is BaseLMResponse
    assert made == plain == pickle.loads(pickle.dumps(made))
    assert made.model_dump() == plain.model_dump()
    assert BaseLMResponse.__subclasses__() == before
    assert not inspect.isclass(alias)


def test_events_are_told_apart_by_their_class() -> None:
    """`isinstance` takes the classes, also of the event that is generic to type checkers."""
    completed = Completed(BaseLMResponse(raw_response="Hi"))
    assert isinstance(completed, Completed)
    assert isinstance(completed, StreamEvent)
    assert isinstance(TextDelta("Hi"), StreamEvent)
    assert pickle.loads(pickle.dumps(completed)) == completed


class Kept(BaseModel):
    answer: BaseLMResponse[City]
    others: list[BaseLMResponse[list[City]]] = []
    anything: BaseLMResponse | None = None


ItemT = TypeVar("ItemT")


class Box(BaseModel, Generic[ItemT]):
    answer: BaseLMResponse[ItemT]


def test_a_response_in_a_model_of_one_s_own() -> None:
    """The answer is checked there, and comes back from JSON as what it was."""
    response: BaseLMResponse[City] = BaseLMResponse(
        raw_response=ROME, structured_output=City(name="Rome")
    )
    kept = Kept(answer=response, anything=response)
    assert kept.answer is response

    listed: BaseLMResponse[list[City]] = BaseLMResponse(
        raw_response="", structured_output=[City(name="Rome")]
    )
    kept = Kept(answer=response, others=[listed], anything=response)
    again = Kept.model_validate_json(kept.model_dump_json())
    assert again.answer == response
    assert again.others == [listed]
    assert type(again.answer) is BaseLMResponse
    assert again.anything is not None
    assert again.anything.structured_output == {"name": "Rome"}

    empty = Kept(answer=BaseLMResponse(raw_response=""))
    assert empty.answer.structured_output is None
    with pytest.raises(ValidationError, match="City"):
        Kept(answer=BaseLMResponse(raw_response="", structured_output=5))  # type: ignore[arg-type]


def test_a_response_in_a_generic_model() -> None:
    """It takes every answer."""
    data = {"answer": {"raw_response": ROME, "structured_output": {"name": "Rome"}}}
    assert Box[City].model_validate(data).answer.structured_output == {"name": "Rome"}
    optional = TypeAdapter(Union[BaseLMResponse[City], None])  # noqa: UP007
    assert optional.validate_python(None) is None


class MyResponse(BaseLMResponse[City]):
    """A response of a vendor of one's own."""

    seconds: float = 0.0


def test_a_subclass_of_one_s_own() -> None:
    """It is one of the plain class."""
    response = MyResponse(raw_response=ROME, seconds=0.5)
    assert MyResponse.__bases__ == (BaseLMResponse,)
    assert pickle.loads(pickle.dumps(response)) == response


def test_a_number_that_was_cut_off_is_no_answer() -> None:
    """12 of 1234 is a number, too."""
    engine = ScriptedEngine([final_text("1234")] * 2)
    lm = LM("gpt-oss-20b", engine=engine)
    assert lm.respond("Hi", response_model=int).structured_output == 1234
    cut = lm.respond("Hi", response_model=int, max_tokens=4)
    assert (cut.status, cut.text) == ("incomplete", "123")
    assert cut.structured_output is None
    assert cut.warnings == [
        "structured_output is empty: the answer is incomplete (max_output_tokens)."
    ]


@pytest.mark.parametrize("status", ["incomplete", "failed", "cancelled"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_not_completed_has_no_answer(status: Any, streamed: bool) -> None:
    """Cut off, filtered or failed: None and a warning, and no error, whatever the text is."""
    unfinished = BaseLMResponse.of_output(
        [items.assistant_message(ROME)], status=status, incomplete_reason="content_filter"
    )
    lm = LM("x", vendor=ScriptedVendor([unfinished]), response_model=City)
    if streamed:
        stream = lm.stream_async("Hi")
        async for _ in stream:
            pass
        response = stream.response
    else:
        response = await lm.respond_async("Hi")
    assert response.structured_output is None
    assert response.warnings[-1].endswith(f"the answer is {status} (content_filter).")


class Undescribed:
    """A class without a schema."""


NO_SHAPES: list[Any] = [
    5,
    "City",
    "int",
    object(),
    Undescribed,
    list[Undescribed],
    Callable[[int], int],
    City(name="Rome"),
    [City],
    (City, Country),
    Annotated[str, Field(pattern="(")],
    {"type": object()},
    {"enum": {1, 2}},
    {"properties": {"a": float("nan")}},
    TypeVar,
    inspect,
]


@pytest.mark.parametrize("shape", NO_SHAPES)
def test_what_no_schema_can_say(shape: Any) -> None:
    """An error at the call, whichever way it is asked; nothing is sent."""
    vendor = ScriptedVendor([ROME])
    lm = LM("x", vendor=vendor)
    for make in (
        lambda: lm.respond("Hi", response_model=shape),
        lambda: lm.respond("Hi", response_model=shape, reask=1),
        lambda: lm.stream_sync("Hi", response_model=shape),
        lambda: lm.stream_async("Hi", response_model=shape),
        lambda: lm.respond_batch(["Hi"], response_model=shape),
        lambda: lm.respond_batch([{"user_message": "Hi", "response_model": shape}]),
        lambda: lm.run_tools("Hi", response_model=shape),
        lambda: LM("x", vendor=vendor, response_model=shape),
    ):
        with pytest.raises(OptionError, match="response_model="):
            make()
    assert vendor.requests == []
