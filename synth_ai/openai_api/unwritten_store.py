"""A store for calls with `store=false`: they continue from what is there, and leave nothing."""

from __future__ import annotations

from collections.abc import Sequence

from synth_ai.store.base import ResponseStore
from synth_ai.turn import Turn


class UnwrittenStore(ResponseStore):
    """A store that reads from another one, and keeps no turn.

    Args:
        store: the other one, which is not closed with this.
    """

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def put(self, turn: Turn) -> None:
        return

    async def get(self, id: str) -> Turn | None:
        return await self._store.get(id)

    async def chain(self, id: str) -> list[Turn] | None:
        return await self._store.chain(id)

    async def find_all(self, fingerprint: str, limit: int) -> Sequence[Turn]:
        return await self._store.find_all(fingerprint, limit)

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        return await self._store.delete(id, descendants=descendants)

    async def list(self) -> list[Turn]:
        return await self._store.list()

    def explain_missing(self, id: str) -> str:
        return self._store.explain_missing(id)
