"""Who touches the SQLite file, so that no event loop ever waits for a disk.

Reading is done by a few threads. Writing is done in one of two ways:

- Queued: one thread writes. All that was asked of it while the disk was busy goes into one
  transaction, so a hundred callers at once pay for one fsync.
- Inline: with the durability `process-crash` a commit does not wait for the disk. Then going to a
  thread and back costs more than a small write itself, so callers write on their own thread,
  unless anything would make them wait there.
"""

from __future__ import annotations

import asyncio
import copy
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from synth_ai.errors import StoreError, StoreUnavailableError
from synth_ai.store.sqlite.connections import Connect, LockedConnection, transaction
from synth_ai.store.workers import WorkerThreads

T = TypeVar("T")
P = ParamSpec("P")

Work: TypeAlias = Callable[[sqlite3.Connection], T]
"""What is done with a connection, inside a transaction."""

Guard: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Makes a context that all work runs in; it checks the file and maps errors."""

# A group's commit is one append to the WAL; with more jobs in it, callers would wait for each
# other's bytes, not for the disk.
_MAX_GROUP = 256

# SQLite's own measure: 1000 pages of 4 KiB.
_CHECKPOINT_BYTES = 1000 * 4096

# One turn writes about four pages beside its content.
_TURN_BYTES = 4 * 4096

# More than this takes longer to copy than the way to the thread and back.
_MAX_INLINE_BYTES = 64 * 1024


class _MustQueue(Exception):
    """Work cannot be done inline now."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work in the writer's queue.

    Attributes:
        work: what to do.
        size: about how many bytes it writes.
        alone: whether it runs by itself and starts its own transactions.
        loop: the event loop that its caller waits on.
        future: what its caller waits for.
    """

    work: Work[Any]
    size: int
    alone: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """How a job ended: with a result, or with an error."""

    job: Job
    result: object = None
    error: BaseException | None = None


class Writer:
    """Writes to the file, for all callers in this process.

    Args:
        connect: opens the connections of the thread.
        guard: a context that every commit runs in; it checks the file and maps errors.
        connect_inline: opens the connection of inline writes, whose commits wait neither for the
            disk nor for a lock; None if there is no such way.
    """

    def __init__(
        self, connect: Connect, guard: Guard, connect_inline: Connect | None = None
    ) -> None:
        self._guard = guard
        self._queue_connection = LockedConnection(connect)
        self._checkpoint_connection = LockedConnection(connect)
        self._inline_connection = (
            None if connect_inline is None else LockedConnection(connect_inline)
        )
        self._thread = WorkerThreads(1, "synth-ai-store-writer")

        # The lock guards the three below it. Nobody waits for a disk while holding it.
        self._lock = threading.Lock()
        self._queue: deque[Job] = deque()
        # Whether the thread is at work on the queue, or about to start.
        self._draining = False
        # About how many bytes were written since the last checkpoint.
        self._wal_bytes = 0

    async def run(self, work: Work[T], *, size: int = 0, alone: bool = False) -> T:
        """Do work, and return its result once what it wrote is committed.

        Args:
            work: what to do, in a transaction. It may run up to three times, each time after the
                transaction before was rolled back: inline, then in a group of the queue, and
                then by itself, if another job of its group failed.
            size: about how many bytes it writes.
            alone: run it by itself, exactly once, without a transaction around it.
        """
        inline = None if alone else self._choose_inline(size)
        if inline is not None:
            try:
                return self._run_inline(inline, work, size)
            except (_MustQueue, sqlite3.Error, StoreError):
                # Whatever went wrong, such as a lock of another process: the thread can wait for
                # it, and reports what is still wrong then.
                pass

        return await self._enqueue(work, size, alone)

    def close(self) -> None:
        """Finish the queue, then close the connections. Blocks; safe to call twice."""
        self._thread.close()
        self._close_connections()

    def rest(self) -> None:
        """Do as `close`, but open everything again for whoever comes later."""
        self._thread.rest()
        self._close_connections()

    def _close_connections(self) -> None:
        self._queue_connection.close()
        self._checkpoint_connection.close()
        if self._inline_connection is not None:
            self._inline_connection.close()

    # --- inline -----------------------------------------------------------------------------------

    def _choose_inline(self, size: int) -> LockedConnection | None:
        """Return the connection to write inline with; None if the caller would have to wait."""
        inline = self._inline_connection
        if inline is None or size > _MAX_INLINE_BYTES:
            return None

        # What the thread has not done yet comes first: turns that are put at once keep their order.
        # No lock is needed to ask, as whoever queued something before sees it here.
        if self._draining:
            return None

        # Another thread is writing inline.
        if inline.lock.locked():
            return None

        return inline

    def _run_inline(self, inline: LockedConnection, work: Work[T], size: int) -> T:
        """Do work on the caller's own thread.

        Raises:
            _MustQueue: the caller would have to wait, which shows only now.
        """
        # A `with` of the lock itself: no interrupt comes between taking it and seeing to its
        # release.
        with inline.lock:
            # It is opened by the thread, as that may take long.
            connection = inline.get_open()
            if connection is None:
                raise _MustQueue

            with self._guard(), transaction(connection):
                self._count_inline(size + _TURN_BYTES)
                return work(connection)

    def _count_inline(self, written: int) -> None:
        """Count the bytes of an inline write.

        Raises:
            _MustQueue: a checkpoint is due, or under way, or was just made. The first commit after
                a checkpoint starts the WAL anew, which waits for the disk whatever the durability.
        """
        # Asked with SQLite's write lock held, as a checkpoint does it: none can come in between.
        with self._lock:
            if not 0 < self._wal_bytes < _CHECKPOINT_BYTES:
                raise _MustQueue
            self._wal_bytes += written

    # --- queued -----------------------------------------------------------------------------------

    def _enqueue(self, work: Work[T], size: int, alone: bool) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if not self._draining:
                _submit(self._thread, self._drain_queue)
                self._draining = True
            self._queue.append(Job(work, size, alone, loop, future))

        return future

    def _drain_queue(self) -> None:
        """Do what is in the queue, until it is empty. Runs on the thread."""
        while True:
            group = self._next_group()
            if not group:
                return

            # Nothing but an empty queue may end this loop: nobody else would answer those who wait.
            try:
                self._open_inline()
                outcomes = self._commit(group)
                _deliver(outcomes)
                self._tidy_up(group)
            except BaseException as error:
                # Whoever was answered before keeps that answer.
                _deliver(_fail(group, error))

    def _open_inline(self) -> None:
        """Have the inline connection open, and no transaction of an interrupted caller on it.

        Such a transaction would keep this thread from writing too.
        """
        if self._inline_connection is None:
            return

        # Whoever cannot use it comes to this thread.
        with suppress(sqlite3.Error):
            self._inline_connection.open()

    def _next_group(self) -> list[Job]:
        """Take the next jobs from the queue: one that runs alone, or as many others as follow."""
        group: list[Job] = []
        with self._lock:
            while self._queue and len(group) < _MAX_GROUP:
                if self._queue[0].alone and group:
                    break
                group.append(self._queue.popleft())
                if group[0].alone:
                    break
            self._draining = len(group) > 0

        return group

    def _commit(self, group: list[Job]) -> list[Outcome]:
        """Do the jobs of a group in one transaction; if one fails, each in its own."""
        try:
            with self._guard(), self._queue_connection.use() as connection:
                if group[0].alone:
                    return [Outcome(group[0], result=group[0].work(connection))]
                with transaction(connection):
                    return [Outcome(job, result=job.work(connection)) for job in group]
        except Exception as error:
            # The whole file is out of reach: none of them would fare better by itself.
            if len(group) == 1 or isinstance(error, StoreUnavailableError):
                return _fail(group, error)

        outcomes = []
        for job in group:
            outcomes += self._commit([job])
        return outcomes

    def _tidy_up(self, group: list[Job]) -> None:
        """Do what is due after a group was committed, so that no caller waits for it."""
        written = sum(job.size + _TURN_BYTES for job in group)
        if group[0].alone:
            # It may have written any number of bytes, or emptied the WAL by itself. In either case
            # a checkpoint puts the count right.
            written = _CHECKPOINT_BYTES

        with self._lock:
            self._wal_bytes += written
            is_due = self._wal_bytes >= _CHECKPOINT_BYTES

        if is_due:
            # If it fails, the WAL only grows longer, for the next one.
            with suppress(sqlite3.Error):
                self._checkpoint()

    def _checkpoint(self) -> None:
        """Move the WAL into the file, as far as readers let it; see `_PRAGMAS` of connections.

        One connection holds the write lock while another copies. A single one that asked for both
        (`FULL`) would keep all writers waiting for the slowest reader, or, told to wait less, go on
        without the lock.
        """
        try:
            with (
                self._queue_connection.use() as writing,
                self._checkpoint_connection.use() as copying,
                transaction(writing),
            ):
                copying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            # Not earlier: as long as the count is high, nobody writes inline.
            with self._lock:
                self._wal_bytes = 0


class Readers:
    """A few threads that read, each over its own connection, so that none waits for another."""

    def __init__(self, connect: Connect, guard: Guard, count: int = 4) -> None:
        self._connect = connect
        self._guard = guard
        self._threads = WorkerThreads(count, "synth-ai-store-reader")
        self._of_this_thread = threading.local()
        self._connections: list[LockedConnection] = []

    async def run(self, work: Work[T]) -> T:
        """Do work that sees the file as it was at one moment, and return its result."""
        return await asyncio.wrap_future(_submit(self._threads, self._read, work))

    def close(self) -> None:
        """Finish what is being read, then close the connections. Blocks; safe to call twice."""
        self._threads.close()
        self._close_connections()

    def rest(self) -> None:
        """Do as `close`, but open everything again for whoever comes later."""
        self._threads.rest()
        self._close_connections()

    def _close_connections(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _read(self, work: Work[T]) -> T:
        locked: LockedConnection | None = getattr(self._of_this_thread, "connection", None)
        if locked is None:
            locked = LockedConnection(self._connect)
            self._of_this_thread.connection = locked
            self._connections.append(locked)

        with self._guard(), locked.use() as connection, transaction(connection, "DEFERRED"):
            return work(connection)


def _submit(
    threads: WorkerThreads, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Future[T]:
    try:
        return threads.submit(function, *args, **kwargs)
    except RuntimeError as error:
        raise StoreError(f"The store was closed while it was being used: {error}.") from error


def _fail(group: Iterable[Job], error: BaseException) -> list[Outcome]:
    """Make the outcomes of jobs that failed together.

    Each has an error of its own: its caller puts the response on it that could not be kept.
    """
    return [Outcome(job, error=_copy_error(error)) for job in group]


def _copy_error(error: BaseException) -> BaseException:
    try:
        twin = copy.copy(error)
    except Exception:
        # Not every error of Python's can be copied; those of stores can.
        return error

    twin.__cause__ = error.__cause__
    return twin.with_traceback(error.__traceback__)


def _deliver(outcomes: Iterable[Outcome]) -> None:
    """Wake up whoever waits for these jobs: each event loop once, as that is what costs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.job.loop, []).append(outcome)

    for loop, its_outcomes in by_loop.items():
        # A loop that was closed while its caller waited: nobody is left to tell.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, its_outcomes)


def _settle(outcomes: Iterable[Outcome]) -> None:
    """Give callers their results. Runs on their event loop."""
    for outcome in outcomes:
        future = outcome.job.future
        if future.done():
            # Its caller gave up.
            continue
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.result)
