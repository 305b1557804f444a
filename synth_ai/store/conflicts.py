"""The errors that every store raises alike."""

from __future__ import annotations

from synth_ai.errors import StoreConflictError, StoreCorruptError


def id_in_use(id: str) -> StoreConflictError:
    """A turn cannot be put: its id is that of a turn which continues from another one."""
    return StoreConflictError(f"{id!r} is in the store already and continues from another turn; it was left as it is.")


def has_children(id: str, children: int) -> StoreConflictError:
    """A turn cannot be deleted: others continue from it."""
    return StoreConflictError(
        f"{id!r} cannot be deleted: {children} turn(s) continue from it. Delete those first, or all of them with "
        "descendants=True."
    )


def goes_round(id: str) -> StoreCorruptError:
    """The way back from a turn never ends."""
    return StoreCorruptError(f"The turns that lead to {id!r} go round in a circle, so they have no first one.")
