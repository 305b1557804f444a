"""One round of killing a writer and looking at what it left."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from store.writers import numbered_turn
from synth_ai.store.sqlite.connections import Durability
from synth_ai.store.sqlite.store import SQLiteStore

WRITER = Path(__file__).with_name("writers.py")

# The processes import what this one does, from wherever it does.
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(WRITER.parent.parent), *sys.path])}


def kill_a_writer(path: Path, name: str, durability: Durability, dice: random.Random) -> list[int]:
    """Start a writer, kill it with SIGKILL after some turns, and return the numbers it printed."""
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), "crash", str(path), name, durability],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert writer.stdout is not None
    printed: list[int] = []
    for _ in range(dice.randrange(1, 200)):
        printed.append(int(writer.stdout.readline()))
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    whole_lines = rest[: rest.rfind("\n") + 1].split()
    return printed + [int(line) for line in whole_lines]


async def check_what_is_left(path: Path, name: str, printed: list[int]) -> None:
    """Every printed turn is there with its whole chain, equal to what was sent.

    SQLite finds the file sound.
    """
    store = SQLiteStore(path)
    for number in printed:
        chain = await store.chain(f"{name}_{number}")
        assert chain is not None, f"{name}_{number} was printed and is not there"
        assert chain == [numbered_turn(name, int(turn.id.rpartition("_")[2])) for turn in chain]
        assert chain[0].parent_id is None
        assert chain[-1].id == f"{name}_{number}"
    await store.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
