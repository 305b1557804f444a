"""Files that are no store, damaged, newer, or not to be written: typed errors, and no loss."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from store.crashes import ENVIRONMENT
from store.turns import make_chain, make_turn
from synth_ai.errors import (
    StoreCorruptError,
    StoreFormatError,
    StoreUnavailableError,
)
from synth_ai.store.sqlite.store import SQLiteStore


async def make_store(path: Path, turns: int = 200) -> None:
    store = SQLiteStore(path)
    for turn in make_chain(turns):
        await store.put(turn)
    await store.aclose()


def test_paths_where_no_file_can_be(tmp_path: Path) -> None:
    """The error names the path and what is wrong with it."""
    with pytest.raises(StoreUnavailableError, match=r"missing/turns\.db.*folder does not exist"):
        SQLiteStore(tmp_path / "missing" / "turns.db")
    with pytest.raises(StoreUnavailableError, match="is a folder"):
        SQLiteStore(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match="cannot be made"):
        SQLiteStore(tmp_path / "file" / "turns.db")


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough " * 40, b"short", b"{}\n"]
)
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A mistyped path does not cost the user the file that it names."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreFormatError, match=r"notes\.txt"):
        SQLiteStore(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """The same for a SQLite file that is not ours: it keeps its bytes and its journal mode."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE turns (id TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match="another program's"):
        SQLiteStore(path)
    assert path.read_bytes() == before


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """What a temporary file or a crash during the first opening leaves is no obstacle."""
    path = tmp_path / "turns.db"
    path.touch()
    store = SQLiteStore(path)
    await store.put(make_turn("a"))
    assert await store.get("a") is not None
    await store.aclose()


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """An old version of the library must not touch what it cannot read."""
    path = tmp_path / "turns.db"
    await make_store(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(
        StoreFormatError, match=r"newer synth_ai \(schema 99; this one reads up to 4\)"
    ):
        SQLiteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", [0.9, 0.5, 0.05])
async def test_a_truncated_file_is_reported(tmp_path: Path, part: float) -> None:
    """A copy that was cut off is noticed at once and not written to.

    The message says how to save the rest.
    """
    path = tmp_path / "turns.db"
    await make_store(path)
    os.truncate(path, int(path.stat().st_size * part))
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError, match=r"turns\.db.*damaged.*\.recover"):
        SQLiteStore(path)
    assert path.read_bytes() == before


async def test_an_overwritten_page_is_reported_when_it_is_read(tmp_path: Path) -> None:
    """Damage in the middle is a typed error for the turns that it hit; no answer is untrue."""
    path = tmp_path / "turns.db"
    await make_store(path)
    expected = {turn.id: turn.input for turn in make_chain(200)}
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)
    store = SQLiteStore(path)
    read, damaged = 0, 0
    for id, asked in expected.items():
        try:
            turn = await store.get(id)
        except StoreCorruptError:
            damaged += 1
        else:
            assert turn is not None
            assert turn.input == asked
            read += 1
    assert read > 100
    assert damaged > 0
    with pytest.raises(StoreCorruptError, match="damaged"):
        await store.check()
    await store.aclose()


async def test_a_full_file_keeps_what_it_had(tmp_path: Path) -> None:
    """SQLite's limit of pages stands in for a full disk: the error says so, the store works on."""
    path = tmp_path / "turns.db"
    store = SQLiteStore(path)
    turns = make_chain(20)
    for turn in turns:
        await store.put(turn)
    await store._require_open().writer.run(
        lambda connection: connection.execute("PRAGMA max_page_count=30").fetchall(), alone=True
    )
    with pytest.raises(StoreUnavailableError, match=r"disk is full.*changed nothing"):
        await store.put(make_turn("big", input=({"text": "x" * 500_000},)))
    assert await store.list() == turns
    await store.put(make_turn("small"))
    await store.check()
    await store.aclose()


IN_A_SMALL_DISK = """
import asyncio, sys
from pathlib import Path
from store.turns import make_turn
from synth_ai.errors import StoreUnavailableError
from synth_ai.store.sqlite.store import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    stored = 0
    try:
        while stored < 10_000:
            await store.put(make_turn(f"t{stored}", input=({"text": "x" * 3000},)))
            stored += 1
    except StoreUnavailableError as error:
        print(error, file=sys.stderr)
    assert 50 < stored < 10_000, stored
    assert len(await store.list()) == stored
    await store.check()
    (Path(sys.argv[1]).parent / "filler").unlink()
    for n in range(20):
        await store.put(make_turn(f"later{n}"))
    assert len(await store.list()) == stored + 20
    await store.aclose()

asyncio.run(main())
"""

ON_A_READ_ONLY_DISK = """
import sys
from synth_ai.errors import StoreUnavailableError
from synth_ai.store.sqlite.store import SQLiteStore

for path in sys.argv[1:]:
    try:
        SQLiteStore(path)
    except StoreUnavailableError as error:
        print(error, file=sys.stderr)
    else:
        raise AssertionError(path)
"""


def in_a_mount(mount: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a mount namespace of its own, or skip where the system has none for us."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system gives no private mounts (unshare -rm)")
    command = f'{mount} && exec "{sys.executable}" -c "$SCRIPT" {" ".join(arguments)}'
    return subprocess.run(
        [unshare, "-rm", "sh", "-c", command],
        env=ENVIRONMENT | {"SCRIPT": script},
        capture_output=True,
        text=True,
    )


def test_a_full_disk_keeps_what_it_had(tmp_path: Path) -> None:
    """On a disk that is really full, every put that returned is readable.

    With room, the store goes on.
    """
    mount = (
        f"mount -t tmpfs -o size=2m tmpfs {tmp_path} && "
        f"head -c 300000 /dev/zero > {tmp_path}/filler"
    )
    done = in_a_mount(mount, IN_A_SMALL_DISK, f"{tmp_path}/turns.db")
    assert done.returncode == 0, done.stderr
    assert "full" in done.stderr or "disk" in done.stderr


async def test_a_read_only_disk_is_named(tmp_path: Path) -> None:
    """Neither an existing store nor a new one opens where nothing can be written; both say why."""
    await make_store(tmp_path / "turns.db", 3)
    mount = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}"
    done = in_a_mount(mount, ON_A_READ_ONLY_DISK, f"{tmp_path}/turns.db", f"{tmp_path}/new.db")
    assert done.returncode == 0, done.stderr
    assert "turns.db" in done.stderr
    assert "new.db' cannot be made: Read-only file system" in done.stderr
    store = SQLiteStore(tmp_path / "turns.db")
    assert len(await store.list()) == 3
    await store.aclose()


def test_an_empty_file_that_others_may_read_becomes_private(tmp_path: Path) -> None:
    """Whoever made the file first, what is said in it is for its owner alone."""
    path = tmp_path / "turns.db"
    path.touch()
    path.chmod(0o666)
    store = SQLiteStore(path)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    del store


def test_a_pipe_is_no_store(tmp_path: Path) -> None:
    """Opening one waits for who may never write."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreUnavailableError, match="regular file"):
        SQLiteStore(tmp_path / "pipe")
