"""The threads that touch the SQLite file, so that no event loop ever waits for a disk.

One thread writes. Whatever was asked of it while the disk was busy goes into one transaction, so a hundred callers
at once pay for one fsync. A few others read, each over a connection of its own. Where a commit does not wait for the
disk, going to a thread and back costs more than the work, so a small one is done by whoever asks, unless it would wait.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from synth_ai.errors import StoreError, StoreUnavailableError
from synth_ai.store.sqlite.connections import Connect, Held
from synth_ai.store.sqlite.schema import transaction

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]
Guard: TypeAlias = Callable[[], AbstractContextManager[None]]

# A group's commit is one append to the WAL; past this many, callers would wait for each other's bytes, not the disk.
_MAX_GROUP = 256
# SQLite's own measure: 1000 pages of 4 KiB. One turn writes about four pages and its content.
_CHECKPOINT_BYTES = 1000 * 4096
_TURN_BYTES = 4 * 4096
# What takes longer to copy than the way to the thread and back.
_LARGE_BYTES = 64 * 1024


class _InUse(Exception):
    """Somebody else uses the connection, or it is not open."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that waits for the writer, and who waits for it.

    Attributes:
        size: about how many bytes it writes.
        alone: it runs by itself and opens its own transactions.
    """

    work: Work[Any]
    size: int
    alone: bool
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Writer:
    """The one thread of this process that writes to the file.

    Args:
        connect: makes the thread's connection.
        guard: a context that every commit runs in; it checks the file and translates errors.
        connect_here: makes the connection that callers use themselves, whose commits wait neither for the disk nor
            for a lock. None where there is no such way.
    """

    def __init__(self, connect: Connect, guard: Guard, connect_here: Connect | None = None) -> None:
        self._own, self._copying = Held(connect), Held(connect)
        self._here = None if connect_here is None else Held(connect_here)
        self._guard = guard
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="synth-ai-store-writer")
        self._waiting: deque[Job] = deque()
        self._running = False
        self._lock = threading.Lock()
        # Bytes since the WAL went into the file. The first commit after that begins the WAL anew, which waits for the
        # disk whatever the durability is.
        self._unchecked = 0

    async def run(self, work: Work[T], *, size: int = 0, alone: bool = False) -> T:
        """The result of `work`, once what it wrote is committed.

        `work` may run twice: when another one of its group fails, each is tried again in a transaction of its own.
        """
        # What the thread has not done yet comes first: turns that are put at once are kept in their order.
        at_once = (
            not (alone or self._running or size > _LARGE_BYTES)
            and 0 < self._unchecked < _CHECKPOINT_BYTES
        )
        if at_once and self._here is not None:
            # Whatever goes wrong here, such as a lock of another process, is for the thread to wait for or to tell.
            with suppress(_InUse, sqlite3.Error, StoreError):
                return self._run_here(self._here, work, size)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if not self._running:
                _submit(self._thread, self._drain)
                self._running = True
            self._waiting.append(Job(work, size, alone, loop, done))
        return await done

    def close(self) -> None:
        """Finish what waits, then close the connection. Blocks; safe to call twice."""
        self._thread.shutdown(wait=True)
        self._own.close()
        self._copying.close()
        if self._here is not None:
            self._here.close()

    def _run_here(self, here: Held, work: Work[T], size: int) -> T:
        """The result of `work`, done by the caller's own thread."""
        if here.lock.locked():
            raise _InUse
        # A `with` of the lock itself: no interrupt comes between taking it and seeing to it that it is given back.
        with here.lock:
            connection = here.opened()
            if connection is None:
                raise _InUse
            with self._guard(), transaction(connection):
                result = work(connection)
        self._unchecked += size + _TURN_BYTES
        return result

    def _drain(self) -> None:
        while group := self._next_group():
            if self._here is not None:
                # Who cannot use it comes to this thread.
                with suppress(sqlite3.Error):
                    self._here.open()
            results = self._commit(group)
            self._unchecked += sum(job.size + _TURN_BYTES for job in group)
            _deliver(zip(group, results, strict=True))
            # The turns are committed: a checkpoint that fails only leaves a longer WAL, for the next one.
            with suppress(sqlite3.Error):
                self._checkpoint()

    def _next_group(self) -> list[Job]:
        with self._lock:
            group: list[Job] = []
            while (
                self._waiting and len(group) < _MAX_GROUP and not (group and self._waiting[0].alone)
            ):
                group.append(self._waiting.popleft())
                if group[-1].alone:
                    break
            self._running = bool(group)
            return group

    def _commit(self, group: list[Job]) -> list[Any]:
        """The result of every job of a group; an exception where it failed."""
        try:
            with self._guard(), self._own.use() as connection:
                if group[0].alone:
                    return [group[0].work(connection)]
                with transaction(connection):
                    return [job.work(connection) for job in group]
        except Exception as error:
            if len(group) == 1 or isinstance(error, StoreUnavailableError):
                return [error] * len(group)
            return [result for job in group for result in self._commit([job])]

    def _checkpoint(self) -> None:
        """Move the WAL into the file once it has grown, as far as readers let it, see `connect`.

        One connection holds the write lock while another copies. A single one that asked for both (`FULL`) would keep
        all writers waiting for the slowest reader, or, told to wait less, go on without the lock.
        """
        if self._unchecked < _CHECKPOINT_BYTES:
            return
        self._unchecked = 0
        with self._own.use() as connection, self._copying.use() as copying, transaction(connection):
            copying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


class Readers:
    """A few threads that read, each over its own connection, so that readers do not wait for one another."""

    def __init__(self, connect: Connect, guard: Guard, count: int = 4) -> None:
        self._connect = connect
        self._guard = guard
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="synth-ai-store-reader")
        self._own = threading.local()
        self._held: list[Held] = []

    async def run(self, work: Work[T]) -> T:
        """The result of `work`, which sees the file as it was at one moment."""
        return await asyncio.wrap_future(_submit(self._threads, self._read, work))

    def close(self) -> None:
        """Finish what is being read, then close the connections. Blocks; safe to call twice."""
        self._threads.shutdown(wait=True)
        while self._held:
            self._held.pop().close()

    def _read(self, work: Work[T]) -> T:
        held: Held | None = getattr(self._own, "held", None)
        if held is None:
            held = self._own.held = Held(self._connect)
            self._held.append(held)
        with self._guard(), held.use() as connection, transaction(connection, "DEFERRED"):
            return work(connection)


def _submit(threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> Future[T]:
    try:
        return threads.submit(work, *arguments)
    except RuntimeError as error:
        raise StoreError(f"The store was closed while it was being used: {error}.") from error


def _deliver(results: Iterable[tuple[Job, Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, result in results:
        by_loop.setdefault(job.loop, []).append((job.done, result))
    for loop, settled in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            # The loop was closed while its caller waited: nobody is left to tell.
            continue


def _settle(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, result in results:
        if done.done():
            continue
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)
