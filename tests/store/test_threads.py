"""The writer of the SQLite store: who writes, how often, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from store.turns import make_chain, make_turn
from synth_ai.errors import StoreConflictError, StoreError, StoreUnavailableError
from synth_ai.store.sqlite import threads
from synth_ai.store.sqlite.connections import connect
from synth_ai.store.sqlite.schema import create_or_migrate
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.store.sqlite.threads import Guard, Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "turns.db"
    create_or_migrate(path, timeout=5)
    return path


@contextmanager
def no_guard() -> Iterator[None]:
    yield


def make_writer(path: Path, guard: Guard = no_guard) -> Writer:
    """A writer that also writes inline."""
    return Writer(
        partial(connect, path, "process-crash", timeout=5),
        guard,
        partial(connect, path, "process-crash", timeout=0),
    )


async def until_idle(writer: Writer) -> None:
    """Wait for the writer's thread, which answers first and tidies up afterwards."""
    while writer._draining:
        await asyncio.to_thread(time.sleep, 0.001)


async def ready_for_inline(path: Path, guard: Guard = no_guard) -> Writer:
    """A writer whose next write is inline."""
    writer = make_writer(path, guard)
    await writer.run(insert("first"))
    await until_idle(writer)
    assert await is_inline(writer)
    return writer


async def is_inline(writer: Writer) -> bool:
    return await writer.run(lambda _: threading.get_ident()) == threading.get_ident()


def insert(text: str) -> threads.Work[None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO bodies (text) VALUES (?)", (text,))

    return work


def texts_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM bodies ORDER BY seq")]


# --- how often work runs ----------------------------------------------------------------------


async def test_work_may_run_three_times_and_counts_once(path: Path) -> None:
    """Inline, in a group, and by itself: each time after what it did before was taken back."""
    writer = await ready_for_inline(path)
    names: list[str] = []
    # Keeps the writer's thread busy, so that what is queued meanwhile becomes one group.
    busy = threading.Thread(
        target=asyncio.run, args=(writer.run(lambda _: time.sleep(0.2), alone=True),)
    )

    def work(connection: sqlite3.Connection) -> int:
        insert("work")(connection)
        names.append(threading.current_thread().name)
        if len(names) == 1:
            busy.start()
            while not writer._draining:
                time.sleep(0.001)
            raise sqlite3.OperationalError("as a disk may fail")
        return len(names)

    def fail(connection: sqlite3.Connection) -> None:
        raise StoreConflictError("another job of the group")

    runs, error = await asyncio.gather(writer.run(work), writer.run(fail), return_exceptions=True)
    assert runs == 3
    assert isinstance(error, StoreConflictError)
    own, *others = names
    assert own == threading.current_thread().name
    assert all(name.startswith("synth-ai-store-writer") for name in others)
    await asyncio.to_thread(busy.join)
    await asyncio.to_thread(writer.close)
    assert texts_of(path) == ["first", "work"]


# --- nobody waits for ever --------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_any_error_of_work_reaches_its_caller(path: Path, error: type[BaseException]) -> None:
    """The writer's thread has nobody else to tell, and goes on."""
    writer = make_writer(path)

    def fail(connection: sqlite3.Connection) -> None:
        insert("half")(connection)
        raise error

    async with asyncio.timeout(20):
        failing = asyncio.create_task(catch(writer, fail))
        results = await asyncio.gather(
            *(catch(writer, insert(f"before_{n}")) for n in range(3)),
            failing,
            *(catch(writer, insert(f"after_{n}")) for n in range(3)),
        )
        await writer.run(insert("later"))
    assert isinstance(results[3], error)
    await asyncio.to_thread(writer.close)
    stored = texts_of(path)
    assert "half" not in stored
    assert stored[-1] == "later"


async def catch(writer: Writer, work: threads.Work[None]) -> BaseException | None:
    try:
        await writer.run(work)
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize("broken", ["_open_inline", "_commit", "_tidy_up", "_checkpoint"])
async def test_an_unforeseen_error_leaves_nobody_waiting(
    path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks on the writer's thread, whoever waits gets an answer, and so do the next."""
    writer = make_writer(path)
    with monkeypatch.context() as patch:

        def fail(*arguments: Any) -> None:
            raise RuntimeError(f"{broken} is broken")

        patch.setattr(writer, broken, fail)
        patch.setattr(threads, "_CHECKPOINT_BYTES", 1)
        async with asyncio.timeout(20):
            errors = await asyncio.gather(*(catch(writer, insert(f"t{n}")) for n in range(5)))
            await until_idle(writer)
    is_committed = broken in ("_tidy_up", "_checkpoint")
    assert [error is None for error in errors] == [is_committed] * 5
    async with asyncio.timeout(20):
        await writer.run(insert("later"))
    await asyncio.to_thread(writer.close)
    assert texts_of(path) == [*(f"t{n}" for n in range(5) if is_committed), "later"]


async def test_after_closing_there_is_an_error(path: Path) -> None:
    """What comes too late is told so, and not left in the queue."""
    writer = make_writer(path)
    await asyncio.to_thread(writer.close)
    with pytest.raises(StoreError, match="closed while it was being used"):
        await writer.run(insert("late"))


# --- who writes after a checkpoint ------------------------------------------------------------


async def test_the_first_write_after_a_checkpoint_is_the_thread_s(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts the WAL anew, which waits for the disk, and no event loop should."""
    writer = await ready_for_inline(path)
    monkeypatch.setattr(threads, "_CHECKPOINT_BYTES", 100_000)
    while await is_inline(writer):
        pass
    # That one went to the thread, as a checkpoint was due; the next one follows the checkpoint.
    await until_idle(writer)
    assert writer._wal_bytes == 0
    assert not await is_inline(writer)
    await until_idle(writer)
    assert await is_inline(writer)
    await asyncio.to_thread(writer.close)


class SlowLock:
    """A lock that one thread is slow to leave, once it has released it."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.slow_thread: int | None = None
        self.released, self.may_leave = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.get_ident() == self.slow_thread:
            self.released.set()
            self.may_leave.wait(20)

    def locked(self) -> bool:
        return self._lock.locked()


async def test_an_inline_write_beside_a_checkpoint_does_not_count_after_it(path: Path) -> None:
    """Whoever is slow to leave must not make the new WAL look as if it were written to."""
    writer = await ready_for_inline(path)
    inline = writer._inline_connection
    assert inline is not None
    lock = SlowLock(inline.lock)
    inline.lock = lock  # type: ignore[assignment]

    def write_slowly() -> None:
        lock.slow_thread = threading.get_ident()
        asyncio.run(writer.run(insert("slow")))

    thread = threading.Thread(target=write_slowly)
    thread.start()
    await asyncio.to_thread(lock.released.wait, 20)
    # Large enough for a checkpoint.
    await writer.run(insert("large"), size=threads._CHECKPOINT_BYTES)
    await until_idle(writer)
    lock.may_leave.set()
    await asyncio.to_thread(thread.join)
    assert not await is_inline(writer)
    await asyncio.to_thread(writer.close)


async def test_bytes_of_many_threads_are_all_counted(path: Path) -> None:
    """However they take turns, the checkpoint comes when it is due."""
    writer = await ready_for_inline(path)
    before = writer._wal_bytes

    async def write(name: str) -> None:
        for n in range(30):
            await writer.run(insert(f"{name}_{n}"), size=100)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        callers = [
            threading.Thread(target=lambda n=n: asyncio.run(write(f"t{n}"))) for n in range(6)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            await asyncio.to_thread(caller.join)
        await until_idle(writer)
    finally:
        sys.setswitchinterval(interval)
    assert writer._wal_bytes - before == 6 * 30 * (100 + threads._TURN_BYTES)
    await asyncio.to_thread(writer.close)


async def test_deleting_empties_the_wal_and_the_thread_writes_first(path: Path) -> None:
    """Likewise after a delete, which empties the WAL by itself."""
    store = SQLiteStore(path, durability="process-crash")
    writer = store._require_open().writer
    for turn in make_chain(3):
        await store.put(turn)
    await until_idle(writer)
    assert await is_inline(writer)
    await store.delete("turn_2")
    await until_idle(writer)
    assert not await is_inline(writer)
    await store.aclose()


async def test_a_large_import_goes_into_the_file(path: Path) -> None:
    """Its bytes are not known before.

    The WAL must not keep them until others have written as much.
    """
    store = SQLiteStore(path)
    text = "some words " * 500
    await store.add([make_turn(f"t{n}", instructions=f"{n} {text}") for n in range(1000)])
    await until_idle(store._require_open().writer)
    assert path.stat().st_size > 5_000_000
    await store.aclose()


async def test_calls_that_fail_together_have_errors_of_their_own(path: Path) -> None:
    """Each caller puts its response on the error; one object for all would mix them up."""

    @contextmanager
    def gone() -> Iterator[None]:
        raise StoreUnavailableError("The disk is gone.")
        yield

    writer = make_writer(path, gone)
    writes = [writer.run(insert(f"t{number}")) for number in range(5)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(result, StoreUnavailableError) for result in results)
    assert all(str(result) == "The disk is gone." for result in results)
    assert len({id(result) for result in results}) == 5
