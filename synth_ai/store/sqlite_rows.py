"""A turn as a row of the SQLite store, and back.

What every turn of a branch repeats, its instructions and its tools, is kept once under the hash of its text.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, TypeAlias

from synth_ai.errors import StoreCorruptError, StoreError
from synth_ai.store.base import Turn

Values: TypeAlias = tuple[str, str | None, float, str, bytes | None, bytes | None, bytes | None]

COLUMNS = ("id", "parent_id", "created_at", "content", "instructions", "tools", "output_token_ids")
_FACTS = tuple(field.name for field in fields(Turn) if field.name not in COLUMNS)


@dataclass(frozen=True, slots=True)
class Row:
    """What one turn adds to the file.

    Attributes:
        values: the values of `COLUMNS`.
        texts: the shared texts that the row refers to, by hash.
    """

    values: Values
    texts: dict[bytes, str]

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.values[3]) + len(self.values[6] or b"")


def row_of(turn: Turn) -> Row:
    """The row that keeps a turn.

    Raises:
        StoreError: the turn holds something that JSON cannot.
    """
    texts: dict[bytes, str] = {}
    try:
        values = (
            _text(turn.id),
            None if turn.parent_id is None else _text(turn.parent_id),
            float(turn.created_at),
            _to_json({name: getattr(turn, name) for name in _FACTS}),
            _share(turn.instructions, texts),
            _share(turn.tools, texts),
            None if turn.output_token_ids is None else _pack(turn.output_token_ids),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"The turn {turn.id!r} cannot be stored: {error}.") from error
    return Row(values, texts)


def turns_of(rows: Sequence[Values], texts: Mapping[bytes, str]) -> list[Turn]:
    """The turns of rows, and of the shared texts that they refer to.

    Raises:
        StoreCorruptError: a row cannot be read.
    """
    shared = {key: json.loads(text) for key, text in texts.items()}
    return [_turn_of(row, shared) for row in rows]


def _turn_of(row: Values, shared: Mapping[bytes, Any]) -> Turn:
    id, parent_id, created_at, content, instructions, tools, token_ids = row
    try:
        facts = json.loads(content)
        facts["input"] = tuple(facts["input"])
        facts["output"] = tuple(facts["output"])
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
            f"The turn {id!r} is damaged in its file: {error!r}. The others can still be read."
        ) from error


def _share(value: Any, texts: dict[bytes, str]) -> bytes | None:
    if value is None:
        return None
    text = _to_json(value)
    key = blake2b(text.encode(), digest_size=16).digest()
    texts[key] = text
    return key


def _to_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair, as a model cut off inside an emoji can leave it, is no UTF-8: JSON can escape it.
    return text if _encodes(text) else json.dumps(value, separators=(",", ":"))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> str:
    if not isinstance(value, str) or not value or not _encodes(value):
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
