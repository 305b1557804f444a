"""The steps of migrations that take more than SQL. Each runs in the transaction of its migration.

They follow the rule of `schema.py`: no row of `bodies` changes its length.
"""

from __future__ import annotations

import sqlite3
from dataclasses import fields

from synth_ai.store.facts import rename_facts
from synth_ai.store.json import read_json, to_json
from synth_ai.turn import Turn

# One turn at a time, so that a file of any size is migrated in the memory of its largest turn. As
# BLOB, because text that is not UTF-8 (a damaged file) would be an error here.
_NEXT_TURN = """SELECT turns.seq, bodies.seq, CAST(bodies.text AS BLOB)
    FROM turns JOIN bodies ON bodies.seq = turns.content
    WHERE turns.seq > ? ORDER BY turns.seq LIMIT 1"""

_OVERWRITE_TEXT = "UPDATE bodies SET text = ? WHERE seq = ?"
_COPY_BODY = """INSERT INTO bodies (text, token_ids)
    SELECT ?, token_ids FROM bodies WHERE seq = ?"""
_USE_BODY = "UPDATE turns SET content = ? WHERE seq = ?"

# As in `queries.py`, for the columns that a body had then.
_BLANK_BODY = """UPDATE bodies SET
    text = CAST(zeroblob(length(CAST(text AS BLOB))) AS TEXT),
    token_ids = CASE WHEN token_ids IS NULL THEN NULL ELSE zeroblob(length(token_ids)) END
    WHERE seq = ?"""

# These may be left out of a turn's JSON while they are None or False.
_OPTIONAL_FACTS = frozenset(
    field.name for field in fields(Turn) if field.default is None or field.default is False
)


def rename_facts_of_turns(connection: sqlite3.Connection) -> None:
    """Write the facts of every turn under the names that they have since version 3.

    The new JSON is written over the old one: facts that are None or False are left out to make
    room, and blanks fill up what remains. The few turns that need more room get a new body.
    """
    last_seq = 0
    while True:
        row = connection.execute(_NEXT_TURN, (last_seq,)).fetchone()
        if row is None:
            return

        last_seq, body, old_json = row
        new_json = _rename_in_json(old_json)
        if new_json is None:
            continue

        spare = len(old_json) - len(new_json.encode())
        if spare >= 0:
            connection.execute(_OVERWRITE_TEXT, (new_json + " " * spare, body))
        else:
            new_body = connection.execute(_COPY_BODY, (new_json, body)).lastrowid
            connection.execute(_USE_BODY, (new_body, last_seq))
            connection.execute(_BLANK_BODY, (body,))


def _rename_in_json(old_json: bytes) -> str | None:
    """Rename the facts in the JSON of a turn.

    Returns:
        None if it is damaged: then it stays as it is, and only reading this turn is an error.
    """
    try:
        facts = read_json(old_json.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None

    needed = {}
    for name, value in rename_facts(facts).items():
        is_default = value is None or value is False
        if not (is_default and name in _OPTIONAL_FACTS):
            needed[name] = value

    return to_json(needed)
