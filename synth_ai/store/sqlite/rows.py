"""A turn as a row of the SQLite store, and back.

What every turn of a branch repeats, its instructions and its tools, is kept once under the hash of its text.
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

_OWN = ("id", "parent_id", "created_at", "instructions", "tools", "output_token_ids")
_FACTS = tuple(field.name for field in fields(Turn) if field.name not in _OWN)


@dataclass(frozen=True, slots=True)
class SharedText:
    """Text that many turns may repeat, and the hash by which it is found."""

    text: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A turn as it is written.

    Attributes:
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
        """About how many bytes it takes, what it shares with others left out."""
        return len(self.content) + len(self.token_ids or b"")


def row_of(turn: Turn) -> Row:
    """The row that keeps a turn.

    Raises:
        StoreError: the turn holds something that JSON cannot.
    """
    try:
        return Row(
            id=_id(turn.id),
            parent_id=None if turn.parent_id is None else _id(turn.parent_id),
            created_at=float(turn.created_at),
            content=to_json({name: getattr(turn, name) for name in _FACTS}),
            token_ids=None if turn.output_token_ids is None else _pack(turn.output_token_ids),
            instructions=_shared(turn.instructions),
            tools=_shared(turn.tools),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"The turn {turn.id!r} cannot be stored: {error}.") from error


def turns_of(rows: Sequence[StoredRow], texts: Mapping[int, str]) -> list[Turn]:
    """The turns of rows (id, parent, time, content, token ids, instructions, tools); `texts` by the last two.

    Raises:
        StoreCorruptError: a row cannot be read.
    """
    try:
        shared = {body: read_json(text) for body, text in texts.items()}
    except ValueError as error:
        raise StoreCorruptError(
            f"Instructions or tools are damaged in the store's file: {error}."
        ) from error
    return [_turn_of(row, shared) for row in rows]


def _turn_of(row: StoredRow, shared: Mapping[int, Any]) -> Turn:
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
            output_token_ids=None if token_ids is None else _unpack(token_ids),
            **facts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"The turn {id!r} is damaged in the store's file: {error!r}. Others can still be read."
        ) from error


def _shared(value: Any) -> SharedText | None:
    if value is None:
        return None
    text = to_json(value)
    return SharedText(text, blake2b(text.encode(), digest_size=16).digest())


def _id(value: str) -> str:
    if not isinstance(value, str) or not value or not is_utf8(value):
        raise ValueError(f"{value!r} is no id")
    return value


def _pack(token_ids: Sequence[int]) -> bytes:
    """Four bytes an id, the lowest first."""
    packed = array("I", token_ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpack(data: bytes) -> list[int]:
    packed = array("I", data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()
