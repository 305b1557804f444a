"""The ids of responses: the server's, unless nobody could address a turn by it.

A turn is looked up by its id, printed with it, and asked for at a path that ends in it. A server
that is careless with its ids must not reach another conversation by them.
"""

from __future__ import annotations

import re
import threading

from synth_ai.content import new_response_id
from synth_ai.response import BaseLMResponse
from synth_ai.store.base import ResponseStore

# `resp_6890`, `chatcmpl-1`, `gen-17:2`, base 64 as gateways make them. No blanks, control
# characters, slashes or percent signs; gateways' ids have up to some 300 characters.
_USABLE = re.compile(r"[A-Za-z0-9_.:=+~@-]{1,512}")

#: Ids that calls under way are about to store, each with the store that it is for.
_claims: set[tuple[int, str]] = set()
_lock = threading.Lock()


class unique_response_id:
    """Give a response an id that no other turn of the store has, until its own turn is there.

    The server cannot continue from an id that is made here, so the next call brings the history.

    Args:
        response: the response. Its id is replaced if it must be, with a warning.
        parent_id: the id of the turn that it continues.
        store: where its turn will be.
    """

    __slots__ = ("_claim", "_parent_id", "_response", "_store")

    # A class, no generator: every call goes through it, and a generator costs several times more.
    def __init__(
        self, response: BaseLMResponse, parent_id: str | None, store: ResponseStore
    ) -> None:
        self._response = response
        self._parent_id = parent_id
        self._store = store
        self._claim: tuple[int, str] | None = None

    async def __aenter__(self) -> None:
        given = self._response.response_id
        if given is None:
            self._response.response_id = new_response_id()
            return

        is_free = self._take_claim(given)
        try:
            if not is_free or not await _is_usable(given, self._parent_id, self._store):
                _replace_id(self._response)
        except BaseException:
            self._drop_claim()
            raise

    async def __aexit__(
        self, exc_type: object, error: BaseException | None, traceback: object
    ) -> None:
        self._drop_claim()

    def _take_claim(self, response_id: str) -> bool:
        """Claim an id; False if another call has claimed it."""
        claim = (id(self._store), response_id)
        with _lock:
            if claim in _claims:
                return False
            _claims.add(claim)

        self._claim = claim
        return True

    def _drop_claim(self) -> None:
        if self._claim is None:
            return
        with _lock:
            _claims.discard(self._claim)


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
