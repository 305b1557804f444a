"""Tool outputs compared with the calls that they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from synth_ai.content import (
    CallOutput,
    CustomToolCallOutput,
    Item,
    is_call,
    is_call_output,
)
from synth_ai.errors import MissingToolOutputError, RequestError


def match_output_types(asked: Iterable[Item], given: Iterable[Item]) -> tuple[Item, ...]:
    """Give each output the type that its call asks for.

    Callers answer functions and custom tools alike, with `tool_outputs={call_id: output}`.

    Args:
        asked: the output items of the turn to continue from.
        given: the new items.
    """
    given = tuple(given)
    custom_ids = set()
    for item in (*asked, *given):
        if item.get("type") == "custom_tool_call":
            custom_ids.add(item.get("call_id"))

    matched: list[Item] = []
    for item in given:
        if is_call_output(item) and item.get("call_id") in custom_ids:
            matched.append(_as_custom(item))
        else:
            matched.append(item)
    return tuple(matched)


def _as_custom(output: CallOutput) -> CustomToolCallOutput:
    return {**output, "type": "custom_tool_call_output"}


def check_tool_outputs(asked: Iterable[Item], given: Iterable[Item]) -> None:
    """Refuse to go on while a tool call waits for its output: every backend would refuse it, too.

    Args:
        asked: the output items of the turn to continue from.
        given: the new items. A whole history has calls, too.

    Raises:
        MissingToolOutputError: a call has no output in `given`; the message names each.
        RequestError: an output answers a call that was not made.
    """
    given = tuple(given)
    calls: dict[str, str] = {}
    for item in (*asked, *given):
        if is_call(item):
            calls[str(item.get("call_id"))] = item.get("name", "")

    _check_stray(given, calls)
    _check_missing(given, calls)


def _check_stray(given: Sequence[Item], calls: Mapping[str, str]) -> None:
    # An output in a history that a caller wrote may lack the id.
    answered = [item.get("call_id") for item in given if is_call_output(item)]
    stray = [call_id for call_id in answered if call_id not in calls]
    if stray:
        outputs = ", ".join(map(repr, stray))
        call_ids = ", ".join(calls) or "none"
        raise RequestError(
            f"There is an output for {outputs}, but the turn to continue from made no such call "
            f"(its calls: {call_ids}). "
            "Continue from the response that made it, with previous_response_id=."
        )


def _check_missing(given: Sequence[Item], calls: Mapping[str, str]) -> None:
    answered = set()
    for item in given:
        # The types of the outputs of a server's own tools end so, too.
        if str(item.get("type", "")).endswith("_output"):
            answered.add(item.get("call_id"))

    missing = {call_id: name for call_id, name in calls.items() if call_id not in answered}
    if missing:
        names = ", ".join(f"{name} ({call_id})" for call_id, name in missing.items())
        raise MissingToolOutputError(
            f"The model asked for tool calls that have no output yet: {names}. "
            "Give each with tool_outputs={call_id: output} before the conversation goes on.",
            call_ids=missing,
        )
