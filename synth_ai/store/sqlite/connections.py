"""Connections to the SQLite file, each used by one thread at a time, none open while forking.

SQLite keeps the locks of a process in memory that a forked child inherits. The child would believe
that it holds what its parent holds, and neither would mind the other. So every connection is closed
before a fork, and opened again by whoever needs it next:
https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias
from weakref import WeakSet

Durability = Literal["power-loss", "process-crash"]
"""What a commit survives: a loss of power, or the end of the process."""

Connect: TypeAlias = Callable[[], sqlite3.Connection]

_SYNCHRONOUS: dict[Durability, str] = {"power-loss": "FULL", "process-crash": "NORMAL"}

_PRAGMAS = (
    "fullfsync=ON",  # macOS: fsync alone leaves the data in the drive's cache
    "checkpoint_fullfsync=ON",
    "secure_delete=ON",  # what is deleted is overwritten with zeros
    "temp_store=MEMORY",  # no text spills into a temporary file
    "cache_size=-8000",  # KiB: the upper levels of the indexes of a large file
    "journal_size_limit=16777216",  # bytes that the WAL keeps on disk after a checkpoint
    # SQLite's own checkpoints run beside writers of other connections, which up to SQLite 3.51.2
    # can, rarely, lose what these wrote (sqlite.org/wal.html#walresetbug). Ours run while the
    # write lock is held.
    "wal_autocheckpoint=0",
)


def connect(path: Path, durability: Durability, *, timeout: float) -> sqlite3.Connection:
    """Open a connection with our settings.

    It starts no transactions by itself, see `transaction`.

    Args:
        path: the file, which must exist.
        durability: what its commits survive.
        timeout: seconds to wait for a lock of another connection.
    """
    # A URI with mode=rw never makes a file: a store that was moved away must not come back empty.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[durability]}")
    except BaseException:
        connection.close()
        raise
    return connection


class transaction:
    """Commit all that the block does, or none of it.

    Args:
        connection: what the block uses.
        kind: `IMMEDIATE` takes the write lock at once, `DEFERRED` only if the block writes.
    """

    __slots__ = ("_connection", "_kind")

    # A class and not a generator under `contextmanager`, which costs more: every put enters one.
    def __init__(self, connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> None:
        self._connection = connection
        self._kind = kind

    def __enter__(self) -> None:
        self._run(f"BEGIN {self._kind}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._run("COMMIT")
        else:
            # A full disk or a failing one makes SQLite roll back by itself.
            _roll_back(self._connection)

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except BaseException:
            _roll_back(self._connection)
            raise


class LockedConnection:
    """A connection that one thread at a time uses, opened at its first use.

    Args:
        connect: opens it.

    Attributes:
        lock: held by whoever uses the connection.
        number: the order in which to take the locks of several, so that no two threads wait for
            each other.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self.lock = threading.Lock()
        self.number = next(_numbers)
        with _registration_lock:
            _all_connections.add(self)

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Wait for the connection, and give it to this thread alone; open it if it is closed."""
        with self.lock:
            if self._connection is None:
                self._connection = self._connect()
            _roll_back(self._connection)
            yield self._connection

    def get_open(self) -> sqlite3.Connection | None:
        """Return the connection if it is open, to a caller that holds the lock."""
        if self._connection is not None:
            _roll_back(self._connection)
        return self._connection

    def open(self) -> None:
        """Open the connection if it is closed, and roll back what an interrupt left on it."""
        with self.use():
            pass

    def close(self) -> None:
        """Close the connection; the next use opens another one. Safe to call twice."""
        with self.lock:
            self.close_locked()

    def close_locked(self) -> None:
        """Close the connection, for a caller that holds the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    # An interrupt can come between any two steps, and leave a transaction that keeps everybody
    # else out.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


# --- forks ------------------------------------------------------------------------------------

#: Held while a file is made or brought up to date, over a connection that is not registered here.
setup_lock = threading.Lock()

_numbers = count()
_all_connections: WeakSet[LockedConnection] = WeakSet()
_registration_lock = threading.Lock()

# The locks that are held while the process forks. Parent and child both release them afterwards.
_locks_of_fork = ExitStack()


def _close_all_before_fork() -> None:
    _locks_of_fork.enter_context(setup_lock)
    _locks_of_fork.enter_context(_registration_lock)
    for connection in sorted(_all_connections, key=lambda each: each.number):
        _locks_of_fork.enter_context(connection.lock)
        connection.close_locked()


os.register_at_fork(
    before=_close_all_before_fork,
    after_in_parent=_locks_of_fork.close,
    after_in_child=_locks_of_fork.close,
)
