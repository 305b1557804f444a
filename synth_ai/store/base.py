"""What a store of turns must be able to do, and what it gets for free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from synth_ai.store.conflicts import cycle_error, select_new
from synth_ai.store.redaction import detach_turn, redact_turn
from synth_ai.store.tags import Annotation, Tags, select_tagged
from synth_ai.turn import Turn


class ResponseStore(ABC):
    """A place for turns, each linked to the one before. The base class of every store.

    Four methods are required: `put`, `get`, `delete` and `list`. The others work on top of these;
    override one where the store can do it in one step, which is faster, and safe when others write
    at the same time.

    A store is safe to use from many tasks, event loops and threads at once. It keeps a turn as it
    was when it was put, whatever the caller does with the items later. A turn that is read belongs
    to the store and must not be changed: it may be the object that others read.
    """

    # --- required ---------------------------------------------------------------------------------

    @abstractmethod
    async def put(self, turn: Turn) -> None:
        """Store a turn. When this returns, the turn can be read.

        A turn of the same id that continues the same turn is replaced; its place in the order of
        `list` stays.

        Raises:
            StoreConflictError: the id belongs to a turn that continues from another one.
            StoreError: it could not be stored.
        """

    @abstractmethod
    async def get(self, id: str) -> Turn | None:
        """Return the turn of this id, or None."""

    @abstractmethod
    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        """Delete a turn.

        Args:
            id: the turn.
            descendants: delete the turns that continue from it too, and those that continue from
                them.

        Returns:
            False if there was no such turn.

        Raises:
            StoreConflictError: other turns continue from it and `descendants` is not set; nothing
                was deleted.
        """

    # --- optional ---------------------------------------------------------------------------------

    async def chain(self, id: str) -> list[Turn] | None:
        """Return the turns from the first one to this id, oldest first.

        This version reads one turn after the other.

        Returns:
            None if any of the turns is not in the store.

        Raises:
            StoreCorruptError: the turns lead back to themselves.
        """
        turns: dict[str, Turn] = {}
        next_id: str | None = id
        while next_id is not None:
            if next_id in turns:
                raise cycle_error(id)

            turn = await self.get(next_id)
            if turn is None:
                return None
            turns[next_id] = turn
            next_id = turn.parent_id

        return list(reversed(turns.values()))

    async def descendants(self, id: str) -> list[Turn]:
        """Return the turns that continue from this one, directly or not.

        Each stands after the one that it continues. This version looks at every turn.
        """
        return find_descendants(await self.list(), id)

    async def find(self, fingerprint: str) -> Turn | None:
        """Return the newest turn with this fingerprint that is not redacted, or None."""
        found = await self.find_all(fingerprint, 1)
        return found[0] if found else None

    async def find_all(self, fingerprint: str, limit: int) -> Sequence[Turn]:
        """Return the turns with this fingerprint that are not redacted, newest first.

        Many turns may have one: samples of one prompt that say the same, for other reasons or under
        another system message. This version looks at every turn.

        Args:
            fingerprint: a hash of a whole conversation, see `Turn`.
            limit: the most turns to return.
        """
        found: list[Turn] = []
        for turn in reversed(await self.list()):
            if len(found) == limit:
                break
            if turn.fingerprint == fingerprint and not turn.redacted:
                found.append(turn)
        return found

    async def find_answer(self, request_key: str) -> Turn | None:
        """Return the newest turn that the response cache may give for a request, or None.

        This version looks at every turn.
        """
        for turn in reversed(await self.list()):
            if turn.request_key == request_key and not turn.redacted:
                return turn
        return None

    async def search(self, tags: Tags) -> Sequence[Turn]:
        """Return the turns that have all these tags with these values, oldest first.

        This version looks at every turn.
        """
        return select_tagged(await self.list(), tags)

    async def annotate(self, id: str, annotation: Annotation) -> bool:
        """Change what the caller says of a turn: its reward and its tags.

        This version reads the turn and puts it again.

        Returns:
            False if there was no such turn.

        Raises:
            StoreError: it could not be written.
        """
        turn = await self.get(id)
        if turn is None:
            return False

        await self.put(annotation.apply(turn))
        return True

    async def add(self, turns: Sequence[Turn]) -> int:
        """Store turns that come from elsewhere: all of them, or none.

        Turns that the store has already are left out. This version writes the others one by one.

        Returns:
            How many of the turns were new.

        Raises:
            StoreConflictError: the store has another turn under one of their ids.
            StoreImportError: they would lead back to themselves.
            StoreError: they could not be stored.
        """
        stored = {turn.id: turn for turn in await self.list()}
        new = select_new(turns, stored.get)
        for turn in new:
            await self.put(turn)
        return len(new)

    async def redact(self, id: str) -> bool:
        """Replace the text of a turn for good; the turns that continue from it stay valid.

        Every text, argument and picture of its items becomes `[redacted]`. Its reasoning, token
        ids and warnings are removed, and all its settings but numbers. Its links to other turns,
        its usage, roles, call ids and the names of functions stay, and so do its reward and tags,
        which are the caller's own. So do instructions and tools, as they belong to the whole
        branch. Other turns that quote the text are not searched.

        From now on no server is asked to continue by its id from this turn, or from one that
        continues from it, as the server would still have the text: such branches are sent again in
        full, with `[redacted]` in its place. This holds for everybody who shares the store, from
        their next call on; a call that is under way has read the text already. No server is told
        to delete anything: `lm.responses.redact` does that.

        Returns:
            False if there was no such turn.

        Raises:
            StoreError: it could not be written.
        """
        turn = await self.get(id)
        if turn is None:
            return False

        for descendant in await self.descendants(id):
            detached = detach_turn(descendant)
            if detached is not descendant:
                await self.put(detached)
        await self.put(redact_turn(turn))
        return True

    def explain_missing(self, id: str) -> str:
        """Explain, in a sentence for errors, why an id may not be in the store."""
        return f"{id!r:.100} is not in this store."

    async def aclose(self) -> None:
        """Free what the store holds open. Safe to call twice."""

    # --- required too -----------------------------------------------------------------------------

    # The last one, as its name hides the type `list` from whatever follows it in the class.
    @abstractmethod
    async def list(self) -> list[Turn]:
        """Return every turn, oldest first."""


def find_descendants(turns: Iterable[Turn], id: str) -> list[Turn]:
    """Find the turns that continue from this one, directly or not.

    Returns:
        These turns, each after the one that it continues.
    """
    children: dict[str, list[Turn]] = {}
    for turn in turns:
        if turn.parent_id is None or turn.id == id:
            continue
        children.setdefault(turn.parent_id, []).append(turn)

    # The list grows while the loop reads it. Each turn's children are taken out of the dict, so
    # that a cycle ends.
    found = children.pop(id, [])
    for turn in found:
        found += children.pop(turn.id, [])
    return found


def order_chain(turns: Mapping[str, Turn], id: str) -> list[Turn] | None:
    """Put the turns that lead to an id in their order, the first one first.

    Args:
        turns: all of them that there are, by id.
        id: the last one.

    Returns:
        None if any is missing.

    Raises:
        StoreCorruptError: the turns lead back to themselves.
    """
    chain: dict[str, Turn] = {}
    next_id: str | None = id
    while next_id is not None:
        if next_id in chain:
            raise cycle_error(id)
        turn = turns.get(next_id)
        if turn is None:
            return None
        chain[next_id] = turn
        next_id = turn.parent_id

    return list(reversed(chain.values()))
