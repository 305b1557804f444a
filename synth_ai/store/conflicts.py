"""What every store refuses, in the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from synth_ai.errors import StoreConflictError, StoreCorruptError, StoreImportError
from synth_ai.turn import Turn

FindTurn: TypeAlias = Callable[[str], Turn | None]
"""Returns the turn that a store has under an id, or None."""


def conflict_error(id: str) -> StoreConflictError:
    """Make the error for a turn whose id belongs to one that continues from another turn."""
    return StoreConflictError(
        f"{id!r} is in the store already and continues from another turn; it was left as it is."
    )


def children_error(id: str, children: int) -> StoreConflictError:
    """Make the error for a turn that cannot be deleted, as others continue from it."""
    return StoreConflictError(
        f"{id!r} cannot be deleted: {children} turn(s) continue from it. "
        "Delete those first, or all of them with descendants=True."
    )


def cycle_error(id: str) -> StoreCorruptError:
    """Make the error for a turn whose ancestors never end."""
    return StoreCorruptError(
        f"The turns that lead to {id!r} go round in a circle, so they have no first one."
    )


def select_new(turns: Sequence[Turn], find_stored: FindTurn) -> list[Turn]:
    """Select the turns that a store does not have yet, if all of them can be added.

    Args:
        turns: turns that come from elsewhere.
        find_stored: returns the turn that the store has under an id.

    Raises:
        StoreConflictError: the store has another turn under one of their ids.
        StoreImportError: together with the store's turns, they would lead back to themselves.
    """
    new = []
    for turn in turns:
        stored = find_stored(turn.id)
        if stored is None:
            new.append(turn)
        elif not _is_same(stored, turn):
            raise StoreConflictError(
                f"{turn.id!r} is in the store already, with other content; nothing was added. "
                "The turns come from another store: import them into a new one."
            )

    _check_for_cycles(turns, find_stored)
    return new


def _is_same(stored: Turn, turn: Turn) -> bool:
    """Whether two turns are one, whatever was said of it since: that of the store stays."""
    return stored == replace(turn, reward=stored.reward, tags=stored.tags)


def _check_for_cycles(turns: Sequence[Turn], find_stored: FindTurn) -> None:
    added = {turn.id: turn for turn in turns}
    # Ids that are known to lead to a first turn: no way is walked twice.
    checked: set[str] = set()
    for turn in turns:
        path = _walk_up(turn.id, added, find_stored, checked)
        checked.update(path)


def _walk_up(
    start: str, added: Mapping[str, Turn], find_stored: FindTurn, checked: set[str]
) -> set[str]:
    """Collect the ids from a turn up to its first one, or up to an id that was checked before."""
    path = set()
    next_id: str | None = start
    while next_id is not None:
        if next_id in checked:
            break
        if next_id in path:
            raise StoreImportError(
                f"The turns go round in a circle at {next_id!r}; nothing was added."
            )
        path.add(next_id)

        turn = added.get(next_id) or find_stored(next_id)
        next_id = None if turn is None else turn.parent_id

    return path
