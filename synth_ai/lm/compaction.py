"""What to do when a conversation no longer fits into the model's context.

Nothing, unless the caller asks for it: `truncation="auto"` drops the oldest turns, a hook
(`LM(..., compact=...)`) replaces them by something else, such as a summary. Either way nothing is
lost: the store keeps every turn, and a branch can be continued from any of them.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeGuard, cast

from synth_ai.content import Item, Message, is_call_output
from synth_ai.errors import RequestError
from synth_ai.lm import sync
from synth_ai.lm.request import LMRequest
from synth_ai.store.json import copy_json
from synth_ai.turn import Turn

Compact: TypeAlias = Callable[[list[Item]], str | Sequence[Item] | Awaitable[str | Sequence[Item]]]
"""A hook: takes the items of the oldest turns, and returns a summary or items to replace them."""

#: How many replacements a compactor remembers, for the branches of a few hundred conversations.
_MAX_REMEMBERED = 256


async def drop_oldest(items: list[Item]) -> str | Sequence[Item]:
    """Replace the oldest turns by nothing: the hook behind `truncation="auto"`."""
    return ()


class Compactor:
    """Shortens requests by a hook, and remembers which turns it replaced, and by what.

    Args:
        hook: makes the replacement.
    """

    def __init__(self, hook: Compact) -> None:
        self._hook = hook
        # By the id of the last turn that was replaced.
        self._replacements: OrderedDict[str, _Replacement] = OrderedDict()
        self._lock = threading.Lock()

    def reapply(self, request: LMRequest) -> LMRequest:
        """Replace turns as in an earlier call of the branch, without asking the hook again."""
        turns = request.history

        # The latest replacement is the shortest.
        for count in range(len(turns), 0, -1):
            replacement = self._replacements.get(turns[count - 1].id)
            if replacement is not None and replacement.stands_for(turns[:count]):
                return _replace_turns(request, count, replacement.items)
        return request

    async def compact(self, request: LMRequest) -> tuple[LMRequest, int] | None:
        """Replace about half of the request's turns by what the hook makes of them.

        Returns:
            The shorter request, and how many turns were replaced; None if none can be.

        Raises:
            RequestError: the hook returns neither a summary nor items.
        """
        count = _find_cut(request)
        if count is None:
            return None

        replaced = request.history[:count]
        items: list[Item] = []
        for turn in replaced:
            items += turn.input
            items += turn.output

        # The hook may edit what it is given, and these are the store's own items.
        copies = [copy_json(item) for item in items]
        result = await sync.run_user_code(partial(self._call_hook, copies))

        replacement = _read_result(result)
        self._remember(replaced, replacement)
        return _replace_turns(request, count, replacement), count

    async def _call_hook(self, items: list[Item]) -> str | Sequence[Item]:
        result = self._hook(items)
        if inspect.isawaitable(result):
            return await result
        return result

    def _remember(self, replaced: Sequence[Turn], replacement: tuple[Item, ...]) -> None:
        if not replaced[-1].id:
            return

        with self._lock:
            self._replacements[replaced[-1].id] = _Replacement(_flatten(replaced), replacement)
            if len(self._replacements) > _MAX_REMEMBERED:
                self._replacements.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Replacement:
    """What a hook made of turns, and these turns as it read them.

    If one is redacted, or deleted and imported with other text, the hook is asked again.
    """

    turns: tuple[Turn, ...]
    items: tuple[Item, ...]

    def stands_for(self, turns: Sequence[Turn]) -> bool:
        if len(turns) != len(self.turns):
            return False
        return all(map(_is_unchanged, self.turns, turns))


def _is_unchanged(turn: Turn, now: Turn) -> bool:
    if turn is now:
        return True
    return (turn.redacted, turn.input, turn.output) == (now.redacted, now.input, now.output)


def is_whole(history: Sequence[Turn]) -> bool:
    """Whether a history begins where its conversation did, with no turn dropped or replaced."""
    if not history:
        return True

    first = history[0]
    return bool(first.id) and first.parent_id is None


@dataclass(frozen=True, slots=True)
class CompactedTurn(Turn):
    """The replacement of turns, at the beginning of a history. It has no id, as no call made it.

    Attributes:
        replaced: these turns; the first of them may be a replacement, too.
    """

    replaced: tuple[Turn, ...] = ()


def make_compacted_turn(items: tuple[Item, ...], replaced: tuple[Turn, ...]) -> CompactedTurn:
    """Make what stands in the place of turns."""
    return CompactedTurn(
        id="",
        parent_id=None,
        api_type="",
        model="",
        input=items,
        output=(),
        replaced=replaced,
    )


def _find_cut(request: LMRequest) -> int | None:
    """Find how many turns to replace: about half; None if the history cannot be cut.

    A cut is only before a turn that a user began, so that no tool output loses its call.
    """
    turns = request.history
    # Replacing a replacement alone would make nothing shorter: another turn has to go with it.
    has_replacement = bool(turns) and not turns[0].id
    fewest = 2 if has_replacement else 1

    # What would follow a cut after so many turns; after all of them, the call itself.
    inputs = [*(turn.input for turn in turns), request.input]
    cuts = [count for count in range(fewest, len(inputs)) if _is_user_turn(inputs[count])]

    for count in cuts:
        if count >= len(turns) / 2:
            return count
    return cuts[-1] if cuts else None


def _is_user_turn(items: Sequence[Item]) -> bool:
    """Whether a user began the turn, and no item of it answers a call of the turn before."""
    answers_calls = any(is_call_output(item) for item in items)
    has_user = any(item.get("role") == "user" for item in items)
    return has_user and not answers_calls


def _replace_turns(request: LMRequest, count: int, replacement: tuple[Item, ...]) -> LMRequest:
    """Replace the first `count` turns of the request."""
    replaced = request.history[:count]
    remaining = request.history[count:]

    # Also for turns that nothing replaces: a history must not look whole without them.
    history = (make_compacted_turn(replacement, replaced), *remaining)
    # A server that continues from an id has the turns that were replaced.
    return replace(request, history=history, previous_response_id=None)


def _flatten(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Put the turns that an earlier replacement stands for in its place."""
    flat = tuple(turns)
    while isinstance(flat[0], CompactedTurn):
        flat = (*flat[0].replaced, *flat[1:])
    return flat


def _read_result(result: object) -> tuple[Item, ...]:
    """Read what a hook returned into items."""
    if isinstance(result, str):
        return _summary_items(result)

    if not _are_items(result):
        raise RequestError(
            f"compact= must return a summary or a list of items, not {result!r:.100}."
        )
    # Nobody has checked what is in them, as in items that come with messages=.
    return tuple(cast("Item", dict(item)) for item in result)


def _are_items(result: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    if not isinstance(result, Sequence):
        return False
    return all(isinstance(item, Mapping) for item in result)


def _summary_items(summary: str) -> tuple[Item, ...]:
    if not summary:
        return ()

    text = f"Summary of the conversation so far:\n\n{summary}"
    message: Message = {"type": "message", "role": "developer", "content": text}
    return (message,)
