"""Connections to the SQLite file, each used by one thread at a time, and none of them open while the process forks.

SQLite keeps the locks of a process in memory that a forked child inherits, so a child would believe that it holds what
its parent holds: neither then minds the other. So every connection is closed before a fork, and opened again by
whoever needs it next: https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TypeAlias
from weakref import WeakSet

Connect: TypeAlias = Callable[[], sqlite3.Connection]

#: Held by who makes a file, and by who makes a connection that is not held here.
making = threading.Lock()


class Held:
    """One connection, opened at its first use.

    Args:
        connect: makes it.

    Attributes:
        lock: held by who uses it.
        number: who uses several takes them in the order of their numbers, so that nobody waits for each other.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self.lock = threading.Lock()
        self.number = next(_numbers)
        with _registering:
            _all.add(self)

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; waits for it."""
        with self.lock:
            if self._connection is None:
                self._connection = self._connect()
            yield _settled(self._connection)

    def opened(self) -> sqlite3.Connection | None:
        """The connection if it is open, for who has the lock."""
        return None if self._connection is None else _settled(self._connection)

    def open(self) -> None:
        """Have the connection open, and nothing half done on it."""
        with self.use():
            pass

    def close(self) -> None:
        """Close the connection; the next use opens another one. Safe to call twice."""
        with self.lock:
            self.close_locked()

    def close_locked(self) -> None:
        """The same for who has the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _settled(connection: sqlite3.Connection) -> sqlite3.Connection:
    # An interrupt can come between any two steps, and leave a transaction that keeps everybody else out.
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    return connection


_numbers = count()
_all: WeakSet[Held] = WeakSet()
_registering = threading.Lock()
_forking = ExitStack()


def _before_fork() -> None:
    _forking.enter_context(making)
    _forking.enter_context(_registering)
    for held in sorted(_all, key=lambda held: held.number):
        _forking.enter_context(held.lock)
        held.close_locked()


os.register_at_fork(
    before=_before_fork, after_in_parent=_forking.close, after_in_child=_forking.close
)
