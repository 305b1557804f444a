"""JSON of items, in the fewest bytes that keep every character."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json
from pydantic_core import to_json as to_json_bytes


def to_json(value: object) -> str:
    """Write compact JSON that is valid UTF-8.

    Dates, models and other values that have a JSON form are written in it.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold `value`.
    """
    try:
        return to_json_bytes(value, inf_nan_mode="constants").decode()
    except ValueError:
        # A model that is cut off inside an emoji can leave half of a surrogate pair, which UTF-8
        # cannot hold. The standard library writes it as an escape.
        return json.dumps(value, separators=(",", ":"))


def read_json(text: str) -> Any:
    """Read what `to_json` wrote.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return from_json(text)
    except ValueError:
        # Twice as slow, and it reads half surrogates.
        return json.loads(text)


def copy_json(value: Any) -> Any:
    """Copy plain data with all its lists and dicts, however deep; share every other value."""
    if isinstance(value, dict):
        return {name: copy_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
