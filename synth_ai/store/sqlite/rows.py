"""A turn as a row of the SQLite store, and back.

What every turn of a branch repeats, its instructions and its tools, is stored once under the hash
of its text.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, TypeAlias

from synth_ai.errors import StoreCorruptError, StoreError
from synth_ai.store.json import is_utf8, read_json, to_json
from synth_ai.turn import Turn

StoredRow: TypeAlias = tuple[str, str | None, float, str, bytes | None, int | None, int | None]
"""A row as it is read: id, parent id, time, JSON of the facts, token ids, and the numbers of the
bodies that hold the instructions and the tools."""

# Fields with a column; all others are facts in the row's JSON.
_COLUMN_FIELDS = ("id", "parent_id", "created_at", "instructions", "tools", "output_token_ids")
_FACT_FIELDS = tuple(field.name for field in fields(Turn) if field.name not in _COLUMN_FIELDS)


@dataclass(frozen=True, slots=True)
class SharedText:
    """Text that many turns may repeat, and the hash by which it is found."""

    text: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class EncodedTurn:
    """A turn as it is written.

    Attributes:
        id: the turn's id.
        parent_id: the id of the turn before.
        created_at: seconds since the epoch.
        content: the items and all small facts, as JSON.
        token_ids: the sampled ids, four bytes each.
        instructions: the system message, as JSON.
        tools: the tools, as JSON.
    """

    id: str
    parent_id: str | None
    created_at: float
    content: str
    token_ids: bytes | None
    instructions: SharedText | None
    tools: SharedText | None

    @property
    def size(self) -> int:
        """About how many bytes it takes, without what it shares with others."""
        return len(self.content) + len(self.token_ids or b"")


def encode_row(turn: Turn) -> EncodedTurn:
    """Make the row that stores a turn.

    Raises:
        StoreError: the turn holds something that JSON cannot.
    """
    try:
        parent_id = None if turn.parent_id is None else _check_id(turn.parent_id)
        token_ids = None if turn.output_token_ids is None else _pack_ids(turn.output_token_ids)
        return EncodedTurn(
            id=_check_id(turn.id),
            parent_id=parent_id,
            created_at=float(turn.created_at),
            content=to_json({name: getattr(turn, name) for name in _FACT_FIELDS}),
            token_ids=token_ids,
            instructions=_encode_shared(turn.instructions),
            tools=_encode_shared(turn.tools),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"The turn {turn.id!r} cannot be stored: {error}.") from error


def decode_rows(rows: Sequence[StoredRow], texts: Mapping[int, str]) -> list[Turn]:
    """Make the turns of rows.

    Args:
        rows: the rows, in any order.
        texts: the instructions and tools of all of them, as JSON, by the numbers of their bodies.

    Raises:
        StoreCorruptError: a row cannot be read.
    """
    try:
        # Read once for all the turns that share them.
        shared = {body: read_json(text) for body, text in texts.items()}
    except ValueError as error:
        raise StoreCorruptError(
            f"Instructions or tools are damaged in the store's file: {error}."
        ) from error

    return [_decode_row(row, shared) for row in rows]


def _decode_row(row: StoredRow, shared: Mapping[int, Any]) -> Turn:
    id, parent_id, created_at, content, token_ids, instructions, tools = row
    try:
        facts = read_json(content)
        facts["input"] = tuple(facts["input"])
        facts["output"] = tuple(facts["output"])
        facts["warnings"] = tuple(facts.get("warnings", ()))
        return Turn(
            id=id,
            parent_id=parent_id,
            created_at=created_at,
            instructions=None if instructions is None else shared[instructions],
            tools=None if tools is None else tuple(shared[tools]),
            output_token_ids=None if token_ids is None else _unpack_ids(token_ids),
            **facts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"The turn {id!r} is damaged in the store's file: {error!r}. Others can still be read."
        ) from error


def _encode_shared(value: object) -> SharedText | None:
    if value is None:
        return None
    text = to_json(value)
    return SharedText(text, blake2b(text.encode(), digest_size=16).digest())


def _check_id(id: str) -> str:
    if not isinstance(id, str) or not id or not is_utf8(id):
        raise ValueError(f"an id must be a text that UTF-8 can hold, not {id!r}")
    return id


def _pack_ids(token_ids: Sequence[int]) -> bytes:
    """Pack token ids into four bytes each, the lowest first."""
    packed = array("I", token_ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpack_ids(data: bytes) -> list[int]:
    packed = array("I", data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()
