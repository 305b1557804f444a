"""Rendering and parsing, compared with the Harmony package that is installed here, if one is.

Packages differ in the order of a header's parts and in the marker of a content type; both are
brought to the published form before comparing. The golden ids hold this project to that form
itself.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony import oracle
from harmony.conversations import Conversation, conversation, text
from harmony.samples import completion, mutant
from synth_ai.harmony import MESSAGE, START, Transcript, decode, encode, render

pytestmark = pytest.mark.skipif(
    find_spec("openai_harmony") is None, reason="no openai_harmony package is installed"
)

RANDOM = st.randoms(use_true_random=False)


def published(ids: list[int]) -> list[Any]:
    """`ids` with each message header as text, its recipient in front of its channel."""
    found: list[Any] = []
    position = 0
    while position < len(ids):
        if ids[position] != START or MESSAGE not in ids[position:]:
            found.append(ids[position])
            position += 1
            continue
        end = ids.index(MESSAGE, position)
        header = re.sub(
            r"<\|channel\|>(\w+)( to=\S+)", r"\2<|channel|>\1", decode(ids[position:end])
        )
        found.append(header.replace(" <|constrain|>code", " code"))
        position = end
    return found


@given(RANDOM)
def test_render_equals_the_library(random: Random) -> None:
    """Well-formed conversations of any make give the library's ids."""
    one = conversation(random)
    assert published(render(one.items, **one.settings)) == published(oracle.render(one))


# What a schema demands beside its type, and what shows no other type.
CONDITIONS: dict[str, list[dict[str, Any]]] = {
    "object": [
        {"required": ["a"]},
        {"minProperties": 1},
        {"type": "object", "required": ["b"]},
        {"not": {"required": ["a"]}},
    ],
    "array": [{"minItems": 1}, {"maxItems": 3}],
    "string": [{"format": "date"}, {"minLength": 2}],
    "integer": [{"minimum": 1}, {"multipleOf": 2}],
}


def conditional(random: Random, depth: int) -> dict[str, Any]:
    """A schema of any type, with conditions beside it."""
    kind = random.choice(["object", "array"] if depth else ["string", "integer"])
    schema: dict[str, Any] = {"type": kind}
    if kind == "object":
        names = random.sample("abcd", random.randint(1, 3))
        schema["properties"] = {name: conditional(random, depth - 1) for name in names}
    if kind == "array":
        schema["items"] = conditional(random, depth - 1)
    if random.random() < 0.3:
        schema["description"] = "What it is"
    if random.random() < 0.6:
        count = random.randint(1, len(CONDITIONS[kind]))
        schema[random.choice(["anyOf", "allOf"])] = random.sample(CONDITIONS[kind], count)
    return schema


@given(RANDOM)
def test_conditions_are_rendered_as_by_the_library(random: Random) -> None:
    """Which is not at all: they hide nothing of the type that they stand beside."""
    parameters = {"type": "object", "properties": {"a": conditional(random, 3)}}
    tool = {"type": "function", "name": "f", "description": "F.", "parameters": parameters}
    one = Conversation([{"role": "user", "content": "Hi"}], {"date": "", "tools": [tool]})
    assert published(render(one.items, **one.settings)) == published(oracle.render(one))


@given(st.text() | st.builds(lambda random: text(random), RANDOM))
def test_encode_equals_the_library(value: str) -> None:
    """Text of any kind gives the library's ids, control tokens in it spelled out."""
    assert encode(value) == oracle.encoding().encode(value, disallowed_special=())


@given(RANDOM, st.sampled_from(["stop", "length"]))
def test_history_is_well_formed(random: Random, reason: str) -> None:
    """Whatever a model emitted, the library's strict parser reads the transcript back."""
    ids = Transcript().with_completion(mutant(random, completion(random)), finish_reason=reason).ids
    found = oracle.encoding().parse_messages_from_completion_tokens(ids, None)
    assert all(message.author.role == "assistant" and message.channel for message in found)
