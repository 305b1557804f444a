"""One request and its answer, linked to the turn before.

A turn holds only what it added: a prefix that many branches share is stored once, and a fork costs
one link.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from synth_ai.content import Item


class Compaction(TypedDict):
    """What a prompt had in place of the oldest turns of its conversation.

    Attributes:
        first_kept: the id of the oldest turn that the prompt still had; the turn's own id if it had
            none of those before.
        items: what stood in front of it; empty if the turns were only left out.
    """

    first_kept: str
    items: Sequence[Item]


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
        output_logprobs: the log probability of each sampled token, if the call asked for them; an
            `array` of four bytes each.
        logprobs_mode: what they are, in vLLM's words: `raw_logprobs` are those before temperature
            and penalties, `processed_logprobs` those after. None if the backend does not say.
        temperature: the temperature at which the tokens were sampled; None if only the server knows
            its default.
        prompt_hash: a hash of the prompt's token ids, by which a prompt that is rendered again is
            known to be the same; see `hash_token_ids`.
        compaction: what the prompt had in place of the oldest turns; None if it had them all.
        settings: the options that shaped the call, such as `reasoning_effort` and `tool_choice`;
            nothing secret.
        date: the date on which the conversation started, which every later turn repeats, as
            Harmony writes it into the prompt.
        created_at: when the turn was recorded, in seconds since the epoch.
        latency: seconds from the sending of the call, in its last try, to the whole answer.
        time_to_first_token: seconds from there to the first piece of the answer, where it was
            streamed or the engine says.
        cached: whether the response cache answered, so that no call was made.
        fingerprint: a hash of the whole conversation up to and including this turn, in hexadecimal
            digits, by which a history that is sent again finds its turn.
        request_key: a hash of the request, in hexadecimal digits, by which the response cache finds
            its answer; None if the cache may not give it.
        reward: how good the answer was, as the caller says.
        tags: the caller's own labels; JSON, never sent.
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
    output_logprobs: Sequence[float] | None = None
    logprobs_mode: str | None = None
    temperature: float | None = None
    prompt_hash: str | None = None
    compaction: Compaction | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None
    created_at: float = field(default_factory=time.time)
    latency: float | None = None
    time_to_first_token: float | None = None
    cached: bool = False
    fingerprint: str | None = None
    request_key: str | None = None
    reward: float | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
