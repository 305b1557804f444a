"""What of the turns before goes to a chat server, and what has to stay behind. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import groupby

from synth_ai.content import (
    CALL_OUTPUTS,
    CALLS,
    Item,
    is_call,
    is_message,
    is_model_item,
    is_reasoning,
    reasoning_of,
)
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.carry_over import Supports, drop_unsupported, reasoning_warnings
from synth_ai.lm.vendors.chat.encode import COMPATIBLE, Dialect
from synth_ai.turn import Turn

_SUPPORTS = Supports(
    "chat",
    items=frozenset({"message", "reasoning"}) | CALLS | CALL_OUTPUTS,
    parts=frozenset({"input_text", "output_text", "text", "refusal", "input_image", "input_file"}),
    tools=frozenset({"function", "custom"}),
)


def adapt_history(
    request: LMRequest,
    dialect: Dialect = COMPATIBLE,
    *,
    server: str | None = None,
    now: float = 0.0,
) -> tuple[LMRequest, list[str]]:
    """Drop from the history of a request what its server does not take.

    Args:
        request: the request, with the turns before in `history`.
        dialect: what is particular to the server.
        server: the server that the request goes to. Of what another one has spoken it knows the
            transcript alone.
        now: the time, in seconds since the epoch: the sounds of spoken answers expire.

    Returns:
        The request with the history that is left, and warnings that list what was dropped.
    """
    if not request.history:
        return request, []

    request, warnings = drop_unsupported(request, _SUPPORTS)
    warnings = _warn_of_reasoning(request.history, dialect) + warnings

    history = []
    lost_sounds = 0
    field = _find_reasoning_field(request.history, server)
    for turn in request.history:
        adapted = _adapt_turn(turn, server, field, now)
        if adapted is not turn:
            lost_sounds += _count_sounds(turn) - _count_sounds(adapted)
        history.append(adapted)

    if lost_sounds:
        warnings.append(
            f"{lost_sounds} spoken answer(s) that the server does not have went as their "
            "transcripts."
        )

    return replace(request, history=tuple(history)), warnings


def _warn_of_reasoning(history: Iterable[Turn], dialect: Dialect) -> list[str]:
    """Make the warnings of the reasoning of other backends that `encode_messages` leaves out."""
    unreadable = 0
    unsent = 0
    for turn in history:
        # A turn of this API was not carried over. What it leaves out it has always left out.
        if turn.api_type == "chat":
            continue

        # One run of items of the model becomes one message.
        for _, run in groupby((*turn.input, *turn.output), is_model_item):
            items = list(run)
            reasoning = [item for item in items if is_reasoning(item)]
            readable = [item for item in reasoning if reasoning_of(item)]
            unreadable += len(reasoning) - len(readable)
            if not _is_reasoning_sent(items, dialect):
                unsent += len(readable)

    if dialect.supports_reasoning:
        reason = "servers take it only with tool calls"
    else:
        reason = "OpenAI's chat API has no field for it"

    warnings = reasoning_warnings(unreadable, "only the server that made it can read it")
    return warnings + reasoning_warnings(unsent, reason)


def _is_reasoning_sent(items: Iterable[Item], dialect: Dialect) -> bool:
    """Whether the reasoning among items that become one message goes along with them."""
    return dialect.supports_reasoning and any(is_call(item) for item in items)


def _find_reasoning_field(history: Iterable[Turn], server: str | None) -> str | None:
    """Find the field in which the server itself has sent reasoning; None if it has not."""
    for turn in history:
        if turn.server != server:
            continue
        for item in turn.output:
            if is_reasoning(item) and "chat_field" in item:
                return item["chat_field"]
    return None


def _adapt_turn(turn: Turn, server: str | None, field: str | None, now: float) -> Turn:
    """Drop what the server does not know, or does not know any more."""
    if turn.server != server:
        turn = _convert_items(turn, _drop_extra_content)
        turn = _convert_items(turn, partial(_adopt_reasoning, field=field))
        return _convert_items(turn, _drop_audio)

    if _count_sounds(turn) == 0:
        return turn
    return _convert_items(turn, partial(_drop_stale_audio, now=now))


def _convert_items(turn: Turn, convert: Callable[[Item], Item]) -> Turn:
    turn_input = tuple(map(convert, turn.input))
    turn_output = tuple(map(convert, turn.output))

    # Few turns change, and a copy costs more than the comparison, which looks at identity first.
    is_same = turn_input == turn.input and turn_output == turn.output
    if is_same:
        return turn
    return replace(turn, input=turn_input, output=turn_output)


def _drop_extra_content(item: Item) -> Item:
    """Drop what another server put into a call for itself, such as a signature of its thoughts."""
    if "extra_content" not in item or not is_call(item):
        return item

    call = item.copy()
    del call["extra_content"]
    return call


def _adopt_reasoning(item: Item, field: str | None) -> Item:
    """Drop what another server signed, and put the text where this one reads it, if that is known.

    ::

        {"type": "reasoning", "content": [...], "chat_field": "reasoning_content",
         "reasoning_details": [...]}
        ->  {"type": "reasoning", "content": [...], "chat_field": "reasoning"}
    """
    if not is_reasoning(item):
        return item

    reasoning = item.copy()
    reasoning.pop("reasoning_details", None)
    reasoning.pop("chat_field", None)
    if field in ("reasoning", "reasoning_content", "content"):
        reasoning["chat_field"] = field
    return reasoning


def _drop_audio(item: Item) -> Item:
    """Drop the id of a sound, so that its transcript goes in place of it."""
    if "audio" not in item or not is_message(item):
        return item

    message = item.copy()
    del message["audio"]
    return message


def _drop_stale_audio(item: Item, now: float) -> Item:
    """Drop the id of a sound that the server has forgotten by now."""
    if "audio" not in item or not is_message(item):
        return item

    # Servers that give no time keep the sound, as far as can be told.
    expires_at = item["audio"].get("expires_at", math.inf)
    if expires_at > now:
        return item
    return _drop_audio(item)


def _count_sounds(turn: Turn) -> int:
    return sum("audio" in item for item in (*turn.input, *turn.output))
