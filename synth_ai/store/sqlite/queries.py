"""What the SQLite store asks of its file. Each function runs in a transaction of its caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from synth_ai.store.base import order_chain
from synth_ai.store.conflicts import children_error, conflict_error, select_new
from synth_ai.store.redaction import detach_turn, redact_turn
from synth_ai.store.rows import (
    EncodedTurn,
    SharedText,
    StoredRow,
    decode_hash,
    decode_rows,
    decode_tags,
    encode_row,
    encode_tags,
)
from synth_ai.store.tags import Annotation, Tags, has_tags
from synth_ai.turn import Turn

T = TypeVar("T")

# --- reading ----------------------------------------------------------------------------------

# The fields of `StoredRow`.
_COLUMNS = """turns.id, turns.parent_id, turns.created_at, bodies.text, bodies.token_ids,
    logprobs.data, turns.fingerprint, turns.request_key, turns.reward,
    turns.instructions, turns.tools, turns.tags"""

_TURNS = f"""SELECT {_COLUMNS} FROM turns JOIN bodies ON bodies.seq = turns.content
    LEFT JOIN logprobs ON logprobs.body = turns.content"""

# CROSS JOIN keeps SQLite from scanning the whole table in the outer loop. UNION, and not UNION ALL,
# lets a cycle end.
_CHAIN = f"""WITH RECURSIVE up (seq, parent_id) AS (
        SELECT seq, parent_id FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.parent_id
        FROM up CROSS JOIN turns ON turns.id = up.parent_id
    )
    SELECT {_COLUMNS}
    FROM up CROSS JOIN turns ON turns.seq = up.seq
    CROSS JOIN bodies ON bodies.seq = turns.content
    LEFT JOIN logprobs ON logprobs.body = turns.content"""

# The turn itself first, then all that continue from it, level by level.
_DESCENDANTS = f"""WITH RECURSIVE down (seq, id) AS (
        SELECT seq, id FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.id
        FROM down CROSS JOIN turns ON turns.parent_id = down.id
    )
    SELECT {_COLUMNS}
    FROM down CROSS JOIN turns ON turns.seq = down.seq
    CROSS JOIN bodies ON bodies.seq = turns.content
    LEFT JOIN logprobs ON logprobs.body = turns.content"""

_BY_FINGERPRINT = "SELECT id FROM turns WHERE fingerprint = ? ORDER BY seq DESC"

_BY_REQUEST_KEY = "SELECT id FROM turns WHERE request_key = ? ORDER BY seq DESC"

_TAGS = """SELECT turns.seq, bodies.text FROM turns JOIN bodies ON bodies.seq = turns.tags
    ORDER BY turns.seq"""

# SQLite before 3.32 takes 999 values in one statement.
_MAX_VALUES = 900


def get(connection: sqlite3.Connection, id: str) -> Turn | None:
    """Read the turn of this id."""
    turns = _read_turns(connection, f"{_TURNS} WHERE turns.id = ?", (id,))
    return turns[0] if turns else None


def all_turns(connection: sqlite3.Connection) -> list[Turn]:
    """Read every turn, in the order in which they came."""
    return _read_turns(connection, f"{_TURNS} ORDER BY turns.seq", ())


def chain(connection: sqlite3.Connection, id: str) -> list[Turn] | None:
    """Read the turns from the first one to this id; None if any is missing."""
    found = {turn.id: turn for turn in _read_turns(connection, _CHAIN, (id,))}
    return order_chain(found, id)


def descendants(connection: sqlite3.Connection, id: str) -> list[Turn]:
    """Read the turns that continue from this one, each after the one that it continues."""
    turns = _read_turns(connection, _DESCENDANTS, (id,))
    return [turn for turn in turns if turn.id != id]


def find_all(connection: sqlite3.Connection, fingerprint: str, limit: int) -> list[Turn]:
    """Read the newest turns with this fingerprint that are not redacted."""
    return _find_readable(connection, _BY_FINGERPRINT, fingerprint, limit)


def find_answer(connection: sqlite3.Connection, request_key: str) -> Turn | None:
    """Read the newest turn that may be given for a request."""
    found = _find_readable(connection, _BY_REQUEST_KEY, request_key, 1)
    return found[0] if found else None


def search(connection: sqlite3.Connection, tags: Tags) -> list[Turn]:
    """Read the turns that have all these tags, oldest first."""
    # Only the tags are read of all turns.
    found = []
    for seq, text in connection.execute(_TAGS):
        if has_tags(decode_tags(text), tags):
            found.append(seq)

    turns: list[Turn] = []
    for chunk in _split_into_chunks(found):
        marks = ", ".join("?" * len(chunk))
        query = f"{_TURNS} WHERE turns.seq IN ({marks}) ORDER BY turns.seq"
        turns += _read_turns(connection, query, chunk)
    return turns


def _find_readable(
    connection: sqlite3.Connection, query: str, digits: str, limit: int
) -> list[Turn]:
    """Read the newest turns of a hash that are not redacted."""
    digest = decode_hash(digits)
    if digest is None:
        return []  # no turn can have it

    found: list[Turn] = []
    for (id,) in connection.execute(query, (digest,)):
        if len(found) == limit:
            break
        turn = get(connection, id)
        if turn is not None and not turn.redacted:
            found.append(turn)
    return found


def _read_turns(
    connection: sqlite3.Connection, query: str, arguments: Sequence[str | int]
) -> list[Turn]:
    rows = [StoredRow[int](*columns) for columns in connection.execute(query, arguments)]

    shared_bodies: set[int | None] = set()
    for row in rows:
        shared_bodies.update((row.instructions, row.tools, row.tags))
    shared_bodies.discard(None)

    return decode_rows(rows, _read_texts(connection, shared_bodies))


def _read_texts(connection: sqlite3.Connection, bodies: Iterable[int | None]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for chunk in _split_into_chunks(bodies):
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT seq, text FROM bodies WHERE seq IN ({marks})"
        texts.update(connection.execute(query, chunk))
    return texts


def _split_into_chunks(values: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(values)
    while True:
        chunk = list(islice(remaining, _MAX_VALUES))
        if not chunk:
            return
        yield chunk


# --- writing ----------------------------------------------------------------------------------

_INSERT_BODY = "INSERT INTO bodies (text, token_ids) VALUES (?, ?)"

_INSERT_LOGPROBS = "INSERT INTO logprobs (body, data) VALUES (?, ?)"

_INSERT_TURN = """INSERT INTO turns (created_at, content, instructions, tools, tags, reward,
        fingerprint, request_key, id, parent_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""

_STORED_TURN = "SELECT seq, parent_id, content, tags FROM turns WHERE id = ?"

_UPDATE_TURN = """UPDATE turns SET created_at = ?, content = ?, instructions = ?, tools = ?,
        tags = ?, reward = ?, fingerprint = ?, request_key = ?
    WHERE seq = ?"""

_UPDATE_ANNOTATION = "UPDATE turns SET reward = ?, tags = ? WHERE seq = ?"

_FORGET_HASHES = "UPDATE turns SET fingerprint = NULL, request_key = NULL WHERE id = ?"

_FIND_TEXT = "SELECT body FROM texts WHERE hash = ?"

_INSERT_TEXT = "INSERT INTO texts (body, hash) VALUES (?, ?)"


def put(connection: sqlite3.Connection, row: EncodedTurn) -> None:
    """Store a turn, in place of the one of this id if it continues the same turn.

    Raises:
        StoreConflictError: the id belongs to a turn that continues from another one.
    """
    instructions = _store_text(connection, row.instructions)
    tools = _store_text(connection, row.tools)
    tags = _store_tags(connection, row.tags)
    content = connection.execute(_INSERT_BODY, (row.content, row.token_ids)).lastrowid
    if row.logprobs is not None:
        connection.execute(_INSERT_LOGPROBS, (content, row.logprobs))

    values = (
        row.created_at,
        content,
        instructions,
        tools,
        tags,
        row.reward,
        row.fingerprint,
        row.request_key,
    )
    inserted = connection.execute(_INSERT_TURN, (*values, row.id, row.parent_id)).rowcount
    if inserted:
        return

    seq, parent_id, old_content, old_tags = _read_stored(connection, row.id)
    if parent_id != row.parent_id:
        raise conflict_error(row.id)
    connection.execute(_UPDATE_TURN, (*values, seq))
    blank_body(connection, old_content)
    if old_tags is not None:
        blank_body(connection, old_tags)


def annotate(connection: sqlite3.Connection, id: str, annotation: Annotation) -> bool:
    """Change the reward and the tags of a turn, and nothing else of it.

    Returns:
        False if there was no such turn.
    """
    turn = get(connection, id)
    if turn is None:
        return False

    annotated = annotation.apply(turn)
    seq, _, _, old_tags = _read_stored(connection, id)
    tags = _store_tags(connection, encode_tags(annotated.tags))
    connection.execute(_UPDATE_ANNOTATION, (annotated.reward, tags, seq))
    if old_tags is not None:
        blank_body(connection, old_tags)
    return True


def _read_stored(
    connection: sqlite3.Connection, id: str
) -> tuple[int, str | None, int, int | None]:
    """Read of a turn that is there: its number, its parent, and the bodies of its own."""
    stored: tuple[int, str | None, int, int | None]
    stored = connection.execute(_STORED_TURN, (id,)).fetchone()
    return stored


def add(connection: sqlite3.Connection, turns: Sequence[Turn]) -> int:
    """Add turns that come from elsewhere, and return how many of them were new."""
    new = select_new(turns, lambda id: get(connection, id))
    for turn in new:
        put(connection, encode_row(turn))
    return len(new)


def _store_text(connection: sqlite3.Connection, shared: SharedText | None) -> int | None:
    """Return the number of the body that holds a shared text; store the text if it is new."""
    if shared is None:
        return None

    stored: tuple[int] | None = connection.execute(_FIND_TEXT, (shared.hash,)).fetchone()
    if stored is not None:
        return stored[0]

    body = connection.execute(_INSERT_BODY, (shared.text, None)).lastrowid
    connection.execute(_INSERT_TEXT, (body, shared.hash))
    return body


def _store_tags(connection: sqlite3.Connection, tags: str | None) -> int | None:
    """Return the number of a new body that holds tags."""
    if tags is None:
        return None
    return connection.execute(_INSERT_BODY, (tags, None)).lastrowid


# --- deleting ---------------------------------------------------------------------------------

_WITH_DESCENDANTS = """WITH RECURSIVE down (seq, id, content, tags) AS (
        SELECT seq, id, content, tags FROM turns WHERE id = ?
        UNION
        SELECT turns.seq, turns.id, turns.content, turns.tags
        FROM down CROSS JOIN turns ON turns.parent_id = down.id
    )
    SELECT seq, content, tags FROM down"""

_COUNT_CHILDREN = "SELECT count(*) FROM turns WHERE parent_id = ?"

# Reads every turn: an index for it would cost each put a page, and deleting is rare.
_UNUSED_TEXTS = """SELECT body FROM texts WHERE body NOT IN (
    SELECT instructions FROM turns WHERE instructions IS NOT NULL
    UNION SELECT tools FROM turns WHERE tools IS NOT NULL)"""

# SQLite overwrites a record of the same length where it lies, page by page.
_BLANK_BODY = """UPDATE bodies SET
    text = CAST(zeroblob(length(CAST(text AS BLOB))) AS TEXT),
    token_ids = CASE WHEN token_ids IS NULL THEN NULL ELSE zeroblob(length(token_ids)) END
    WHERE seq = ?"""

_BLANK_LOGPROBS = "UPDATE logprobs SET data = zeroblob(length(data)) WHERE body = ?"

_DELETE_BLANK_LOGPROBS = "DELETE FROM logprobs WHERE body NOT IN (SELECT content FROM turns)"

_DELETE_BLANK_BODIES = """DELETE FROM bodies
    WHERE seq NOT IN (SELECT content FROM turns) AND seq NOT IN (SELECT body FROM texts)
    AND seq NOT IN (SELECT tags FROM turns WHERE tags IS NOT NULL)"""


def delete(connection: sqlite3.Connection, id: str, *, descendants: bool) -> bool:
    """Delete a turn, with those that continue from it if `descendants` is set.

    Shared texts that no turn needs any more go with them.

    Returns:
        False if there was no such turn.

    Raises:
        StoreConflictError: other turns continue from it and `descendants` is not set.
    """
    found: list[tuple[int, int, int | None]]
    found = connection.execute(_WITH_DESCENDANTS, (id,)).fetchall()
    if len(found) > 1 and not descendants:
        children = connection.execute(_COUNT_CHILDREN, (id,)).fetchone()[0]
        raise children_error(id, children)

    for seq, content, tags in found:
        connection.execute("DELETE FROM turns WHERE seq = ?", (seq,))
        blank_body(connection, content)
        if tags is not None:
            blank_body(connection, tags)

    unused: list[tuple[int]] = connection.execute(_UNUSED_TEXTS).fetchall()
    for (body,) in unused:
        connection.execute("DELETE FROM texts WHERE body = ?", (body,))
        blank_body(connection, body)

    return len(found) > 0


def redact(connection: sqlite3.Connection, id: str) -> bool:
    """Replace the text of a turn, and have no server continue from it or from its descendants.

    Returns:
        False if there was no such turn.
    """
    turn = get(connection, id)
    if turn is None:
        return False

    for descendant in descendants(connection, id):
        if descendant.stored_on_server or descendant.compaction is not None:
            put(connection, encode_row(detach_turn(descendant)))
        else:
            # No need to write its whole body anew.
            connection.execute(_FORGET_HASHES, (descendant.id,))
    put(connection, encode_row(redact_turn(turn)))
    return True


def blank_body(connection: sqlite3.Connection, body: int) -> None:
    """Overwrite a body with zeros of the same length."""
    connection.execute(_BLANK_BODY, (body,))
    connection.execute(_BLANK_LOGPROBS, (body,))


def delete_blank_bodies(connection: sqlite3.Connection) -> None:
    """Delete the rows of blank bodies, before a VACUUM.

    What SQLite then leaves of other bodies in the gaps of its pages goes with the VACUUM.
    """
    connection.execute(_DELETE_BLANK_BODIES)
    connection.execute(_DELETE_BLANK_LOGPROBS)


# --- checking ---------------------------------------------------------------------------------


def find_damage(connection: sqlite3.Connection) -> str | None:
    """Read the whole file, and return what SQLite finds wrong first; None if all is well."""
    found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return None if found == "ok" else found
