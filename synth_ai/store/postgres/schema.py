"""The tables of the PostgreSQL store: how they are made, recognized and brought up to date."""

from __future__ import annotations

from typing import LiteralString, TypeAlias

from psycopg import AsyncConnection

from synth_ai.errors import StoreFormatError

# Held while the tables are made or brought up to date, so that of many processes that start at once
# one does it: "SYNT", as the SQLite store marks its files.
_LOCK = 0x53594E54

_TABLES = (
    # Instructions, tools and tags, which many turns repeat: each once, under the hash of its text.
    "CREATE TABLE synth_ai_texts (hash BYTEA PRIMARY KEY, text TEXT NOT NULL)",
    """CREATE TABLE synth_ai_turns (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        parent_id TEXT,
        created_at DOUBLE PRECISION NOT NULL,
        content TEXT NOT NULL,
        token_ids BYTEA,
        logprobs BYTEA,
        fingerprint BYTEA,
        request_key BYTEA,
        reward DOUBLE PRECISION,
        instructions BYTEA REFERENCES synth_ai_texts (hash),
        tools BYTEA REFERENCES synth_ai_texts (hash),
        tags BYTEA REFERENCES synth_ai_texts (hash)
    )""",
    """CREATE INDEX synth_ai_turns_parent ON synth_ai_turns (parent_id)
        WHERE parent_id IS NOT NULL""",
    """CREATE INDEX synth_ai_turns_fingerprint ON synth_ai_turns (fingerprint)
        WHERE fingerprint IS NOT NULL""",
    """CREATE INDEX synth_ai_turns_request_key ON synth_ai_turns (request_key)
        WHERE request_key IS NOT NULL""",
    "CREATE INDEX synth_ai_turns_tags ON synth_ai_turns (tags) WHERE tags IS NOT NULL",
)

_VERSION_TABLE = "CREATE TABLE IF NOT EXISTS synth_ai_schema (version INTEGER NOT NULL)"

Migration: TypeAlias = tuple[LiteralString, ...]

#: Tables of version N are brought up to date by the entries from N on. A new field of `Turn` needs
#: an entry too, an empty one, so that an older synth_ai says that it is too old for the tables.
MIGRATIONS: tuple[Migration, ...] = (_TABLES,)


async def create_or_migrate(connection: AsyncConnection, database: str) -> None:
    """Make the tables if there are none, and bring them up to date.

    Args:
        connection: commits by itself.
        database: its name for errors.

    Raises:
        StoreFormatError: a newer version wrote the tables.
    """
    # Most of the time there is nothing to do, and nobody has to wait for the lock.
    version = await _read_version(connection)
    _check_version(version, database)
    if version == len(MIGRATIONS):
        return

    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        # Another process may have done it while this one waited. (What `to_regclass` said before
        # the wait, it would say again.)
        await connection.execute(_VERSION_TABLE)
        version = await _read_newest(connection)
        _check_version(version, database)

        for statements in MIGRATIONS[version:]:
            for statement in statements:
                await connection.execute(statement)
        await _write_version(connection)


def _check_version(version: int, database: str) -> None:
    if version > len(MIGRATIONS):
        raise StoreFormatError(
            f"The store {database} was written by a newer synth_ai (schema {version}; this one "
            f"reads up to {len(MIGRATIONS)}). It was left as it is: upgrade synth-ai, or name "
            "another database."
        )


async def _read_version(connection: AsyncConnection) -> int:
    """Read the version of the tables; 0 where there are none."""
    cursor = await connection.execute("SELECT to_regclass('synth_ai_schema') IS NOT NULL")
    row = await cursor.fetchone()
    has_tables = row is not None and row[0]
    return await _read_newest(connection) if has_tables else 0


async def _read_newest(connection: AsyncConnection) -> int:
    cursor = await connection.execute("SELECT max(version) FROM synth_ai_schema")
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        return 0
    return int(row[0])


async def _write_version(connection: AsyncConnection) -> None:
    await connection.execute("DELETE FROM synth_ai_schema")
    await connection.execute(
        "INSERT INTO synth_ai_schema (version) VALUES (%s)", (len(MIGRATIONS),)
    )
