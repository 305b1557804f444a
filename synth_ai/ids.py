"""Ids of responses: what can be one, and how one becomes a part of an address."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from synth_ai.errors import RequestError

# Segments of a path that name a folder, which clients and proxies resolve before they send.
_FOLDERS = frozenset({".", ".."})


def check_id(id: object, name: str) -> str:
    """Check that a value can be the id of a response.

    Args:
        id: any value.
        name: what an error calls it, such as `previous_response_id`.

    Raises:
        RequestError: it is not a string, is empty, or has half a surrogate pair in it, which no
            store and no server takes.
    """
    if not isinstance(id, str) or not id.strip():
        raise _id_error(id, name)

    try:
        id.encode()
    except UnicodeEncodeError:
        raise _id_error(id, name) from None

    return id


def quote_id(id: object, name: str) -> str:
    """Quote an id so that it is one segment of a path, whatever characters it has.

    `resp_1` -> `resp_1`, `../files/a?b` -> `..%2Ffiles%2Fa%3Fb`

    Args:
        id: any value.
        name: what an error calls it, such as `response_id`.

    Raises:
        RequestError: it cannot be an id, or not a segment: `.`, `..` and control characters.
    """
    text = check_id(id, name)
    if text in _FOLDERS or any(unicodedata.category(letter) == "Cc" for letter in text):
        raise _id_error(text, name)

    return quote(text, safe="")


def _id_error(id: object, name: str) -> RequestError:
    try:
        given = f"{id!r:.100}"
    except Exception:
        # Python does not write out an integer of thousands of digits, nor a broken `__repr__`.
        given = f"an object of the class {type(id).__name__}"

    return RequestError(f"{name} must be the response_id of a response, not {given}.")
