"""Calls that were cut off with their answer: nobody could run them, so they are dropped. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from synth_ai.content import Call, Item, is_call


def drop_truncated_calls(
    output: Iterable[Item], *, has_statuses: bool = True
) -> tuple[list[Item], list[str]]:
    """Drop the calls that were cut off from the output of an answer that stopped short.

    Args:
        output: the items of the answer.
        has_statuses: whether the server says of each item whether it is complete. If it does not, a
            custom tool's call at the end counts as cut off.

    Returns:
        The other items, and a warning for each call that was dropped.
    """
    items = list(output)
    last = items[-1] if items else None

    kept = []
    warnings = []
    for item in items:
        may_be_cut = item is last and not has_statuses
        if is_call(item) and _is_cut_off(item, may_be_cut=may_be_cut):
            warnings.append(
                f"The call {item['call_id']} of {item['name']!r} was cut off and is left out."
            )
        else:
            kept.append(item)

    return kept, warnings


def _is_cut_off(call: Call, *, may_be_cut: bool) -> bool:
    # The input of a custom tool is any text: half of it is a text too, so it cannot tell.
    if call["type"] == "custom_tool_call":
        return may_be_cut or call.get("status") == "incomplete"

    return not _is_json(call["arguments"])


def _is_json(text: str) -> bool:
    try:
        # Models write line breaks into JSON strings, which only a reader that is not strict takes.
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
