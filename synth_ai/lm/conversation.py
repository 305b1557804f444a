"""What a call continues from, and what it inherits: heads, forks, and what carries over."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import date

from synth_ai.errors import UnknownResponseError
from synth_ai.ids import check_id
from synth_ai.lm.config import LMConfig
from synth_ai.lm.prompt import NOT_GIVEN, SystemMessage
from synth_ai.lm.tools import ToolSpec
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.store.credentials import seal_tools
from synth_ai.store.redaction import count_redacted
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class Parent:
    """The turn a call continues from.

    Attributes:
        id: its response id.
        turn: the turn; None when only a server knows the id.
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

    Several calls may be under way at once. Each starts from the head as it was when the call was
    made. Of those that finish, the one that was made last leaves its turn as the head; one call may
    have several turns, each of which moves it.

    Attributes:
        resets: how many times it was reset.
    """

    def __init__(self, start: Parent | None = None) -> None:
        self._current = start
        self._last_ticket = 0
        self._last_moved_by = 0
        self.resets = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> Parent | None:
        """The head now."""
        return self._current

    def take(self) -> Ticket:
        """Issue a ticket for a call that is being made now."""
        with self._lock:
            self._last_ticket += 1
            return Ticket(self._last_ticket, self._current)

    def move(self, ticket: Ticket, to: Parent) -> None:
        """Move the head to a call's turn, unless a call made later has moved it already."""
        with self._lock:
            if ticket.number >= self._last_moved_by:
                self._last_moved_by = ticket.number
                self._current = to

    def reset(self) -> None:
        """Forget the head; calls still under way no longer move it."""
        with self._lock:
            # As if a call had been made now, and had moved it.
            self._last_ticket += 1
            self._last_moved_by = self._last_ticket
            self._current = None
            self.resets += 1


@dataclass(frozen=True, slots=True)
class Context:
    """What a call has from the conversation before it.

    Attributes:
        previous_response_id: the id that the server continues from; None when `history` is sent.
        history: the turns before, oldest first, if the server cannot continue from an id.
        instructions: the system message in force.
        tools: the tools in force; None if no call of the branch named any and the LM has none.
        date: the date on which the conversation began, as YYYY-MM-DD.
        replay_reason: why the history is sent though the API could continue from an id; None if it
            never can, or does.
    """

    previous_response_id: str | None
    history: tuple[Turn, ...]
    instructions: str | None
    tools: tuple[ToolSpec, ...] | None
    date: str
    replay_reason: str | None


async def context(
    parent: Parent | None,
    config: LMConfig,
    *,
    instructions: SystemMessage,
    tools: tuple[ToolSpec, ...] | None,
) -> Context:
    """Gather what a call has from the conversation before it.

    Args:
        parent: the turn to continue from; None at the start of a conversation.
        config: the LM's, for the store, the backend and what stands in for what nobody gave.
        instructions: the call's own system message.
        tools: the call's own tools; None if it gave none, () if it takes them away.

    Raises:
        UnknownResponseError: the history is needed and not all of it is in the store.
    """
    if parent is None:
        return Context(
            previous_response_id=None,
            history=(),
            instructions=config.system_message if instructions is NOT_GIVEN else instructions,
            tools=config.tools.specs if tools is None else tools,
            date=_today(),
            replay_reason=None,
        )

    turn = parent.turn
    if instructions is NOT_GIVEN:
        instructions = None if turn is None else turn.instructions
    if turn is not None and tools is None:
        tools = _tools_of(turn)
    if tools is None:
        tools = config.tools.specs

    continuation = await _continue_from(parent, config)
    return Context(
        previous_response_id=continuation.previous_response_id,
        history=continuation.history,
        instructions=instructions,
        tools=tools,
        date=_date_of(turn),
        replay_reason=continuation.replay_reason,
    )


def server_of(vendor: VendorBase) -> Hashable:
    """Name what may have the credentials of tools that were sent to this backend."""
    if vendor.server is not None:
        return vendor.server
    # A backend that has no name shares them with none other, even of its own class.
    return weakref.ref(vendor)


def _tools_of(turn: Turn) -> tuple[ToolSpec, ...] | None:
    """Return the tools of a turn; whatever credentials they have are for that turn's server."""
    if turn.tools is None:
        return None
    return seal_tools(turn.tools, turn.server)


def _date_of(turn: Turn | None) -> str:
    """Return the date of a turn's conversation, fixed so that later prompts begin the same."""
    if turn is None or not turn.date:
        return _today()
    return turn.date


def _today() -> str:
    return date.today().isoformat()


# --- the turn to continue from ----------------------------------------------------------------


async def find_parent(id: str, config: LMConfig) -> Parent:
    """Look up the turn of an id that a caller gave.

    Raises:
        RequestError: it cannot be an id.
        UnknownResponseError: it is not in the store, and no server could know it.
    """
    check_id(id, "previous_response_id")
    turn = await config.store.get(id)
    api = config.vendor.api
    if turn is None and not api.keeps_responses:
        raise UnknownResponseError(
            f"{config.store.explain_missing(id)} On the {api.name} API no server keeps responses, "
            "so a conversation continues from turns in the store alone: use the LM (or the "
            "response_store) that made it."
        )
    return Parent(id, turn)


@dataclass(frozen=True, slots=True)
class Continuation:
    """How a call continues from a turn: by its id, or with the history; see `Context`."""

    previous_response_id: str | None = None
    history: tuple[Turn, ...] = ()
    replay_reason: str | None = None


async def _continue_from(parent: Parent, config: LMConfig) -> Continuation:
    """Continue by id if the turn's own server keeps it, else with the whole history."""
    server = config.vendor.server
    if not config.vendor.api.keeps_responses:
        return await replay(parent, config, None)

    turn = parent.turn
    if turn is not None and turn.stored_on_server:
        # The head has the turn as it was then; what came before may have been redacted since.
        turn = await config.store.get(parent.id) or turn

    if turn is None:
        return Continuation(previous_response_id=parent.id)
    if turn.server == server and turn.stored_on_server:
        return Continuation(previous_response_id=parent.id)
    if turn.server != server and not turn.redacted:
        return await replay(parent, config, "another backend made it")

    continuation = await replay(parent, config, config.vendor.replay_reason)
    if count_redacted(continuation.history):
        return replace(continuation, replay_reason="a part of it was redacted")
    return continuation


async def replay(parent: Parent, config: LMConfig, reason: str | None) -> Continuation:
    """Read the whole history of a turn, to be sent again.

    Args:
        parent: the turn.
        config: the LM's, for the store.
        reason: why the history is sent; None if the API knows no other way.

    Raises:
        UnknownResponseError: not all of it is in the store.
    """
    turns = await config.store.chain(parent.id)
    if turns is None:
        because = f" ({reason})" if reason else ""
        raise UnknownResponseError(
            f"The conversation up to {parent.id!r} has to be sent in full{because}, and the store "
            f"does not have all of it. {config.store.explain_missing(parent.id)} Begin a new "
            "conversation with reset(), or continue from another response with "
            "previous_response_id=."
        )
    return Continuation(history=tuple(turns), replay_reason=reason)
