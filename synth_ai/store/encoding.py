"""JSON of items, in the fewest bytes that keep every character."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any) -> str:
    """Compact JSON that is valid UTF-8.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold `value`.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair, as a model that is cut off inside an emoji can leave it, is no UTF-8; an escape is.
    return text if is_utf8(text) else json.dumps(value, separators=(",", ":"))


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
