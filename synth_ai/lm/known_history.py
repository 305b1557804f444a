"""Histories that come back whole: the stored conversation that one begins with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synth_ai.content import Item
from synth_ai.lm.conversation import Parent
from synth_ai.lm.fingerprints import beginnings
from synth_ai.lm.prompt import NOT_GIVEN, Prompt
from synth_ai.lm.same_conversation import is_same_conversation
from synth_ai.store.base import ResponseStore
from synth_ai.store.redaction import count_redacted
from synth_ai.turn import Turn

#: How many turns of one fingerprint are looked at. They say the same but for their reasoning.
_MAX_FOUND = 100


@dataclass(frozen=True, slots=True)
class KnownBeginning:
    """The beginning of a history that is in the store.

    Attributes:
        parent: the turn that it ends with.
        count: how many items of the history it has.
    """

    parent: Parent
    count: int


async def find_known_beginning(prompt: Prompt, store: ResponseStore) -> KnownBeginning | None:
    """Find the longest stored conversation that a history begins with, item by item.

    A system message that the call gives must be the one in force there, too. Conversations of which
    a part was redacted are never found.

    Args:
        prompt: the call's prompt: the whole history.
        store: where the turns are.

    Raises:
        StoreError: the store cannot be read.
    """
    ids = _collect_ids(prompt.items)
    for count, digest in reversed(beginnings(prompt.items)):
        found = await store.find_all(digest, _MAX_FOUND)
        for turn in _put_named_first(found, ids):
            if prompt.instructions not in (NOT_GIVEN, turn.instructions):
                continue
            if await _is_conversation_of(turn, prompt.items[:count], store):
                return KnownBeginning(Parent(turn.id, turn), count)
    return None


def _collect_ids(items: Iterable[Item]) -> set[object]:
    ids: set[object] = {item.get("id") for item in items}
    return ids - {None}


def _put_named_first(turns: Iterable[Turn], ids: set[object]) -> list[Turn]:
    """Put the turns first whose items the history names by their ids; others may say the same."""
    named = []
    others = []
    for turn in turns:
        if ids.isdisjoint(_collect_ids(turn.output)):
            others.append(turn)
        else:
            named.append(turn)
    return named + others


async def _is_conversation_of(turn: Turn, given: Sequence[Item], store: ResponseStore) -> bool:
    """Tell whether the conversation up to a turn is the given one.

    Fingerprints leave something out, and a turn may have been replaced since its own was made.
    """
    chain = await store.chain(turn.id)
    if chain is None:
        return False
    if count_redacted(chain):
        return False
    if is_same_conversation(_items_of(chain), given):
        return True

    # Reasoning that the caller was not shown cannot come back.
    shown = _shown_items_of(chain)
    return shown is not None and is_same_conversation(shown, given)


def _items_of(chain: Sequence[Turn]) -> list[Item]:
    items: list[Item] = []
    for turn in chain:
        items += turn.input
        items += turn.output
    return items


def _shown_items_of(chain: Sequence[Turn]) -> list[Item] | None:
    """Return the items of a chain that the caller was shown; None if that is all of them."""
    items: list[Item] = []
    hides_reasoning = False
    for turn in chain:
        items += turn.input
        if turn.settings.get("include_reasoning") is False:
            hides_reasoning = True
            items += [item for item in turn.output if item.get("type") != "reasoning"]
        else:
            items += turn.output
    return items if hides_reasoning else None
