"""The SQLite store: what is on disk, when, and who may read it."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from store.crashes import ENVIRONMENT
from store.test_threads import until_idle
from store.turns import make_chain, make_turn
from synth_ai.errors import OptionError, StoreError, StoreUnavailableError
from synth_ai.store.sqlite import schema as sqlite_schema
from synth_ai.store.sqlite.connections import Durability
from synth_ai.store.sqlite.store import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "turns.db"


def files_of(path: Path) -> list[Path]:
    return sorted(path.parent.glob(path.name + "*"))


def rows_of(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in files_of(path))


async def test_a_second_store_continues_what_the_first_wrote(path: Path) -> None:
    """Turns outlive the object that wrote them."""
    turns = make_chain(3)
    first = SQLiteStore(path)
    for turn in turns:
        await first.put(turn)
    await first.aclose()
    second = SQLiteStore(path)
    assert await second.chain("turn_2") == turns
    await second.aclose()


async def test_only_the_owner_may_read_the_files(path: Path) -> None:
    """The file and what SQLite puts beside it are private, whatever the umask says."""
    before = os.umask(0)
    try:
        store = SQLiteStore(path)
        await store.put(make_turn("a"))
    finally:
        os.umask(before)
    assert [file.name for file in files_of(path)] == ["turns.db", "turns.db-shm", "turns.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files_of(path)} == {0o600}
    await store.aclose()


async def test_the_file_is_private_before_anything_is_in_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no moment at which another user could open a new store."""
    modes: list[int] = []
    real = sqlite3.connect

    def connect(*args: object, **kwargs: object) -> sqlite3.Connection:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        return real(*args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", connect)
    before = os.umask(0)
    try:
        await SQLiteStore(path).aclose()
    finally:
        os.umask(before)
    assert modes[0] == 0o600


@pytest.mark.parametrize(("durability", "synchronous"), [("power-loss", 2), ("process-crash", 1)])
async def test_the_connection_that_writes_has_the_documented_settings(
    path: Path, durability: Durability, synchronous: int
) -> None:
    """The guarantee rests on these; nothing else in the tests would notice that one was gone."""
    store = SQLiteStore(path, durability=durability)

    def settings(connection: sqlite3.Connection) -> dict[str, object]:
        names = (
            "journal_mode",
            "synchronous",
            "secure_delete",
            "fullfsync",
            "temp_store",
            "wal_autocheckpoint",
        )
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    writer = store._require_open().writer
    documented = {
        "journal_mode": "wal",
        "synchronous": synchronous,
        "secure_delete": 1,
        "fullfsync": 1,
        "temp_store": 2,
        "wal_autocheckpoint": 0,
    }
    assert await writer.run(settings, alone=True) == documented
    if durability == "process-crash":
        await store.put(make_turn("first"))
        await until_idle(writer)
        inline = writer._choose_inline(0)
        assert inline is not None
        assert writer._run_inline(inline, settings, 0) == documented
    await store.aclose()


async def test_a_shared_text_is_stored_once(path: Path) -> None:
    """Instructions and tools that every turn of every branch repeats cost their bytes once."""
    store = SQLiteStore(path)
    tools = ({"type": "function", "name": "f", "description": "many words " * 1000},)
    for n in range(200):
        await store.put(make_turn(f"t{n}", tools=tools, instructions="be terse " * 1000))
    turn = await store.get("t199")
    assert turn is not None
    assert (turn.tools, turn.instructions) == (tools, "be terse " * 1000)
    await store.aclose()
    assert path.stat().st_size < 300_000


async def test_callers_at_once_share_a_commit(path: Path) -> None:
    """A hundred callers do not pay for a hundred fsyncs, which keeps a batch of calls fast."""
    store = SQLiteStore(path)
    await store.put(make_turn("first"))
    commits: list[str] = []
    await store._require_open().writer.run(
        lambda connection: connection.set_trace_callback(commits.append)
    )
    commits.clear()
    await asyncio.gather(*(store.put(make_turn(f"t{n}")) for n in range(100)))
    assert commits.count("COMMIT") < 20
    await store.aclose()


async def test_one_bad_turn_does_not_fail_its_group(path: Path) -> None:
    """Callers that happen to share a commit keep their own verdicts."""
    store = SQLiteStore(path)
    await store.put(make_turn("taken", "elsewhere"))
    puts = [store.put(make_turn("taken" if n == 25 else f"t{n}")) for n in range(50)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [n for n, result in enumerate(results) if result is not None] == [25]
    assert isinstance(results[25], StoreError)
    assert len(await store.list()) == 50
    await store.aclose()


@pytest.mark.parametrize("durability", get_args(Durability))
async def test_the_loop_runs_while_another_process_holds_the_lock(
    path: Path, durability: Durability
) -> None:
    """A store that has to wait does not stop the program's other tasks."""
    store = SQLiteStore(path, durability=durability)
    await store.put(make_turn("before"))
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    put = asyncio.create_task(store.put(make_turn("a")))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not put.done()
    assert await store.get("a") is None
    other.execute("COMMIT")
    other.close()
    await put
    assert await store.get("a") is not None
    await store.aclose()


@pytest.mark.parametrize(
    ("durability", "size", "by_the_caller"),
    [("power-loss", 100, False), ("process-crash", 100, True), ("process-crash", 100_000, False)],
)
async def test_who_writes_a_turn(
    path: Path, durability: Durability, size: int, by_the_caller: bool
) -> None:
    """Where no commit waits for the disk, only a large turn goes to the writer's thread."""
    store = SQLiteStore(path, durability=durability)
    writer = store._require_open().writer
    await store.put(make_turn("first"))
    await until_idle(writer)
    assert (
        await writer.run(lambda _: threading.get_ident(), size=size) == threading.get_ident()
    ) == by_the_caller
    await store.aclose()


@pytest.mark.parametrize("durability", get_args(Durability))
async def test_turns_that_are_put_at_once_keep_their_order(
    path: Path, durability: Durability
) -> None:
    """Whoever writes them: what is killed in between leaves no turn without the one before it."""
    store = SQLiteStore(path, durability=durability)
    for start in range(0, 400, 8):
        await asyncio.gather(*(store.put(make_turn(f"t{n}")) for n in range(start, start + 8)))
    await store.aclose()
    assert [id for (id,) in rows_of(path, "SELECT id FROM turns ORDER BY seq")] == [
        f"t{n}" for n in range(400)
    ]


async def test_what_an_interrupt_leaves_is_taken_back(path: Path) -> None:
    """Ctrl-C may come in the middle of a write on the caller's own thread.

    Nobody is kept out by what it leaves.
    """
    store = SQLiteStore(path, durability="process-crash", timeout=5)
    for n in range(2):
        await store.put(make_turn(f"before_{n}"))
    here = store._require_open().writer._inline_connection
    assert here is not None
    assert here.get_open() is not None

    def interrupted(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO bodies (text) VALUES ('half')")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await store._require_open().writer.run(interrupted)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

    # Between two steps, where no `finally` was reached yet.
    here._connection.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]
    await store.put(make_turn("large", output=("long " * 20_000,)))
    assert {turn.id for turn in await store.list()} == {"before_0", "before_1", "large"}
    await store.aclose()


@pytest.mark.parametrize("durability", get_args(Durability))
async def test_a_reader_that_takes_its_time_holds_nobody_up(
    path: Path, durability: Durability
) -> None:
    """The WAL cannot go into the file while another program reads; puts do not wait for it."""
    store = SQLiteStore(path, durability=durability)
    await store.put(make_turn("first"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turns").fetchall()
        async with asyncio.timeout(20):
            for n in range(600):
                await store.put(make_turn(f"t{n}"))
    await store.aclose()


async def test_the_wal_goes_into_the_file_whoever_writes(path: Path) -> None:
    """A store that is written for long does not leave everything in the WAL."""
    store = SQLiteStore(path, durability="process-crash")
    for n in range(1500):
        await store.put(make_turn(f"t{n}", output=("some words " * 100,)))
    assert path.stat().st_size > 2_000_000
    assert Path(f"{path}-wal").stat().st_size < 12_000_000
    await store.aclose()


def test_closing_while_callers_of_many_loops_write(path: Path) -> None:
    """Every put either returned, and its turn is there, or says that the store was closed."""
    store = SQLiteStore(path, durability="process-crash")
    kept: list[str] = []
    refused: list[str] = []

    async def write(name: str) -> None:
        for n in range(100_000):
            try:
                await store.put(make_turn(f"{name}_{n}"))
            except StoreError as error:
                refused.append(str(error))
                return
            kept.append(f"{name}_{n}")

    threads = [
        threading.Thread(target=lambda n=n: asyncio.run(write(f"thread{n}"))) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    while len(kept) < 500:
        time.sleep(0.01)
    asyncio.run(store.aclose())
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert all("closed" in why for why in refused)
    assert len(refused) == 4
    again = SQLiteStore(path)
    assert {turn.id for turn in asyncio.run(again.list())} == set(kept)
    asyncio.run(again.aclose())


async def test_a_lock_that_never_opens_is_an_error(path: Path) -> None:
    """Waiting ends, and the error says that nothing was stored."""
    store = SQLiteStore(path, timeout=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match=r"locked by another process.*changed nothing"):
        await store.put(make_turn("a"))
    other.execute("COMMIT")
    other.close()
    await store.put(make_turn("a"))
    await store.aclose()


async def test_a_cancelled_put_leaves_the_store_working(path: Path) -> None:
    """A caller that gives up does not take the writer with it."""
    store = SQLiteStore(path)
    put = asyncio.create_task(store.put(make_turn("a")))
    await asyncio.sleep(0)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    await store.put(make_turn("b"))
    assert await store.get("b") is not None
    await store.aclose()


async def test_closing_finishes_what_was_begun(path: Path) -> None:
    """No turn that was on its way is lost by closing, and closing twice is safe."""
    store = SQLiteStore(path)
    puts = [asyncio.create_task(store.put(make_turn(f"t{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    await store.aclose()
    await store.aclose()
    await asyncio.gather(*puts)
    with pytest.raises(StoreError, match="closed"):
        await store.get("t0")
    again = SQLiteStore(path)
    assert len(await again.list()) == 50
    await again.aclose()
    assert [file.name for file in files_of(path)] == ["turns.db"]


async def test_stores_of_one_file_share_its_threads(path: Path) -> None:
    """A hundred LMs on one file cost the threads of one; closing one leaves the others working."""
    before = threading.active_count()
    stores = [SQLiteStore(path) for _ in range(50)]
    for n, store in enumerate(stores):
        await store.put(make_turn(f"t{n}"))
        await store.get(f"t{n}")
    assert threading.active_count() - before < 10
    for store in stores[1:]:
        await store.aclose()
    assert len(await stores[0].list()) == 50
    await stores[0].aclose()


async def test_a_file_that_is_taken_away_is_noticed(path: Path) -> None:
    """Turns are never written into a file that nobody will find again."""
    store = SQLiteStore(path)
    await store.put(make_turn("a"))
    path.rename(path.with_name("moved.db"))
    with pytest.raises(StoreUnavailableError, match="moved or removed"):
        await store.put(make_turn("b"))
    assert not path.exists()
    other = SQLiteStore(path)
    with pytest.raises(StoreUnavailableError, match="replaced"):
        await store.put(make_turn("b"))
    await store.aclose()
    await other.aclose()


async def test_deleted_text_is_gone_from_the_files(path: Path) -> None:
    """Not one byte of a deleted turn is left, even after SQLite has moved its neighbours about."""
    dice = random.Random(2)
    store = SQLiteStore(path, durability="process-crash")

    async def put(n: int) -> None:
        text = {
            "type": "message",
            "role": "user",
            "content": f"secret<{n}>" + "x" * dice.randint(100, 900),
        }
        await store.put(
            make_turn(
                f"t{n}", input=(text,), output=({"a": f"secret<{n}>"},), instructions=f"secret<{n}>"
            )
        )

    for n in range(300):
        await put(n)
    doomed = dice.sample(range(300), 225)
    for done, n in enumerate(doomed, 1):
        if done % 4 == 0:
            assert await store.redact(f"t{n}")
        assert await store.delete(f"t{n}")
        if done % 5 == 0:
            await put(1000 + done)
        if done % 25 == 0:
            left = bytes_of(path)
            assert [m for m in doomed[:done] if f"secret<{m}>".encode() in left] == []
    assert all(f"secret<{m}>".encode() in left for m in set(range(300)) - set(doomed))
    await store.aclose()


async def test_redacted_token_ids_are_gone_from_the_files(path: Path) -> None:
    """Token ids are text in another spelling."""
    store = SQLiteStore(path)
    ids = [123_456, 77_777, 199_000] * 50
    packed = b"".join(id.to_bytes(4, "little") for id in ids)
    await store.put(make_turn("a", output_token_ids=ids))
    assert packed in bytes_of(path)
    await store.redact("a")
    assert packed[:24] not in bytes_of(path)
    await store.aclose()


async def test_compact_gives_the_room_back(path: Path) -> None:
    """The room of deleted turns is returned to the disk, and the others stay as they were."""
    store = SQLiteStore(path)
    long = {"type": "message", "role": "user", "content": "long " * 20_000}
    for n in range(20):
        await store.put(make_turn(f"t{n}", input=(long,)))
    kept = make_turn("kept", "t0", instructions="stay")
    await store.put(kept)
    for n in range(1, 20):
        await store.delete(f"t{n}")
    await store.compact()
    assert path.stat().st_size < 300_000
    assert len(await store.chain("kept") or ()) == 2
    assert await store.get("kept") == kept
    await store.check()
    await store.aclose()


async def test_an_older_schema_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version reads what the old one wrote; SQL and functions bring it there."""
    turns = make_chain(3)
    store = SQLiteStore(path)
    for turn in turns:
        await store.put(turn)
    await store.aclose()

    def fill_notes(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE turns SET note = 'migrated'")

    next_version = ("ALTER TABLE turns ADD COLUMN note TEXT", fill_notes)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, next_version))
    store = SQLiteStore(path)
    assert await store.chain("turn_2") == turns
    await store.put(make_turn("turn_3", "turn_2"))
    await store.aclose()
    assert rows_of(path, "SELECT note FROM turns ORDER BY seq") == [("migrated",)] * 3 + [(None,)]


async def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half migrated file never exists."""
    store = SQLiteStore(path)
    await store.put(make_turn("a"))
    await store.aclose()
    with monkeypatch.context() as patch:
        bad = ("ALTER TABLE turns ADD COLUMN note TEXT", "INSERT INTO nowhere VALUES (1)")
        patch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, bad))
        with pytest.raises(StoreError, match="nowhere"):
            SQLiteStore(path)
    store = SQLiteStore(path)
    assert await store.get("a") == make_turn("a", created_at=(await store.list())[0].created_at)
    await store.aclose()


async def test_a_turn_that_json_cannot_hold_is_refused(path: Path) -> None:
    """The error names the turn, and comes before anything is written."""
    store = SQLiteStore(path)
    for bad in (
        make_turn("a", input=({"x": object()},)),
        make_turn("a", output_token_ids=[-1]),
        make_turn(""),
    ):
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.put(bad)
    assert await store.list() == []
    await store.aclose()


def test_options_are_checked(path: Path) -> None:
    """A misspelt durability must not silently be a weaker one."""
    with pytest.raises(OptionError, match="'full'"):
        SQLiteStore(path, durability="full")  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        SQLiteStore(path, create=False)
    assert not path.exists()


def test_turns_are_on_disk_when_the_interpreter_exits_without_closing(path: Path) -> None:
    """A script that just ends leaves one whole file, and does not hang."""
    script = f"""
import asyncio
from store.turns import make_chain
from synth_ai.store.sqlite.store import SQLiteStore
store = SQLiteStore({str(path)!r})
async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not tested here
    for turn in make_chain(20):
        await store.put(turn)
    await store.get("turn_3")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [file.name for file in files_of(path)] == ["turns.db"]
    assert rows_of(path, "SELECT count(*) FROM turns") == [(20,)]
