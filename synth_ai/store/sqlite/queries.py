"""What the SQLite store asks of its file. Each function runs inside a transaction of its caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from synth_ai.store.conflicts import goes_round, has_children, id_in_use, new_of
from synth_ai.store.redaction import redacted
from synth_ai.store.sqlite.rows import Row, SharedText, StoredRow, row_of, turns_of
from synth_ai.turn import Turn

_COLUMNS = """turns.id, turns.parent_id, turns.created_at, bodies.text, bodies.token_ids,
    turns.instructions, turns.tools"""
_TURNS = f"SELECT {_COLUMNS} FROM turns JOIN bodies ON bodies.seq = turns.content"

# CROSS JOIN keeps SQLite from scanning the whole table in the outer loop. UNION, not UNION ALL: a cycle ends.
_CHAIN = f"""WITH RECURSIVE up (seq, parent_id) AS (
        SELECT seq, parent_id FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.parent_id FROM up CROSS JOIN turns ON turns.id = up.parent_id
    )
    SELECT {_COLUMNS} FROM up CROSS JOIN turns ON turns.seq = up.seq CROSS JOIN bodies ON bodies.seq = turns.content"""

_DESCENDANTS = f"""WITH RECURSIVE down (seq, id) AS (
        SELECT seq, id FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.id FROM down CROSS JOIN turns ON turns.parent_id = down.id
    )
    SELECT {_COLUMNS} FROM down CROSS JOIN turns ON turns.seq = down.seq
    CROSS JOIN bodies ON bodies.seq = turns.content"""

_WITH_DESCENDANTS = """WITH RECURSIVE down (seq, id, content) AS (
        SELECT seq, id, content FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.id, turns.content FROM down CROSS JOIN turns ON turns.parent_id = down.id
    )
    SELECT seq, content FROM down"""
_COUNT_CHILDREN = "SELECT count(*) FROM turns WHERE parent_id = ?"

_INSERT_BODY = "INSERT INTO bodies (text, token_ids) VALUES (?, ?)"
_INSERT_TURN = """INSERT INTO turns (id, parent_id, created_at, content, instructions, tools)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
_KNOWN = "SELECT seq, parent_id, content FROM turns WHERE id = ?"
_UPDATE_TURN = (
    "UPDATE turns SET created_at = ?, content = ?, instructions = ?, tools = ? WHERE seq = ?"
)

# A record of the same length is overwritten where it lies, page by page.
_BLANK_BODY = """UPDATE bodies SET
    text = CAST(zeroblob(length(CAST(text AS BLOB))) AS TEXT),
    token_ids = CASE WHEN token_ids IS NULL THEN NULL ELSE zeroblob(length(token_ids)) END
    WHERE seq = ?"""
# Reads every turn: an index for it would cost each put a page, and deleting is rare.
_UNUSED_TEXTS = """SELECT body FROM texts WHERE body NOT IN (
    SELECT instructions FROM turns WHERE instructions IS NOT NULL
    UNION SELECT tools FROM turns WHERE tools IS NOT NULL)"""

# SQLite before 3.32 takes 999 values in one statement.
_MOST_VALUES = 900


def put(connection: sqlite3.Connection, row: Row) -> None:
    """Keep a turn, in place of the one of this id if it continues the same turn."""
    instructions, tools = (
        _keep_text(connection, row.instructions),
        _keep_text(connection, row.tools),
    )
    content = connection.execute(_INSERT_BODY, (row.content, row.token_ids)).lastrowid
    new = (row.id, row.parent_id, row.created_at, content, instructions, tools)
    if connection.execute(_INSERT_TURN, new).rowcount:
        return
    seq, parent_id, earlier = connection.execute(_KNOWN, (row.id,)).fetchone()
    if parent_id != row.parent_id:
        raise id_in_use(row.id)
    connection.execute(_UPDATE_TURN, (row.created_at, content, instructions, tools, seq))
    connection.execute(_BLANK_BODY, (earlier,))


def get(connection: sqlite3.Connection, id: str) -> Turn | None:
    """The turn of this id."""
    turns = _read(connection, f"{_TURNS} WHERE turns.id = ?", (id,))
    return turns[0] if turns else None


def add(connection: sqlite3.Connection, turns: Sequence[Turn]) -> int:
    """Add turns that come from elsewhere; how many of them were new."""
    new = new_of(turns, lambda id: get(connection, id))
    for turn in new:
        put(connection, row_of(turn))
    return len(new)


def redact(connection: sqlite3.Connection, id: str) -> bool:
    """Replace the text of a turn, and have no server continue from it or from what comes after it."""
    turn = get(connection, id)
    if turn is None:
        return False
    for after in descendants(connection, id):
        if after.stored_on_server:
            put(connection, row_of(replace(after, stored_on_server=False)))
    put(connection, row_of(redacted(turn)))
    return True


def every(connection: sqlite3.Connection) -> list[Turn]:
    """Every turn, in the order in which they came."""
    return _read(connection, f"{_TURNS} ORDER BY turns.seq", ())


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


def descendants(connection: sqlite3.Connection, id: str) -> list[Turn]:
    """The turns that continue from this one, directly or not, each after the one that it continues."""
    return [turn for turn in _read(connection, _DESCENDANTS, (id,)) if turn.id != id]


def delete(connection: sqlite3.Connection, id: str, *, descendants: bool) -> bool:
    """Forget a turn, and those that continue from it if asked to; and the shared texts that nobody needs then."""
    found = connection.execute(_WITH_DESCENDANTS, (id,)).fetchall()
    if len(found) > 1 and not descendants:
        raise has_children(id, connection.execute(_COUNT_CHILDREN, (id,)).fetchone()[0])
    connection.executemany("DELETE FROM turns WHERE seq = ?", [(seq,) for seq, _ in found])
    unused = connection.execute(_UNUSED_TEXTS).fetchall()
    connection.executemany("DELETE FROM texts WHERE body = ?", unused)
    connection.executemany(_BLANK_BODY, [*((content,) for _, content in found), *unused])
    return bool(found)


def drop_blanks(connection: sqlite3.Connection) -> None:
    """Remove the rows of deleted bodies. What SQLite then leaves in the gaps of pages goes with the VACUUM after it."""
    connection.execute(
        """DELETE FROM bodies WHERE seq NOT IN (SELECT content FROM turns)
        AND seq NOT IN (SELECT body FROM texts)"""
    )


def first_problem(connection: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong with the file first; None when all is well."""
    found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return None if found == "ok" else found


def _keep_text(connection: sqlite3.Connection, shared: SharedText | None) -> int | None:
    """The number of the body that holds a shared text, which is written if it is new."""
    if shared is None:
        return None
    known: tuple[int] | None = connection.execute(
        "SELECT body FROM texts WHERE hash = ?", (shared.hash,)
    ).fetchone()
    if known is not None:
        return known[0]
    body = connection.execute(_INSERT_BODY, (shared.text, None)).lastrowid
    connection.execute("INSERT INTO texts (body, hash) VALUES (?, ?)", (body, shared.hash))
    return body


def _read(connection: sqlite3.Connection, query: str, arguments: Sequence[Any]) -> list[Turn]:
    rows: list[StoredRow] = connection.execute(query, arguments).fetchall()
    return turns_of(
        rows, _texts(connection, {body for row in rows for body in row[5:] if body is not None})
    )


def _texts(connection: sqlite3.Connection, bodies: Iterable[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for some in _chunks(bodies):
        marks = ", ".join("?" * len(some))
        texts.update(
            connection.execute(f"SELECT seq, text FROM bodies WHERE seq IN ({marks})", some)
        )
    return texts


def _chunks(values: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(values)
    while some := list(islice(rest, _MOST_VALUES)):
        yield some
