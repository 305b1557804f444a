"""The SQLite store among processes: many that write at once, some that are killed, some that are forked."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from store.crashes import ENVIRONMENT, WRITER, check_what_is_left, kill_a_writer
from store.turns import make_turn
from store.writers import numbered_turn
from synth_ai.store.sqlite import SQLiteStore
from synth_ai.store.sqlite_file import Durability

DURABILITIES = pytest.mark.parametrize("durability", get_args(Durability))


@DURABILITIES
async def test_what_was_returned_survives_kill_9(tmp_path: Path, durability: Durability) -> None:
    """A turn whose put returned is there after the process was killed, whatever it was doing."""
    dice = random.Random(9)
    path = tmp_path / "turns.db"
    for round in range(8):
        printed = kill_a_writer(path, f"round{round}", durability, dice)
        await check_what_is_left(path, f"round{round}", printed)


@DURABILITIES
async def test_processes_write_into_one_file(tmp_path: Path, durability: Durability) -> None:
    """Processes that open the file at the same moment, before it exists, and write at once lose nothing."""
    path = tmp_path / "turns.db"
    writers = [
        subprocess.Popen(
            [sys.executable, str(WRITER), "many", str(path), f"p{n}", durability, "60"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for n in range(8)
    ]
    assert [writer.communicate()[1] for writer in writers] == [""] * 8
    store = SQLiteStore(path)
    assert len(await store.list()) == 8 * 60
    for n in range(8):
        chain = await store.chain(f"p{n}_59")
        assert chain is not None
        assert chain[-1] == numbered_turn(f"p{n}", 59)
    await store.check()
    await store.aclose()


def write_in_child(store: SQLiteStore, name: str) -> None:
    import asyncio

    async def write() -> None:
        for n in range(20):
            await store.put(make_turn(f"{name}_{n}", "parent"))
        assert len(await store.chain(f"{name}_19") or ()) == 2

    asyncio.run(write())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_a_forked_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    """SQLite's connections must not cross a fork; the store that did makes its own and the parent's goes on."""
    store = SQLiteStore(tmp_path / "turns.db")
    await store.put(make_turn("parent"))
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=write_in_child, args=(store, f"child{n}")) for n in range(3)]
    for child in children:
        child.start()
    for n in range(20):
        await store.put(make_turn(f"own_{n}", "parent"))
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(await store.list()) == 81
    await store.check()
    await store.aclose()
