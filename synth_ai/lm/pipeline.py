"""One call's way: prepared against the conversation, sent, recorded as a turn."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from synth_ai.errors import StructuredOutputError
from synth_ai.events import Completed, ReasoningDelta, StreamEvent
from synth_ai.lm.call import Call
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head
from synth_ai.lm.deadline import Deadline
from synth_ai.lm.delivery import Delivery, choose_vendor, open_stream, with_history
from synth_ai.lm.prepare import prepare, read_options
from synth_ai.lm.record import count, record_in_time
from synth_ai.lm.streams import StreamFacts
from synth_ai.lm.structured_output import ResponseFormat, describe_error
from synth_ai.lm.token_count import TokenCount
from synth_ai.response import BaseLMResponse, in_one_line

logger = logging.getLogger("synth_ai")


async def respond(
    config: LMConfig, call: Call, head: Head, deadline: Deadline | None = None
) -> BaseLMResponse:
    """Answer one call.

    Args:
        config: where the call goes, and what the LM asks for by default.
        call: the call.
        head: the head that its turn moves.
        deadline: the end of the time that several calls have together; by default the call has its
            `timeout` for itself.

    Raises:
        SynthAIError: see `synth_ai.errors`.
    """
    started_at = time.monotonic()
    options, timeout = read_options(config, call)
    if deadline is None:
        deadline = Deadline(timeout)
    place = config.limiter.place()

    await deadline.wait_for(place)
    try:
        async with deadline:
            prepared = await prepare(config, call, options, timeout)
            vendor = choose_vendor(config, prepared)
            delivery = Delivery(config, prepared, vendor.respond, place, deadline)
            response = await delivery.run()
            response.latency = delivery.seconds_since_sent()
        count(config, response)
    finally:
        place.release()

    response.attempts = 0 if response.cached else delivery.attempts
    await record_in_time(config, call, head, delivery.call, response, deadline)
    _log(response, started_at)
    return read_structured_output(delivery.call.request.response_format, response)


async def stream(
    config: LMConfig, call: Call, head: Head, facts: StreamFacts
) -> AsyncGenerator[StreamEvent, None]:
    """Answer one call as events, the last of which is `Completed`. Closing it aborts the call.

    Args:
        config: the LM's.
        call: the call.
        head: the head of the LM.
        facts: is filled with what is known of the response from the beginning on.

    Raises:
        SynthAIError: see `synth_ai.errors`.
    """
    started_at = time.monotonic()
    options, timeout = read_options(config, call)
    deadline = Deadline(timeout)
    place = config.limiter.place()

    await deadline.wait_for(place)
    try:
        async with deadline:
            prepared = await prepare(config, call, options, timeout)
            open_events = partial(open_stream, choose_vendor(config, prepared), facts)
            delivery = Delivery(config, prepared, open_events, place, deadline)
            events, event = await delivery.run()
            time_to_first_event = delivery.seconds_since_sent()
            is_in_pieces = not isinstance(event, Completed)

        async with aclosing(events):
            deadline.note("while it waited for the next event of the stream", is_sent=True)
            while not isinstance(event, Completed):
                if delivery.call.include_reasoning or not isinstance(event, ReasoningDelta):
                    # The reader may make calls that wait for this very place.
                    place.idle_since = time.monotonic()
                    yield event
                    place.idle_since = None
                async with deadline:
                    event = await delivery.next_event(events, facts)
        count(config, event.response)
    finally:
        place.release()

    response = event.response
    response.attempts = 0 if response.cached else delivery.attempts
    response.latency = delivery.seconds_since_sent()
    if is_in_pieces and not response.cached:
        response.time_to_first_token = time_to_first_event
    await record_in_time(config, call, head, delivery.call, response, deadline)
    facts.response_id = response.response_id
    _log(response, started_at)
    yield Completed(read_structured_output(delivery.call.request.response_format, response))


async def count_tokens(config: LMConfig, call: Call) -> TokenCount:
    """Count the tokens of a call's whole prompt, without sending anything.

    Raises:
        RequestError: the call contradicts itself, or not all of its conversation is in the store.
    """
    options, timeout = read_options(config, call)
    prepared = await prepare(config, call, options, timeout)
    if prepared.request.previous_response_id is not None:
        prepared = await with_history(config, prepared, "its tokens are counted here")
    return await config.vendor.count_tokens(prepared.request)


def read_structured_output(
    shape: ResponseFormat | None, response: BaseLMResponse
) -> BaseLMResponse:
    """Read the answer into an object, if one was asked for and the model answered.

    Raises:
        StructuredOutputError: the answer is whole and does not fit; the response is on the error.
    """
    if shape is None or response.refusal or response.tool_calls:
        return response

    # What was cut off may still be read, as something else: 1234 as 12.
    if response.status != "completed":
        reason = response.incomplete_reason or response.error or "no reason given"
        response.warnings.append(
            f"structured_output is empty: the answer is {response.status} ({reason})."
        )
        return response

    try:
        response.structured_output = shape.parse(response.raw_response)
    except ValueError as error:
        raise StructuredOutputError(
            f"The answer does not fit {shape.name}: {describe_error(error)}. "
            f"It was: {response.raw_response[:200]!r}",
            response=response,
        ) from error
    return response


def _log(response: BaseLMResponse, started_at: float) -> None:
    """Log a line for each answer, without a word of the conversation."""
    if response.replayed:
        # Behind the colon are the server's words, which may quote the conversation.
        reason, _, _ = str(response.replay_reason).partition(": ")
        logger.info("%s was answered from a replay: %s", response.response_id, in_one_line(reason))
    if not logger.isEnabledFor(logging.DEBUG):
        return

    input_tokens: object = "?"
    output_tokens: object = "?"
    if response.usage is not None:
        input_tokens = response.usage.input_tokens
        output_tokens = response.usage.output_tokens
    logger.debug(
        "%s %s answered by %s (%s) in %.2f s, %s + %s tokens, sent %d time(s), after %s",
        response.response_id,
        response.status,
        in_one_line(str(response.model)),
        response.api_type,
        time.monotonic() - started_at,
        input_tokens,
        output_tokens,
        response.attempts,
        in_one_line(str(response.previous_response_id)),
    )
