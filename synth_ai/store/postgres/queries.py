"""What the PostgreSQL store asks of its database. Each function runs inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg import AsyncConnection

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
    share_text,
)
from synth_ai.store.tags import Annotation, Tags, has_tags
from synth_ai.turn import Turn

# --- reading ----------------------------------------------------------------------------------

# The fields of `StoredRow`; instructions, tools and tags are hashes here.
_COLUMNS = """turns.id, turns.parent_id, turns.created_at, turns.content, turns.token_ids,
    turns.logprobs, turns.fingerprint, turns.request_key, turns.reward,
    turns.instructions, turns.tools, turns.tags"""

_TURN = f"SELECT {_COLUMNS} FROM synth_ai_turns AS turns WHERE id = %s"

_ALL_TURNS = f"SELECT {_COLUMNS} FROM synth_ai_turns AS turns ORDER BY seq"

# UNION, and not UNION ALL, lets a cycle end.
_CHAIN = f"""WITH RECURSIVE up (seq, parent_id) AS (
        SELECT seq, parent_id FROM synth_ai_turns WHERE id = %s
        UNION
        SELECT turns.seq, turns.parent_id
        FROM up JOIN synth_ai_turns AS turns ON turns.id = up.parent_id
    )
    SELECT {_COLUMNS} FROM up JOIN synth_ai_turns AS turns ON turns.seq = up.seq"""

_DOWN = """WITH RECURSIVE down (seq, id, depth) AS (
        SELECT seq, id, 0 FROM synth_ai_turns WHERE id = %s
        UNION
        SELECT turns.seq, turns.id, down.depth + 1
        FROM down JOIN synth_ai_turns AS turns ON turns.parent_id = down.id
    ) CYCLE id SET is_cycle USING path"""

# Each after the one that it continues.
_DESCENDANTS = f"""{_DOWN}
    SELECT {_COLUMNS} FROM down JOIN synth_ai_turns AS turns ON turns.seq = down.seq
    WHERE NOT down.is_cycle AND down.depth > 0
    ORDER BY down.depth, turns.seq"""

_BY_FINGERPRINT = "SELECT id FROM synth_ai_turns WHERE fingerprint = %s ORDER BY seq DESC"

_BY_REQUEST_KEY = "SELECT id FROM synth_ai_turns WHERE request_key = %s ORDER BY seq DESC"

_ALL_TAGS = """SELECT hash, text FROM synth_ai_texts
    WHERE hash IN (SELECT tags FROM synth_ai_turns WHERE tags IS NOT NULL)"""

_TAGGED = f"SELECT {_COLUMNS} FROM synth_ai_turns AS turns WHERE tags = ANY(%s) ORDER BY seq"

_TEXTS = "SELECT hash, text FROM synth_ai_texts WHERE hash = ANY(%s)"


async def get(connection: AsyncConnection, id: str) -> Turn | None:
    """Read the turn of this id."""
    turns = await _read_turns(connection, _TURN, (id,))
    return turns[0] if turns else None


async def all_turns(connection: AsyncConnection) -> list[Turn]:
    """Read every turn, in the order in which they came."""
    return await _read_turns(connection, _ALL_TURNS, ())


async def chain(connection: AsyncConnection, id: str) -> list[Turn] | None:
    """Read the turns from the first one to this id; None if any is missing."""
    found = {turn.id: turn for turn in await _read_turns(connection, _CHAIN, (id,))}
    return order_chain(found, id)


async def descendants(connection: AsyncConnection, id: str) -> list[Turn]:
    """Read the turns that continue from this one, each after the one that it continues."""
    return await _read_turns(connection, _DESCENDANTS, (id,))


async def find_all(connection: AsyncConnection, fingerprint: str, limit: int) -> list[Turn]:
    """Read the newest turns with this fingerprint that are not redacted."""
    return await _find_readable(connection, _BY_FINGERPRINT, fingerprint, limit)


async def find_answer(connection: AsyncConnection, request_key: str) -> Turn | None:
    """Read the newest turn that may be given for a request."""
    found = await _find_readable(connection, _BY_REQUEST_KEY, request_key, 1)
    return found[0] if found else None


async def search(connection: AsyncConnection, tags: Tags) -> list[Turn]:
    """Read the turns that have all these tags, oldest first."""
    cursor = await connection.execute(_ALL_TAGS)
    found = []
    for hash, text in await cursor.fetchall():
        if has_tags(decode_tags(text), tags):
            found.append(hash)

    return await _read_turns(connection, _TAGGED, (found,))


async def _find_readable(
    connection: AsyncConnection, query: LiteralString, digits: str, limit: int
) -> list[Turn]:
    """Read the newest turns of a hash that are not redacted."""
    digest = decode_hash(digits)
    if digest is None:
        return []  # no turn can have it

    found: list[Turn] = []
    cursor = await connection.execute(query, (digest,))
    for (id,) in await cursor.fetchall():
        if len(found) == limit:
            break
        turn = await get(connection, id)
        if turn is not None and not turn.redacted:
            found.append(turn)
    return found


async def _read_turns(
    connection: AsyncConnection, query: LiteralString, arguments: Sequence[object]
) -> list[Turn]:
    cursor = await connection.execute(query, arguments)
    rows = [StoredRow[bytes](*columns) for columns in await cursor.fetchall()]

    hashes: set[bytes | None] = set()
    for row in rows:
        hashes.update((row.instructions, row.tools, row.tags))
    hashes.discard(None)

    texts: dict[bytes, str] = {}
    if hashes:
        cursor = await connection.execute(_TEXTS, (list(hashes),))
        texts.update(await cursor.fetchall())
    return decode_rows(rows, texts)


# --- writing ----------------------------------------------------------------------------------

_INSERT_TEXT = "INSERT INTO synth_ai_texts (hash, text) VALUES (%s, %s) ON CONFLICT DO NOTHING"

_INSERT_TURN = """INSERT INTO synth_ai_turns (created_at, content, token_ids, logprobs,
        fingerprint, request_key, reward, instructions, tools, tags, id, parent_id)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING"""

# A turn of the same id that continues from another one is left as it is.
_UPDATE_TURN = """UPDATE synth_ai_turns SET created_at = %s, content = %s, token_ids = %s,
        logprobs = %s, fingerprint = %s, request_key = %s, reward = %s, instructions = %s,
        tools = %s, tags = %s
    WHERE id = %s AND parent_id IS NOT DISTINCT FROM %s"""

_LOCK_TURN = "SELECT FROM synth_ai_turns WHERE id = %s FOR UPDATE"

_UPDATE_ANNOTATION = "UPDATE synth_ai_turns SET reward = %s, tags = %s WHERE id = %s"


async def put(connection: AsyncConnection, row: EncodedTurn) -> None:
    """Store a turn, in place of the one of this id if it continues the same turn.

    Raises:
        StoreConflictError: the id belongs to a turn that continues from another one.
    """
    values = (
        row.created_at,
        row.content,
        row.token_ids,
        row.logprobs,
        row.fingerprint,
        row.request_key,
        row.reward,
        await _store_text(connection, row.instructions),
        await _store_text(connection, row.tools),
        await _store_tags(connection, row.tags),
        row.id,
        row.parent_id,
    )
    inserted = await connection.execute(_INSERT_TURN, values)
    if inserted.rowcount > 0:
        return

    updated = await connection.execute(_UPDATE_TURN, values)
    if updated.rowcount == 0:
        raise conflict_error(row.id)


async def annotate(connection: AsyncConnection, id: str, annotation: Annotation) -> bool:
    """Change the reward and the tags of a turn, and nothing else of it.

    Returns:
        False if there was no such turn.
    """
    # Two that annotate one turn at the same time wait for each other here.
    cursor = await connection.execute(_LOCK_TURN, (id,))
    if await cursor.fetchone() is None:
        return False

    turn = await get(connection, id)
    assert turn is not None
    annotated = annotation.apply(turn)
    tags = await _store_tags(connection, encode_tags(annotated.tags))
    await connection.execute(_UPDATE_ANNOTATION, (annotated.reward, tags, id))
    return True


async def add(connection: AsyncConnection, turns: Sequence[Turn]) -> int:
    """Add turns that come from elsewhere, and return how many of them were new."""
    stored = {turn.id: turn for turn in await all_turns(connection)}
    new = select_new(turns, stored.get)
    for turn in new:
        await put(connection, encode_row(turn))
    return len(new)


async def _store_text(connection: AsyncConnection, shared: SharedText | None) -> bytes | None:
    """Store a text that turns share, unless it is there, and return its hash."""
    if shared is None:
        return None
    await connection.execute(_INSERT_TEXT, (shared.hash, shared.text))
    return shared.hash


async def _store_tags(connection: AsyncConnection, tags: str | None) -> bytes | None:
    if tags is None:
        return None
    return await _store_text(connection, share_text(tags))


# --- deleting ---------------------------------------------------------------------------------

_WITH_DESCENDANTS = f"{_DOWN} SELECT id FROM down WHERE NOT is_cycle"

_COUNT_CHILDREN = "SELECT count(*) FROM synth_ai_turns WHERE parent_id = %s"

_DELETE_TURNS = "DELETE FROM synth_ai_turns WHERE id = ANY(%s)"

# Reads every turn: indexes for it would cost each put three pages, and deleting is rare.
_DELETE_UNUSED_TEXTS = """DELETE FROM synth_ai_texts WHERE hash NOT IN (
    SELECT instructions FROM synth_ai_turns WHERE instructions IS NOT NULL
    UNION SELECT tools FROM synth_ai_turns WHERE tools IS NOT NULL
    UNION SELECT tags FROM synth_ai_turns WHERE tags IS NOT NULL)"""


async def delete(connection: AsyncConnection, id: str, *, descendants: bool) -> bool:
    """Delete a turn, with those that continue from it if `descendants` is set.

    Shared texts that no turn needs any more go with them.

    Returns:
        False if there was no such turn.

    Raises:
        StoreConflictError: other turns continue from it and `descendants` is not set.
    """
    cursor = await connection.execute(_WITH_DESCENDANTS, (id,))
    ids = [row[0] for row in await cursor.fetchall()]
    if len(ids) > 1 and not descendants:
        cursor = await connection.execute(_COUNT_CHILDREN, (id,))
        count = await cursor.fetchone()
        raise children_error(id, count[0] if count else 0)

    await connection.execute(_DELETE_TURNS, (ids,))
    await connection.execute(_DELETE_UNUSED_TEXTS)
    return len(ids) > 0


async def redact(connection: AsyncConnection, id: str) -> bool:
    """Replace the text of a turn, and have no server continue from it or from its descendants.

    Returns:
        False if there was no such turn.
    """
    turn = await get(connection, id)
    if turn is None:
        return False

    for descendant in await descendants(connection, id):
        detached = detach_turn(descendant)
        if detached is not descendant:
            await put(connection, encode_row(detached))
    await put(connection, encode_row(redact_turn(turn)))
    return True
