"""Who sent a request: read from its bearer key."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from synth_ai.backend.keys import KeyFile
from synth_ai.openai_api.refusals import RefusedRequestError

Authenticate: TypeAlias = Callable[[str], "str | Awaitable[str | None] | None"]
"""Takes a key and returns the name of whose it is, or None if it is nobody's."""

_BEARER = "bearer "

#: The name of callers where nobody needs a key.
ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: for limits, usage and logs; never the key.
        owner: whose responses it may see; None if there is only one owner here.
        may_ask_upstream: whether the server behind this one decides what the caller may see of the
            ids that this one does not know.
        key: the key that it sent; None if there was none.
    """

    name: str
    owner: str | None
    may_ask_upstream: bool
    key: str | None


async def find_caller(
    headers: Mapping[str, str], keys: KeyFile | Authenticate | None, *, needs_key: bool
) -> Caller:
    """Find who sent a request.

    Args:
        headers: of the request, by lower-case name.
        keys: what knows the keys; None if this server knows none.
        needs_key: whether a request without a key is refused though nobody here knows the keys: the
            server behind this one does.

    Raises:
        RefusedRequestError: 401, the key is missing or nobody's.
    """
    key = _read_bearer(headers.get("authorization", ""))
    if keys is None:
        if needs_key and key is None:
            raise _refuse_missing()
        return _make_unknown(key)

    if key is None:
        raise _refuse_missing()
    name = await _find_name(key, keys)
    if name is None:
        raise RefusedRequestError(
            "Incorrect API key provided. It was revoked, or never was one of this server.",
            status=401,
            code="invalid_api_key",
        )
    return Caller(name, owner=name, may_ask_upstream=False, key=key)


async def _find_name(key: str, keys: KeyFile | Authenticate) -> str | None:
    if isinstance(keys, KeyFile):
        return keys.find(key)

    found = keys(key)
    if inspect.isawaitable(found):
        return await found
    return found


def _make_unknown(key: str | None) -> Caller:
    """Make the caller of a key that only the server behind this one knows."""
    if key is None:
        return Caller(ANYBODY, owner=None, may_ask_upstream=True, key=None)

    # Those who bring one key share their responses, and nobody learns the key from the store.
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    name = f"key-{digest[:16]}"
    return Caller(name, owner=name, may_ask_upstream=True, key=key)


def _read_bearer(header: str) -> str | None:
    if not header.lower().startswith(_BEARER):
        return None
    return header[len(_BEARER) :].strip() or None


def _refuse_missing() -> RefusedRequestError:
    return RefusedRequestError(
        "You didn't provide an API key. Send one in the header 'Authorization: Bearer KEY'.",
        status=401,
        code="missing_api_key",
    )
