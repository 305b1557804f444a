"""What to do when a conversation no longer fits into the model's context; nothing, unless the caller asks for it.

`truncation="auto"` leaves out the oldest turns; a hook of the caller's puts something of its own (a summary) in their
place. Either way nothing is lost: the store keeps every turn, and a branch can be continued from any of them.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from synth_ai.content import CALL_OUTPUTS, Item
from synth_ai.errors import RequestError
from synth_ai.lm.request import LMRequest
from synth_ai.store.json import copy_json
from synth_ai.store.redaction import count_redacted
from synth_ai.turn import Turn

#: Is given the items of the turns that have to go, and returns what stands in their place: a text or items.
Compact: TypeAlias = Callable[[list[Item]], str | Sequence[Item] | Awaitable[str | Sequence[Item]]]

_KEPT_SUMMARIES = 256


async def leave_out(items: list[Item]) -> str | Sequence[Item]:
    """The hook behind `truncation="auto"`: nothing stands in the place of the oldest turns."""
    return ()


class Compactor:
    """Shortens requests by a hook, and remembers what it made of which turns.

    Args:
        compact: the hook.
    """

    def __init__(self, compact: Compact) -> None:
        self._compact = compact
        # By the id of the last turn that went, and by how many of all that went are redacted: when one is redacted
        # after the hook has read it, the hook is asked anew.
        self._made: OrderedDict[tuple[str, int], tuple[Item, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, request: LMRequest) -> LMRequest:
        """The request with the newest of its turns that were compacted before compacted again, at no cost."""
        turns = request.history
        redacted = count_redacted(turns)
        for at in range(len(turns), 0, -1):
            made = self._made.get((turns[at - 1].id, redacted))
            if made is not None:
                return _with_beginning(request, made, turns[:at], turns[at:])
            redacted -= turns[at - 1].redacted
        return request

    async def shorter(self, request: LMRequest) -> tuple[LMRequest, int] | None:
        """The request with about half of its turns compacted, and how many; None when there is nothing to take.

        The cut is before a turn that a user began, so that no tool output loses its call.
        """
        turns = request.history
        # What was made before, at the beginning, is no turn: something else has to go with it.
        first = 2 if turns and not turns[0].id else 1
        cuts = [at for at in range(first, len(turns)) if _begins_anew(turns[at].input)]
        if _begins_anew(request.input) and len(turns) >= first:
            cuts.append(len(turns))
        if not cuts:
            return None
        cut = next((at for at in cuts if at >= len(turns) / 2), cuts[-1])
        gone = turns[:cut]
        # The hook may edit what it is given; the store may not have that.
        result = self._compact(
            [copy_json(item) for turn in gone for item in (*turn.input, *turn.output)]
        )
        made = _as_items(await result if inspect.isawaitable(result) else result)
        self._keep(gone, made)
        return _with_beginning(request, made, gone, turns[cut:]), cut

    def _keep(self, gone: Sequence[Turn], made: tuple[Item, ...]) -> None:
        if not gone[-1].id:
            return
        with self._lock:
            self._made[_key(gone)] = made
            if len(self._made) > _KEPT_SUMMARIES:
                self._made.popitem(last=False)


def is_whole(history: Sequence[Turn]) -> bool:
    """Whether a history begins where its conversation did, with nothing left out or put in its place."""
    return not history or (bool(history[0].id) and history[0].parent_id is None)


@dataclass(frozen=True, slots=True)
class _Beginning(Turn):
    """What stands in the place of turns. It has no id: nobody asked it.

    Attributes:
        of: those turns; another beginning may be the first of them.
    """

    of: tuple[Turn, ...] = ()


def _with_beginning(
    request: LMRequest, made: tuple[Item, ...], gone: Sequence[Turn], turns: Sequence[Turn]
) -> LMRequest:
    """The request with `made` in place of the turns that go, before those that stay."""
    first = _Beginning(
        id="", parent_id=None, api_type="", model="", input=made, output=(), of=tuple(gone)
    )
    return replace(
        request, history=(first, *turns) if made else tuple(turns), previous_response_id=None
    )


def _key(gone: Sequence[Turn]) -> tuple[str, int]:
    """The last of these turns, and how many of them are redacted, those before a beginning included."""
    first = gone[0]
    before = _key(first.of)[1] if isinstance(first, _Beginning) else 0
    return gone[-1].id, before + count_redacted(gone)


def _begins_anew(items: Sequence[Item]) -> bool:
    """Whether a user began a turn with these, and no output among them answers a call of the turn before."""
    return any(item.get("role") == "user" for item in items) and not any(
        item.get("type") in CALL_OUTPUTS for item in items
    )


def _as_items(made: Any) -> tuple[Item, ...]:
    if not isinstance(made, str):
        if not isinstance(made, Sequence) or not all(isinstance(item, Mapping) for item in made):
            raise RequestError(
                f"compact= returned {made!r:.100}; it returns a summary, or a list of items."
            )
        return tuple(dict(item) for item in made)
    text = f"Summary of the conversation so far:\n\n{made}"
    return ({"type": "message", "role": "developer", "content": text},) if made else ()
