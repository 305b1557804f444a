"""An answer kept: completed, counted, put into the store as a turn."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TypedDict

from synth_ai.content import complete_items
from synth_ai.errors import StoreError, TimedOutError
from synth_ai.lm import conversation
from synth_ai.lm.cache import as_hit, may_be_given_again
from synth_ai.lm.call import Call, PreparedCall
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head, Parent
from synth_ai.lm.deadline import Deadline
from synth_ai.lm.fingerprints import fingerprint
from synth_ai.lm.logprobs import pack_logprobs
from synth_ai.lm.prices import find_price
from synth_ai.lm.prompt_ids import describe_compaction, hash_token_ids
from synth_ai.lm.response_ids import unique_response_id
from synth_ai.lm.tools import ToolSpec
from synth_ai.response import BaseLMResponse
from synth_ai.store.credentials import seal_tools
from synth_ai.store.json import copy_json
from synth_ai.turn import Turn

logger = logging.getLogger("synth_ai")

#: Statuses of a response that a conversation can continue from.
_CONTINUABLE = ("completed", "incomplete")


def count(config: LMConfig, response: BaseLMResponse) -> None:
    """Price an answer and count it, before the next call takes the place of this one.

    The next call must not be sent if this one has reached the cap on what calls may cost.
    """
    # A server may report a name that has no price here, such as that of a deployment.
    model = config.model
    price = find_price(response.model or model, config.prices) or find_price(model, config.prices)
    if price is not None and response.usage is not None and not response.cached:
        response.cost = price.cost_of(response.usage)
    config.usage.add(response)


async def record_in_time(
    config: LMConfig,
    call: Call,
    head: Head,
    prepared: PreparedCall,
    response: BaseLMResponse,
    deadline: Deadline,
) -> None:
    """Record a call within the rest of its time.

    Raises:
        StoreError: the turn could not be kept; the response is on the error.
        TimedOutError: the store took too long; the response is on the error.
    """
    deadline.note("while the answer was being stored", is_sent=True)
    try:
        async with deadline:
            await record(config, call, head, prepared, response)
    except TimedOutError as error:
        error.response = response
        raise


async def record(
    config: LMConfig, call: Call, head: Head, prepared: PreparedCall, response: BaseLMResponse
) -> None:
    """Complete the response, keep its turn, and move the head to it.

    Raises:
        StoreError: the turn could not be kept; the response is on the error.
    """
    parent_id = None if prepared.parent is None else prepared.parent.id
    if response.response_id is None and prepared.request.response_id is not None:
        response.response_id = prepared.request.response_id
    try:
        async with unique_response_id(response, parent_id, config.store):
            _complete_response(config, prepared, response)
            turn = _turn_of(config, prepared, response)
            await config.store.put(turn)
    except StoreError as error:
        error.response = response
        raise
    finally:
        if not prepared.include_reasoning:
            _hide_reasoning(response)

    if call.moves_head and response.status in _CONTINUABLE:
        head.move(call.ticket, Parent(turn.id, turn))


def _complete_response(config: LMConfig, prepared: PreparedCall, response: BaseLMResponse) -> None:
    """Fill in what only LM knows."""
    response.output = complete_items(response.output, response.response_id)
    response.api_type = config.vendor.api.name
    response.previous_response_id = None if prepared.parent is None else prepared.parent.id
    response.created_at = time.time()
    response.tags = copy_json(prepared.tags)
    if response.cached:
        return  # it has the warnings of the call that was made

    response.warnings += prepared.warnings
    if response.logprobs is not None and response.temperature is None:
        response.temperature = prepared.request.options.get("temperature")
    if prepared.replay_reason is not None:
        response.replayed = True
        response.replay_reason = prepared.replay_reason


def _turn_of(config: LMConfig, prepared: PreparedCall, response: BaseLMResponse) -> Turn:
    request = prepared.request
    assert response.response_id is not None
    assert response.created_at is not None
    compaction = describe_compaction(request, response.response_id)
    request_key = prepared.request_key
    if compaction is not None or not may_be_given_again(response):
        request_key = None

    turn = Turn(
        id=response.response_id,
        parent_id=response.previous_response_id,
        api_type=config.vendor.api.name,
        model=response.model or request.model,
        input=request.input,
        output=tuple(response.output),
        instructions=request.instructions,
        tools=_without_credentials(config, prepared.tools),
        status=response.status,
        server=config.vendor.server,
        stored_on_server=response.stored_on_server,
        incomplete_reason=response.incomplete_reason,
        error=response.error,
        request_id=response.request_id,
        replay_reason=response.replay_reason,
        warnings=tuple(response.warnings),
        usage=None if response.usage is None else response.usage.model_dump(),
        settings=_settings_of(prepared),
        date=request.date,
        created_at=response.created_at,
        latency=response.latency,
        time_to_first_token=response.time_to_first_token,
        compaction=compaction,
        request_key=request_key,
        tags=prepared.tags,
        fingerprint=_fingerprint_of(prepared, response),
        **_sampled_facts(response),
    )
    if prepared.source is not None:
        return as_hit(turn, prepared.source)
    return turn


class _SampledFacts(TypedDict, total=False):
    """The fields of a turn that say what was sampled after which prompt."""

    output_token_ids: Sequence[int] | None
    output_logprobs: Sequence[float] | None
    logprobs_mode: str | None
    temperature: float | None
    prompt_hash: str | None


def _sampled_facts(response: BaseLMResponse) -> _SampledFacts:
    """Collect what a turn keeps of the ids, as far as they are exact."""
    facts: _SampledFacts = {}
    if response.prompt_token_ids is not None:
        facts["prompt_hash"] = hash_token_ids(response.prompt_token_ids)
    # Ids that are not all that was sampled would be a false history.
    if not response.tokens_exact:
        return facts

    facts["output_token_ids"] = response.output_token_ids
    logprobs = pack_logprobs(response.logprobs)
    if logprobs is not None and _are_aligned(logprobs, response.output_token_ids):
        facts["output_logprobs"] = logprobs
        facts["logprobs_mode"] = response.logprobs_mode
        facts["temperature"] = response.temperature
    return facts


def _are_aligned(logprobs: Sequence[float], token_ids: Sequence[int] | None) -> bool:
    return token_ids is None or len(logprobs) == len(token_ids)


def _settings_of(prepared: PreparedCall) -> dict[str, object]:
    settings = prepared.request.settings()
    if not prepared.include_reasoning:
        settings["include_reasoning"] = False
    return settings


def _fingerprint_of(prepared: PreparedCall, response: BaseLMResponse) -> str | None:
    """Compute the fingerprint of the conversation; None if not all of it is known here."""
    items = [*prepared.request.input, *response.output]
    if prepared.parent is None:
        return fingerprint(items)

    turn = prepared.parent.turn
    if turn is None or turn.fingerprint is None:
        return None
    return fingerprint(items, after=turn.fingerprint)


def _without_credentials(
    config: LMConfig, tools: tuple[ToolSpec, ...] | None
) -> tuple[ToolSpec, ...] | None:
    """Take out of tools what no store may have; it stays in memory, for this server."""
    if tools is None:
        return None
    return seal_tools(tools, conversation.server_of(config.vendor))


def _hide_reasoning(response: BaseLMResponse) -> None:
    """Take the reasoning out of the response; its turn keeps it, as the next call needs it."""
    response.reasoning = None
    response.output = [item for item in response.output if item.get("type") != "reasoning"]
