"""JSON of items, in the fewest bytes that keep every character."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json
from pydantic_core import to_json as to_json_bytes


def to_json(value: Any) -> str:
    """Compact JSON that is valid UTF-8. Dates, models and other values that have a JSON form are written in it.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold `value`.
    """
    try:
        return to_json_bytes(value, inf_nan_mode="constants").decode()
    except ValueError:
        # Half of a surrogate pair, as a model that is cut off inside an emoji can leave it, is no UTF-8; an escape is.
        return json.dumps(value, separators=(",", ":"))


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


def copied(value: Any) -> Any:
    """Plain data whose lists and dicts are its own, however deep; everything else is shared with `value`."""
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
