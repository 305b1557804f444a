"""Turns in a PostgreSQL database: many machines share them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from synth_ai.errors import OptionError, StoreError
from synth_ai.store.base import ResponseStore
from synth_ai.store.postgres import queries
from synth_ai.store.postgres.session import Session
from synth_ai.store.rows import encode_row
from synth_ai.store.tags import Annotation, Tags
from synth_ai.store.urls import mask_secrets
from synth_ai.store.workers import run_on_thread
from synth_ai.turn import Turn

DEFAULT_TIMEOUT = 10.0
DEFAULT_MAX_CONNECTIONS = 8


class PostgreSQLStore(ResponseStore):
    """Turns in a database, shared by any number of tasks, processes and machines.

    A `put` that returned is committed, and survives what the server's `synchronous_commit` says.
    The database is connected to when it is first used, so a server that is down is an error of that
    call, and the next one tries again.

    It makes three tables, `synth_ai_turns`, `synth_ai_texts` and `synth_ai_schema`, in the schema
    that the connection finds first, and brings older ones up to date. Text that is deleted or
    redacted leaves them at once; copies stay in the server's own files until it vacuums them, and
    in its log and backups.

    Args:
        url: `postgresql://user:password@host:port/database?option=value`, as libpq reads it; what
            is not given comes from its environment, such as `PGPASSWORD`:
            https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
        timeout: seconds to wait for a connection.
        max_connections: how many of them one process may hold.

    Raises:
        OptionError: the URL cannot be read, or a number is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
    ) -> None:
        _check_url(url)
        if not timeout > 0:
            raise OptionError(f"timeout must be a number of seconds above 0, not {timeout!r}.")
        if max_connections < 1:
            raise OptionError(
                f"max_connections must be a whole number from 1, not {max_connections!r}."
            )

        self._url = url
        self._name = repr(mask_secrets(url))
        self._timeout = timeout
        self._max_connections = max_connections
        self._is_closed = False
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"PostgreSQLStore({self._name})"

    async def put(self, turn: Turn) -> None:
        row = encode_row(turn)
        await self._require_open().run(lambda connection: queries.put(connection, row))

    async def get(self, id: str) -> Turn | None:
        return await self._require_open().run(lambda connection: queries.get(connection, id))

    async def chain(self, id: str) -> list[Turn] | None:
        return await self._require_open().run(lambda connection: queries.chain(connection, id))

    async def descendants(self, id: str) -> list[Turn]:
        session = self._require_open()
        return await session.run(lambda connection: queries.descendants(connection, id))

    async def find_all(self, fingerprint: str, limit: int) -> Sequence[Turn]:
        session = self._require_open()
        return await session.run(
            lambda connection: queries.find_all(connection, fingerprint, limit)
        )

    async def find_answer(self, request_key: str) -> Turn | None:
        session = self._require_open()
        return await session.run(lambda connection: queries.find_answer(connection, request_key))

    async def search(self, tags: Tags) -> Sequence[Turn]:
        session = self._require_open()
        return await session.run(lambda connection: queries.search(connection, tags))

    async def annotate(self, id: str, annotation: Annotation) -> bool:
        session = self._require_open()
        return await session.run(lambda connection: queries.annotate(connection, id, annotation))

    async def list(self) -> list[Turn]:
        return await self._require_open().run(queries.all_turns)

    async def add(self, turns: Sequence[Turn]) -> int:
        session = self._require_open()
        # A second run would find them all and count none.
        return await session.run(
            lambda connection: queries.add(connection, turns), is_repeatable=False
        )

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        session = self._require_open()
        return await session.run(
            lambda connection: queries.delete(connection, id, descendants=descendants),
            is_repeatable=False,
        )

    async def redact(self, id: str) -> bool:
        return await self._require_open().run(lambda connection: queries.redact(connection, id))

    def explain_missing(self, id: str) -> str:
        return f"{id!r:.100} is not in the store {self._name}."

    async def aclose(self) -> None:
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await run_on_thread(session.close)

    def _require_open(self) -> Session:
        """Return the session; in a forked child, begin one there."""
        if self._is_closed:
            raise StoreError(
                f"The store {self._name} is closed; open it again with PostgreSQLStore(...)."
            )

        session = self._session
        if session is None or not session.is_ours:
            session = Session(self._url, self._name, self._timeout, self._max_connections)
            weakref.finalize(self, session.close)
            self._session = session
        return session


def _check_url(url: str) -> None:
    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        # Its message may repeat what it cannot read, a password with it.
        raise OptionError(
            f"{mask_secrets(url)!r} cannot be read as the URL of a PostgreSQL database, such as "
            "'postgresql://user:password@host:5432/database'; characters such as '@' in a password "
            "are written as %40."
        ) from None
