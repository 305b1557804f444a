"""A conversation with gpt-oss on vLLM in this process, forked by response id, printed as a tree.

Without a GPU it runs the tiny gpt-oss of this repository, a real network of the same architecture
that knows a few dozen things. With one, name a real model: `MODEL=gpt-oss-20b make quickstart`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from synth_ai import LM, VLLMEngine

HERE = Path(__file__).resolve().parent

# vLLM warns at length about what a CPU lacks; its errors are still shown.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def make_lm() -> LM:
    """The model that MODEL names, or else the tiny one on the CPU."""
    if name := os.environ.get("MODEL"):
        return LM(name)
    sys.path.insert(0, str(HERE))
    from tiny_gpt_oss.build import build

    folder = build(HERE.parent / ".build" / "tiny-gpt-oss")
    engine = VLLMEngine(
        folder,
        dtype="float32",
        enforce_eager=True,
        max_model_len=4096,
        kv_cache_memory_bytes=256 * 2**20,
    )
    return LM(str(folder), engine=engine, temperature=0)


async def main() -> None:
    async with make_lm() as lm:
        print(f"Loading {lm.model} ...", flush=True)
        first = await lm.respond_async("You are a friendly assistant.", "My name is Ada.")
        await lm.respond_async("What is my name?")

        # Two branches of the first answer, generated side by side in one batch.
        left, right = lm.fork(first.response_id), lm.fork(first.response_id)
        await asyncio.gather(
            left.respond_async("My favourite colour is teal."),
            right.respond_async("My favourite colour is gold."),
        )
        await asyncio.gather(
            left.respond_async("What is my favourite colour?"),
            right.respond_async("What is my favourite colour?"),
        )
        print(lm.tree())


if __name__ == "__main__":
    asyncio.run(main())
