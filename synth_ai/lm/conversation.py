"""Where a call continues from, and what it inherits: heads, forks, and what carries over down a branch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from synth_ai.errors import RequestError, UnknownResponseError
from synth_ai.lm.tools import ToolSpec
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.store.base import ResponseStore
from synth_ai.store.redaction import count_redacted
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class Parent:
    """The turn a call continues from.

    Attributes:
        id: its response id.
        turn: what is known of it; None when only a server knows the id.
    """

    id: str
    turn: Turn | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call's place in the order of calls, with the head as it was when the call was made."""

    number: int
    head: Parent | None


class Head:
    """The turn that the next call of an LM continues from.

    Several calls may be under way at once: each starts from the head as it was when the call was made, and of those
    that finish, the one made last leaves its turn as the head.

    Attributes:
        resets: how many times it was reset.
    """

    def __init__(self, start: Parent | None = None) -> None:
        self._current = start
        self._issued = 0
        self._settled = 0
        self.resets = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> Parent | None:
        """The head now."""
        return self._current

    def take(self) -> Ticket:
        """A ticket for a call that is being made now."""
        with self._lock:
            self._issued += 1
            return Ticket(self._issued, self._current)

    def move(self, ticket: Ticket, to: Parent) -> None:
        """Move the head to a call's turn, unless a call made later has moved it already."""
        with self._lock:
            if ticket.number > self._settled:
                self._settled = ticket.number
                self._current = to

    def reset(self) -> None:
        """Forget the head; calls still under way no longer move it."""
        with self._lock:
            self._settled = self._issued
            self._current = None
            self.resets += 1


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a call inherits from the turn it continues.

    Attributes:
        previous_response_id: the id for a server that remembers; None when `history` is sent.
        history: the turns before, oldest first, for a server that does not.
        replay_reason: why the history is sent though the API could continue from an id; None when it cannot anyway.
    """

    previous_response_id: str | None = None
    history: tuple[Turn, ...] = ()
    replay_reason: str | None = None


async def find_parent(store: ResponseStore, id: str, vendor: VendorBase) -> Parent:
    """The turn of an id that a caller gave.

    Raises:
        RequestError: it is no id.
        UnknownResponseError: it is not in the store, and no server could know it.
    """
    if not isinstance(id, str) or not id.strip():
        raise RequestError(
            f"previous_response_id={id!r:.100} is no id; give the response_id of a response."
        )
    turn = await store.get(id)
    if turn is None and vendor.api_type != "responses":
        raise UnknownResponseError(
            f"{store.explain_missing(id)} On the {vendor.api_type} API no server keeps responses, so a conversation "
            "continues from turns in the store alone: use the LM (or the response_store) that made it."
        )
    return Parent(id, turn)


async def continue_from(parent: Parent, store: ResponseStore, vendor: VendorBase) -> Continuation:
    """How to continue from a turn: by id where its own server remembers it, else with the whole history.

    Raises:
        UnknownResponseError: the history is needed and not all of it is in the store.
    """
    turn = parent.turn
    if vendor.api_type != "responses":
        return await replay(parent, store, None)
    if turn is not None and turn.stored_on_server:
        # The head's turn is as it was then; what came before it may have been redacted since, by anyone.
        turn = await store.get(parent.id) or turn
    if turn is None or (turn.stored_on_server and turn.server == vendor.server):
        return Continuation(previous_response_id=parent.id)
    if turn.server != vendor.server and not turn.redacted:
        return await replay(parent, store, "another backend made it")
    continuation = await replay(parent, store, "the server does not keep this conversation")
    if count_redacted(continuation.history):
        return replace(continuation, replay_reason="a part of it was redacted")
    return continuation


async def replay(parent: Parent, store: ResponseStore, reason: str | None) -> Continuation:
    """The whole history of a turn, to be sent again.

    Raises:
        UnknownResponseError: not all of it is in the store.
    """
    turns = await store.chain(parent.id)
    if turns is None:
        why = f" ({reason})" if reason else ""
        raise UnknownResponseError(
            f"The conversation up to {parent.id!r} has to be sent in full{why}, and the store does not have all of it. "
            f"{store.explain_missing(parent.id)}"
        )
    return Continuation(history=tuple(turns), replay_reason=reason)


def inherited_instructions(
    given: str | None, parent: Parent | None, default: str | None
) -> str | None:
    """The system message in force: the call's own, or else the branch's; at the start of a conversation, the LM's."""
    if given is not None:
        return given
    if parent is None:
        return default
    return parent.turn.instructions if parent.turn is not None else None


def inherited_tools(
    given: Sequence[ToolSpec] | None, parent: Turn | None, default: Sequence[ToolSpec] | None
) -> tuple[ToolSpec, ...] | None:
    """The tools in force: the call's own, or else the branch's, or else the LM's. None where nobody named any."""
    chosen = given
    if chosen is None and parent is not None:
        chosen = parent.tools
    if chosen is None:
        chosen = default
    return None if chosen is None else tuple(chosen)


def conversation_date(parent: Turn | None) -> str:
    """The date a conversation was begun under: fixed at its first turn, so that its prompts stay the same."""
    return parent.date if parent is not None and parent.date else date.today().isoformat()
