"""Whether a history that came back is a stored conversation, item by item. Pure.

Its fingerprint has told all but what some forms of a history have no place for: reasoning, and what
the model said before its calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from synth_ai.content import Item, is_model_item, is_reasoning, reasoning_of
from synth_ai.lm.fingerprints import (
    content_of,
    fingerprint,
    is_answer,
    is_preamble,
    text_of_answer,
)


def is_same_conversation(stored: Sequence[Item], given: Sequence[Item]) -> bool:
    """Tell whether a history that came back is a stored conversation.

    One with ids among what the model wrote is made of items, and must have all of them in their
    order. One without ids may be made of messages of Chat Completions: it need not have the
    reasoning, and what the model said before its calls, but what it has of them must be the same.

    Args:
        stored: the items of the stored turns.
        given: the items of the history.
    """
    stored_print = fingerprint(stored)
    if stored_print is None:
        return False
    if stored_print != fingerprint(given):
        return False

    stored_runs = _split_runs(stored)
    given_runs = _split_runs(given)
    compare = _are_same_items if _has_ids(given_runs) else _are_same_texts

    for place in stored_runs.keys() | given_runs.keys():
        if not compare(stored_runs.get(place, []), given_runs.get(place, [])):
            return False
    return True


def _split_runs(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Return what the model wrote in one go, by the number of other items that stand before it."""
    runs: dict[int, list[Item]] = {}
    others = 0
    for item in items:
        if is_model_item(item):
            runs.setdefault(others, []).append(item)
        else:
            others += 1
    return runs


def _has_ids(runs: Mapping[int, Iterable[Item]]) -> bool:
    items = chain.from_iterable(runs.values())
    return any("id" in item for item in items)


# --- items with ids ---------------------------------------------------------------------------


def _are_same_items(stored: Iterable[Item], given: Iterable[Item]) -> bool:
    stored_items = _drop_empty(stored)
    given_items = _drop_empty(given)
    if len(stored_items) != len(given_items):
        return False
    return all(map(_is_same_item, stored_items, given_items))


def _drop_empty(run: Iterable[Item]) -> list[Item]:
    """Drop messages without a word, which some forms of a history leave out."""
    items = []
    for item in run:
        is_empty = is_answer(item) and not text_of_answer(item)
        if not is_empty:
            items.append(item)
    return items


def _is_same_item(stored: Item, given: Item) -> bool:
    if is_reasoning(stored) and is_reasoning(given):
        return _is_same_reasoning(stored, given)
    if is_answer(stored) and is_answer(given):
        return _is_same_phase(stored, given) and text_of_answer(stored) == text_of_answer(given)
    return content_of(stored) == content_of(given)


def _is_same_phase(stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Compare the phases of messages, if both have one: not every framework brings it back."""
    phases = {stored.get("phase"), given.get("phase")} - {None}
    return len(phases) < 2


def _is_same_reasoning(stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Compare reasoning by the first of text, ciphertext and id that a history brings back."""
    text = reasoning_of(given)
    if text:
        return text == reasoning_of(stored)

    for name in ("encrypted_content", "id"):
        if given.get(name) and stored.get(name):
            return bool(given[name] == stored[name])
    return True


# --- messages without ids ---------------------------------------------------------------------


def _are_same_texts(stored: Sequence[Item], given: Sequence[Item]) -> bool:
    """Compare what a history has of reasoning and of texts before calls."""
    reasoning = _join_reasoning(given)
    if reasoning and reasoning != _join_reasoning(stored):
        return False

    preamble = _join_preambles(given)
    if not preamble:
        return True
    return preamble == _join_preambles(stored)


def _join_reasoning(run: Iterable[Item]) -> str:
    texts = [reasoning_of(item) for item in run if is_reasoning(item)]
    return "\n\n".join(filter(None, texts))


def _join_preambles(run: Iterable[Item]) -> str:
    """Join what the model says before its last call, and what it says to be no answer."""
    preambles: list[str] = []
    waiting: list[str] = []
    for item in run:
        if is_reasoning(item):
            continue
        if not is_answer(item):
            # A call: the texts before it were no answer.
            preambles += waiting
            waiting.clear()
        elif is_preamble(item):
            preambles.append(text_of_answer(item))
        else:
            waiting.append(text_of_answer(item))

    return "".join(preambles)
