"""One request and its answer, linked to the turn before.

A turn holds only what it added: a prefix that many branches share is stored once, and a fork costs
one link.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synth_ai.content import Item


@dataclass(frozen=True, slots=True)
class Turn:
    """One request and its answer.

    Stores write each field under its name: a field that is new or renamed needs a new version of
    their files, see `synth_ai.store.sqlite.migrations` and `synth_ai.store.transfer`.

    Attributes:
        id: the response id, by which the turn is continued from.
        parent_id: the id of the turn before; None for the first.
        api_type: the API that answered, such as `chat`, `responses` or `harmony`.
        model: the model that answered.
        input: the items that this turn added.
        output: the items that the model answered with.
        instructions: the system message in force in this turn.
        tools: the tools in force in this turn, as specs; None if no call of the branch named any.
        status: `completed`, `incomplete` or `failed`.
        server: the server that made the items, whose ids mean nothing to another; None if they
            have no ids.
        stored_on_server: whether that server can continue from this id by itself.
        redacted: whether its text was replaced, see `ResponseStore.redact`; never undone.
        incomplete_reason: why the status is `incomplete`, such as `max_output_tokens`.
        error: what went wrong, if the status is `failed`.
        request_id: the server's id of the request.
        replay_reason: why the whole conversation was sent again, if the server could not continue
            from its id.
        warnings: what was repaired, dropped or clipped on the way.
        usage: tokens, in the shape of `Usage`.
        output_token_ids: the ids that the model sampled, if the backend has them.
        settings: the options that shaped the call, such as `reasoning_effort` and `tool_choice`;
            nothing secret.
        date: the date on which the conversation started, which every later turn repeats, as
            Harmony writes it into the prompt.
        created_at: seconds since the epoch.
    """

    id: str
    parent_id: str | None
    api_type: str
    model: str
    input: tuple[Item, ...]
    output: tuple[Item, ...]
    instructions: str | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    status: str = "completed"
    server: str | None = None
    stored_on_server: bool = False
    redacted: bool = False
    incomplete_reason: str | None = None
    error: str | None = None
    request_id: str | None = None
    replay_reason: str | None = None
    warnings: tuple[str, ...] = ()
    usage: Mapping[str, int] | None = None
    output_token_ids: Sequence[int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None
    created_at: float = field(default_factory=time.time)
