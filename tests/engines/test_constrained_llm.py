"""Constrained answers of a `vllm.LLM`, whose tokenizer spells control tokens as text."""

from __future__ import annotations

import pytest

from constrained import PROMPTS, ask_all
from synth_ai import LM, VLLMEngine

pytestmark = pytest.mark.vllm


async def test_no_answer_passes_for_one_of_its_shape(tiny_offline_engine: VLLMEngine) -> None:
    """Where a control token comes into an answer after all, the answer says that it is none."""
    lm = LM("tiny-gpt-oss", engine=tiny_offline_engine, temperature=1.5, max_tokens=80)
    _, wrong = await ask_all(lm, PROMPTS[:3])
    assert not wrong
