"""Tags and rewards: what callers say of a turn, when they make the call or afterwards.

Tags are JSON objects of the caller's own, such as `{"run": "july", "question": 17}`. They are kept
with the turn and never sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeAlias

from synth_ai.errors import OptionError
from synth_ai.store.item_shapes import MAX_DEPTH, is_shallow
from synth_ai.turn import Turn

Tags: TypeAlias = Mapping[str, Any]


class Unchanged(Enum):
    """The type of `UNCHANGED`, which type checkers can tell from None."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""Stands for a value that was not given, where None takes one away."""


# --- checks -----------------------------------------------------------------------------------


def read_tags(tags: object, name: str = "tags") -> dict[str, Any]:
    """Check tags, and copy them so that the caller may go on changing theirs.

    Args:
        tags: any value; None is no tags.
        name: what an error calls it.

    Raises:
        OptionError: they are no dictionary of names to JSON values.
    """
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise OptionError(
            f"{name} must be a dictionary of names to JSON values, not {_shorten(tags)}."
        )

    mistake = find_tags_mistake(tags)
    if mistake is not None:
        raise OptionError(f"{name} must be JSON: {mistake}.")
    copied: dict[str, Any] = json.loads(json.dumps(dict(tags)))
    return copied


def read_reward(reward: object) -> float | None:
    """Check a reward; None takes one away.

    Raises:
        OptionError: it is no finite number.
    """
    if reward is None:
        return None
    # True and False, the verdict of many an evaluation, are 1 and 0.
    if not isinstance(reward, (int, float)) or not _is_finite(reward):
        raise OptionError(f"reward must be a finite number or None, not {_shorten(reward)}.")
    return float(reward)


def find_tags_mistake(tags: Mapping[object, object]) -> str | None:
    """Find what keeps a dictionary from being tags.

    Returns:
        What is wrong, for errors, as in `'when' is datetime.date(2026, 11, 20)`; None if all is
        well.
    """
    for key, value in tags.items():
        if not isinstance(key, str):
            return f"the name {_shorten(key)} is not a string"
        if not is_shallow(value):
            return f"{key!r:.60} is nested deeper than {MAX_DEPTH} levels"

        bad = _find_foreign(value)
        if bad:
            return f"{key!r:.60} has {_shorten(bad[0])} in it"

    return None


def _find_foreign(value: object) -> list[object]:
    """Find a value, or a key of a dictionary, that JSON does not have; empty if there is none."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            foreign_keys = [key for key in each if not isinstance(key, str)]
            if foreign_keys:
                return foreign_keys
            if not isinstance(each, dict):
                return [each]
            waiting += each.values()
        elif isinstance(each, (list, tuple)):
            waiting += each
        elif not _is_plain(each):
            return [each]

    return []


def _is_plain(value: object) -> bool:
    if value is None or isinstance(value, (str, bool)):
        return True
    return isinstance(value, (int, float)) and _is_finite(value)


def _is_finite(number: float) -> bool:
    # An integer of more than 308 digits is beyond every float.
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _shorten(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # what callers write may have a repr of its own
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."


# --- search -----------------------------------------------------------------------------------


def has_tags(tags: Tags, wanted: Tags) -> bool:
    """Whether tags have all that is wanted, each with the very value."""
    return all(name in tags and _is_same(tags[name], value) for name, value in wanted.items())


def select_tagged(turns: Iterable[Turn], wanted: Tags) -> list[Turn]:
    """Select the turns that have all wanted tags."""
    return [turn for turn in turns if has_tags(turn.tags, wanted)]


def _is_same(value: object, other: object) -> bool:
    # To Python True is 1, to JSON it is not.
    if isinstance(value, bool) != isinstance(other, bool):
        return False
    return value == other


# --- annotations ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is said of a turn afterwards.

    Attributes:
        reward: the new reward; None takes it away.
        tags: the tags to set; None as a value takes that tag away.
        replaces_tags: whether all tags that the turn had go first.
    """

    reward: float | Unchanged | None = UNCHANGED
    tags: Tags = field(default_factory=dict)
    replaces_tags: bool = False

    def apply(self, turn: Turn) -> Turn:
        """Make the turn with what is said of it."""
        reward = turn.reward if isinstance(self.reward, Unchanged) else self.reward

        tags = {} if self.replaces_tags else dict(turn.tags)
        for name, value in self.tags.items():
            if value is None:
                tags.pop(name, None)
            else:
                tags[name] = value

        return replace(turn, reward=reward, tags=tags)
