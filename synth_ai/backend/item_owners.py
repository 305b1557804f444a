"""Whose an item is, for requests that refer to items by their ids.

A server looks such items up, and does not know of our callers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from synth_ai.backend.owned_store import store_of
from synth_ai.store.base import ResponseStore
from synth_ai.turn import Turn

# Ids that are known without a look into the store, about 200 bytes each.
_MAX_KNOWN = 100_000


class ItemOwners:
    """Whose the items of a store are.

    Args:
        store: the store of all callers.
    """

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        # The newest last.
        self._known: OrderedDict[str, str] = OrderedDict()

    def note(self, turn: Turn, owner: str | None) -> None:
        """Note the items of a turn."""
        if owner is None:
            return
        for item in (*turn.input, *turn.output):
            item_id = item.get("id")
            if isinstance(item_id, str):
                self._known[item_id] = owner
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def note_output(self, response: Mapping[str, Any], owner: str | None) -> None:
        """Note the items that a server answered with, also where nothing else is kept."""
        if owner is None:
            return
        for item_id in list_item_ids(response.get("output")):
            self._known[item_id] = owner

    async def owns(self, owner: str, item_id: str, may_be_elsewhere: bool) -> bool:
        """Whether an item is a caller's.

        Args:
            owner: the caller.
            item_id: the item.
            may_be_elsewhere: whether an item that nobody here has may be the caller's.
        """
        if item_id in self._known:
            return self._known[item_id] == owner

        # Rare: the item is old, or made up.
        for turn in await store_of(self._store, owner).list():
            self.note(turn, owner)
        if self._known.get(item_id) == owner:
            return True
        return may_be_elsewhere and item_id not in self._known


def list_item_ids(items: object) -> Iterator[str]:
    """List the ids that the input of a request refers to items by."""
    if not isinstance(items, list):
        return
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            yield item["id"]
