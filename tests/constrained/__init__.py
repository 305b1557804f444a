"""Answers of given shapes, and what must hold of each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from synth_ai import LM
from synth_ai.harmony import MESSAGE, START_OF_TEXT, STOP_TOKEN_IDS
from synth_ai.response import BaseLMResponse

PROMPTS = (
    "What is the capital of France?",
    "Hello!",
    "Tell me a joke.",
    "What is 2 + 3?",
    "My name is Ada. What is my name?",
    "Say the opposite of hot.",
    "Count to five.",
    "Tell me a story.",
)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Person(_Shape):
    name: str
    age: int


class Sum(_Shape):
    left: int
    right: int
    total: float


class Mood(Enum):
    GOOD = "good"
    BAD = "bad <|end|>"


class Feeling(_Shape):
    mood: Mood
    because: str


class Team(_Shape):
    people: list[Person]


class Flags(_Shape):
    first: bool
    second: bool | None


class Code(_Shape):
    code: Annotated[str, StringConstraints(pattern=r"^[a-z]+.*$")]


class Short(_Shape):
    word: Annotated[str, StringConstraints(min_length=2, max_length=12)]


class Choice(_Shape):
    kind: Literal["yes", "no"]
    note: str | None


class Table(_Shape):
    cells: dict[str, str]


class Reply(_Shape):
    question: str
    answer: str
    source: Person | Choice


SHAPES: tuple[type[BaseModel], ...] = (
    Person, Sum, Feeling, Team, Flags, Code, Short, Choice, Table, Reply,
)  # fmt: skip


# The same shapes with an end to every text, number and list. The tiny model was taught no JSON:
# cold, it repeats itself in a text (`eeee`, `460 460 460`) or in a number (`11001100`) for as long
# as the constraint lets it. Blanks between the tokens of JSON are limited already.
Text = Annotated[str, StringConstraints(max_length=24)]
Count = Annotated[int, Field(ge=-9999, le=9999)]


class ShortPerson(_Shape):
    name: Text
    age: Count


class SmallSum(_Shape):
    left: Count
    right: Count
    total: Annotated[float, Field(ge=-9999, le=9999)]


class ShortFeeling(_Shape):
    mood: Mood
    because: Text


class SmallTeam(_Shape):
    people: Annotated[list[ShortPerson], Field(max_length=3)]


class ShortCode(_Shape):
    code: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,12}$")]


class ShortChoice(_Shape):
    kind: Literal["yes", "no"]
    note: Text | None


class Row(_Shape):
    cells: Annotated[list[Text], Field(min_length=1, max_length=3)]


class ShortReply(_Shape):
    question: Text
    answer: Text
    source: ShortPerson | ShortChoice


BOUNDED: tuple[type[BaseModel], ...] = (
    ShortPerson, SmallSum, ShortFeeling, SmallTeam, Flags, ShortCode, Short, ShortChoice, Row,
    ShortReply,
)  # fmt: skip


def check_answer(response: BaseLMResponse, shape: type[BaseModel]) -> str | None:
    """Say what is wrong with an answer.

    None if it is of its shape, said to be incomplete, or a call in its place.
    """
    if response.status == "incomplete":
        return None
    if response.status != "completed":
        return f"{response.status}: {response.error}"
    if response.tool_calls:
        return None
    if not isinstance(response.structured_output, shape):
        return f"no {shape.__name__}: {response.text!r}"

    ids = response.output_token_ids or []
    behind_header = len(ids) - ids[::-1].index(MESSAGE)
    *answer, last = ids[behind_header:]
    if last not in STOP_TOKEN_IDS:
        return f"it does not end: {response.text!r}"
    if any(id_ >= START_OF_TEXT for id_ in answer):
        return f"a control token stands in it: {response.text!r}"

    json.loads(response.text, strict=False)
    return None


async def ask(
    lm: LM, prompt: str, shape: type[BaseModel], **options: object
) -> tuple[BaseLMResponse, str | None]:
    """Ask for an answer of a shape, and check it."""
    response = await lm.respond_async(prompt, response_model=shape, **options)
    return response, check_answer(response, shape)


async def ask_all(
    lm: LM,
    prompts: Sequence[str],
    shapes: Sequence[type[BaseModel]] = SHAPES,
    *,
    at_once: int = 64,
    **options: object,
) -> tuple[list[BaseLMResponse], list[str]]:
    """Ask every prompt for every shape, many at a time.

    Returns:
        The answers, and what was wrong with them.
    """
    places = asyncio.Semaphore(at_once)

    async def ask_one(prompt: str, shape: type[BaseModel]) -> tuple[BaseLMResponse, str | None]:
        async with places:
            return await ask(lm.fork(), prompt, shape, **options)

    pairs = [(prompt, shape) for prompt in prompts for shape in shapes]
    answers = await asyncio.gather(*(ask_one(prompt, shape) for prompt, shape in pairs))
    wrong = [text for _, text in answers if text is not None]
    return [response for response, _ in answers], wrong
