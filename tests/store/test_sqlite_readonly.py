"""Stores that are only looked at: by who may not write, while others write, and after a crash."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from store.test_bad_files import in_a_mount, make_store
from store.turns import make_chain, make_turn
from synth_ai.errors import StoreCorruptError, StoreFormatError, StoreUnavailableError
from synth_ai.store.sqlite import schema as sqlite_schema
from synth_ai.store.sqlite.readonly import read_turns
from synth_ai.store.sqlite.store import SQLiteStore

SHOW = """
import sys
from synth_ai.store.sqlite.readonly import read_turns
for path in sys.argv[1:]:
    print(len(read_turns(path)))
"""


async def crashed_store(folder: Path, turns: int) -> Path:
    """The files of a store whose process ended while its turns were in the WAL."""
    store = SQLiteStore(folder / "living.db")
    for turn in make_chain(turns):
        await store.put(turn)
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(folder / f"living.db{suffix}", folder / f"crashed.db{suffix}")
    await store.aclose()
    return folder / "crashed.db"


async def test_a_read_only_disk_is_no_obstacle(tmp_path: Path) -> None:
    """A store where nothing can be written is shown, be it closed or left behind by a crash."""
    await make_store(tmp_path / "turns.db", 3)
    await crashed_store(tmp_path, 4)
    mount = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}"
    done = in_a_mount(mount, SHOW, f"{tmp_path}/turns.db", f"{tmp_path}/crashed.db")
    assert (done.returncode, done.stdout) == (0, "3\n4\n"), done.stderr


async def test_a_closed_store_is_read_without_a_trace(tmp_path: Path) -> None:
    """The same turns as the store gives, and no file beside it."""
    path = tmp_path / "turns.db"
    await make_store(path, 20)
    before = path.stat().st_mtime_ns, path.read_bytes()
    turns = read_turns(path)
    assert [turn.input for turn in turns] == [turn.input for turn in make_chain(20)]
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert [file.name for file in tmp_path.iterdir()] == ["turns.db"]


async def test_a_crashed_store_is_read_with_its_wal_and_left_to_recover(tmp_path: Path) -> None:
    """The last turns lie in the WAL alone: they are shown, and they stay there."""
    path = await crashed_store(tmp_path, 5)
    wal = path.with_name("crashed.db-wal")
    before = path.read_bytes(), wal.read_bytes()
    assert len(read_turns(path)) == 5
    assert (path.read_bytes(), wal.read_bytes()) == before


async def test_a_store_is_read_while_others_open_write_and_close_it(tmp_path: Path) -> None:
    """Each look sees all that was written before it, whole turns and no error."""
    path = tmp_path / "turns.db"
    await make_store(path, 1)
    written = 1
    done = threading.Event()

    async def write() -> None:
        nonlocal written
        for n in range(60):
            store = SQLiteStore(path, durability="process-crash")
            for m in range(5):
                await store.put(make_turn(f"t{n}_{m}", instructions=f"number {n}"))
                written += 1
            await store.aclose()

    def run() -> None:
        try:
            asyncio.run(write())
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    looks = 0
    while not done.is_set():
        least = written
        assert len(read_turns(path)) >= least
        looks += 1
    thread.join()
    assert looks > 3
    assert len(read_turns(path)) == written == 301


async def test_what_cannot_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as opening it would tell it, and nothing is made or changed."""
    path, notes, other, empty = (
        tmp_path / name for name in ("turns.db", "notes.txt", "other.db", "empty.db")
    )
    await make_store(path)
    notes.write_text("not a database at all, but long enough " * 40)
    empty.touch()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE turns (id TEXT)")
    connection.close()
    names = sorted(file.name for file in tmp_path.iterdir())
    for bad, error, what in (
        (tmp_path / "none.db", StoreUnavailableError, "does not exist"),
        (tmp_path, StoreUnavailableError, "is a folder"),
        (notes, StoreFormatError, "no SQLite file"),
        (other, StoreFormatError, "another program's"),
    ):
        with pytest.raises(error, match=what):
            read_turns(bad)
    assert read_turns(empty) == []
    with monkeypatch.context() as patch:
        patch.setattr(
            "synth_ai.store.sqlite.schema.MIGRATIONS",
            (*sqlite_schema.MIGRATIONS, ("ALTER TABLE turns",)),
        )
        with pytest.raises(StoreFormatError, match="open it once"):
            read_turns(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(StoreCorruptError, match="damaged"):
        read_turns(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert empty.stat().st_size == 0
