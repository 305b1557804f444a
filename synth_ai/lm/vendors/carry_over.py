"""A conversation that was held on another API, without what this one cannot say. Pure.

A branch can always move: of the turns before, what has no counterpart is left out and listed in the response's
warnings. What a call itself brings is not touched here, so that it is an error where it cannot be said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from synth_ai.content import CALL_OUTPUTS, Item
from synth_ai.lm.request import LMRequest
from synth_ai.lm.tools import ToolSpec
from synth_ai.turn import Turn

#: What a tool's output says where nothing else is left of it: its call still needs an answer.
LEFT_OUT = "(The output is of a kind that cannot be shown here.)"

#: Where parts that may also be ids, or files elsewhere, have what they show.
_CONTENT = {"input_image": "image_url", "input_file": "file_data"}


@dataclass(frozen=True, slots=True)
class Takes:
    """What an API can say, by `type`: items, the parts of their content, and tools."""

    api: str
    items: frozenset[str]
    parts: frozenset[str]
    tools: frozenset[str]

    def takes_part(self, part: Any) -> bool:
        """Whether a content part can be said; a picture or a file by its id belongs to the server that has it."""
        if isinstance(part, str):
            return True
        kind = part.get("type")
        content = _CONTENT.get(kind)
        return kind in self.parts and (content is None or bool(part.get(content)))


def fitted(request: LMRequest, takes: Takes) -> tuple[LMRequest, list[str]]:
    """The request without what its history has from other APIs and this one does not take, and warnings that say so.

    Tools count as the branch's where a turn on another API had them, whether or not the call names them again.
    """
    foreign = [turn for turn in request.history if turn.api_type != takes.api]
    if not foreign:
        return request, []
    gone: Counter[str] = Counter()
    history = tuple(
        turn if turn.api_type == takes.api else _turn(turn, takes, gone) for turn in request.history
    )
    notes = []
    if gone:
        kinds = ", ".join(f"{count} {kind}" for kind, count in gone.items())
        notes.append(
            f"Left out of the history, as the {takes.api} API has no counterpart: {kinds}."
        )
    inherited = [tool for turn in foreign for tool in turn.tools or ()]
    tools = tuple(
        tool for tool in request.tools if _type(tool) in takes.tools or tool not in inherited
    )
    if lost := [_type(tool) for tool in request.tools if tool not in tools]:
        notes.append(
            f"Tools of the branch that the {takes.api} API does not have were left out: {', '.join(lost)}."
        )
    return replace(request, history=history, tools=tools), notes


def reasoning_note(count: int, why: str) -> list[str]:
    """The warning that reasoning of another backend was left out; none where none was."""
    return (
        [f"{count} reasoning item(s) of another backend were left out of the history: {why}."]
        if count
        else []
    )


def _turn(turn: Turn, takes: Takes, gone: Counter[str]) -> Turn:
    return replace(
        turn, input=_items(turn.input, takes, gone), output=_items(turn.output, takes, gone)
    )


def _items(items: Iterable[Item], takes: Takes, gone: Counter[str]) -> tuple[Item, ...]:
    kept = []
    for item in items:
        kind = item.get("type", "message")
        if kind not in takes.items:
            gone[kind] += 1
        elif (left := _item(item, takes, gone)) is not None:
            kept.append(left)
    return tuple(kept)


def _item(item: Item, takes: Takes, gone: Counter[str]) -> Item | None:
    """An item with the parts that can be said; None for a message of which nothing is left."""
    is_output = item.get("type") in CALL_OUTPUTS
    key = "output" if is_output else "content"
    parts = item.get(key)
    if item.get("type") == "reasoning" or not isinstance(parts, (list, tuple)):
        return item
    kept = [part for part in parts if takes.takes_part(part)]
    if len(kept) == len(parts):
        return item
    gone.update(str(part.get("type")) for part in parts if not takes.takes_part(part))
    if kept:
        return {**item, key: kept}
    return {**item, key: LEFT_OUT} if is_output else None


def _type(tool: ToolSpec | Mapping[str, Any]) -> str:
    return str(tool.get("type", "function"))
