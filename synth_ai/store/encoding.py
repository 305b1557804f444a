"""JSON of items, in the fewest bytes that keep every character."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

# Made once: `json.dumps` makes a new one for each call that asks for anything but its defaults.
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_escaped = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: Any) -> str:
    """Compact JSON that is valid UTF-8.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold `value`.
    """
    text = _compact(value)
    # Half of a surrogate pair, as a model that is cut off inside an emoji can leave it, is no UTF-8; an escape is.
    return text if is_utf8(text) else _escaped(value)


def read_json(text: str) -> Any:
    """What `to_json` wrote.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return from_json(text)
    except ValueError:
        # Twice as slow, and it reads half surrogates.
        return json.loads(text)


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
