"""LMs of every API that answer what a test says, in the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from synth_ai import LM
from synth_ai.content import Item, assistant_message, reasoning_item
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

APIS = ("chat", "responses", "harmony")

Turn: TypeAlias = str | tuple[str, dict[str, Any]]
"""A text, or the name and the arguments of a call."""

MakeLM: TypeAlias = Callable[..., LM]


def make_lm(api: str, *turns: Turn, reasoning: str | None = "I think.", **options: Any) -> LM:
    """Make an LM of an API that answers these turns, each after some reasoning."""
    if api == "harmony":
        completions = [_completion(turn, reasoning) for turn in turns]
        return LM("m", engine=ScriptedEngine(completions), **options)

    answers = [_items(turn, reasoning) for turn in turns]
    return LM("m", vendor=ScriptedVendor(answers, api=api), **options)


def _completion(turn: Turn, reasoning: str | None) -> str:
    if isinstance(turn, str):
        return final_text(turn, reasoning=reasoning)
    name, arguments = turn
    return call_text(name, arguments, reasoning=reasoning)


def _items(turn: Turn, reasoning: str | None) -> Sequence[Item]:
    items: list[Item] = []
    if reasoning is not None:
        items.append(reasoning_item(reasoning))
    if isinstance(turn, str):
        items.append(assistant_message(turn))
    else:
        name, arguments = turn
        items.append(tool_call(name, arguments))
    return items


PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

#: A tool as the Responses API has it, and as Chat Completions does.
FLAT_TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": PARAMETERS,
    "strict": True,
}
NESTED_TOOL: Any = {
    "type": "function",
    "function": {name: value for name, value in FLAT_TOOL.items() if name != "type"},
}

CALL: Turn = ("weather", {"city": "Oslo"})
ARGUMENTS = json.dumps({"city": "Oslo"})
