"""What to do when a conversation no longer fits into the model's context; nothing, unless the caller asks for it.

`truncation="auto"` leaves out the oldest turns; a hook of the caller's puts something of its own (a summary) in their
place. Either way nothing is lost: the store keeps every turn, and a branch can be continued from any of them.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from synth_ai.errors import ContextLengthError, ServerError
from synth_ai.lm.items import Item
from synth_ai.lm.request import LMRequest
from synth_ai.store.base import Turn

#: Is given the items of the turns that have to go, and returns what stands in their place: a text or items.
Compact: TypeAlias = Callable[[list[Item]], str | Sequence[Item] | Awaitable[str | Sequence[Item]]]

_KEPT_SUMMARIES = 256
_CODES = frozenset({"context_length_exceeded", "string_above_max_length"})


def is_too_long(error: Exception) -> bool:
    """Whether an error says that the conversation does not fit: ours, OpenAI's by its code, vLLM's by its words."""
    if isinstance(error, ContextLengthError):
        return True
    if not isinstance(error, ServerError):
        return False
    return error.code in _CODES or "maximum context length" in str(error)


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
        self._made: OrderedDict[str, tuple[Item, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, request: LMRequest) -> LMRequest:
        """The request with the newest of its turns that were compacted before compacted again, at no cost."""
        for at in range(len(request.history) - 1, -1, -1):
            made = self._made.get(request.history[at].id)
            if made is not None:
                return _with_beginning(request, made, request.history[at + 1 :])
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
        gone = [item for turn in turns[:cut] for item in (*turn.input, *turn.output)]
        result = self._compact(gone)
        made = _as_items(await result if inspect.isawaitable(result) else result)
        self._keep(turns[cut - 1].id, made)
        return _with_beginning(request, made, turns[cut:]), cut

    def _keep(self, id: str, made: tuple[Item, ...]) -> None:
        if not id:
            return
        with self._lock:
            self._made[id] = made
            if len(self._made) > _KEPT_SUMMARIES:
                self._made.popitem(last=False)


def is_whole(history: Sequence[Turn]) -> bool:
    """Whether a history begins where its conversation did, with nothing left out or put in its place."""
    return not history or (bool(history[0].id) and history[0].parent_id is None)


def _with_beginning(request: LMRequest, made: tuple[Item, ...], turns: Sequence[Turn]) -> LMRequest:
    """The request with `made` in place of all turns before `turns`. It is a turn without an id: nobody asked it."""
    first = Turn(id="", parent_id=None, api_type="", model="", input=made, output=())
    return replace(request, history=(first, *turns) if made else tuple(turns), previous_response_id=None)


def _begins_anew(items: Sequence[Item]) -> bool:
    return any(item.get("role") == "user" for item in items)


def _as_items(made: str | Sequence[Item]) -> tuple[Item, ...]:
    if not isinstance(made, str):
        return tuple(made)
    text = f"Summary of the conversation so far:\n\n{made}"
    return ({"type": "message", "role": "developer", "content": text},) if made else ()
