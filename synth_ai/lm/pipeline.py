"""One call's way: prepared against the conversation, sent, recorded as a turn."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypedDict, TypeVar

from synth_ai.content import complete_items, new_response_id
from synth_ai.errors import (
    ContextLengthError,
    ForgottenResponseError,
    MalformedAnswerError,
    RequestError,
    ServerError,
    StoreError,
    StructuredOutputError,
    SynthAIError,
    TimedOutError,
)
from synth_ai.events import Completed, ReasoningDelta, Started, StreamEvent, VendorEvent
from synth_ai.limiter import Place
from synth_ai.lm import conversation
from synth_ai.lm.arguments import CallArguments
from synth_ai.lm.cache import CachedAnswer, as_hit, find_request_key, may_be_given_again
from synth_ai.lm.compaction import Compactor, drop_oldest
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head, Parent, Ticket
from synth_ai.lm.deadline import Deadline
from synth_ai.lm.fingerprints import fingerprint
from synth_ai.lm.known_history import find_known_beginning
from synth_ai.lm.logprobs import pack_logprobs
from synth_ai.lm.prices import find_price
from synth_ai.lm.prompt import NOT_GIVEN, Prompt, build_prompt, load_images
from synth_ai.lm.prompt_ids import describe_compaction, hash_token_ids
from synth_ai.lm.request import LMRequest
from synth_ai.lm.response_ids import unique_response_id
from synth_ai.lm.streams import StreamFacts
from synth_ai.lm.structured_output import ResponseFormat, describe_error
from synth_ai.lm.token_count import TokenCount
from synth_ai.lm.tool_outputs import check_tool_outputs, match_output_types
from synth_ai.lm.tools import ToolSpec, tool_specs
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.options import GenerationOptions
from synth_ai.response import BaseLMResponse, in_one_line
from synth_ai.spending import limited_spending
from synth_ai.store.credentials import open_tools, seal_tools
from synth_ai.store.json import copy_json
from synth_ai.store.tags import read_tags
from synth_ai.timeout import Timeout, paused_clock
from synth_ai.turn import Turn

T = TypeVar("T")

logger = logging.getLogger("synth_ai")

# A line of a system message that asks for effort:  Reasoning: high
_EFFORT = re.compile(r"^[ \t]*reasoning(?:[ _]effort)?:[ \t]*(low|medium|high)[ \t]*$", re.I | re.M)

#: What lets a conversation go on that has outgrown the context.
_COMPACTION_HINT = (
    "truncation='auto' goes on without the oldest turns, and LM(compact=...) with a summary of "
    "your making in their place."
)

#: Statuses of a response that a conversation can continue from.
_CONTINUABLE = ("completed", "incomplete")


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
            vendor = _choose_vendor(config, prepared)
            delivery = _Delivery(config, prepared, vendor.respond, place, deadline)
            response = await delivery.run()
            response.latency = delivery.seconds_since_sent()
        _count(config, response)
    finally:
        place.release()

    response.attempts = 0 if response.cached else delivery.attempts
    await _record_in_time(config, call, head, delivery.call, response, deadline)
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
            open_stream = partial(_open_stream, _choose_vendor(config, prepared), facts)
            delivery = _Delivery(config, prepared, open_stream, place, deadline)
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
        _count(config, event.response)
    finally:
        place.release()

    response = event.response
    response.attempts = 0 if response.cached else delivery.attempts
    response.latency = delivery.seconds_since_sent()
    if is_in_pieces and not response.cached:
        response.time_to_first_token = time_to_first_event
    await _record_in_time(config, call, head, delivery.call, response, deadline)
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
        prepared = await _with_history(config, prepared, "its tokens are counted here")
    return await config.vendor.count_tokens(prepared.request)


# --- prepare ----------------------------------------------------------------------------------


def read_options(config: LMConfig, call: Call) -> tuple[GenerationOptions, Timeout]:
    """Read the options of a call over those of the LM; its time limit comes separately.

    `reask` is left out, as it is for `lm/reask.py` alone.

    Raises:
        OptionError: an option is unknown or out of range.
    """
    api = config.vendor.api
    options = api.merge_options(config.defaults, api.read_options(call.options))
    timeout = Timeout.of(options.pop("timeout", None))
    options.pop("reask", None)
    return options, timeout


def read_call_tags(config: LMConfig, call: Call) -> dict[str, Any]:
    """Read the tags of a call, on top of those of the LM.

    Raises:
        OptionError: they are no JSON.
    """
    if "tags" not in call.arguments:
        return dict(config.tags)
    if call.arguments["tags"] is None:
        return {}
    return {**config.tags, **read_tags(call.arguments["tags"])}


async def prepare(
    config: LMConfig, call: Call, options: GenerationOptions, timeout: Timeout
) -> PreparedCall:
    """Check a call and gather what it needs; what is wrong with it is found before it is sent.

    Raises:
        RequestError: the call contradicts itself, or cannot continue from where it says.
    """
    arguments = call.arguments
    _check_continue_known(arguments)
    tags = read_call_tags(config, call)
    prompt = build_prompt(
        call.texts,
        system_message=arguments.get("system_message", NOT_GIVEN),
        user_message=arguments.get("user_message"),
        messages=arguments.get("messages"),
        images=await load_images(arguments.get("images")),
        tool_outputs=arguments.get("tool_outputs"),
        may_be_empty=options.get("prompt") is not None,
    )

    parent, prompt = await _find_parent(config, call, prompt)
    parent_output = _output_of(parent)
    if parent_output is not None:
        check_tool_outputs(parent_output, prompt.items)

    context = await conversation.context(
        parent, config, instructions=prompt.instructions, tools=_given_tools(arguments)
    )
    tools, warnings = open_tools(
        context.tools or (), conversation.server_of(config.vendor), config.tools.specs or ()
    )
    warnings += _warn_of_effort(context.instructions)
    compactor = _choose_compactor(config, options)
    include_reasoning = options.pop("include_reasoning", True)

    request = LMRequest(
        model=config.model,
        input=match_output_types(parent_output or (), prompt.items),
        history=context.history,
        previous_response_id=context.previous_response_id,
        instructions=context.instructions,
        tools=tools,
        response_format=choose_response_format(config, arguments),
        options=options,
        date=context.date,
        timeout=timeout,
        response_id=new_response_id(),
        compactable=compactor is not None and parent is not None,
    )
    request_key = await find_request_key(config, request, None if parent is None else parent.id)
    source = None
    if request_key is not None:
        source = await config.store.find_answer(request_key)

    if compactor is not None:
        request = compactor.reapply(request)

    return PreparedCall(
        request=request,
        parent=parent,
        tools=context.tools,
        replay_reason=context.replay_reason,
        include_reasoning=bool(include_reasoning),
        compactor=compactor,
        warnings=tuple(warnings),
        tags=tags,
        request_key=request_key,
        source=source,
    )


def _warn_of_effort(instructions: str | None) -> list[str]:
    """Warn of a system message that asks for effort, which is an option.

    gpt-oss is trained on such a line, and harmony writes it where the model looks for it.
    """
    effort = _EFFORT.search(instructions or "")
    if effort is None:
        return []
    return [
        f"The system message says {effort[0].strip()!r}, which the model may not read as a "
        f"setting: use reasoning_effort={effort[1].lower()!r}."
    ]


def _check_continue_known(arguments: CallArguments) -> None:
    """Refuse `continue_known=` where there is no history to be known.

    Raises:
        RequestError: it is not a bool, or does not go with the other arguments.
    """
    continue_known = arguments.get("continue_known", False)
    if not isinstance(continue_known, bool):
        raise RequestError(f"continue_known must be True or False, not {continue_known!r:.100}.")
    if not continue_known:
        return

    if arguments.get("messages") is None:
        raise RequestError(
            "continue_known=True is for a call that brings its whole conversation: give it as "
            "messages=."
        )
    if arguments.get("previous_response_id") is not None:
        raise RequestError(
            "continue_known=True finds the response to continue from, and previous_response_id= "
            "names it: give one of them."
        )


async def _find_parent(
    config: LMConfig, call: Call, prompt: Prompt
) -> tuple[Parent | None, Prompt]:
    """Find the turn to continue from: the one that the call names or brings along, else the head.

    Returns:
        The turn, None at the start of a conversation; and what of the prompt stands behind it.
    """
    named = call.arguments.get("previous_response_id")
    if named is not None:
        return await conversation.find_parent(named, config), prompt

    if call.arguments.get("continue_known"):
        known = await find_known_beginning(prompt, config.store)
        if known is None:
            return None, prompt
        return known.parent, replace(prompt, items=prompt.items[known.count :])

    if not call.starts_from_head or prompt.is_history:
        return None, prompt

    head = call.ticket.head
    if head is None or head.turn is not None:
        return head, prompt
    # fork() takes any id; here is where it is looked up.
    return await conversation.find_parent(head.id, config), prompt


def _output_of(parent: Parent | None) -> tuple[Any, ...] | None:
    """Return what the turn before answered; None if only a server knows, and checks, its calls."""
    if parent is None:
        return ()
    if parent.turn is None:
        return None
    return parent.turn.output


def _given_tools(arguments: CallArguments) -> tuple[ToolSpec, ...] | None:
    """Return the call's own tools; None if it names none, and () if it takes them away."""
    if "tools" not in arguments:
        return None
    return tool_specs(arguments["tools"] or ())


def read_shape(config: LMConfig, call: Call) -> tuple[Call, ResponseFormat | None]:
    """Read the shape of a call's answer, once for all that need it.

    Returns:
        The call with the shape itself as its `response_model`, and the shape.

    Raises:
        OptionError: it has no JSON schema.
    """
    shape = choose_response_format(config, call.arguments)
    return replace(call, arguments={**call.arguments, "response_model": shape}), shape


def choose_response_format(config: LMConfig, arguments: CallArguments) -> ResponseFormat | None:
    """Choose the shape of a call's answer: its own, else the LM's; None for plain text.

    Raises:
        OptionError: the call's has no JSON schema.
    """
    if "response_model" not in arguments:
        return config.response_format
    if arguments["response_model"] is None:
        return None
    return ResponseFormat.of(arguments["response_model"])


def _choose_compactor(config: LMConfig, options: GenerationOptions) -> Compactor | None:
    """Return what shortens a conversation that is too long; `truncation` is the server's, or ours.

    Takes `truncation` out of the options if it is ours.
    """
    if config.vendor.api.truncates:
        return config.compactor
    if options.pop("truncation", None) == "auto":
        return Compactor(drop_oldest)
    return config.compactor


# --- send -------------------------------------------------------------------------------------


def _choose_vendor(config: LMConfig, prepared: PreparedCall) -> VendorBase:
    """Return the backend, or what stands in for it if the store has the answer."""
    if prepared.source is None:
        return config.vendor
    return CachedAnswer(prepared.source, config.vendor)


class _Delivery(Generic[T]):
    """Sends a call until it is taken: tried again, with its history, or with less of it.

    Attributes:
        call: the call, in the form in which it was sent last.
        attempts: how many times it was sent.
    """

    def __init__(
        self,
        config: LMConfig,
        call: PreparedCall,
        send: Callable[[LMRequest], Awaitable[T]],
        place: Place,
        deadline: Deadline,
    ) -> None:
        self.call = call
        self.attempts = 0
        self._config = config
        self._send = send
        self._place = place
        self._deadline = deadline
        self._sent_at = 0.0

    def seconds_since_sent(self) -> float:
        """Measure the time since the last try began."""
        return time.monotonic() - self._sent_at

    async def run(self) -> T:
        """Return what `send` gives for the call.

        Raises:
            SynthAIError: it was not taken in any form.
        """
        try:
            while True:
                try:
                    with limited_spending(self._config.usage.check_cap):
                        return await self._config.retry.run(self._attempt)
                except (ForgottenResponseError, ContextLengthError) as error:
                    self.call = await self._adapt(error)
        except ServerError as error:
            self._note_attempts(error)
            raise

    async def next_event(
        self, events: AsyncGenerator[VendorEvent, None], facts: StreamFacts
    ) -> StreamEvent:
        """Read the next event of a stream that `run` has opened.

        Raises:
            SynthAIError: the stream broke off; it is not tried again, as a part is already shown.
        """
        try:
            return await _next_event(events, facts)
        except ServerError as error:
            self._note_attempts(error)
            raise

    def _note_attempts(self, error: ServerError) -> None:
        error.attempts = self.attempts
        if self._config.lifetime.is_over:
            error.add_note("The LM was closed while this call was under way.")
        if self.attempts > 1:
            error.add_note(
                f"The call was sent {self.attempts} times; this is what the last one met."
            )

    def _attempt(self) -> Awaitable[T]:
        # The LM may have been closed since the call was made, or since its last try.
        self._config.lifetime.check()
        if self.call.source is None:
            self._config.usage.check_cap()
        self.attempts += 1
        self._sent_at = time.monotonic()
        self._deadline.begin_try()
        return self._send(self.call.request)

    async def _adapt(self, error: SynthAIError) -> PreparedCall:
        """Adapt the call to what the backend can take; see `_adapt`.

        A hook may make calls, of this LM too, so the place is free until it has ended.
        """
        if not _asks_hook(self.call, error):
            return await _adapt(self._config, self.call, error)

        self._deadline.note("while compact= ran", is_sent=False)
        self._place.release()
        call = await _adapt(self._config, self.call, error)
        # The wait for the place is no part of the call's time, here as at its beginning.
        with paused_clock():
            await self._deadline.wait_for(self._place, first=True)
        return call


def _asks_hook(call: PreparedCall, error: SynthAIError) -> bool:
    """Whether a call that was refused is adapted by the compactor."""
    return call.compactor is not None and isinstance(error, ContextLengthError)


async def _adapt(config: LMConfig, call: PreparedCall, error: SynthAIError) -> PreparedCall:
    """Bring a call into a form that may be taken: with its history, or with less of it.

    Raises:
        SynthAIError: `error`, if there is no such form.
    """
    if isinstance(error, ForgottenResponseError):
        if call.request.previous_response_id is None:
            raise error
        return await _with_history(config, call, str(error))

    compactor = call.compactor
    if call.parent is None:
        raise error
    if compactor is None:
        error.args = (f"{error} {_COMPACTION_HINT}", *error.args[1:])
        raise error
    if call.request.previous_response_id is not None:
        call = await _with_history(config, call, "the conversation was too long for the server")

    shorter = await compactor.compact(call.request)
    if shorter is not None:
        request, turns = shorter
        warning = (
            "The conversation was too long for the model's context: the oldest "
            f"{turns} turn(s) were compacted."
        )
        return replace(call, request=request, warnings=(*call.warnings, warning))

    if not call.request.compactable:
        raise error
    # What little room there is has to do.
    return replace(call, request=replace(call.request, compactable=False))


async def _with_history(config: LMConfig, call: PreparedCall, reason: str) -> PreparedCall:
    """Send the turns themselves instead of an id that the server cannot continue from."""
    assert call.parent is not None
    continuation = await conversation.replay(call.parent, config, reason)

    request = replace(call.request, previous_response_id=None, history=continuation.history)
    if call.compactor is not None:
        request = call.compactor.reapply(request)
    return replace(call, request=request, replay_reason=reason)


async def _open_stream(
    vendor: VendorBase, facts: StreamFacts, request: LMRequest
) -> tuple[AsyncGenerator[VendorEvent, None], StreamEvent]:
    """Start a stream and read its first event.

    Up to there a failure may be tried again; after it, part of the answer is already shown.
    """
    # A server that keeps responses gives its own ids.
    facts.response_id = None if vendor.api.keeps_responses else request.response_id

    events = vendor.stream(request)
    try:
        return events, await _next_event(events, facts)
    except BaseException:
        await events.aclose()
        raise


async def _next_event(events: AsyncGenerator[VendorEvent, None], facts: StreamFacts) -> StreamEvent:
    """Read the next event that the caller gets."""
    while True:
        event = await anext(events, None)
        if event is None:
            raise MalformedAnswerError("The backend's stream ended without its Completed event.")
        if not isinstance(event, Started):
            return event
        facts.response_id = event.response_id


# --- record -----------------------------------------------------------------------------------


def _count(config: LMConfig, response: BaseLMResponse) -> None:
    """Price an answer and count it, before the next call takes the place of this one.

    The next call must not be sent if this one has reached the cap on what calls may cost.
    """
    # A server may report a name that has no price here, such as that of a deployment.
    model = config.model
    price = find_price(response.model or model, config.prices) or find_price(model, config.prices)
    if price is not None and response.usage is not None and not response.cached:
        response.cost = price.cost_of(response.usage)
    config.usage.add(response)


async def _record_in_time(
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
