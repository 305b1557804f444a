"""One call's way: prepared against the conversation, sent, recorded as a turn."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from synth_ai import content as items
from synth_ai.errors import (
    ContextLengthError,
    ForgottenResponseError,
    MalformedAnswerError,
    ServerError,
    StoreError,
    StructuredOutputError,
    SynthAIError,
)
from synth_ai.events import Completed, ReasoningDelta, StreamEvent
from synth_ai.images import Image
from synth_ai.lm import conversation
from synth_ai.lm import structured_output as structured
from synth_ai.lm.compaction import Compactor, drop_oldest
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head, Parent, Ticket
from synth_ai.lm.deadline import Deadline
from synth_ai.lm.prices import find_price
from synth_ai.lm.prompt import Prompt, ToolOutputs, build_prompt
from synth_ai.lm.request import LMRequest, stop_strings
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.tool_outputs import check_tool_outputs, match_output_types
from synth_ai.lm.tools import Tool, ToolSpec, tool_specs
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.options import Options
from synth_ai.response import BaseLMResponse
from synth_ai.timeout import Timeout
from synth_ai.turn import Turn

T = TypeVar("T")

logger = logging.getLogger("synth_ai")

#: Statuses of a response that a conversation can go on from.
_CONTINUABLE = ("completed", "incomplete")


class NotGiven:
    """Where None means something, the absence of an argument is this."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = NotGiven()


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the caller wrote it, with its place in the order of calls.

    Attributes:
        continues: whether it starts from the head, where it names no other turn.
        moves_head: whether its turn becomes the head.
    """

    texts: Sequence[str] = ()
    system_message: str | None = None
    user_message: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    images: Sequence[Image] = ()
    tools: Sequence[Tool] | NotGiven | None = NOT_GIVEN
    tool_outputs: ToolOutputs | None = None
    response_model: Any = NOT_GIVEN
    previous_response_id: str | None = None
    ticket: Ticket = field(default_factory=lambda: Ticket(0, None))
    continues: bool = False
    moves_head: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


#: The arguments of a call that are no options.
CALL_ARGUMENTS = frozenset(Call.__dataclass_fields__) - {
    "texts",
    "ticket",
    "continues",
    "moves_head",
    "options",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call that is ready to be sent."""

    request: LMRequest
    parent: Parent | None
    tools: tuple[ToolSpec, ...] | None
    replay_reason: str | None
    include_reasoning: bool
    compactor: Compactor | None = None
    notes: tuple[str, ...] = ()


async def respond(config: LMConfig, call: Call, head: Head) -> BaseLMResponse:
    """Answer one call.

    Raises:
        SynthAIError: see `synth_ai.errors`.
    """
    began = time.monotonic()
    exchange = await prepare(config, call)
    async with Deadline(exchange.request.timeout.total), config.limiter:
        exchange, response, sent = await _deliver(config, exchange, config.vendor.respond)
    response.attempts = sent
    await record(config, call, head, exchange, response)
    _log(response, began)
    return read_structured(exchange, response)


async def stream(config: LMConfig, call: Call, head: Head) -> AsyncGenerator[StreamEvent, None]:
    """Answer one call as events, the last of which is `Completed`. Closing it early aborts the call.

    Raises:
        SynthAIError: see `synth_ai.errors`.
    """
    began = time.monotonic()
    exchange = await prepare(config, call)
    deadline = Deadline(exchange.request.timeout.total)
    async with AsyncExitStack() as place:
        async with deadline:
            await place.enter_async_context(config.limiter)
            exchange, (events, event), sent = await _deliver(
                config, exchange, partial(_opened, config.vendor)
            )
        async with aclosing(events):
            while not isinstance(event, Completed):
                if exchange.include_reasoning or not isinstance(event, ReasoningDelta):
                    yield event
                async with deadline:
                    event = await _following(events)
    response = event.response
    response.attempts = sent
    await record(config, call, head, exchange, response)
    _log(response, began)
    yield Completed(read_structured(exchange, response))


def _log(response: BaseLMResponse, began: float) -> None:
    """A line for each answer, without a word of what was said."""
    if response.replayed:
        logger.info(
            "%s was answered from a replay: %s", response.response_id, response.replay_reason
        )
    if logger.isEnabledFor(logging.DEBUG):
        usage = response.usage
        logger.debug(
            "%s %s answered by %s (%s) in %.2f s, %s + %s tokens, sent %d time(s), after %s",
            *(
                response.response_id,
                response.status,
                response.model,
                response.api_type,
                time.monotonic() - began,
            ),
            *((usage.input_tokens, usage.output_tokens) if usage is not None else ("?", "?")),
            *(response.attempts, response.previous_response_id),
        )


async def _deliver(
    config: LMConfig, exchange: Exchange, send: Callable[[LMRequest], Awaitable[T]]
) -> tuple[Exchange, T, int]:
    """What `send` gives for the request, the exchange as it was taken in the end, and how often it was sent."""
    sent = 0

    async def attempt() -> T:
        nonlocal sent
        sent += 1
        return await send(exchange.request)

    try:
        while True:
            try:
                return exchange, await config.retry.run(attempt), sent
            except (ForgottenResponseError, ContextLengthError) as error:
                exchange = await _adapted(config, exchange, error)
    except ServerError as error:
        error.attempts = sent
        if sent > 1:
            error.add_note(f"The call was sent {sent} times; this is what the last one met.")
        raise


async def _adapted(config: LMConfig, exchange: Exchange, error: SynthAIError) -> Exchange:
    """The same exchange in a form that may be taken: with its history, or with less of it.

    Raises:
        SynthAIError: `error`, when there is none.
    """
    if isinstance(error, ForgottenResponseError):
        if exchange.request.previous_response_id is None:
            raise error
        return await _with_history(config, exchange, str(error))
    compactor = exchange.compactor
    if compactor is None or exchange.parent is None:
        raise error
    if exchange.request.previous_response_id is not None:
        exchange = await _with_history(
            config, exchange, "the conversation was too long for the server"
        )
    shorter = await compactor.compact(exchange.request)
    if shorter is None:
        if not exchange.request.compactable:
            raise error
        # What little room there is will have to do.
        return replace(exchange, request=replace(exchange.request, compactable=False))
    request, gone = shorter
    note = f"The conversation was too long for the model's context: the oldest {gone} turn(s) were compacted."
    return replace(exchange, request=request, notes=(*exchange.notes, note))


async def _opened(
    vendor: VendorBase, request: LMRequest
) -> tuple[AsyncGenerator[StreamEvent, None], StreamEvent]:
    """A stream and its first event. Up to there a failure may be tried again; after it, part is already shown."""
    events = vendor.stream(request)
    try:
        return events, await _following(events)
    except BaseException:
        await events.aclose()
        raise


async def _following(events: AsyncGenerator[StreamEvent, None]) -> StreamEvent:
    event = await anext(events, None)
    if event is None:
        raise MalformedAnswerError("The backend's stream ended without its Completed event.")
    return event


async def prepare(config: LMConfig, call: Call) -> Exchange:
    """Everything that can be wrong with a call is said here, before anything is sent.

    Raises:
        OptionError: an option is unknown or out of range.
        RequestError: the call contradicts itself, or cannot continue from where it says.
    """
    vendor = config.vendor
    options = Options.of(vendor.api_type, call.options).over(config.defaults)
    prompt = build_prompt(
        call.texts,
        system_message=call.system_message,
        user_message=call.user_message,
        messages=call.messages,
        images=call.images,
        tool_outputs=call.tool_outputs,
    )
    parent = await _parent_of(config, call, prompt)
    before = parent.turn if parent is not None else None
    asked = before.output if before is not None else ()
    if parent is None or before is not None:
        # Of a turn that only a server knows, the calls are not known here.
        check_tool_outputs(asked, prompt.items)
    continuation = conversation.Continuation()
    if parent is not None:
        continuation = await conversation.continue_from(parent, config.store, vendor)
    tools = conversation.inherited_tools(_given_tools(call), before, config.tools.specs)
    include_reasoning = options.pop("include_reasoning", True)
    compactor = _compactor(config, options)
    request = LMRequest(
        model=config.model,
        input=match_output_types(asked, prompt.items),
        history=continuation.history,
        previous_response_id=continuation.previous_response_id,
        instructions=conversation.inherited_instructions(
            prompt.instructions, parent, config.system_message
        ),
        tools=tools or (),
        response_format=_response_format(config, call),
        temperature=options.pop("temperature", None),
        max_tokens=options.pop("max_tokens", None),
        reasoning_effort=options.pop("reasoning_effort", None),
        stop=stop_strings(options.pop("stop", None)),
        tool_choice=options.pop("tool_choice", None),
        timeout=Timeout.of(options.pop("timeout", None)),
        options=options,
        date=conversation.conversation_date(before),
        compactable=compactor is not None and parent is not None,
    )
    if compactor is not None:
        request = compactor.reapply(request)
    return Exchange(
        request, parent, tools, continuation.replay_reason, include_reasoning, compactor
    )


async def record(
    config: LMConfig, call: Call, head: Head, exchange: Exchange, response: BaseLMResponse
) -> None:
    """Keep the turn, and move the head to it."""
    request, parent = exchange.request, exchange.parent
    if response.response_id is None:
        response.response_id = items.new_response_id()
    response.api_type = config.vendor.api_type
    response.previous_response_id = parent.id if parent is not None else None
    response.warnings += exchange.notes
    if exchange.replay_reason is not None:
        response.replayed, response.replay_reason = True, exchange.replay_reason
    turn = Turn(
        id=response.response_id,
        parent_id=response.previous_response_id,
        api_type=config.vendor.api_type,
        model=response.model or request.model,
        input=request.input,
        output=tuple(response.output),
        instructions=request.instructions,
        tools=exchange.tools,
        status=response.status,
        server=config.vendor.server,
        stored_on_server=response.stored_on_server,
        incomplete_reason=response.incomplete_reason,
        error=response.error,
        request_id=response.request_id,
        replay_reason=response.replay_reason,
        warnings=tuple(response.warnings),
        usage=response.usage.model_dump() if response.usage is not None else None,
        output_token_ids=response.output_token_ids if response.tokens_exact else None,
        settings=request.settings(),
        date=request.date,
    )
    try:
        await config.store.put(turn)
    except StoreError as error:
        error.response = response
        raise
    price = find_price(turn.model, config.prices) or find_price(request.model, config.prices)
    if price is not None and response.usage is not None:
        response.cost = price.cost_of(response.usage)
    config.usage.add(response)
    if call.moves_head and response.status in _CONTINUABLE:
        head.move(call.ticket, Parent(turn.id, turn))
    if not exchange.include_reasoning:
        response.reasoning = None
        response.output = [item for item in response.output if item.get("type") != "reasoning"]


def read_structured(exchange: Exchange, response: BaseLMResponse) -> BaseLMResponse:
    """Read the answer into an object, where one was asked for and the model answered.

    Raises:
        StructuredOutputError: the answer is whole and does not fit; the response is on the error.
    """
    shape = exchange.request.response_format
    if shape is None or response.refusal or response.tool_calls:
        return response
    try:
        response.structured_output = shape.parse(response.raw_response)
    except ValueError as error:
        why = structured.describe_error(error)
        if response.status == "completed":
            raise StructuredOutputError(
                f"The answer does not fit {shape.name}: {why}. It was: {response.raw_response[:200]!r}",
                response=response,
            ) from error
        response.warnings.append(
            f"structured_output is empty: the answer is {response.status} ({why})."
        )
    return response


async def _parent_of(config: LMConfig, call: Call, prompt: Prompt) -> Parent | None:
    if call.previous_response_id is not None:
        return await conversation.find_parent(
            config.store, call.previous_response_id, config.vendor
        )
    if not call.continues or prompt.is_history:
        return None
    start = call.ticket.head
    if start is not None and start.turn is None:
        return await conversation.find_parent(config.store, start.id, config.vendor)
    return start


async def _with_history(config: LMConfig, exchange: Exchange, reason: str) -> Exchange:
    """The same exchange with the turns themselves instead of an id that the server cannot continue from."""
    assert exchange.parent is not None
    continuation = await conversation.replay(exchange.parent, config.store, reason)
    request = replace(exchange.request, previous_response_id=None, history=continuation.history)
    if exchange.compactor is not None:
        request = exchange.compactor.reapply(request)
    return replace(exchange, request=request, replay_reason=reason)


def _compactor(config: LMConfig, options: dict[str, Any]) -> Compactor | None:
    """What shortens this call when it is too long. On Responses, `truncation` is the server's own to carry out."""
    if config.vendor.api_type != "responses" and options.pop("truncation", None) == "auto":
        return Compactor(drop_oldest)
    return config.compactor


def _given_tools(call: Call) -> tuple[ToolSpec, ...] | None:
    return None if isinstance(call.tools, NotGiven) else tool_specs(call.tools or ())


def _response_format(config: LMConfig, call: Call) -> ResponseFormat | None:
    if isinstance(call.response_model, NotGiven):
        return config.response_format
    return None if call.response_model is None else ResponseFormat.of(call.response_model)
