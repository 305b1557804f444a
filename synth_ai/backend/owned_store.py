"""The turns of one caller in a store that many share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synth_ai.store.base import ResponseStore
from synth_ai.store.tags import Tags
from synth_ai.turn import Turn

OWNER = "synth_owner"
"""The tag that says whose turn it is."""


# Turns of other callers that a search looks through; behind more of them it finds nothing.
_MAX_OTHERS = 1000


class OwnedStore(ResponseStore):
    """A store that shows one caller's turns alone. What others have is not there.

    Args:
        store: the store of all, which is not closed with this.
        owner: the caller.
    """

    def __init__(self, store: ResponseStore, owner: str) -> None:
        self._store = store
        self._owner = owner

    async def put(self, turn: Turn) -> None:
        # Should a server give two callers one id, the turn is the second one's from then on, and
        # the first one finds none.
        await self._store.put(replace(turn, tags={**turn.tags, OWNER: self._owner}))

    async def get(self, id: str) -> Turn | None:
        turn = await self._store.get(id)
        return turn if turn is not None and self._owns(turn) else None

    async def chain(self, id: str) -> list[Turn] | None:
        turns = await self._store.chain(id)
        if turns is None or not all(map(self._owns, turns)):
            return None
        return turns

    async def find_all(self, fingerprint: str, limit: int) -> Sequence[Turn]:
        # Others may have said the same, such as a greeting.
        found = await self._store.find_all(fingerprint, limit + _MAX_OTHERS)
        return [turn for turn in found if self._owns(turn)][:limit]

    async def find_answer(self, request_key: str) -> Turn | None:
        turn = await self._store.find_answer(request_key)
        return turn if turn is not None and self._owns(turn) else None

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        if await self.get(id) is None:
            return False
        return await self._store.delete(id, descendants=descendants)

    async def search(self, tags: Tags) -> Sequence[Turn]:
        return await self._store.search({**tags, OWNER: self._owner})

    def explain_missing(self, id: str) -> str:
        return f"{id!r:.100} is not a response of this key."

    async def list(self) -> list[Turn]:
        return list(await self._store.search({OWNER: self._owner}))

    def _owns(self, turn: Turn) -> bool:
        return turn.tags.get(OWNER) == self._owner


def store_of(store: ResponseStore, owner: str | None) -> ResponseStore:
    """Return the store as one caller sees it; None for the caller is everybody."""
    return store if owner is None else OwnedStore(store, owner)
