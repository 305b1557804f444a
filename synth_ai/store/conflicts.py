"""What every store refuses, with the same words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from synth_ai.errors import StoreConflictError, StoreCorruptError, StoreImportError

if TYPE_CHECKING:
    from synth_ai.turn import Turn


def id_in_use(id: str) -> StoreConflictError:
    """A turn cannot be put: its id is that of a turn which continues from another one."""
    return StoreConflictError(
        f"{id!r} is in the store already and continues from another turn; it was left as it is."
    )


def has_children(id: str, children: int) -> StoreConflictError:
    """A turn cannot be deleted: others continue from it."""
    return StoreConflictError(
        f"{id!r} cannot be deleted: {children} turn(s) continue from it. Delete those first, or all of them with "
        "descendants=True."
    )


def goes_round(id: str) -> StoreCorruptError:
    """The way back from a turn never ends."""
    return StoreCorruptError(
        f"The turns that lead to {id!r} go round in a circle, so they have no first one."
    )


def new_of(turns: Sequence[Turn], stored: Callable[[str], Turn | None]) -> list[Turn]:
    """The turns that a store does not have yet, after a look at whether all of them can be added.

    Args:
        turns: turns that come from elsewhere.
        stored: the turn that the store has under an id.

    Raises:
        StoreConflictError: the store has another turn under one of their ids.
        StoreImportError: together with the store's, they would lead back to themselves.
    """
    known = {turn.id: stored(turn.id) for turn in turns}
    for turn in turns:
        if (there := known[turn.id]) is not None and there != turn:
            raise StoreConflictError(
                f"{turn.id!r} is in the store already, with other content; nothing was added. The turns come from "
                "another store: import them into a new one."
            )
    _refuse_circles(turns, stored)
    return [turn for turn in turns if known[turn.id] is None]


def _refuse_circles(turns: Sequence[Turn], stored: Callable[[str], Turn | None]) -> None:
    added = {turn.id: turn for turn in turns}
    done: set[str] = set()
    for turn in turns:
        way: dict[str, None] = {}
        next_id: str | None = turn.id
        while next_id is not None and next_id not in done:
            if next_id in way:
                raise StoreImportError(
                    f"The turns go round in a circle at {next_id!r}; nothing was added."
                )
            way[next_id] = None
            before = added.get(next_id) or stored(next_id)
            next_id = None if before is None else before.parent_id
        done.update(way)
