"""What the SQLite store asks of its file. Each function runs inside a transaction of its caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from synth_ai.store.base import Turn
from synth_ai.store.conflicts import goes_round, has_children, id_in_use
from synth_ai.store.sqlite_rows import COLUMNS, Row, Values, turns_of

_COLUMNS = ", ".join(COLUMNS)
_TURN_COLUMNS = ", ".join(f"turns.{name}" for name in COLUMNS)
_KEEP_TEXT = "INSERT OR IGNORE INTO texts (hash, body) VALUES (?, ?)"
_INSERT = f"INSERT INTO turns ({_COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS))})"
_PUT = f"""{_INSERT} ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")}
    WHERE parent_id IS excluded.parent_id"""

# CROSS JOIN keeps SQLite from scanning the whole table in the outer loop. UNION, not UNION ALL: a cycle ends.
_CHAIN = f"""WITH RECURSIVE up (seq, id, parent_id) AS (
        SELECT seq, id, parent_id FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.id, turns.parent_id FROM up CROSS JOIN turns ON turns.id = up.parent_id
    )
    SELECT {_TURN_COLUMNS} FROM up CROSS JOIN turns ON turns.seq = up.seq"""

_BELOW = """WITH RECURSIVE down (seq, id) AS (
        SELECT seq, id FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.id FROM down CROSS JOIN turns ON turns.parent_id = down.id
    )
    SELECT seq FROM down"""

_COUNT_CHILDREN = "SELECT count(*) FROM turns WHERE parent_id = ?"

_DROP_TEXTS = """DELETE FROM texts WHERE NOT EXISTS (SELECT 1 FROM turns WHERE instructions = hash)
    AND NOT EXISTS (SELECT 1 FROM turns WHERE tools = hash)"""

# SQLite before 3.32 takes 999 values in one statement.
_MOST_VALUES = 900


def put(connection: sqlite3.Connection, row: Row) -> None:
    """Keep a turn, in place of the one of this id if it continues the same turn."""
    connection.executemany(_KEEP_TEXT, row.texts.items())
    if connection.execute(_PUT, row.values).rowcount == 0:
        raise id_in_use(row.values[0])


def get(connection: sqlite3.Connection, id: str) -> Turn | None:
    """The turn of this id."""
    turns = _read(connection, f"SELECT {_COLUMNS} FROM turns WHERE id = ?", (id,))
    return turns[0] if turns else None


def every(connection: sqlite3.Connection) -> list[Turn]:
    """Every turn, in the order in which they came."""
    return _read(connection, f"SELECT {_COLUMNS} FROM turns ORDER BY seq", ())


def chain(connection: sqlite3.Connection, id: str) -> list[Turn] | None:
    """The turns from the first one to this id; None when any is missing."""
    found = {turn.id: turn for turn in _read(connection, _CHAIN, (id,))}
    turns: list[Turn] = []
    next_id: str | None = id
    while next_id is not None:
        turn = found.pop(next_id, None)
        if turn is None:
            if any(turn.id == next_id for turn in turns):
                raise goes_round(id)
            return None
        turns.append(turn)
        next_id = turn.parent_id
    turns.reverse()
    return turns


def delete(connection: sqlite3.Connection, id: str, *, descendants: bool) -> bool:
    """Forget a turn, and those that continue from it if asked to; and the shared texts that nobody needs then."""
    seqs = [seq for (seq,) in connection.execute(_BELOW, (id,))]
    if len(seqs) > 1 and not descendants:
        raise has_children(id, connection.execute(_COUNT_CHILDREN, (id,)).fetchone()[0])
    connection.executemany("DELETE FROM turns WHERE seq = ?", ((seq,) for seq in seqs))
    connection.execute(_DROP_TEXTS)
    return bool(seqs)


def _read(connection: sqlite3.Connection, query: str, arguments: Sequence[Any]) -> list[Turn]:
    rows: list[Values] = connection.execute(query, arguments).fetchall()
    hashes = {hash for row in rows for hash in (row[4], row[5]) if hash is not None}
    return turns_of(rows, _texts(connection, hashes))


def _texts(connection: sqlite3.Connection, hashes: Iterable[bytes]) -> dict[bytes, str]:
    texts: dict[bytes, str] = {}
    for some in _chunks(hashes):
        query = f"SELECT hash, body FROM texts WHERE hash IN ({', '.join('?' * len(some))})"
        texts.update(connection.execute(query, some))
    return texts


def _chunks(values: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(values)
    while some := list(islice(rest, _MOST_VALUES)):
        yield some
