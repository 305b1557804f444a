"""Turns in memory, bounded: the oldest leaf goes first, so that no kept turn loses its beginning."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from synth_ai.errors import StoreError
from synth_ai.store.base import ResponseStore, descendants_of
from synth_ai.store.conflicts import goes_round, has_children, id_in_use, new_of
from synth_ai.store.json import copied
from synth_ai.store.redaction import redacted
from synth_ai.turn import Turn

DEFAULT_MAX_TURNS = 10_000


class MemoryStore(ResponseStore):
    """Turns of this process.

    A loop over a data set leaves many conversations that nobody continues: once `max_turns` is reached, the oldest
    turn that no other continues from is dropped for each new one. The newest turn is never dropped, so one
    conversation may grow longer than the bound.

    Args:
        max_turns: how many turns to keep; None for no bound.
    """

    def __init__(self, max_turns: int | None = DEFAULT_MAX_TURNS) -> None:
        if max_turns is not None and max_turns < 1:
            raise StoreError(
                f"max_turns={max_turns} keeps nothing; it takes 1 or more, or None for no bound."
            )
        self._max_turns = max_turns
        self._turns: dict[str, Turn] = {}
        self._children: dict[str, int] = {}
        self._leaves: OrderedDict[str, None] = OrderedDict()
        self._dropped = 0
        self._lock = threading.Lock()

    async def put(self, turn: Turn) -> None:
        with self._lock:
            self._put(turn)
            while (
                self._max_turns is not None
                and len(self._turns) > self._max_turns
                and len(self._leaves) > 1
            ):
                self._unlink(next(iter(self._leaves)))
                self._dropped += 1

    async def add(self, turns: Sequence[Turn]) -> int:
        with self._lock:
            new = new_of(turns, self._turns.get)
            if self._max_turns is not None and len(self._turns) + len(new) > self._max_turns:
                raise StoreError(
                    f"{len(new)} turns cannot be added: this store keeps {self._max_turns} and has {len(self._turns)}. "
                    "Nothing was added; use MemoryStore(max_turns=...) or a file."
                )
            for turn in new:
                self._put(turn)
            return len(new)

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
                if len(turns) == len(self._turns):
                    raise goes_round(id)
                turns.append(turn)
                next_id = turn.parent_id
        turns.reverse()
        return turns

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        with self._lock:
            if id not in self._turns:
                return False
            below = descendants_of(self._turns.values(), id) if self._children.get(id) else []
            if below and not descendants:
                raise has_children(id, self._children[id])
            for turn in reversed(below):
                self._unlink(turn.id)
            self._unlink(id)
            return True

    async def redact(self, id: str) -> bool:
        # In one step: what another thread redacts or deletes meanwhile must not come back.
        with self._lock:
            turn = self._turns.get(id)
            if turn is None:
                return False
            for after in descendants_of(self._turns.values(), id):
                if after.stored_on_server:
                    self._turns[after.id] = replace(after, stored_on_server=False)
            self._turns[id] = redacted(turn)
            return True

    async def list(self) -> list[Turn]:
        with self._lock:
            return list(self._turns.values())

    def explain_missing(self, id: str) -> str:
        if not self._dropped:
            return f"{id!r} is not in this store, which keeps the turns of this process alone."
        return (
            f"{id!r} is not in this store. It keeps {self._max_turns} turns and has dropped the {self._dropped} "
            "oldest; keep more with response_store=MemoryStore(max_turns=...), or all with response_store='turns.db'."
        )

    def _put(self, turn: Turn) -> None:
        known = self._turns.get(turn.id)
        if known is None:
            self._link(turn)
        elif known.parent_id != turn.parent_id:
            raise id_in_use(turn.id)
        # The caller's response holds the same items, and is the caller's to edit.
        own = replace(
            turn, input=tuple(map(copied, turn.input)), output=tuple(map(copied, turn.output))
        )
        self._turns[turn.id] = own

    def _link(self, turn: Turn) -> None:
        if not self._children.get(turn.id):
            self._leaves[turn.id] = None
        if turn.parent_id is not None:
            self._children[turn.parent_id] = self._children.get(turn.parent_id, 0) + 1
            self._leaves.pop(turn.parent_id, None)

    def _unlink(self, id: str) -> None:
        parent = self._turns.pop(id).parent_id
        self._leaves.pop(id, None)
        if parent is None:
            return
        self._children[parent] -= 1
        if not self._children[parent]:
            del self._children[parent]
            if parent in self._turns:
                self._leaves[parent] = None
                self._leaves.move_to_end(parent, last=False)
