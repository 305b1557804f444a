"""The arguments of a tool call as models write them, made into JSON where they are complete."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

_FENCE = re.compile(r"```\w*\s*")
_LEAD = re.compile(r"[^{}\[\]\"]{1,200}(?=\{)|(?:json|code)\s*(?=\[)", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,;]*")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _number(text: str) -> float | None:
    """None for what JSON cannot hold: `NaN`, and numbers too large for a float."""
    value = float(text)
    return value if isfinite(value) else None


_JSON = json.JSONDecoder(parse_constant=_refuse)
_LENIENT = json.JSONDecoder(strict=False, parse_constant=_number, parse_float=_number)


def read_arguments(text: str, *, cut: bool) -> tuple[list[str], str | None]:
    """The JSON of each call that `text` makes, and what had to be repaired.

    There is more than one where a model has written several objects behind each other, and none where the arguments
    are incomplete. Complete JSON that is no object, such as `42`, is returned with a word about it: whether it is an
    argument is for the tool to say. `NaN` and `Infinity`, which are no JSON, become null. `cut` says that the text may
    go on: then nothing, or a bare number, is no complete argument.
    """
    text = text.strip()
    if not text:
        return ([], None) if cut else (["{}"], None)
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError):
        return _repaired(text)
    if isinstance(value, dict):
        return [text], None
    if value is None:
        return ([], None) if cut else (["{}"], "the arguments were null")
    if isinstance(value, str):
        inner = _object(value)
        if inner is not None:
            return [_dump(inner)], "the arguments were encoded twice"
    if cut and not isinstance(value, (list, str)):
        return [], None
    return [text], "the arguments are no JSON object"


def _repaired(text: str) -> tuple[list[str], str | None]:
    body = text
    for lead in (_FENCE, _LEAD):
        if found := lead.match(body):
            body = body[found.end() :]
    spelled: dict[str, None] = {}  # a repeated object is one call
    position = 0
    while position < len(body):
        try:
            value, end = _LENIENT.raw_decode(body, position)
        except (ValueError, RecursionError):
            break
        if not isinstance(value, dict if spelled else (dict, list)):
            break
        spelled[_strict(body[position:end], value)] = None
        between = _BETWEEN.match(body, end)
        position = between.end() if between else end
    return list(spelled), "the arguments were not plain JSON" if spelled else None


def _strict(text: str, value: Any) -> str:
    """`text`, or `value` written anew if only a lenient reader takes the text."""
    try:
        _JSON.decode(text)
    except ValueError:
        return _dump(value)
    return text


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = _LENIENT.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair can stand in JSON as an escape only
        return json.dumps(value)
    return text
