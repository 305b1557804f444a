"""What keeping a turn costs: a put against a bare INSERT and commit, reading a long branch, and
what log probabilities add.

    python benchmarks/store.py [--folder FOLDER] [--turns 100000]

The bare side is sqlite3 alone, in the same process, with the same durability: one table, the same
bytes, one transaction a turn, no thread and no event loop. The two sides take turns, so that they
share the disk's moods.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from synth_ai.store.rows import encode_row
from synth_ai.store.sqlite.connections import Durability
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.turn import Turn

WARM_UP = 100
MEASURED = 1000
CHAIN = 200
SAMPLED = 200


def make_turn(id: str, parent_id: str | None) -> Turn:
    """A turn of everyday size: 1.5 kB of items, 150 token ids, tools that its branch shares."""
    reasoning = {"type": "reasoning_text", "text": "The user wants to know about rivers. " * 12}
    answer = {
        "type": "output_text",
        "text": "Rivers carry water from the hills to the sea. " * 12,
        "annotations": [],
    }
    return Turn(
        id=id,
        parent_id=parent_id,
        api_type="harmony",
        model="gpt-oss-120b",
        input=({"type": "message", "role": "user", "content": "Tell me about rivers. " * 6},),
        output=(
            {"type": "reasoning", "summary": [], "content": [reasoning]},
            {"type": "message", "role": "assistant", "status": "completed", "content": [answer]},
        ),
        instructions="You are terse.",
        tools=(
            {
                "type": "function",
                "name": "search",
                "description": "Searches. " * 40,
                "parameters": {},
            },
        ),
        usage={
            "input_tokens": 300,
            "output_tokens": 150,
            "cached_tokens": 0,
            "reasoning_tokens": 40,
        },
        output_token_ids=list(range(1000, 1150)),
        date="2026-11-20",
    )


class Bare:
    """sqlite3 alone."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(
            f"PRAGMA synchronous={'FULL' if durability == 'power-loss' else 'NORMAL'}"
        )
        self._connection.execute(
            "CREATE TABLE turns (id TEXT PRIMARY KEY, parent_id TEXT, content TEXT, ids BLOB)"
        )

    def put(self, turn: Turn) -> float:
        """Seconds for one INSERT and its commit; making the JSON is not counted."""
        row = encode_row(turn)
        start = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(
            "INSERT INTO turns VALUES (?, ?, ?, ?)",
            (row.id, row.parent_id, row.content, row.token_ids),
        )
        self._connection.execute("COMMIT")
        return time.perf_counter() - start


async def put(store: SQLiteStore, turn: Turn) -> float:
    """Seconds for one put; making the JSON is counted."""
    start = time.perf_counter()
    await store.put(turn)
    return time.perf_counter() - start


async def compare(folder: Path, durability: Durability, report: Callable[..., None]) -> None:
    """A put beside a bare INSERT, one at a time and a hundred at once."""
    bare = Bare(folder / f"bare-{durability}.db", durability)
    store = SQLiteStore(folder / f"store-{durability}.db", durability=durability)
    ours: list[float] = []
    theirs: list[float] = []
    parent: str | None = None
    for number in range(WARM_UP + MEASURED):
        turn = make_turn(f"resp_{number:032x}", parent)
        parent = turn.id
        theirs.append(bare.put(turn))
        ours.append(await put(store, turn))
    del ours[:WARM_UP], theirs[:WARM_UP]
    start = time.perf_counter()
    for batch in range(10):
        await asyncio.gather(
            *(store.put(make_turn(f"resp_at_once_{batch}_{n}", None)) for n in range(100))
        )
    at_once = (time.perf_counter() - start) / 1000
    ratio = statistics.median(ours) / statistics.median(theirs)
    report(durability, "bare INSERT + commit, median", f"{statistics.median(theirs) * 1e6:.0f} us")
    report(
        durability,
        "put, median",
        f"{statistics.median(ours) * 1e6:.0f} us",
        f"{ratio:.2f}x (bar 3x)",
    )
    report(durability, "put, 100 callers at once, each", f"{at_once * 1e6:.0f} us")
    await store.aclose()


async def measure_chain(store: SQLiteStore, id: str) -> float:
    """Median seconds for reading a branch of 200 turns."""
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        chain = await store.chain(id)
        seconds.append(time.perf_counter() - start)
        assert chain is not None
        assert len(chain) == CHAIN
    return statistics.median(seconds)


async def grow(folder: Path, turns: int, report: Callable[..., None]) -> None:
    """Puts and chain reads in a new file, and again once it holds many turns."""
    store = SQLiteStore(folder / "large.db")

    async def measure(name: str) -> tuple[float, float]:
        ids = [f"resp_{name}_{n:06}" for n in range(CHAIN)]
        puts = [
            await put(store, make_turn(id, before))
            for id, before in zip(ids, [None, *ids], strict=False)
        ]
        return statistics.median(puts), await measure_chain(store, ids[-1])

    await measure("warm")
    small = await measure("small")
    for start in range(0, turns, 200):
        # Branches that grow side by side, so that the turns of each lie far apart in the file.
        branches = ((n, n - 1000 if n >= 1000 else None) for n in range(start, start + 200))
        await asyncio.gather(
            *(
                store.put(
                    make_turn(f"resp_{n:032x}", None if before is None else f"resp_{before:032x}")
                )
                for n, before in branches
            )
        )
    large = await measure("large")
    report("file", "put in a new file", f"{small[0] * 1e6:.0f} us")
    report(
        "file",
        f"put after {turns} turns",
        f"{large[0] * 1e6:.0f} us",
        f"{large[0] / small[0]:.2f}x (bar 1.5x)",
    )
    report("file", "chain of 200 in a new file", f"{small[1] * 1e3:.2f} ms", "(bar 5 ms)")
    report(
        "file",
        f"chain of 200 after {turns} turns",
        f"{large[1] * 1e3:.2f} ms",
        f"{large[1] / small[1]:.2f}x (bar 1.5x)",
    )
    if turns >= 1000 * CHAIN // 2:
        scattered = f"resp_{turns - 1:032x}"
        start_time = time.perf_counter()
        chain = await store.chain(scattered)
        report(
            "file",
            f"chain of {len(chain or ())} scattered turns, first read",
            f"{(time.perf_counter() - start_time) * 1e3:.2f} ms",
        )
    report(
        "file",
        "size on disk, each turn",
        f"{(folder / 'large.db').stat().st_size / (turns + 3 * CHAIN):.0f} bytes",
    )
    await store.aclose()


def make_sampled_turn(id: str, *, with_logprobs: bool) -> Turn:
    """A turn of 200 sampled tokens, with their log probabilities or without."""
    facts: dict[str, Any] = {}
    if with_logprobs:
        facts = {
            "output_logprobs": array("f", [-0.01 * number for number in range(SAMPLED)]),
            "logprobs_mode": "raw_logprobs",
            "temperature": 1.0,
        }
    turn = make_turn(id, None)
    return replace(turn, output_token_ids=list(range(1000, 1000 + SAMPLED)), **facts)


async def compare_logprobs(folder: Path, turns: int, report: Callable[..., None]) -> None:
    """The same turns with log probabilities and without, side by side in two files."""
    kinds = {"without": False, "with": True}
    stores = {
        kind: SQLiteStore(folder / f"{kind}.db", durability="process-crash") for kind in kinds
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}

    for start in range(0, turns, 200):
        for kind, with_logprobs in kinds.items():
            made = [
                make_sampled_turn(f"resp_{number:032x}", with_logprobs=with_logprobs)
                for number in range(start, start + 200)
            ]
            begin = time.perf_counter()
            await asyncio.gather(*(stores[kind].put(turn) for turn in made))
            seconds[kind].append((time.perf_counter() - begin) / 200)

    sizes = {}
    for kind, store in stores.items():
        await store.aclose()
        sizes[kind] = (folder / f"{kind}.db").stat().st_size

    growth = (sizes["with"] - sizes["without"]) / turns
    medians = {kind: statistics.median(seconds[kind]) for kind in kinds}
    report(
        "logprobs",
        f"file, each of {turns} turns of {SAMPLED} tokens",
        f"+{growth:.0f} bytes",
        "(bar 1,100)",
    )
    report(
        "logprobs",
        "put, 200 callers at once, each",
        f"{medians['with'] * 1e6:.0f} us",
        f"{medians['with'] / medians['without']:.3f}x (bar 1.1x)",
    )


def report(*columns: Any) -> None:
    """One line of the table."""
    sys.stdout.write(
        "  ".join(
            str(column).ljust(width)
            for column, width in zip(columns, (14, 48, 12, 20), strict=False)
        )
    )
    sys.stdout.write("\n")
    sys.stdout.flush()


def main() -> None:
    """Measure in a folder of the disk that matters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", default=None, help="where to make the files; a temporary folder by default"
    )
    parser.add_argument(
        "--turns", type=int, default=100_000, help="how many turns make a large file"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for durability in get_args(Durability):
            asyncio.run(compare(Path(folder), durability, report))
        asyncio.run(grow(Path(folder), arguments.turns, report))
        asyncio.run(compare_logprobs(Path(folder), arguments.turns, report))


if __name__ == "__main__":
    main()
