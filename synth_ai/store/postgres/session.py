"""A process's connections to one database: a pool on an event loop that outlives all callers'.

A connection belongs to the loop that it was opened on, and callers come from any loop. So all of
them live on a loop of their own, on a daemon thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, errors
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from synth_ai.store.postgres.error_mapping import is_connection_lost, map_errors
from synth_ai.store.postgres.schema import create_or_migrate
from synth_ai.store.workers import LoopThread

T = TypeVar("T")

Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]
"""What is done with a connection, inside a transaction."""

# What another transaction at the same moment may cause; the next try does not meet it again.
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.ForeignKeyViolation)

_MAX_TRIES = 5

# Seconds to wait for the pool to close, at the end of the interpreter too.
_CLOSE_SECONDS = 5.0


class Session:
    """The connections to one database, for any loop and thread of this process.

    Args:
        url: the database's.
        database: its name for errors, without a password.
        timeout: seconds to wait for a connection.
        max_connections: how many there may be.
    """

    def __init__(self, url: str, database: str, timeout: float, max_connections: int) -> None:
        self._url = url
        self._database = database
        self._timeout = timeout
        self._max_connections = max_connections
        self._pid = os.getpid()
        self._loop = _get_loop_thread().loop
        self._opening: asyncio.Task[AsyncConnectionPool] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it, not one that it was forked from."""
        return self._pid == os.getpid()

    async def run(self, work: Work[T], *, is_repeatable: bool = True) -> T:
        """Do work in a transaction, and return its result once that is committed.

        It goes on if the caller is cancelled.

        Args:
            work: what to do. It may run several times, each time after the transaction before was
                rolled back.
            is_repeatable: whether it may also run again when nobody knows whether the transaction
                before was committed, as the connection broke.

        Raises:
            StoreError: see `map_errors`.
        """
        running = asyncio.run_coroutine_threadsafe(self._run(work, is_repeatable), self._loop)
        outcome = asyncio.wrap_future(running)
        # An error that comes after the caller has left is nobody's.
        outcome.add_done_callback(_note_error)
        return await asyncio.shield(outcome)

    def close(self) -> None:
        """Close the connections, and wait for that. Safe to call twice."""
        if not self.is_ours:
            return
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        # The garbage collector may come here on any thread, on the loop's own too.
        if threading.current_thread() is not _get_loop_thread().thread:
            closing.result(_CLOSE_SECONDS)

    # --- on the loop --------------------------------------------------------------------------

    async def _run(self, work: Work[T], is_repeatable: bool) -> T:
        with map_errors(self._database):
            for number in range(1, _MAX_TRIES + 1):
                try:
                    return await self._try(work)
                except psycopg.Error as error:
                    can_repeat = isinstance(error, _CONFLICTS)
                    if is_repeatable and is_connection_lost(error):
                        can_repeat = True
                    if number == _MAX_TRIES or not can_repeat:
                        raise
            raise AssertionError("unreachable")

    async def _try(self, work: Work[T]) -> T:
        pool = await self._open()
        try:
            async with pool.connection() as connection, connection.transaction():
                return await work(connection)
        except PoolTimeout:
            # The pool does not say why it has no connection to give; a connection does.
            await self._connect_once()
            raise

    async def _open(self) -> AsyncConnectionPool:
        """Return the pool; the first caller opens it, and makes the tables."""
        if self._opening is None:
            self._opening = self._loop.create_task(self._open_pool())
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except Exception:
            # The next caller tries again.
            if self._opening is opening:
                self._opening = None
            raise

    async def _open_pool(self) -> AsyncConnectionPool:
        await self._connect_once()
        pool = AsyncConnectionPool(
            self._url,
            # A statement that is prepared is lost behind a pooler that hands out connections by
            # the transaction, such as pgbouncer.
            kwargs={"prepare_threshold": None, "autocommit": True},
            min_size=1,
            max_size=self._max_connections,
            timeout=self._timeout,
            open=False,
            name="synth-ai",
        )
        await pool.open()
        return pool

    async def _connect_once(self) -> None:
        """Connect without the pool, and see that the tables are there."""
        connection = await AsyncConnection.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=max(2, round(self._timeout)),
        )
        async with connection:
            await create_or_migrate(connection, self._database)

    async def _close(self) -> None:
        opening, self._opening = self._opening, None
        if opening is None:
            return
        try:
            pool = await opening
        except Exception:
            return  # it was never open
        await pool.close(_CLOSE_SECONDS)


def _note_error(outcome: asyncio.Future[T]) -> None:
    if not outcome.cancelled():
        outcome.exception()


# --- the loop ---------------------------------------------------------------------------------

_loop_thread: LoopThread | None = None
_lock = threading.Lock()


def _get_loop_thread() -> LoopThread:
    """Return the loop of all sessions of this process."""
    global _loop_thread
    with _lock:
        if _loop_thread is None:
            _loop_thread = LoopThread("synth-ai-postgres")
        return _loop_thread


def _forget_parents_thread() -> None:
    """Begin anew in a forked child, which inherits the objects, but not the thread."""
    global _loop_thread, _lock
    _lock = threading.Lock()
    _loop_thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_thread)
