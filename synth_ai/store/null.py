"""No store at all: only a server that stores responses itself can continue from an id."""

from __future__ import annotations

from collections.abc import Sequence

from synth_ai.errors import StoreError
from synth_ai.store.base import ResponseStore
from synth_ai.turn import Turn


class NullStore(ResponseStore):
    """A store that keeps nothing, for `response_store=False`."""

    async def put(self, turn: Turn) -> None:
        return

    async def get(self, id: str) -> Turn | None:
        return None

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        return False

    async def list(self) -> list[Turn]:
        return []

    async def add(self, turns: Sequence[Turn]) -> int:
        raise StoreError("Turns cannot be added: this LM keeps none (response_store=False).")

    def explain_missing(self, id: str) -> str:
        return f"{id!r:.100} is not here: this LM keeps no turns (response_store=False)."
