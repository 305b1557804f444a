"""Turns in memory, up to a bound: the oldest leaf is dropped first, so no turn loses its parent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from synth_ai.errors import StoreError
from synth_ai.store.base import ResponseStore, find_descendants
from synth_ai.store.conflicts import children_error, conflict_error, cycle_error, select_new
from synth_ai.store.hash_index import HashIndex
from synth_ai.store.json import copy_json
from synth_ai.store.memory_size import TurnSizes, size_of_turn
from synth_ai.store.redaction import detach_turn, redact_turn
from synth_ai.store.tags import Annotation
from synth_ai.turn import Turn

DEFAULT_MAX_TURNS = 10_000
DEFAULT_MAX_BYTES = 256 * 1024 * 1024


class MemoryStore(ResponseStore):
    """Turns of this process.

    A loop over a data set leaves many conversations that nobody continues. Once `max_turns` or
    `max_bytes` is reached, each new turn drops the oldest ones that no other continues from. The
    newest turn is never dropped, so one conversation may grow longer than the bounds.

    Args:
        max_turns: how many turns to keep; None for no bound.
        max_bytes: how much memory they may take, about; None for no bound.

    Raises:
        StoreError: a bound is less than 1.
    """

    def __init__(
        self,
        max_turns: int | None = DEFAULT_MAX_TURNS,
        *,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
    ) -> None:
        _check_bound("max_turns", max_turns)
        _check_bound("max_bytes", max_bytes)

        self._max_turns = max_turns
        self._max_bytes = max_bytes
        self._sizes = TurnSizes()
        self._turns: dict[str, Turn] = {}
        # How many turns continue from an id. An id may be here before its turn, or without it.
        self._child_counts: dict[str, int] = {}
        # The ids of turns that no other continues from, oldest first.
        self._leaves: OrderedDict[str, None] = OrderedDict()
        self._by_fingerprint = HashIndex()
        self._by_request_key = HashIndex()
        self._dropped = 0
        self._lock = threading.Lock()

    async def put(self, turn: Turn) -> None:
        with self._lock:
            self._put(turn)
            self._drop_oldest_leaves()

    async def get(self, id: str) -> Turn | None:
        return self._turns.get(id)

    async def chain(self, id: str) -> list[Turn] | None:
        turns: list[Turn] = []
        next_id: str | None = id
        with self._lock:
            while next_id is not None:
                turn = self._turns.get(next_id)
                if turn is None:
                    return None

                # Only a cycle is longer than all turns together. Counting is cheaper than a set
                # of the ids that were visited.
                if len(turns) == len(self._turns):
                    raise cycle_error(id)
                turns.append(turn)
                next_id = turn.parent_id

        turns.reverse()
        return turns

    async def find_all(self, fingerprint: str, limit: int) -> Sequence[Turn]:
        with self._lock:
            return self._find_readable(self._by_fingerprint, fingerprint, limit)

    async def find_answer(self, request_key: str) -> Turn | None:
        with self._lock:
            found = self._find_readable(self._by_request_key, request_key, 1)
            return found[0] if found else None

    async def annotate(self, id: str, annotation: Annotation) -> bool:
        with self._lock:
            turn = self._turns.get(id)
            if turn is None:
                return False

            self._replace(annotation.apply(turn))
            return True

    async def add(self, turns: Sequence[Turn]) -> int:
        with self._lock:
            new = select_new(turns, self._turns.get)
            self._check_room(new)
            for turn in new:
                self._put(turn)
            return len(new)

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        with self._lock:
            if id not in self._turns:
                return False

            found: list[Turn] = []
            children = self._child_counts.get(id, 0)
            if children > 0:
                found = find_descendants(self._turns.values(), id)
            if found and not descendants:
                raise children_error(id, children)

            for turn in reversed(found):
                self._remove(turn.id)
            self._remove(id)
            return True

    async def redact(self, id: str) -> bool:
        # In one step: what another thread redacts or deletes meanwhile must not come back.
        with self._lock:
            turn = self._turns.get(id)
            if turn is None:
                return False

            for descendant in find_descendants(self._turns.values(), id):
                detached = detach_turn(descendant)
                if detached is not descendant:
                    self._replace(detached)
            self._replace(redact_turn(turn))
            return True

    async def list(self) -> list[Turn]:
        with self._lock:
            return list(self._turns.values())

    def explain_missing(self, id: str) -> str:
        if self._dropped == 0:
            return f"{id!r:.100} is not in this store, which keeps the turns of this process alone."

        return (
            f"{id!r:.100} is not in this store. It keeps {self._bounds()} and has dropped the "
            f"{self._dropped} oldest; keep more with response_store=MemoryStore(max_turns=..., "
            "max_bytes=...), or all with response_store='turns.db'."
        )

    def _put(self, turn: Turn) -> None:
        stored = self._turns.get(turn.id)
        if stored is None:
            self._link(turn)
        elif stored.parent_id != turn.parent_id:
            raise conflict_error(turn.id)

        # The caller's response holds the same items, and is the caller's to edit.
        turn_input = tuple(map(copy_json, turn.input))
        turn_output = tuple(map(copy_json, turn.output))
        tags = copy_json(dict(turn.tags))
        self._replace(replace(turn, input=turn_input, output=turn_output, tags=tags))

    def _replace(self, turn: Turn) -> None:
        """Keep a turn in the place of the one of its id, if there is one."""
        before = self._turns.get(turn.id)
        if before is None:
            self._by_fingerprint.add(turn.fingerprint, turn.id)
            self._by_request_key.add(turn.request_key, turn.id)
        else:
            self._sizes.remove(before)
            self._by_fingerprint.replace(before.fingerprint, turn.fingerprint, turn.id)
            self._by_request_key.replace(before.request_key, turn.request_key, turn.id)

        self._turns[turn.id] = turn
        self._sizes.add(turn)

    def _find_readable(self, index: HashIndex, digest: str, limit: int) -> Sequence[Turn]:
        """Return the newest turns of a hash that are not redacted."""
        found: list[Turn] = []
        for id in index.find(digest):
            if len(found) == limit:
                break
            turn = self._turns[id]
            if not turn.redacted:
                found.append(turn)
        return found

    def _link(self, turn: Turn) -> None:
        """Count a new turn as a child of its parent."""
        if not self._child_counts.get(turn.id):
            self._leaves[turn.id] = None
        if turn.parent_id is None:
            return

        self._child_counts[turn.parent_id] = self._child_counts.get(turn.parent_id, 0) + 1
        self._leaves.pop(turn.parent_id, None)

    def _remove(self, id: str) -> None:
        """Remove a turn that no other continues from."""
        turn = self._turns.pop(id)
        self._sizes.remove(turn)
        self._by_fingerprint.remove(turn.fingerprint, id)
        self._by_request_key.remove(turn.request_key, id)
        self._leaves.pop(id, None)

        parent_id = turn.parent_id
        if parent_id is None:
            return

        self._child_counts[parent_id] -= 1
        if self._child_counts[parent_id] > 0:
            return

        del self._child_counts[parent_id]
        if parent_id in self._turns:
            # A leaf again, and older than any turn that continued from it.
            self._leaves[parent_id] = None
            self._leaves.move_to_end(parent_id, last=False)

    def _drop_oldest_leaves(self) -> None:
        # One leaf always stays: a single conversation may outgrow the bounds.
        while self._is_full() and len(self._leaves) > 1:
            oldest = next(iter(self._leaves))
            self._remove(oldest)
            self._dropped += 1

    def _check_room(self, new: Sequence[Turn]) -> None:
        turns = len(self._turns)
        if self._max_turns is not None and turns + len(new) > self._max_turns:
            raise StoreError(
                f"{len(new)} turns cannot be added: this store keeps {self._max_turns} and has "
                f"{turns}. Nothing was added; use MemoryStore(max_turns=...) or a file."
            )

        size = sum(map(size_of_turn, new))
        if self._max_bytes is not None and self._sizes.total + size > self._max_bytes:
            raise StoreError(
                f"{len(new)} turns of {_mebibytes(size)} cannot be added: this store keeps "
                f"{_mebibytes(self._max_bytes)} and has {_mebibytes(self._sizes.total)}. Nothing "
                "was added; use MemoryStore(max_bytes=...) or a file."
            )

    def _is_full(self) -> bool:
        if self._max_turns is not None and len(self._turns) > self._max_turns:
            return True
        return self._max_bytes is not None and self._sizes.total > self._max_bytes

    def _bounds(self) -> str:
        bounds = []
        if self._max_turns is not None:
            bounds.append(f"{self._max_turns} turns")
        if self._max_bytes is not None:
            bounds.append(_mebibytes(self._max_bytes))
        return " and ".join(bounds)


def _check_bound(name: str, bound: int | None) -> None:
    if bound is not None and bound < 1:
        raise StoreError(
            f"{name} must be 1 or more, or None for no bound, not {bound}: "
            f"{name}={bound} keeps nothing."
        )


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.4g} MiB"
