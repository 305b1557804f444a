"""A history from another API, without what this one cannot represent. Pure.

A branch can always go on elsewhere: of the turns before, what has no counterpart is dropped and
listed in the response's warnings. The input of the call itself is not touched, so that it is an
error if it cannot be represented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from synth_ai.content import Item, Part, is_call_output, is_message
from synth_ai.lm.request import LMRequest
from synth_ai.lm.tools import ToolSpec
from synth_ai.store.credentials import without_credentials
from synth_ai.turn import Turn

#: The output of a tool of which nothing can be represented: its call still needs an answer.
OUTPUT_PLACEHOLDER = "(The output is of a kind that cannot be shown here.)"

#: Where a part has its data. One that has an id in its place belongs to the server that knows it.
_DATA_KEYS = {"input_image": "image_url", "input_file": "file_data"}


@dataclass(frozen=True, slots=True)
class Supports:
    """What an API can represent, by `type`: items, the parts of their content, and tools."""

    api: str
    items: frozenset[str]
    parts: frozenset[str]
    tools: frozenset[str]

    def represents(self, part: str | Part) -> bool:
        """Whether the API can represent a part of an item's content."""
        if isinstance(part, str):
            return True

        part_type = part.get("type", "")
        data_key = _DATA_KEYS.get(part_type)
        if data_key is not None and not part.get(data_key):
            return False

        return part_type in self.parts


def drop_unsupported(request: LMRequest, supports: Supports) -> tuple[LMRequest, list[str]]:
    """Drop what the API cannot represent from the turns of other APIs.

    Tools of these turns are dropped too, whether or not the call names them again.

    Returns:
        The request with the history and tools that are left, and warnings that list the others.
    """
    foreign_turns = [turn for turn in request.history if turn.api_type != supports.api]
    if not foreign_turns:
        return request, []

    warnings = []

    history, dropped = _drop_from_history(request.history, supports)
    if dropped:
        counts = ", ".join(f"{count} {name}" for name, count in dropped.items())
        warnings.append(
            f"Left out of the history, as the {supports.api} API has no counterpart: {counts}."
        )

    tools, dropped_tools = _partition_tools(request.tools, foreign_turns, supports)
    if dropped_tools:
        names = ", ".join(_tool_type(tool) for tool in dropped_tools)
        warnings.append(
            f"Tools of the branch that the {supports.api} API does not have were left out: {names}."
        )

    return replace(request, history=history, tools=tools), warnings


def reasoning_warnings(count: int, reason: str) -> list[str]:
    """Make the warning that reasoning of another backend was left out, if there was any."""
    if count == 0:
        return []

    return [f"{count} reasoning item(s) of another backend were left out of the history: {reason}."]


def _drop_from_history(
    history: Iterable[Turn], supports: Supports
) -> tuple[tuple[Turn, ...], Counter[str]]:
    """Drop what the API cannot represent, and count it by type."""
    turns = []
    dropped: Counter[str] = Counter()
    for turn in history:
        if turn.api_type != supports.api:
            turn_input = _drop_items(turn.input, supports, dropped)
            turn_output = _drop_items(turn.output, supports, dropped)
            turn = replace(turn, input=turn_input, output=turn_output)
        turns.append(turn)

    return tuple(turns), dropped


def _drop_items(
    items: Iterable[Item], supports: Supports, dropped: Counter[str]
) -> tuple[Item, ...]:
    """Drop the items that the API cannot represent, and count them in `dropped`."""
    kept = []
    for item in items:
        # People may leave out the type of a message.
        item_type = item.get("type", "message")
        if item_type not in supports.items:
            dropped[item_type] += 1
            continue

        remaining = _drop_parts(item, supports, dropped)
        if remaining is not None:
            kept.append(remaining)

    return tuple(kept)


def _drop_parts(item: Item, supports: Supports, dropped: Counter[str]) -> Item | None:
    """Drop the parts that the API cannot represent, and count them in `dropped`.

    Returns:
        The item with the other parts; None for a message that has no others.
    """
    # Reasoning is left to the history of each API: what it can take depends on the server, too.
    if is_message(item):
        parts = item.get("content")
    elif is_call_output(item):
        parts = item.get("output")
    else:
        return item

    if not isinstance(parts, (list, tuple)):
        return item

    kept = []
    for part in parts:
        if supports.represents(part):
            kept.append(part)
        else:
            dropped[str(part.get("type"))] += 1

    if len(kept) == len(parts):
        return item
    if is_call_output(item):
        output = item.copy()
        output["output"] = kept or OUTPUT_PLACEHOLDER
        return output
    if not kept:
        return None
    return cast("Item", {**item, "content": kept})


def _partition_tools(
    tools: Iterable[ToolSpec], foreign_turns: Iterable[Turn], supports: Supports
) -> tuple[tuple[ToolSpec, ...], list[ToolSpec]]:
    """Part the tools that go on from those that only another API has.

    A tool that no turn before had is the call's own, and stays: it is an error if the API lacks it.
    """
    inherited: list[ToolSpec] = []
    for turn in foreign_turns:
        inherited += map(without_credentials, turn.tools or ())

    kept = []
    dropped = []
    for tool in tools:
        if _tool_type(tool) in supports.tools or without_credentials(tool) not in inherited:
            kept.append(tool)
        else:
            dropped.append(tool)

    return tuple(kept), dropped


def _tool_type(tool: Mapping[str, object]) -> str:
    return str(tool.get("type", "function"))
