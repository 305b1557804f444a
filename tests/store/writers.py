"""Processes that write turns, for the tests and the soak: run as
`python writers.py crash|many PATH NAME DURABILITY [COUNT]`."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from typing import Any, cast

from synth_ai.store.open import open_store
from synth_ai.store.sqlite.connections import Durability
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.turn import Turn


def numbered_turn(name: str, number: int) -> Turn:
    """The turn that a writer sends as its `number`-th: the same in every process, of many sizes."""
    noise = hashlib.blake2b(f"{name} {number}".encode()).hexdigest()
    text = noise * (1 + int(noise[:2], 16))
    output: tuple[dict[str, Any], ...] = (
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": noise}],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text[::-1]}],
        },
    )
    return Turn(
        id=f"{name}_{number}",
        # Every fifth turn forks from an earlier one instead of continuing the last.
        parent_id=f"{name}_{number - 1 if number % 5 else number // 2}" if number else None,
        api_type="harmony",
        model="gpt-oss-20b",
        input=({"type": "message", "role": "user", "content": text},),
        output=output,
        instructions=f"You are {name}.",
        usage={"input_tokens": number, "output_tokens": 1},
        output_token_ids=list(range(number % 300)),
        created_at=float(number),
    )


async def write(
    path: str, name: str, durability: Durability, count: int | None, at_once: int
) -> None:
    """Put turns, `at_once` together, and print the id of each once it is said to be on disk."""
    if path.startswith("postgresql://"):
        store = open_store(path)
    else:
        store = SQLiteStore(path, durability=durability)

    async def put(number: int) -> None:
        await store.put(numbered_turn(name, number))
        print(number, flush=True)

    number = 0
    while count is None or number < count:
        await asyncio.gather(*(put(number + ahead) for ahead in range(at_once)))
        number += at_once
    await store.aclose()


if __name__ == "__main__":
    kind, path, name, durability, *rest = sys.argv[1:]
    count, at_once = (None, 4) if kind == "crash" else (int(rest[0]), 1)
    asyncio.run(write(path, name, cast("Durability", durability), count, at_once))
