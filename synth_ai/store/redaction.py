"""Turns without their text: what remains of one keeps the branch that goes through it valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from synth_ai.content import Item
from synth_ai.turn import Turn

REDACTED = "[redacted]"

# Of a message: the fields that do not hold what it says.
_MESSAGE_FIELDS = ("role", "phase", "status")

# Of calls and their outputs: the fields that link the two, by the type of the item.
_LINK_FIELDS: Mapping[str, tuple[str, ...]] = {
    "function_call": ("call_id", "name", "status"),
    "custom_tool_call": ("call_id", "name", "status"),
    "function_call_output": ("call_id",),
    "custom_tool_call_output": ("call_id",),
}

# The fields that hold their text, and what replaces it. The arguments of a function call must stay
# JSON, as servers and chat templates read them.
_TEXT_FIELDS: Mapping[str, Mapping[str, str]] = {
    "function_call": {"arguments": "{}"},
    "custom_tool_call": {"input": REDACTED},
    "function_call_output": {"output": REDACTED},
    "custom_tool_call_output": {"output": REDACTED},
}


def redact_turn(turn: Turn) -> Turn:
    """Replace the text of a turn, as `ResponseStore.redact` describes it."""
    # Options may be texts, such as a prediction. Numbers tell nothing of a conversation.
    number_settings = {}
    for name, value in turn.settings.items():
        if isinstance(value, (int, float)):
            number_settings[name] = value

    return replace(
        turn,
        input=_redact_items(turn.input),
        output=_redact_items(turn.output),
        output_token_ids=None,
        output_logprobs=None,
        prompt_hash=None,
        compaction=None,
        fingerprint=None,
        request_key=None,
        server=None,
        stored_on_server=False,
        redacted=True,
        error=turn.error and REDACTED,
        warnings=(),
        settings=number_settings,
    )


def detach_turn(turn: Turn) -> Turn:
    """Take from a turn what would bring back the text of one before it that is being redacted.

    That is the server's copy of the conversation, a summary of its oldest turns, and the hashes by
    which the conversation is found as it was.

    Returns:
        The turn itself if it has none of these.
    """
    has_any = turn.stored_on_server or turn.compaction or turn.fingerprint or turn.request_key
    if not has_any:
        return turn
    return replace(
        turn, stored_on_server=False, compaction=None, fingerprint=None, request_key=None
    )


def count_redacted(turns: Iterable[Turn]) -> int:
    """Count the turns that are redacted.

    A redaction is never undone: what was made of a branch is up to date as long as this count of
    its turns stays the same.
    """
    return sum(turn.redacted for turn in turns)


def _redact_items(items: Iterable[Item]) -> tuple[Item, ...]:
    redacted_items = []
    for item in items:
        redacted = _redact_item(item)
        if redacted is not None:
            # A copy of some of the item's fields, which mypy cannot follow.
            redacted_items.append(cast("Item", redacted))

    return tuple(redacted_items)


def _redact_item(item: Mapping[str, object]) -> dict[str, object] | None:
    """Replace the text of an item.

    Returns:
        None for reasoning and for an item of a type that is not known here, which may hold text
        anywhere.
    """
    item_type = item.get("type", "message")
    if item_type == "message":
        part_type = "output_text" if item.get("role") == "assistant" else "input_text"
        content = [{"type": part_type, "text": REDACTED}]
        return {**_pick(item, _MESSAGE_FIELDS), "type": "message", "content": content}

    if isinstance(item_type, str) and item_type in _LINK_FIELDS:
        link = _pick(item, _LINK_FIELDS[item_type])
        return {**link, "type": item_type, **_TEXT_FIELDS[item_type]}

    return None


def _pick(item: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    return {name: item[name] for name in names if name in item}
