"""The SQLite store among processes: many that write at once, some killed, some forked."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import pytest

from store.crashes import ENVIRONMENT, WRITER, check_what_is_left, kill_a_writer
from store.turns import make_turn
from store.writers import numbered_turn
from synth_ai.store.sqlite.connections import Durability
from synth_ai.store.sqlite.store import SQLiteStore

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
    """Processes that open a file at once, before it exists, and write at once, lose nothing."""
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
    async def write() -> None:
        for n in range(20):
            await store.put(make_turn(f"{name}_{n}", "parent"))
        assert len(await store.chain(f"{name}_19") or ()) == 2

    asyncio.run(write())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@DURABILITIES
async def test_a_child_goes_on_after_its_parent_has_closed_the_file(
    tmp_path: Path, durability: Durability
) -> None:
    """With the parent's locks in its memory the child would take none.

    It would write into files that are gone.
    """
    path = tmp_path / "turns.db"
    store = SQLiteStore(path, durability=durability)
    for n in range(3):
        await store.put(make_turn(f"parent_{n}"))
    (written, told_written), (closed, told_closed) = os.pipe(), os.pipe()

    def go_on() -> None:
        asyncio.run(store.put(make_turn("before")))
        os.write(told_written, b".")
        os.read(closed, 1)
        for n in range(3):
            asyncio.run(store.put(make_turn(f"after_{n}")))

    child = multiprocessing.get_context("fork").Process(target=go_on)
    child.start()
    os.read(written, 1)
    await store.aclose()
    os.write(told_closed, b".")
    child.join(60)
    assert child.exitcode == 0
    again = SQLiteStore(path)
    assert [turn.id for turn in await again.list()] == [
        *("parent_0", "parent_1", "parent_2", "before"),
        *("after_0", "after_1", "after_2"),
    ]
    await again.check()
    await again.aclose()
    for end in (written, told_written, closed, told_closed):
        os.close(end)


def write_twenty(path: Path, name: str) -> None:
    """What a child that was forked while its parent wrote does with a store of its own."""

    async def write() -> None:
        async with asyncio.timeout(30):
            store = SQLiteStore(path, durability="process-crash", timeout=5)
            for n in range(20):
                await store.put(make_turn(f"{name}_{n}"))
            await store.aclose()

    asyncio.run(write())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_forks_in_the_middle_of_writes(tmp_path: Path) -> None:
    """No child finds the file locked by a writer that it does not have."""
    path = tmp_path / "turns.db"
    store = SQLiteStore(path, durability="process-crash")
    await store.put(make_turn("first"))
    done = threading.Event()
    own: list[str] = []

    async def write_meanwhile() -> None:
        while not done.is_set():
            own.append(f"own_{len(own)}")
            await store.put(make_turn(own[-1]))

    writing = threading.Thread(target=asyncio.run, args=(write_meanwhile(),))
    writing.start()
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=write_twenty, args=(path, f"child{n}")) for n in range(8)]
    for child in children:
        child.start()
    for child in children:
        await asyncio.to_thread(child.join, 60)
    done.set()
    await asyncio.to_thread(writing.join)
    assert [child.exitcode for child in children] == [0] * 8
    assert len(await store.list()) == 1 + len(own) + 8 * 20
    await store.check()
    await store.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_a_forked_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    """SQLite's connections must not cross a fork.

    The store that did makes its own, and the parent's goes on.
    """
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
