"""One call as it was written, and as it is ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synth_ai.lm.arguments import CallArguments
from synth_ai.lm.compaction import Compactor
from synth_ai.lm.conversation import Parent, Ticket
from synth_ai.lm.request import LMRequest
from synth_ai.lm.tools import ToolSpec
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the caller wrote it, with its place in the order of calls.

    Attributes:
        texts: the prompt's strings.
        arguments: the arguments that LM reads.
        options: the options, not checked yet.
        ticket: the call's place, and the head as it was when the call was made.
        starts_from_head: whether it starts from the head, unless it says from where else.
        moves_head: whether its turn becomes the head.
    """

    texts: tuple[str, ...]
    arguments: CallArguments
    options: Mapping[str, Any]
    ticket: Ticket
    starts_from_head: bool
    moves_head: bool


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that is ready to be sent.

    Attributes:
        request: what the backend gets.
        parent: the turn that it continues; None at the start of a conversation.
        tools: the tools in force, also those that cannot go to this backend; None if nobody named
            any.
        replay_reason: why the history is sent though the API could continue from an id.
        include_reasoning: whether the caller wants to see the reasoning.
        compactor: what shortens the conversation if it is too long.
        warnings: what the response says of all this.
        tags: the caller's labels.
        request_key: the hash by which its answer is found again; None if it may not be.
        source: the turn that has the answer already; None if the call has to be made.
    """

    request: LMRequest
    parent: Parent | None
    tools: tuple[ToolSpec, ...] | None
    replay_reason: str | None
    include_reasoning: bool
    compactor: Compactor | None = None
    warnings: tuple[str, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)
    request_key: str | None = None
    source: Turn | None = None
