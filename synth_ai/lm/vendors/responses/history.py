"""What of the turns before goes to a Responses server, and what has to stay behind. Pure.

Items refer to each other by the ids that their server gave them. So a turn goes back as it was made
or, if one of its items cannot, without any ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from synth_ai.content import (
    CALL_OUTPUTS,
    CALLS,
    Item,
    Reasoning,
    is_model_item,
    is_reasoning,
    without_local_id,
)
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.carry_over import Supports, drop_unsupported
from synth_ai.turn import Turn

# Of https://platform.openai.com/docs/api-reference/responses/create. No other API has the items of
# hosted tools, and `python` and `browser` are tools of gpt-oss alone.
_SUPPORTS = Supports(
    "responses",
    items=frozenset({"message", "reasoning"}) | CALLS | CALL_OUTPUTS,
    parts=frozenset({"input_text", "output_text", "refusal", "input_image", "input_file"}),
    tools=frozenset({"function", "custom", "namespace", "tool_search", "programmatic_tool_calling"})
    | {"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"}
    | {"file_search", "code_interpreter", "image_generation", "mcp"}
    | {"computer", "computer_use_preview", "shell", "local_shell", "apply_patch"},
)

#: Items of the model that the API takes without an id. The others are those of hosted tools, which
#: only their server can look up.
_NEEDS_NO_ID = frozenset({"message", "shell_call", "apply_patch_call"}) | CALLS

#: By which a call and its answer refer to each other.
_LINK_KEYS = ("id", "call_id", "approval_request_id")


def drop_local_ids(request: LMRequest) -> LMRequest:
    """Drop the ids of items that were made here, as no server knows them."""
    history = []
    for turn in request.history:
        turn_input = tuple(map(without_local_id, turn.input))
        turn_output = tuple(map(without_local_id, turn.output))
        history.append(replace(turn, input=turn_input, output=turn_output))

    new_input = tuple(map(without_local_id, request.input))
    return replace(request, input=new_input, history=tuple(history))


def adapt_history(request: LMRequest, server: str | None = None) -> tuple[LMRequest, list[str]]:
    """Drop from the history of a request what its server does not take back.

    Turns of another server, and turns whose reasoning the server had to keep, lose their reasoning,
    the items of hosted tools, and the ids of the others.

    Args:
        request: the request, with the turns before in `history`.
        server: the server that the request goes to.

    Returns:
        The request with the history that is left, and warnings that list what was dropped.
    """
    if not request.history:
        return request, []

    request, warnings = drop_unsupported(request, _SUPPORTS)

    dropped: Counter[str] = Counter()
    dropped_ids: set[object] = set()
    history = []
    for turn in request.history:
        if turn.server != server or not _is_readable(turn):
            turn = _drop_what_needs_ids(turn, dropped, dropped_ids)

        # An answer comes in a turn behind its call, so the ids of its call are known by now.
        history.append(_drop_orphan_answers(turn, dropped_ids))

    reasoning_count = dropped.pop("reasoning", 0)
    if reasoning_count:
        warnings.append(
            f"{reasoning_count} reasoning item(s) that this server does not take back were left "
            "out of the history."
        )
    if dropped:
        counts = ", ".join(f"{count} {item_type}" for item_type, count in dropped.items())
        warnings.append(
            f"{dropped.total()} item(s) of hosted tools that this server does not take back were "
            f"left out: {counts}."
        )

    return replace(request, history=tuple(history)), warnings


def _is_readable(turn: Turn) -> bool:
    """Whether the server of a turn can read all its reasoning: as ciphertext, or in the open.

    The rest is a name for what the server kept, and a history is sent because it did not keep it.
    """
    reasoning = [item for item in turn.output if is_reasoning(item)]
    if not reasoning:
        return True

    # An answer that was cut off may end in ciphertext, which OpenAI refuses without the item that
    # it led to.
    last = reasoning[-1]
    if last.get("encrypted_content") and turn.output[-1] is last:
        return False

    return all(_has_text(item) for item in reasoning)


def _has_text(item: Reasoning) -> bool:
    if "id" not in item:
        return False
    return bool(item.get("encrypted_content") or item.get("content"))


def _drop_what_needs_ids(turn: Turn, dropped: Counter[str], dropped_ids: set[object]) -> Turn:
    """Drop from a turn the ids, and the items that the API does not take without one.

    Args:
        turn: the turn.
        dropped: is filled with how many items of which type were dropped.
        dropped_ids: is filled with what others refer to them by.
    """
    output: list[Item] = []
    for item in turn.output:
        item_type = item.get("type", "message")
        if item_type in _NEEDS_NO_ID:
            output.append(_without_id(item))
        else:
            dropped[item_type] += 1
            dropped_ids |= _collect_ids(item)

    return replace(turn, output=tuple(output))


def _without_id(item: Item) -> Item:
    bare = item.copy()
    bare.pop("id", None)
    return bare


def _drop_orphan_answers(turn: Turn, dropped_ids: set[object]) -> Turn:
    """Drop from the input of a turn the answers to calls that were dropped."""
    kept = []
    for item in turn.input:
        if is_model_item(item) or dropped_ids.isdisjoint(_collect_ids(item)):
            kept.append(item)

    if len(kept) == len(turn.input):
        return turn
    return replace(turn, input=tuple(kept))


def _collect_ids(item: Mapping[str, object]) -> set[object]:
    """Collect what an item is referred to by, or refers to another by."""
    ids: set[object] = set()
    for key in _LINK_KEYS:
        value = item.get(key)
        if value and isinstance(value, str):
            ids.add(value)
    return ids
