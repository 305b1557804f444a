"""A turn as a row of a database, and back.

What every turn of a branch repeats, its instructions and its tools, is stored once under the hash
of its text.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from synth_ai.errors import StoreCorruptError, StoreError
from synth_ai.store.json import is_utf8, read_json, to_json
from synth_ai.turn import Turn

Key = TypeVar("Key")
"""By what a database finds a text: a number of its own, or the hash of the text."""


class StoredRow(NamedTuple, Generic[Key]):
    """A row as it is read; the last three are the keys of texts."""

    id: str
    parent_id: str | None
    created_at: float
    content: str
    token_ids: bytes | None
    logprobs: bytes | None
    fingerprint: bytes | None
    request_key: bytes | None
    reward: float | None
    instructions: Key | None
    tools: Key | None
    tags: Key | None


# Fields with a column; all others are facts in the row's JSON.
_COLUMN_FIELDS = (
    "id",
    "parent_id",
    "created_at",
    "instructions",
    "tools",
    "output_token_ids",
    "output_logprobs",
    "fingerprint",
    "request_key",
    "reward",
    "tags",
)
_FACT_FIELDS = tuple(field.name for field in fields(Turn) if field.name not in _COLUMN_FIELDS)
_read_facts = attrgetter(*_FACT_FIELDS)


class SharedText(NamedTuple):
    """Text that many turns may repeat, and the hash by which it is found."""

    text: str
    hash: bytes


class EncodedTurn(NamedTuple):
    """A turn as it is written.

    Attributes:
        id: the turn's id.
        parent_id: the id of the turn before.
        created_at: seconds since the epoch.
        content: the items and all small facts, as JSON.
        token_ids: the sampled ids, four bytes each.
        logprobs: their log probabilities, four bytes each.
        fingerprint: the hash of the conversation.
        request_key: the hash of the request.
        reward: the caller's verdict.
        instructions: the system message, as JSON.
        tools: the tools, as JSON.
        tags: the caller's labels, as JSON; None if there are none.
    """

    id: str
    parent_id: str | None
    created_at: float
    content: str
    token_ids: bytes | None
    logprobs: bytes | None
    fingerprint: bytes | None
    request_key: bytes | None
    reward: float | None
    instructions: SharedText | None
    tools: SharedText | None
    tags: str | None

    @property
    def size(self) -> int:
        """About how many bytes it takes, without what it shares with others."""
        arrays = len(self.token_ids or b"") + len(self.logprobs or b"")
        return len(self.content) + len(self.tags or "") + arrays


def encode_row(turn: Turn) -> EncodedTurn:
    """Make the row that stores a turn.

    Raises:
        StoreError: the turn holds something that JSON cannot.
    """
    try:
        parent_id = None if turn.parent_id is None else _check_id(turn.parent_id)
        token_ids = turn.output_token_ids
        logprobs = turn.output_logprobs
        return EncodedTurn(
            id=_check_id(turn.id),
            parent_id=parent_id,
            created_at=float(turn.created_at),
            content=to_json(_facts_of(turn)),
            token_ids=None if token_ids is None else _pack("I", token_ids),
            logprobs=None if logprobs is None else _pack("f", logprobs),
            fingerprint=_encode_hash(turn.fingerprint),
            request_key=_encode_hash(turn.request_key),
            reward=None if turn.reward is None else float(turn.reward),
            instructions=_encode_shared(turn.instructions),
            tools=_encode_shared(turn.tools),
            tags=encode_tags(turn.tags),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"The turn {turn.id!r} cannot be stored: {error}.") from error


def decode_rows(rows: Sequence[StoredRow[Key]], texts: Mapping[Key, str]) -> list[Turn]:
    """Make the turns of rows.

    Args:
        rows: the rows, in any order.
        texts: the instructions, tools and tags of all of them, as JSON, by their keys.

    Raises:
        StoreCorruptError: a row cannot be read.
    """
    try:
        # Read once for all the turns that share them.
        shared = {key: read_json(text) for key, text in texts.items()}
    except ValueError as error:
        raise StoreCorruptError(
            f"Instructions, tools or tags are damaged in the store: {error}."
        ) from error

    return [_decode_row(row, shared) for row in rows]


def encode_tags(tags: Mapping[str, Any]) -> str | None:
    """Write tags as JSON; None if there are none."""
    return to_json(tags) if tags else None


def decode_tags(text: str) -> dict[str, Any]:
    """Read tags that `encode_tags` wrote.

    Raises:
        StoreCorruptError: they are damaged.
    """
    try:
        tags: dict[str, Any] = read_json(text)
    except ValueError as error:
        raise StoreCorruptError(f"Tags are damaged in the store: {error}.") from error
    return tags


def _decode_row(row: StoredRow[Key], shared: Mapping[Key, Any]) -> Turn:
    try:
        facts = read_json(row.content)
        facts["input"] = tuple(facts["input"])
        facts["output"] = tuple(facts["output"])
        facts["warnings"] = tuple(facts.get("warnings", ()))
        return Turn(
            id=row.id,
            parent_id=row.parent_id,
            created_at=row.created_at,
            instructions=None if row.instructions is None else shared[row.instructions],
            tools=None if row.tools is None else tuple(shared[row.tools]),
            output_token_ids=None
            if row.token_ids is None
            else _unpack("I", row.token_ids).tolist(),
            output_logprobs=None if row.logprobs is None else _unpack("f", row.logprobs),
            fingerprint=None if row.fingerprint is None else row.fingerprint.hex(),
            request_key=None if row.request_key is None else row.request_key.hex(),
            reward=row.reward,
            tags={} if row.tags is None else shared[row.tags],
            **facts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(
            f"The turn {row.id!r} is damaged in the store: {error!r}. Others can still be read."
        ) from error


def _facts_of(turn: Turn) -> dict[str, Any]:
    """Collect the facts that have no column; those that are None or False go without saying."""
    facts = {}
    for name, value in zip(_FACT_FIELDS, _read_facts(turn), strict=True):
        if value is not None and value is not False:
            facts[name] = value
    return facts


def _encode_shared(value: object) -> SharedText | None:
    if value is None:
        return None
    return share_text(to_json(value))


def decode_hash(digits: str) -> bytes | None:
    """Read the hexadecimal digits of a hash; None if they are none."""
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def share_text(text: str) -> SharedText:
    """Make a text that many turns may repeat."""
    return SharedText(text, blake2b(text.encode(), digest_size=16).digest())


def _check_id(id: str) -> str:
    if not isinstance(id, str) or not id or not is_utf8(id):
        raise ValueError(f"an id must be a text that UTF-8 can hold, not {id!r}")
    return id


def _encode_hash(digits: str | None) -> bytes | None:
    """Pack a hash into the bytes that its hexadecimal digits stand for."""
    if digits is None:
        return None

    packed = bytes.fromhex(digits)
    if packed.hex() != digits:
        raise ValueError(f"a hash must be lower hexadecimal digits, not {digits!r}")
    return packed


def _pack(kind: str, numbers: Sequence[float]) -> bytes:
    """Pack numbers into four bytes each, the lowest first: ids are `I`, log probabilities `f`."""
    packed = array(kind, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpack(kind: str, data: bytes) -> array[Any]:
    packed = array(kind, data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
