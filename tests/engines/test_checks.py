"""What no engine is given: prompts and sampling of the wrong type or out of range."""

from __future__ import annotations

import time
from array import array
from typing import Any

import pytest

from synth_ai.engines.base import (
    EngineFacts,
    OutputConstraint,
    Sampling,
    check_prompt,
    check_sampling,
)
from synth_ai.errors import ContextLengthError, EngineRequestError

FACTS = EngineFacts(context_length=4096, vocabulary_size=201_088)


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        ({"top_p": "0.9"}, "top_p must be a number, not '0.9'"),
        ({"top_p": 0.0}, r"top_p=0\.0 is out of range"),
        ({"temperature": float("nan")}, "temperature=nan is out of range"),
        ({"temperature": True}, "temperature must be a number, not True"),
        ({"min_p": [0.1]}, r"min_p must be a number, not \[0\.1\]"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty=inf is out of range"),
        ({"seed": 1.5}, r"seed must be a whole number, not 1\.5"),
        ({"top_k": 2.5}, r"top_k must be a whole number, not 2\.5"),
        ({"top_k": 2**40}, f"top_k={2**40} is out of range"),
        ({"max_tokens": 1.5}, r"max_tokens must be a whole number, not 1\.5"),
        ({"max_tokens": 0}, "max_tokens=0 is out of range"),
        ({"logprobs": True}, "logprobs must be a whole number, not True"),
        ({"logprobs": 21}, "logprobs=21 is out of range"),
        ({"stop_token_ids": (-5, 7)}, "-5 in stop_token_ids"),
        ({"stop_token_ids": (10**9,)}, f"{10**9} in stop_token_ids"),
        ({"stop_token_ids": ("<|end|>",)}, r"'<\|end\|>' in stop_token_ids"),
        ({"stop_token_ids": 7}, "stop_token_ids must be a list of token ids, not 7"),
        (
            {"constraint": OutputConstraint({}, reasoning_budget=-5)},
            "reasoning_budget=-5 is out of range",
        ),
        (
            {"constraint": OutputConstraint({}, reasoning_budget="x")},  # type: ignore[arg-type]
            "reasoning_budget must be a whole number, not 'x'",
        ),
        (
            {"constraint": OutputConstraint("x")},  # type: ignore[arg-type]
            "schema must be a JSON schema, given as a mapping, not 'x'",
        ),
    ],
)
def test_bad_sampling(sampling: dict[str, Any], named: str) -> None:
    """The option and its value are named."""
    with pytest.raises(EngineRequestError, match=named):
        check_sampling(Sampling(**sampling), FACTS)


def test_good_sampling() -> None:
    """The ends of the ranges, and whole numbers where any number goes."""
    check_sampling(Sampling(), FACTS)
    constraint = OutputConstraint({"type": "object"}, reasoning_budget=0)
    ends = Sampling(
        max_tokens=1,
        temperature=2,
        top_p=1,
        top_k=-1,
        min_p=0,
        seed=-1,
        logprobs=20,
        constraint=constraint,
    )
    check_sampling(ends, FACTS)
    check_sampling(Sampling(stop_token_ids=(0, 201_087)), FACTS)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ([], "no token ids"),
        ([1.5, 2.0], r"1\.5 in prompt is not a token id"),
        ([5, True], "True in prompt is not a token id"),
        ("Hello", "'H' in prompt is not a token id"),
        (None, "prompt must be a list of token ids, not None"),
        ([1, -1], "-1 in prompt is outside"),
        ([201_088], "201088 in prompt is outside"),
    ],
)
def test_bad_prompts(prompt: Any, named: str) -> None:
    """The id and what is wrong with it are named."""
    with pytest.raises(EngineRequestError, match=named):
        check_prompt(prompt, FACTS)


def test_good_prompts() -> None:
    """Lists, tuples and packed ids; a prompt as long as the context is another error."""
    for kind in (list, tuple, lambda ids: array("I", ids)):
        check_prompt(kind([0, 201_087]), FACTS)
    with pytest.raises(ContextLengthError, match="4096 tokens and the context 4096") as raised:
        check_prompt([1] * 4096, FACTS)
    assert str(raised.value).endswith("load the engine with a larger context.")


def test_an_engine_names_its_argument_for_the_context() -> None:
    """The way out of a full context is told in the engine's own words."""
    facts = EngineFacts(4096, 201_088, context_option="max_length")
    with pytest.raises(ContextLengthError, match=r"with a larger context \(max_length\)\."):
        check_prompt([1] * 4096, facts)


def test_the_check_of_a_long_prompt_is_cheap() -> None:
    """64 prompts of 10,000 ids hold the event loop for far less than generating takes."""
    prompt, facts = list(range(10_000)), EngineFacts(131_072, 201_088)
    took = []
    for _ in range(5):
        before = time.process_time()
        for _ in range(64):
            check_prompt(prompt, facts)
        took.append(time.process_time() - before)
    # About 0.03 s; a loop in Python over the ids takes ten times that.
    assert min(took) < 0.15
