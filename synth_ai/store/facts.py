"""A turn as plain facts for JSON: their names, now and in older files, and what each must be."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

from synth_ai.store.credentials import remove_credentials
from synth_ai.store.item_shapes import find_item_mistake, is_item, is_shallow, is_tool
from synth_ai.store.json import is_utf8
from synth_ai.store.tags import find_tags_mistake
from synth_ai.turn import Turn

Check: TypeAlias = Callable[[object], bool]

FIELD_NAMES = tuple(field.name for field in fields(Turn))

# The fields that turns have since version 4 of the SQLite schema and of exports.
_NEW_FIELDS = frozenset(
    {
        "output_logprobs",
        "logprobs_mode",
        "temperature",
        "prompt_hash",
        "compaction",
        "latency",
        "time_to_first_token",
        "cached",
        "fingerprint",
        "request_key",
        "reward",
        "tags",
    }
)

# No count of tokens and no time is larger, and whoever adds some of them up stays far below what
# Python writes as text.
_MAX_NUMBER = 2**63

# What some fields were called before version 3 of the SQLite schema and of exports.
_NEW_NAMES = {"origin": "server", "kept": "stored_on_server"}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}

# A hash in hexadecimal digits, two for each byte:  3fa2c19d
_HASH = re.compile(r"(?:[0-9a-f]{2}){1,64}")

# The largest number that four bytes hold.
_MAX_LOGPROB = 3.4028234e38


def field_names(version: int) -> frozenset[str]:
    """Return the names of the facts that turns have in an export of this version."""
    if version >= 4:
        return frozenset(FIELD_NAMES)

    names = [name for name in FIELD_NAMES if name not in _NEW_FIELDS]
    if version == 3:
        return frozenset(names)
    return frozenset(_OLD_NAMES.get(name, name) for name in names)


def to_dict(turn: Turn) -> dict[str, Any]:
    """Convert a turn to the facts that JSON can hold, by the names of its fields."""
    facts = {name: getattr(turn, name) for name in FIELD_NAMES}
    if turn.tools is not None:
        facts["tools"] = [remove_credentials(tool) for tool in turn.tools]
    if turn.output_token_ids is not None:
        facts["output_token_ids"] = list(turn.output_token_ids)
    if turn.output_logprobs is not None:
        facts["output_logprobs"] = list(turn.output_logprobs)
    return facts


def rename_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give the facts of an older file their present names.

    ::

        {"model": "gpt-5", "origin": "https://...", "kept": true}
        ->  {"model": "gpt-5", "server": "https://...", "stored_on_server": true}
    """
    return {_NEW_NAMES.get(name, name): value for name, value in facts.items()}


def from_dict(facts: Mapping[str, Any]) -> Turn:
    """Make the turn of facts that `find_mistake` has nothing against."""
    values = dict(facts)
    for name in ("input", "output", "tools", "warnings"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    if values.get("output_logprobs") is not None:
        values["output_logprobs"] = array("f", values["output_logprobs"])
    return Turn(**values)


def find_mistake(facts: Mapping[str, object]) -> str | None:
    """Find what keeps facts from being a turn.

    Returns:
        What is wrong, for errors: the first mistake, as in `its id is '3'`. None if all is well.
    """
    missing = [name for name in _REQUIRED if name not in facts]
    if missing:
        return f"it lacks {', '.join(missing)}"

    for name, value in facts.items():
        is_right = _CHECKS[name]
        if not is_shallow(value):
            return f"its {name} is nested too deeply"
        if not is_right(value):
            return _find_item_mistake(name, value) or f"its {name} is {str(value)[:60]!r}"

    return _find_count_mistake(facts)


def _find_count_mistake(facts: Mapping[str, object]) -> str | None:
    token_ids = facts.get("output_token_ids")
    logprobs = facts.get("output_logprobs")
    if not isinstance(token_ids, list) or not isinstance(logprobs, list):
        return None
    if len(token_ids) == len(logprobs):
        return None
    return f"it has {len(logprobs)} output_logprobs for {len(token_ids)} output_token_ids"


def _find_item_mistake(name: str, value: object) -> str | None:
    if name not in ("input", "output") or not isinstance(value, list):
        return None

    mistakes = [mistake for mistake in map(find_item_mistake, value) if mistake is not None]
    return f"in its {name}, {mistakes[0]}" if mistakes else None


# --- what each fact must be -------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value != "" and is_utf8(value)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < _MAX_NUMBER


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_list_of_tools(value: object) -> bool:
    return isinstance(value, list) and all(map(is_tool, value))


def _is_list_of_items(value: object) -> bool:
    return isinstance(value, list) and all(map(is_item, value))


def _is_list_of_token_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_token_id, value))


def _is_token_id(value: object) -> bool:
    # The SQLite store has four bytes for an id.
    return type(value) is int and 0 <= value < 2**32


def _is_list_of_logprobs(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_logprob, value))


def _is_logprob(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    # A token that the model could not have sampled has minus infinity.
    return value == -math.inf or abs(value) <= _MAX_LOGPROB


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_compaction(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"first_kept", "items"}:
        return False
    return _is_id(value["first_kept"]) and _is_list_of_items(value["items"])


def _is_tags(value: object) -> bool:
    return isinstance(value, dict) and find_tags_mistake(value) is None


def _is_usage(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_NUMBER


def _is_status(value: object) -> bool:
    return value in ("completed", "incomplete", "failed", "in_progress", "queued", "cancelled")


def _is_settings(value: object) -> bool:
    """Whether these are options by name.

    Harmony reads `tool_choice` again when it renders a turn by its token ids::

        None    "auto"    {"type": "function", "function": {"name": "f"}}
    """
    if not isinstance(value, dict):
        return False

    choice = value.get("tool_choice")
    if not isinstance(choice, dict):
        return choice is None or isinstance(choice, str)

    function = choice.get("function", {"name": ""})
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _or_none(check: Check) -> Check:
    def check_or_none(value: object) -> bool:
        return value is None or check(value)

    return check_or_none


_REQUIRED = ("id", "parent_id", "api_type", "model", "input", "output")

_CHECKS: Mapping[str, Check] = {
    "id": _is_id,
    "parent_id": _or_none(_is_text),
    "api_type": _is_name,
    "model": _is_text,
    "input": _is_list_of_items,
    "output": _is_list_of_items,
    "instructions": _or_none(_is_text),
    "tools": _or_none(_is_list_of_tools),
    "status": _is_status,
    "server": _or_none(_is_text),
    "stored_on_server": _is_flag,
    "redacted": _is_flag,
    "incomplete_reason": _or_none(_is_text),
    "error": _or_none(_is_text),
    "request_id": _or_none(_is_text),
    "replay_reason": _or_none(_is_text),
    "warnings": _is_list_of_texts,
    "usage": _or_none(_is_usage),
    "output_token_ids": _or_none(_is_list_of_token_ids),
    "output_logprobs": _or_none(_is_list_of_logprobs),
    "logprobs_mode": _or_none(_is_text),
    "temperature": _or_none(_is_number),
    "prompt_hash": _or_none(_is_hash),
    "compaction": _or_none(_is_compaction),
    "settings": _is_settings,
    "date": _or_none(_is_text),
    "created_at": _is_number,
    "latency": _or_none(_is_number),
    "time_to_first_token": _or_none(_is_number),
    "cached": _is_flag,
    "fingerprint": _or_none(_is_hash),
    "request_key": _or_none(_is_hash),
    "reward": _or_none(_is_number),
    "tags": _is_tags,
}
