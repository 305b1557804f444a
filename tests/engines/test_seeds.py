"""Calls with a seed on vLLM's CPU build, which dies of those that it prefills in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synth_ai import VLLMEngine
from synth_ai.engines.base import Sampling
from synth_ai.engines.vllm.args import is_cpu_build
from synth_ai.errors import EngineRequestError

pytestmark = pytest.mark.vllm

SEEDED = Sampling(seed=7, max_tokens=4)


@pytest.mark.parametrize(
    ("engine_args", "can_seed"),
    [
        ({}, True),
        ({"enable_chunked_prefill": False}, True),
        ({"enable_chunked_prefill": True}, False),
        ({"max_num_batched_tokens": 64}, False),
        ({"max_num_batched_tokens": 8192, "enable_chunked_prefill": False}, True),
    ],
)
def test_an_engine_made_here(
    tiny_model: Path, engine_args: dict[str, Any], *, can_seed: bool
) -> None:
    """It takes seeds unless the user's arguments make it prefill in chunks."""
    plan = VLLMEngine(tiny_model, **engine_args).plan
    assert plan.can_seed() is (can_seed or not is_cpu_build())
    if is_cpu_build() and not engine_args:
        assert plan.settings().engine_args["enable_chunked_prefill"] is False


async def test_a_long_prompt_with_a_seed(tiny_engine: VLLMEngine, prompt_of: Any) -> None:
    """Longer than what goes through at once by default, and beside others."""
    long = prompt_of("word " * 3500)
    prompts = [long, prompt_of("Hello!"), long, long]
    deltas = await tiny_engine.generate_batch(prompts, SEEDED)
    assert all(len(delta.token_ids) <= 4 for delta in deltas)
    again = await tiny_engine.generate_batch(prompts[:1], SEEDED)
    assert again[0].token_ids == deltas[0].token_ids


async def test_an_llm_that_would_die(
    tiny_offline_engine: VLLMEngine, tiny_llm: Any, prompt_of: Any
) -> None:
    """The call is refused, and the LLM serves the next one."""
    config = tiny_llm.llm_engine.vllm_config.scheduler_config
    if not (is_cpu_build() and config.enable_chunked_prefill):
        pytest.skip("this LLM prefills no prompt in chunks, or survives it")

    long = prompt_of("word " * 3500)
    count = config.max_num_batched_tokens // len(long) + 1
    with pytest.raises(EngineRequestError, match="cannot take a seed"):
        await tiny_offline_engine.generate_batch([long] * count, SEEDED)
    short = await tiny_offline_engine.generate_batch([prompt_of("Hello!")], SEEDED)
    assert len(short[0].token_ids) <= 4
