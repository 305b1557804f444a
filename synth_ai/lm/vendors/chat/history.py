"""What of the turns before goes to a chat server, and what has to stay behind. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from synth_ai import content as items
from synth_ai.content import Item
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.carry_over import Takes, fitted, reasoning_note
from synth_ai.lm.vendors.chat import encode as chat
from synth_ai.turn import Turn

_TAKES = Takes(
    "chat",
    items=frozenset({"message", "reasoning"}) | items.CALLS | items.CALL_OUTPUTS,
    parts=frozenset({"input_text", "output_text", "text", "refusal", "input_image", "input_file"}),
    tools=frozenset({"function", "custom"}),
)


def prepared(
    request: LMRequest,
    dialect: chat.Dialect = chat.COMPATIBLE,
    *,
    server: str | None = None,
    now: float = 0.0,
) -> tuple[LMRequest, list[str]]:
    """The request with a history that Chat Completions can say, and warnings of what had to be left out of it.

    Args:
        server: the server it goes to; what another one spoke is known here by its transcript alone.
        now: the time, in seconds since the epoch: spoken answers expire.
    """
    request, notes = fitted(request, _TAKES)
    notes = _lost_reasoning(request, dialect) + notes
    request = replace(
        request, history=tuple(_without_foreign_extras(turn, server) for turn in request.history)
    )
    history = tuple(_without_lost_sound(turn, server, now) for turn in request.history)
    silent = sum(map(_spoken, request.history)) - sum(map(_spoken, history))
    if silent:
        notes.append(
            f"{silent} spoken answer(s) that the server does not have went as their transcripts."
        )
    return replace(request, history=history) if silent else request, notes


def _lost_reasoning(request: LMRequest, dialect: chat.Dialect) -> list[str]:
    """Warnings of the reasoning of other backends that `chat.messages` leaves out."""
    unreadable = finished = 0
    for turn in request.history:
        if turn.api_type == "chat":
            continue
        for _, group in groupby((*turn.input, *turn.output), items.is_model_item):
            run = list(group)
            calls = any(item.get("type") in items.CALLS for item in run)
            reasoning = [item for item in run if item.get("type") == "reasoning"]
            readable = sum(bool(items.reasoning_of(item)) for item in reasoning)
            unreadable += len(reasoning) - readable
            finished += 0 if calls and dialect.takes_reasoning else readable
    why = (
        "servers take it only with tool calls"
        if dialect.takes_reasoning
        else "OpenAI's chat API has no field for it"
    )
    return reasoning_note(unreadable, "only the server that made it can read it") + reasoning_note(
        finished, why
    )


def _without_foreign_extras(turn: Turn, server: str | None) -> Turn:
    """A turn without what another server put into its calls for itself."""
    if turn.server == server or not any(
        "extra_content" in item for item in (*turn.input, *turn.output)
    ):
        return turn

    def kept(item: Item) -> Item:
        return {key: value for key, value in item.items() if key != "extra_content"}

    return replace(turn, input=tuple(map(kept, turn.input)), output=tuple(map(kept, turn.output)))


def _without_lost_sound(turn: Turn, server: str | None, now: float) -> Turn:
    if not _spoken(turn):
        return turn

    def kept(item: Item) -> Item:
        if "audio" not in item or (
            turn.server == server and item["audio"].get("expires_at", now + 1) > now
        ):
            return item
        return {key: value for key, value in item.items() if key != "audio"}

    return replace(turn, input=tuple(map(kept, turn.input)), output=tuple(map(kept, turn.output)))


def _spoken(turn: Turn) -> int:
    return sum("audio" in item for item in (*turn.input, *turn.output))
