"""What of the turns before goes to a Responses server, and what has to stay behind. Pure.

Items know each other by the ids that their server gave them, so a turn goes back as it was made or, where one of its
items cannot, without any ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from synth_ai import content as items
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.carry_over import Takes, fitted
from synth_ai.turn import Turn

_TAKES = Takes(
    "responses",
    items=frozenset({"message", "reasoning"}) | items.CALLS | items.CALL_OUTPUTS,
    parts=frozenset({"input_text", "output_text", "refusal", "input_image", "input_file"}),
    tools=frozenset({"function", "custom", "namespace", "tool_search", "programmatic_tool_calling"})
    | {"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"}
    | {"file_search", "code_interpreter", "image_generation", "mcp"}
    | {"computer", "computer_use_preview", "shell", "local_shell", "apply_patch"},
)

#: Items of the model that the API takes without an id; the others are a hosted tool's, and their server's alone.
_WITHOUT_ID = frozenset({"message", "shell_call", "apply_patch_call"}) | items.CALLS


def prepared(request: LMRequest, server: str | None = None) -> tuple[LMRequest, list[str]]:
    """The request with a history that the server takes, and warnings of what had to be left out of it.

    Args:
        server: the server it goes to. Turns that came from elsewhere, or whose reasoning is only a name for what the
            server kept, lose their reasoning, the items of hosted tools, and the ids of the others.
    """
    request, notes = fitted(request, _TAKES)
    gone: Counter[str] = Counter()
    lost: set[Any] = set()
    history = tuple(
        _answers_to_none(_known(turn, server, gone, lost), lost) for turn in request.history
    )
    reasoning = gone.pop("reasoning", 0)
    if reasoning:
        notes.append(
            f"{reasoning} reasoning item(s) that this server does not take back were left out of the history."
        )
    if gone:
        kinds = ", ".join(f"{count} {kind}" for kind, count in gone.items())
        notes.append(
            f"{gone.total()} item(s) of hosted tools that this server does not take back were left out: {kinds}."
        )
    return replace(request, history=history), notes


def _known(turn: Turn, server: str | None, gone: Counter[str], lost: set[Any]) -> Turn:
    """A turn as it was made, or without what is known by its id alone; what goes is counted, and named in `lost`."""
    if turn.server == server and _has_its_reasoning(turn):
        return turn
    output = []
    for item in turn.output:
        kind = item.get("type", "message")
        if kind in _WITHOUT_ID:
            output.append({key: value for key, value in item.items() if key != "id"})
        else:
            gone[kind] += 1
            lost |= _names(item)
    return replace(turn, output=tuple(output))


def _has_its_reasoning(turn: Turn) -> bool:
    """Whether its server can read all reasoning of a turn: as ciphertext, or in the open.

    The rest is a name for what the server kept, and a history is sent because it did not keep it. Ciphertext at the
    end is refused, as what it led to is missing: the answer was cut off there.
    """
    reasoning = [item for item in turn.output if item.get("type") == "reasoning"]
    readable = (
        "id" in item and (item.get("encrypted_content") or item.get("content"))
        for item in reasoning
    )
    is_loose = (
        bool(reasoning)
        and turn.output[-1] is reasoning[-1]
        and bool(reasoning[-1].get("encrypted_content"))
    )
    return all(readable) and not is_loose


def _answers_to_none(turn: Turn, lost: set[Any]) -> Turn:
    """A turn without the answers to calls that were left out before it."""
    kept = tuple(
        item for item in turn.input if items.is_model_item(item) or not _names(item) & lost
    )
    return turn if len(kept) == len(turn.input) else replace(turn, input=kept)


def _names(item: Mapping[str, Any]) -> set[Any]:
    """What a call and its answer know each other by."""
    return {item[key] for key in ("id", "call_id", "approval_request_id") if item.get(key)}
