"""The ids of responses: the server's, unless nobody could address a turn by it.

A turn is looked up by its id, printed with it, and asked for at a path that ends in it. A server
that is careless with its ids must not reach another conversation by them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from synth_ai.content import new_response_id
from synth_ai.response import BaseLMResponse
from synth_ai.store.base import ResponseStore

# `resp_6890`, `chatcmpl-1`, `gen-17:2`, base 64 as gateways make them. No blanks, control
# characters, slashes or percent signs; gateways' ids have up to some 300 characters.
_USABLE = re.compile(r"[A-Za-z0-9_.:=+~@-]{1,512}")

#: Ids that calls under way are about to store, each with the store that it is for.
_claims: set[tuple[int, str]] = set()
_lock = threading.Lock()


@asynccontextmanager
async def unique_response_id(
    response: BaseLMResponse, parent_id: str | None, store: ResponseStore
) -> AsyncGenerator[None, None]:
    """Give a response an id that no other turn of the store has, until its own turn is there.

    The server cannot continue from an id that is made here, so the next call brings the history.

    Args:
        response: the response. Its id is replaced if it must be, with a warning.
        parent_id: the id of the turn that it continues.
        store: where its turn will be.
    """
    if response.response_id is None:
        response.response_id = new_response_id()
        yield
        return

    claim = (id(store), response.response_id)
    with _lock:
        is_free = claim not in _claims
        _claims.add(claim)
    try:
        if not is_free or not await _is_usable(response.response_id, parent_id, store):
            _replace_id(response)
        yield
    finally:
        if is_free:
            with _lock:
                _claims.discard(claim)


async def _is_usable(response_id: str, parent_id: str | None, store: ResponseStore) -> bool:
    if response_id == parent_id:
        return False
    # `.` and `..` mean another place in a path.
    if not _USABLE.fullmatch(response_id) or not response_id.strip("."):
        return False
    return await store.get(response_id) is None


def _replace_id(response: BaseLMResponse) -> None:
    given = response.response_id
    response.response_id = new_response_id()
    response.stored_on_server = False
    response.warnings.append(
        f"The server's id {given!r:.80} cannot be this response's: another response has it, or it "
        f"is no plain text. The response is {response.response_id} here, and the next call brings "
        "the whole conversation."
    )
