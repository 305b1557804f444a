"""What is kept of a conversation: turns, each linked to the one before.

A turn holds only what it added, so a prefix that many branches share is kept once, and a fork costs one link.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace

from synth_ai.store.conflicts import new_of
from synth_ai.store.redaction import redacted
from synth_ai.turn import Turn


class ResponseStore(ABC):
    """Where turns are kept. Safe to use from many tasks, event loops and threads at once.

    What is put here is kept as it was then, whatever its caller does with the items later. What is read here is the
    store's own, not to be changed: it may be the very turn that others read.
    """

    @abstractmethod
    async def put(self, turn: Turn) -> None:
        """Keep a turn. When this returns, the turn can be read.

        A turn of the same id that continues the same turn is replaced.

        Raises:
            StoreConflictError: the id is in use for a turn that continues from another one.
            StoreError: it could not be kept.
        """

    @abstractmethod
    async def get(self, id: str) -> Turn | None:
        """The turn of this id, or None."""

    @abstractmethod
    async def chain(self, id: str) -> list[Turn] | None:
        """The turns from the first one to this id, oldest first; None when any of them is not here."""

    async def descendants(self, id: str) -> list[Turn]:
        """The turns that continue from this one, and those that continue from them: each after the one it continues.

        This version looks at every turn; a store that can follow the links should.
        """
        return descendants_of(await self.list(), id)

    @abstractmethod
    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        """Forget a turn; False when it was not here.

        Args:
            id: the turn.
            descendants: forget the turns that continue from it too, and those that continue from them.

        Raises:
            StoreConflictError: other turns continue from it and `descendants` is not set; nothing was deleted.
        """

    @abstractmethod
    async def list(self) -> list[Turn]:
        """Every turn, oldest first."""

    async def add(self, turns: Sequence[Turn]) -> int:
        """Keep turns that come from elsewhere, and return how many of them were new: all are added, or none.

        This version writes them one by one; a store that can do it in one step should.

        Raises:
            StoreConflictError: another turn is here under one of their ids.
            StoreImportError: they would lead back to themselves.
            StoreError: they could not be kept.
        """
        known = {turn.id: turn for turn in await self.list()}
        new = new_of(turns, known.get)
        for turn in new:
            await self.put(turn)
        return len(new)

    async def redact(self, id: str) -> bool:
        """Replace the text of a turn for good, so that the turns that continue from it stay valid.

        Every text, argument and picture of its items becomes `[redacted]`; its reasoning, token ids and warnings go,
        and of its settings all but numbers. Its place in the tree, its usage, roles, call ids and the names of
        functions stay; so do instructions and tools, as they belong to the whole branch. Other turns that quote the
        text are not searched.

        No server is asked to continue from this turn, or from one that continues from it, by its id any more, as it
        would still have the text: such branches are sent again in full, with `[redacted]` in its place. This holds
        for whoever shares the store, from their next call on; a call that is under way has read the text already.
        No server is told to delete anything: `lm.responses.redact` does that.

        Returns:
            False when the turn was not here.

        Raises:
            StoreError: it could not be written.
        """
        turn = await self.get(id)
        if turn is None:
            return False
        for after in await self.descendants(id):
            if after.stored_on_server:
                await self.put(replace(after, stored_on_server=False))
        await self.put(redacted(turn))
        return True

    def explain_missing(self, id: str) -> str:
        """A sentence that says why an id may not be here, for errors."""
        return f"{id!r} is not in this store."

    async def aclose(self) -> None:
        """Free what the store holds. Safe to call twice."""


def descendants_of(turns: Iterable[Turn], id: str) -> list[Turn]:
    """Those of the turns that continue from this one, directly or not: each after the one that it continues."""
    children: dict[str, list[Turn]] = {}
    for turn in turns:
        if turn.parent_id is not None and turn.id != id:
            children.setdefault(turn.parent_id, []).append(turn)
    found = children.pop(id, [])
    for each in found:
        found += children.pop(each.id, ())
    return found
