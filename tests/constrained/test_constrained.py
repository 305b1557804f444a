"""Constrained answers of the tiny model, hot and many at once. The long form is a soak script."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from constrained import BOUNDED, PROMPTS, ask_all
from synth_ai import LM, VLLMEngine

pytestmark = pytest.mark.vllm


def get_weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: where.
    """
    return f"sunny in {city}"


@pytest.mark.parametrize(
    "options",
    [{}, {"reasoning_budget": 5}, {"tools": [get_weather]}],
    ids=["plain", "budget", "tools"],
)
async def test_hot_answers_keep_their_shape(
    tiny_engine: VLLMEngine, options: dict[str, Any]
) -> None:
    """At a temperature at which the model would break out of any constraint that lets it."""
    lm = LM("tiny-gpt-oss", engine=tiny_engine, temperature=1.5, max_tokens=80)
    _, wrong = await ask_all(lm, PROMPTS[:2], **options)
    assert not wrong


async def test_cold_answers_are_complete(tiny_engine: VLLMEngine) -> None:
    """The constraint does not keep the model from its end.

    Its texts and numbers must have one, see `BOUNDED`.
    """
    lm = LM("tiny-gpt-oss", engine=tiny_engine, temperature=0, max_tokens=400)
    responses, wrong = await ask_all(lm, PROMPTS[:4], BOUNDED)
    assert not wrong
    statuses = Counter(response.status for response in responses)
    assert statuses["completed"] >= 0.95 * len(responses)
