"""Halves of surrogate pairs, which JSON can spell, and which nothing can print or store. Pure.

JSON spells a character such as an emoji as two escapes. A model that is cut off inside of one
leaves half a character, and a stream may bring the halves in two events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# The escape of a half, the first or the second:
#   {"text": "a\ud83d"}         -> match
#   {"text": "a\uD83D\uDE00"}   -> match: here it is whole
_SPELLED_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def spells_half(json_text: bytes) -> bool:
    """Tell whether JSON spells half a character, or a whole one as two halves."""
    return _SPELLED_HALF.search(json_text) is not None


def mend_text(text: str) -> str:
    """Join the halves that stand beside each other, and put U+FFFD for all others.

    ::

        "a", half, half   ->  "a", one character
        "a", half         ->  "a", U+FFFD
    """
    if text.isascii():
        return text

    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def mend_object(data: Mapping[str, object]) -> dict[str, object]:
    """Mend all texts in a JSON object."""
    return {key: _mend_value(value) for key, value in data.items()}


def _mend_value(value: object) -> object:
    if isinstance(value, str):
        return mend_text(value)
    if isinstance(value, list):
        return [_mend_value(each) for each in value]
    if isinstance(value, dict):
        return mend_object(value)

    return value
