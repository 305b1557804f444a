"""The long form of the store's durability tests: rounds of `kill -9`, and many writers at once.

    python benchmarks/soak/store.py [--rounds 500] [--processes 8] [--turns 1000]

Every round starts a process that writes turns and prints the id of each when its put has
returned, kills it at a moment of chance, and then reads every printed turn with its whole chain
and compares it item by item with what was sent. All rounds write into one file, so later ones also
meet what earlier ones left.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from store.crashes import ENVIRONMENT, WRITER, check_what_is_left, kill_a_writer
from store.writers import numbered_turn
from synth_ai.store.sqlite.connections import Durability
from synth_ai.store.sqlite.store import SQLiteStore


def kill_rounds(path: Path, durability: Durability, rounds: int) -> None:
    """Kill a writer, look at what it left; again and again."""
    dice = random.Random()
    start, turns = time.monotonic(), 0
    for number in range(1, rounds + 1):
        printed = kill_a_writer(path, f"round{number}", durability, dice)
        asyncio.run(check_what_is_left(path, f"round{number}", printed))
        turns += len(printed)
        if number % 50 == 0 or number == rounds:
            seconds = time.monotonic() - start
            say(
                f"{durability}: {number} rounds of kill -9, {turns} printed turns, none lost "
                f"({seconds:.0f} s)"
            )


def write_together(path: Path, durability: Durability, processes: int, turns: int) -> None:
    """Let processes write into one new file at once, and count."""
    start = time.monotonic()
    writers = [
        subprocess.Popen(
            [sys.executable, str(WRITER), "many", str(path), f"p{n}", durability, str(turns)],
            stdout=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        for n in range(processes)
    ]
    codes = [writer.wait() for writer in writers]
    seconds = time.monotonic() - start
    if any(codes):
        raise SystemExit(f"writers failed: exit codes {codes}")
    asyncio.run(_check_together(path, processes, turns))
    speed = processes * turns / seconds
    say(
        f"{durability}: {processes} processes x {turns} turns, no error, none lost, "
        f"{speed:.0f} turns a second"
    )


async def _check_together(path: Path, processes: int, turns: int) -> None:
    store = SQLiteStore(path)
    kept = {turn.id: turn for turn in await store.list()}
    await store.check()
    await store.aclose()
    sent = {
        turn.id: turn
        for n in range(processes)
        for turn in (numbered_turn(f"p{n}", m) for m in range(turns))
    }
    if kept != sent:
        raise SystemExit(
            f"{len(sent)} turns were sent and {len(kept)} are there, or some of them differ"
        )


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Both parts with each durability, each in a file of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", default=None, help="where to make the files; a temporary folder by default"
    )
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--turns", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for durability in get_args(Durability):
            write_together(
                Path(folder) / f"together-{durability}.db",
                durability,
                arguments.processes,
                arguments.turns,
            )
            kill_rounds(Path(folder) / f"killed-{durability}.db", durability, arguments.rounds)


if __name__ == "__main__":
    main()
