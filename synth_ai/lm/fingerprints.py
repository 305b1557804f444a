"""Fingerprints of conversations, by which one that comes back whole is found in the store. Pure.

A history may come back as items of the Responses API, with ids and reasoning, or as messages of
Chat Completions, which have no place for either, and none for what the model says before a call
beside the text of the same message. So the fingerprint counts what every form of a history has:

    user "Hi", reasoning, answer "Hello"           ->  user "Hi", answer "Hello"
    user "Add", reasoning, preamble, call, output  ->  user "Add", call, output

`same_conversation` compares the rest, where a history has it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from synth_ai.content import (
    Item,
    Message,
    is_call,
    is_call_output,
    is_message,
    is_model_item,
    is_reasoning,
)

#: What says who made an item and how far it came, and nothing of what is in it.
_ENVELOPE = ("id", "status")


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
            if _may_end_turn(item, items[count]):
                found.append((count, fold.digest()))
    except (TypeError, ValueError, RecursionError):
        # What stands before an item that JSON cannot hold may be known all the same.
        return found
    return found


def _may_end_turn(item: Item, next_item: Item) -> bool:
    return is_model_item(item) or not is_model_item(next_item)


class _Fold:
    """Adds up the items of a conversation, one after the other."""

    def __init__(self, after: str | None) -> None:
        self._state = b"" if after is None else bytes.fromhex(after)
        # The texts of the model since its last call: of its answer, if no call follows, and before
        # that. One that was cut off may have the latter alone.
        self._answer: list[str] = []
        self._preamble: list[str] = []

    def add(self, item: Item) -> None:
        """Add an item.

        Raises:
            TypeError, ValueError, RecursionError: JSON cannot hold it.
        """
        if is_reasoning(item):
            return
        if is_answer(item):
            self._add_text(item)
            return

        # What the model said before a call was no answer.
        before = self._state if is_model_item(item) else self._with_answer()
        self._state = _mix(before, content_of(item))
        self._answer.clear()
        self._preamble.clear()

    def _add_text(self, message: Message) -> None:
        texts = self._preamble if is_preamble(message) else self._answer
        texts.append(text_of_answer(message))

    def digest(self) -> str:
        """Return the fingerprint so far."""
        return self._with_answer().hex()

    def _with_answer(self) -> bytes:
        answer = "".join(self._answer) or "".join(self._preamble)
        if not answer:
            return self._state
        return _mix(self._state, ["answer", answer])


# Keys in one order, as nobody has to keep that of an object; and ASCII, as half of a surrogate pair
# cannot be encoded. Made once, as every call needs it.
_write_json = json.JSONEncoder(sort_keys=True).encode


def _mix(state: bytes, content: object) -> bytes:
    return hashlib.sha256(state + _write_json(content).encode()).digest()


def is_answer(item: Item) -> TypeGuard[Message]:
    """Whether an item is a text of the model."""
    return is_message(item) and item.get("role") == "assistant"


def is_preamble(message: Message) -> bool:
    """Whether a text of the model says itself that it is no answer."""
    return message.get("phase") == "commentary"


# --- what an item says ------------------------------------------------------------------------


def content_of(item: Item) -> object:
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
    content = dict(item)
    if item.get("type") != "item_reference":
        for name in _ENVELOPE:
            content.pop(name, None)
    return content


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


def text_of_answer(message: Mapping[str, Any]) -> str:
    """Return all that a message of the model says: its texts, and the text of a refusal."""
    content = message.get("content")
    if isinstance(content, str):
        return content

    return "".join(map(_text_of_part, content or ()))


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    return str(part.get("text") or part.get("refusal", ""))
