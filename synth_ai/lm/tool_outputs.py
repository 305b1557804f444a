"""Tool outputs held against the calls that they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synth_ai.content import CALL_OUTPUTS, CALLS, Item
from synth_ai.errors import MissingToolOutputError, RequestError


def typed_tool_outputs(
    asked: Iterable[Mapping[str, Any]], given: Iterable[Item]
) -> tuple[Item, ...]:
    """`given` with every output of the type that its call has: callers answer functions and custom tools alike."""
    given = tuple(given)
    custom = {
        item.get("call_id") for item in (*asked, *given) if item.get("type") == "custom_tool_call"
    }
    return tuple(
        {**item, "type": "custom_tool_call_output"}
        if item.get("type") == "function_call_output" and item["call_id"] in custom
        else item
        for item in given
    )


def check_tool_outputs(
    asked: Iterable[Mapping[str, Any]], given: Iterable[Mapping[str, Any]]
) -> None:
    """Refuse to go on while a tool call waits for its output: every backend would answer with an error.

    Args:
        asked: the output items of the turn to continue from.
        given: the new items, which may hold calls of their own where they are a whole history.

    Raises:
        MissingToolOutputError: some call has no output in `given`; the message names each.
        RequestError: an output answers a call that is not there.
    """
    given = tuple(given)
    found = (item for item in (*asked, *given) if item.get("type") in CALLS)
    calls = {str(item.get("call_id")): item.get("name", "") for item in found}
    answered = {
        item.get("call_id") for item in given if str(item.get("type", "")).endswith("_output")
    }
    stray = [
        item["call_id"]
        for item in given
        if item.get("type") in CALL_OUTPUTS and item["call_id"] not in calls
    ]
    if stray:
        waiting = ", ".join(calls) or "none"
        raise RequestError(
            f"There is an output for {', '.join(map(repr, stray))}, but the turn to continue from made no such call "
            f"(its calls: {waiting}). Continue from the response that made it, with previous_response_id=."
        )
    missing = {call_id: name for call_id, name in calls.items() if call_id not in answered}
    if missing:
        names = ", ".join(f"{name} ({call_id})" for call_id, name in missing.items())
        raise MissingToolOutputError(
            f"The model asked for tool calls that have no output yet: {names}. "
            "Give each with tool_outputs={call_id: output} before the conversation goes on.",
            call_ids=missing,
        )
