"""Calls that were cut off with their answer: they are in no response, as there is nothing to run. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from synth_ai.content import Item


def without_cut_calls(
    output: Iterable[Item], *, is_cut_at_end: bool = False
) -> tuple[list[Item], list[str]]:
    """The output of an answer that stopped short without the calls that were cut off, and warnings that name them.

    A function's call is cut off where its arguments are no JSON. The input of a custom tool is any text, so there the
    item's own status says it.

    Args:
        is_cut_at_end: items have no status of the server's, so a custom tool's call at the end counts as cut off.
    """
    items = list(output)
    last = items[-1] if is_cut_at_end and items else None
    cut = [item for item in items if _is_cut(item, item is last)]
    warnings = [
        f"The call {item['call_id']} of {item['name']!r} was cut off and is left out."
        for item in cut
    ]
    return [item for item in items if item not in cut], warnings


def _is_cut(item: Item, is_at_end: bool) -> bool:
    if item.get("type") == "custom_tool_call":
        return is_at_end or item.get("status") == "incomplete"
    return item.get("type") == "function_call" and not _is_json(item["arguments"])


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True
