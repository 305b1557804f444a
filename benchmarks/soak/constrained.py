"""Constrained answers of the tiny gpt-oss, many at once: of their shape, or said to be incomplete.

    python benchmarks/soak/constrained.py [--prompts 200] [--max-tokens 400]

Every prompt is asked for ten shapes at temperature 1.5, where the model would break out of any
constraint that lets it, and then some at temperature 0, where nearly all answers must be complete
if their texts and numbers have an end: the model was taught no JSON, and repeats itself in either
for as long as it may.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

from pydantic import BaseModel

from constrained import BOUNDED, PROMPTS, SHAPES, ask_all
from synth_ai import LM, VLLMEngine
from tiny_gpt_oss.build import build

MODEL = Path(__file__).resolve().parents[2] / ".build" / "tiny-gpt-oss"


async def run(prompts: int, max_tokens: int) -> None:
    """Ask at both temperatures."""
    engine = VLLMEngine(
        build(MODEL),
        dtype="float32",
        enforce_eager=True,
        max_model_len=4096,
        kv_cache_memory_bytes=256 * 2**20,
    )
    async with LM("tiny-gpt-oss", engine=engine, max_tokens=max_tokens) as lm:
        await ask_and_count(lm, prompts, SHAPES, temperature=1.5, least_complete=0.0)
        await ask_and_count(lm, len(PROMPTS), BOUNDED, temperature=0.0, least_complete=0.95)


async def ask_and_count(
    lm: LM,
    count: int,
    shapes: Sequence[type[BaseModel]],
    *,
    temperature: float,
    least_complete: float,
) -> None:
    """Ask for the shapes, and end the program if one answer is wrong or too few are complete."""
    start = time.monotonic()
    prompts = [f"{PROMPTS[n % len(PROMPTS)]}{' ' * (n // len(PROMPTS))}" for n in range(count)]
    responses, wrong = await ask_all(lm, prompts, shapes, temperature=temperature)

    counts = Counter(response.status for response in responses)
    seconds = time.monotonic() - start
    print(f"temperature {temperature}: {dict(counts)}, {len(wrong)} wrong ({seconds:.0f} s)")
    for line in wrong[:10]:
        print(f"  {line}")
    if wrong or counts["completed"] < least_complete * len(responses):
        raise SystemExit("constrained answers are not constrained")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=400)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.prompts, arguments.max_tokens))
