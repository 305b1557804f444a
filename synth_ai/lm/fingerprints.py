"""Fingerprints of conversations, by which one that comes back whole is found in the store. Pure.

A history may come back as items of the Responses API, with ids and reasoning, or as messages of
Chat Completions, which have no place for either, and none for what the model says before a call
beside the text of the same message. So the fingerprint counts what every form of a history has:

    user "Hi", reasoning, answer "Hello"           ->  user "Hi", answer "Hello"
    user "Add", reasoning, preamble, call, output  ->  user "Add", call, output

`is_same_conversation` compares the rest, where a history has it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synth_ai.content import (
    Item,
    is_call,
    is_call_output,
    is_message,
    is_model_item,
    is_reasoning,
    reasoning_of,
)

#: What says who made an item and how far it came, and nothing of what is in it.
_ENVELOPE = frozenset({"id", "status"})


def fingerprint(items: Iterable[Item], after: str | None = None) -> str | None:
    """Compute the fingerprint of a conversation.

    Args:
        items: its items, oldest first.
        after: the fingerprint of what comes before them; None if nothing does.

    Returns:
        A hexadecimal digest; None if an item has a value that JSON cannot hold.
    """
    try:
        fold = _Fold(after)
        for item in items:
            fold.add(item)
    except (TypeError, ValueError, RecursionError):
        return None
    return fold.digest()


def beginnings(items: Sequence[Item]) -> list[tuple[int, str]]:
    """Compute the fingerprints of all beginnings of a history that may be those of a stored turn.

    A stored turn ends with what the model wrote, or before what the caller wrote next, if all that
    the model wrote was cut off. Something must be left for the call to add.

    Returns:
        The number of items of each beginning and its fingerprint, the shortest first.
    """
    found: list[tuple[int, str]] = []
    fold = _Fold(None)
    try:
        for count, item in enumerate(items[:-1], start=1):
            fold.add(item)
            if is_model_item(item) or not is_model_item(items[count]):
                found.append((count, fold.digest()))
    except (TypeError, ValueError, RecursionError):
        # What stands before an item that JSON cannot hold may be known all the same.
        return found
    return found


class _Fold:
    """Adds up the items of a conversation, one after the other."""

    def __init__(self, after: str | None) -> None:
        self._state = b"" if after is None else bytes.fromhex(after)
        # The texts of the model since its last call. They are an answer only if no call follows.
        self._answer: list[str] = []

    def add(self, item: Item) -> None:
        """Add an item.

        Raises:
            TypeError, ValueError, RecursionError: JSON cannot hold it.
        """
        if is_reasoning(item) or _is_preamble(item):
            return
        if is_message(item) and item.get("role") == "assistant":
            self._answer.append(_text_of_answer(item))
            return

        if is_model_item(item):
            self._answer.clear()
        self._state = _mix(self._with_answer(), _content_of(item))
        self._answer.clear()

    def digest(self) -> str:
        """Return the fingerprint so far."""
        return self._with_answer().hex()

    def _with_answer(self) -> bytes:
        answer = "".join(self._answer)
        if not answer:
            return self._state
        return _mix(self._state, ["answer", answer])


def _mix(state: bytes, content: object) -> bytes:
    # Keys in one order, as nobody has to keep that of an object; and ASCII, as half of a surrogate
    # pair cannot be encoded.
    written = json.dumps(content, sort_keys=True)
    return hashlib.sha256(state + written.encode()).digest()


def _is_preamble(item: Item) -> bool:
    return is_message(item) and item.get("phase") == "commentary"


# --- what an item says ------------------------------------------------------------------------


def _content_of(item: Item) -> object:
    """Return what an item says, the same for all forms in which it may come back.

    ::

        {"role": "user", "content": "Hi"}
        {"type": "message", "id": "msg_1", "role": "user",
         "content": [{"type": "input_text", "text": "Hi"}]}
        ->  ["message", "user", None, [["text", "Hi"]]]

        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a":1}'}
        ->  ["call", "call_1", "add", ["read", {"a": 1}]]
    """
    if is_message(item):
        return ["message", item.get("role"), item.get("name"), _parts_of(item.get("content"))]
    if is_call_output(item):
        return ["output", item.get("call_id"), _parts_of(item.get("output"))]
    if is_call(item):
        return ["call", item.get("call_id"), item.get("name"), _called_with(item)]

    # What a server's own tools did, and whatever comes up next.
    if item.get("type") == "item_reference":
        return dict(item)
    return {name: value for name, value in item.items() if name not in _ENVELOPE}


def _called_with(call: Mapping[str, Any]) -> object:
    """Return what a call calls with. Frameworks read the JSON of arguments and write it anew."""
    if call.get("type") == "custom_tool_call":
        return ["input", call.get("input")]

    arguments = call.get("arguments")
    if not isinstance(arguments, str):
        return arguments
    try:
        return ["read", json.loads(arguments)]
    except (ValueError, RecursionError):
        return ["unreadable", arguments]


def _parts_of(content: object) -> object:
    """Return the parts of a content or an output; a string is one of text."""
    if isinstance(content, str):
        return [["text", content]]
    if not isinstance(content, (list, tuple)):
        return content
    return [_part_of(part) for part in content]


def _part_of(part: object) -> object:
    if isinstance(part, str):
        return ["text", part]
    if not isinstance(part, Mapping):
        return part

    part_type = part.get("type")
    if part_type in ("input_text", "output_text", "text"):
        # Annotations and log probabilities are about the text.
        return ["text", part.get("text")]
    if part_type == "input_image":
        return {"detail": "auto", **part}
    return dict(part)


def _text_of_answer(message: Mapping[str, Any]) -> str:
    """Return all that a message of the model says: its texts, and the text of a refusal."""
    content = message.get("content")
    if isinstance(content, str):
        return content

    texts = []
    for part in content or ():
        if isinstance(part, str):
            texts.append(part)
        else:
            texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "".join(texts)


# --- the rest ---------------------------------------------------------------------------------


def is_same_conversation(stored: Sequence[Item], given: Sequence[Item]) -> bool:
    """Tell whether a history that came back is a stored conversation, item by item.

    One with ids among what the model wrote is made of items, and must have all of them in their
    order. One without ids may be made of messages of Chat Completions: it need not have the
    reasoning, and what the model said before its calls, but what it has of them must be the same.

    Args:
        stored: the items of the stored turns.
        given: the items of the history.
    """
    stored_print = fingerprint(stored)
    if stored_print is None or stored_print != fingerprint(given):
        return False

    stored_runs = _model_runs(stored)
    given_runs = _model_runs(given)
    has_ids = any("id" in item for run in given_runs.values() for item in run)
    compare = _are_same_items if has_ids else _are_same_texts

    places = stored_runs.keys() | given_runs.keys()
    return all(compare(stored_runs.get(place, []), given_runs.get(place, [])) for place in places)


def _model_runs(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Return what the model wrote, by the number of other items that stand before it."""
    runs: dict[int, list[Item]] = {}
    others = 0
    for item in items:
        if is_model_item(item):
            runs.setdefault(others, []).append(item)
        else:
            others += 1
    return runs


def _are_same_items(stored: Sequence[Item], given: Sequence[Item]) -> bool:
    stored = [item for item in stored if not _is_empty(item)]
    given = [item for item in given if not _is_empty(item)]
    return len(stored) == len(given) and all(map(_is_same_item, stored, given))


def _is_empty(item: Item) -> bool:
    """Whether an item is a message without a word, which some forms of a history leave out."""
    return is_message(item) and not _text_of_answer(item)


def _is_same_item(stored: Item, given: Item) -> bool:
    if is_reasoning(stored) and is_reasoning(given):
        return _is_same_reasoning(stored, given)
    if is_message(stored) and is_message(given):
        return _is_same_phase(stored, given) and _text_of_answer(stored) == _text_of_answer(given)
    return _content_of(stored) == _content_of(given)


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


def _are_same_texts(stored: Sequence[Item], given: Sequence[Item]) -> bool:
    """Compare what a history without ids has of reasoning and of texts before calls."""
    reasoning = _join_reasoning(given)
    if reasoning and reasoning != _join_reasoning(stored):
        return False

    preamble = _join_preambles(given)
    return not preamble or preamble == _join_preambles(stored)


def _join_reasoning(run: Iterable[Item]) -> str:
    texts = [reasoning_of(item) for item in run if is_reasoning(item)]
    return "\n\n".join(text for text in texts if text)


def _join_preambles(run: Sequence[Item]) -> str:
    """Join what the model says before its last call, and what it says to be no answer."""
    last_call = -1
    for index, item in enumerate(run):
        if not is_message(item) and not is_reasoning(item):
            last_call = index

    texts = []
    for index, item in enumerate(run):
        if is_message(item) and (index < last_call or _is_preamble(item)):
            texts.append(_text_of_answer(item))
    return "".join(texts)
