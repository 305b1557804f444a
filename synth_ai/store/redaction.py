"""A turn without its text: what is left keeps the branch that goes through it valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synth_ai.turn import Turn

REDACTED = "[redacted]"

#: What is left of a call or its output: the fields that link the two, and what stands for the text.
_LINKED: Mapping[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "function_call": (("call_id", "name", "status"), {"arguments": "{}"}),
    "custom_tool_call": (("call_id", "name", "status"), {"input": REDACTED}),
    "function_call_output": (("call_id",), {"output": REDACTED}),
    "custom_tool_call_output": (("call_id",), {"output": REDACTED}),
}


def redacted(turn: Turn) -> Turn:
    """The turn as `ResponseStore.redact` leaves it."""
    return replace(
        turn,
        input=_redact_items(turn.input),
        output=_redact_items(turn.output),
        output_token_ids=None,
        server=None,
        stored_on_server=False,
        redacted=True,
        error=turn.error and REDACTED,
        warnings=(),
        settings={
            name: value for name, value in turn.settings.items() if isinstance(value, (int, float))
        },
    )


def redactions(turns: Iterable[Turn]) -> int:
    """How many of the turns are redacted.

    As that is never undone, what was made of a branch is up to date as long as this count of its turns is the same.
    """
    return sum(turn.redacted for turn in turns)


def _redact_items(items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    return tuple(left for item in items if (left := _redact(item)) is not None)


def _redact(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is left of an item; None for reasoning and for whatever is not known, which may hold text anywhere."""
    kind = item.get("type", "message")
    if kind == "message":
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        return _pick(item, "role", "phase", "status") | {
            "type": kind,
            "content": [{"type": part, "text": REDACTED}],
        }
    if kind not in _LINKED:
        return None
    names, text = _LINKED[kind]
    return _pick(item, *names) | {"type": kind} | text


def _pick(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: item[name] for name in names if name in item}
