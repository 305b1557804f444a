"""A call on its way: sent until it is taken, in a form that the backend takes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

from synth_ai.errors import (
    ContextLengthError,
    ForgottenResponseError,
    MalformedAnswerError,
    ServerError,
    SynthAIError,
)
from synth_ai.events import Started, StreamEvent, VendorEvent
from synth_ai.limiter import Place
from synth_ai.lm import conversation
from synth_ai.lm.cache import CachedAnswer
from synth_ai.lm.call import PreparedCall
from synth_ai.lm.config import LMConfig
from synth_ai.lm.deadline import Deadline
from synth_ai.lm.request import LMRequest
from synth_ai.lm.streams import StreamFacts
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.spending import limited_spending
from synth_ai.timeout import paused_clock

T = TypeVar("T")

#: What lets a conversation go on that has outgrown the context.
_COMPACTION_HINT = (
    "truncation='auto' goes on without the oldest turns, and LM(compact=...) with a summary of "
    "your making in their place."
)


def choose_vendor(config: LMConfig, prepared: PreparedCall) -> VendorBase:
    """Return the backend, or what stands in for it if the store has the answer."""
    if prepared.source is None:
        return config.vendor
    return CachedAnswer(prepared.source, config.vendor)


class Delivery(Generic[T]):
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
        return await with_history(config, call, str(error))

    compactor = call.compactor
    if call.parent is None:
        raise error
    if compactor is None:
        error.args = (f"{error} {_COMPACTION_HINT}", *error.args[1:])
        raise error
    if call.request.previous_response_id is not None:
        call = await with_history(config, call, "the conversation was too long for the server")

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


async def with_history(config: LMConfig, call: PreparedCall, reason: str) -> PreparedCall:
    """Send the turns themselves instead of an id that the server cannot continue from."""
    assert call.parent is not None
    continuation = await conversation.replay(call.parent, config, reason)

    request = replace(call.request, previous_response_id=None, history=continuation.history)
    if call.compactor is not None:
        request = call.compactor.reapply(request)
    return replace(call, request=request, replay_reason=reason)


async def open_stream(
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
