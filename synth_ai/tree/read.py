"""The turns of a tree, read from a store."""

from __future__ import annotations

from collections.abc import Sequence

from synth_ai.errors import UnknownResponseError
from synth_ai.ids import check_id
from synth_ai.store.base import ResponseStore
from synth_ai.tree.turn_tree import TurnTree
from synth_ai.turn import Turn


async def read_tree(store: ResponseStore, response_id: str | None) -> Sequence[Turn]:
    """Read the turns of a store, or those of the conversation that a response belongs to.

    Raises:
        RequestError: it cannot be an id.
        UnknownResponseError: there is no such response in the store.
    """
    if response_id is None:
        return await store.list()

    check_id(response_id, "response_id")
    chain = await store.chain(response_id)
    if chain is not None:
        first = chain[0]
        return [first, *await store.descendants(first.id)]

    # A turn before it is missing, or the response itself.
    tree = TurnTree.of(await store.list())
    if response_id not in tree.turns:
        raise UnknownResponseError(store.explain_missing(response_id))
    return list(tree.around(response_id).turns.values())
