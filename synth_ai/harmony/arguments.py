"""The arguments of a tool call as models write them, made into JSON if they are complete."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import NoReturn

# The start of a code block around the arguments:
#   ```json\n{"a": 1}   -> "```json\n"
_FENCE = re.compile(r"```\w*\s*")

# What models write in front of the arguments, an object or, behind the content type, a list:
#   Arguments: {"a": 1}   -> "Arguments: "
#   json{"a": 1}          -> "json"
#   json [1, 2]           -> "json "
#   Numbers: [1, 2]       -> no match
_LEAD = re.compile(r"[^{}\[\]\"]{1,200}(?=\{)|(?:json|code)\s*(?=\[)", re.IGNORECASE)

# What stands between two objects: blanks, commas, semicolons.
_SEPARATOR = re.compile(r"[\s,;]*")


def read_arguments(text: str, *, cut: bool) -> tuple[list[str], str | None]:
    """Read the arguments of a call.

    A model may have written several objects behind each other; each is a call then. Complete JSON
    that is not an object, such as `42`, is returned with a warning: whether it is an argument is
    for the tool to say. `NaN` and `Infinity`, which JSON does not have, become null.

    Args:
        text: the text of the message.
        cut: whether the text may go on. Nothing, or a bare number, is not a complete argument then.

    Returns:
        The JSON of each call, none if the arguments are incomplete, and what had to be repaired.
    """
    text = text.strip()
    if not text:
        return _no_arguments(cut=cut), None

    try:
        value = _STRICT.decode(text)
    except (ValueError, RecursionError):
        return _repair(text)

    if isinstance(value, dict):
        return [text], None
    if value is None:
        arguments = _no_arguments(cut=cut)
        return arguments, "the arguments were null" if arguments else None

    if isinstance(value, str):
        inner_object = _decode_object(value)
        if inner_object is not None:
            return [_encode(inner_object)], "the arguments were encoded twice"

    # More digits may come, more letters of `true` as well; a list and a string have an end.
    may_go_on = cut and not isinstance(value, (list, str))
    if may_go_on:
        return [], None

    return [text], "the arguments are not a JSON object"


def _no_arguments(*, cut: bool) -> list[str]:
    """Return the arguments of a call that has none, unless they may still come."""
    return [] if cut else ["{}"]


def _repair(text: str) -> tuple[list[str], str | None]:
    """Find the complete values at the start of a text that is not JSON as a whole."""
    text = _strip_lead(text)
    found: dict[str, None] = {}  # an object that is repeated is one call
    position = 0
    while position < len(text):
        try:
            value, end = _LENIENT.raw_decode(text, position)
        except (ValueError, RecursionError):
            break

        # A list can be an argument, but only objects follow each other.
        allowed: tuple[type, ...] = (dict,) if found else (dict, list)
        if not isinstance(value, allowed):
            break

        found[_make_strict(text[position:end], value)] = None
        position = _skip_separator(text, end)

    if not found:
        return [], None
    return list(found), "the arguments were not plain JSON"


def _strip_lead(text: str) -> str:
    for lead in (_FENCE, _LEAD):
        match = lead.match(text)
        if match is not None:
            text = text[match.end() :]

    return text


def _skip_separator(text: str, position: int) -> int:
    match = _SEPARATOR.match(text, position)
    return match.end() if match else position


def _make_strict(text: str, value: object) -> str:
    """Return `text`, or `value` encoded anew if only a lenient decoder takes the text."""
    try:
        _STRICT.decode(text)
    except ValueError:
        return _encode(value)

    return text


def _decode_object(text: str) -> dict[str, object] | None:
    try:
        value = _LENIENT.decode(text)
    except (ValueError, RecursionError):
        return None

    return value if isinstance(value, dict) else None


def _encode(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair can stand in JSON only as an escape.
        return json.dumps(value)

    return text


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"JSON does not have {constant}")


def _read_number(text: str) -> float | None:
    """Read a number; None for what JSON cannot hold: `NaN`, and what is too large for a float."""
    value = float(text)
    return value if isfinite(value) else None


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)

#: Takes line breaks in strings as well, and the constants of JavaScript as null.
_LENIENT = json.JSONDecoder(strict=False, parse_constant=_read_number, parse_float=_read_number)
