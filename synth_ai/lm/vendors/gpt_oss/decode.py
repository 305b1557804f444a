"""A completion of gpt-oss, read into events and a response as its token ids come.

The reader keeps what it has read so far. It knows no engine: the ids may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from synth_ai import content as items
from synth_ai import harmony
from synth_ai.content import Item
from synth_ai.engines.base import FinishReason, TokenDelta, TokenLogprob
from synth_ai.events import StreamEvent, TextDelta, ToolCallDelta
from synth_ai.harmony.history import count_reasoning_tokens
from synth_ai.lm.stop_strings import StopStrings
from synth_ai.lm.vendors.stop_reasons import (
    CONTROL_TOKEN,
    MAX_OUTPUT_TOKENS,
    find_incomplete_reason,
)
from synth_ai.response import BaseLMResponse, Status, Usage


class _Outcome(NamedTuple):
    """How a response tells that its completion ended."""

    status: Status
    incomplete_reason: str | None = None
    error: str | None = None


#: By the `finish` of the parsed completion.
_OUTCOMES = {
    "stop": _Outcome("completed"),
    "tool_calls": _Outcome("completed"),
    "length": _Outcome("incomplete", incomplete_reason=MAX_OUTPUT_TOKENS),
    "malformed": _Outcome(
        "failed", error="The model stopped without an answer or a complete tool call."
    ),
}


# Ordinary tokens have lower ids.
_FIRST_CONTROL_ID = harmony.START_OF_TEXT

_LEFT_ITS_SHAPE = (
    "The model broke out of the constrained answer by a control token, which this engine's "
    "tokenizer lets into JSON strings. VLLMEngine with a tokenizer of its own making does not."
)


_NO_ANSWER = (
    "The model ended a constrained completion without an answer and without a tool call that could "
    "be read."
)


class CompletionReader:
    """Reads one completion as it comes.

    ::

        async for delta in engine.generate(prompt, sampling, stream=True):
            for event in reader.feed(delta): ...
            if reader.stopped: break
        for event in reader.finish(): ...
        response = reader.response(prompt, model)

    Args:
        tools: the names that the model knows its tools by.
        stop: strings that end the answer.
        prefill: the ids that the prompt makes the completion begin with.
        constrained: whether the engine was told of what shape the answer must be.

    Attributes:
        sampled_ids: the ids so far, without the prefill.
        time_to_first_token: seconds to the first of them, if the engine has said so.
    """

    def __init__(
        self,
        *,
        tools: Sequence[str] = (),
        stop: Sequence[str] = (),
        prefill: Sequence[int] = (),
        constrained: bool = False,
    ) -> None:
        self.sampled_ids: list[int] = []
        self.time_to_first_token: float | None = None
        self._prefill = tuple(prefill)
        self._constrained = constrained
        self._logprobs: list[TokenLogprob] = []
        self._cached_tokens = 0
        self._finish_reason: FinishReason = "stop"
        self._completion: harmony.Completion | None = None
        self._call_ids: dict[int, str] = {}  # by the index of the call
        self._stops = StopStrings(stop)
        self._parser = harmony.StreamParser(tools=tools)
        # A prefill is the header of a message, and a header alone makes no event.
        self._parser.feed(prefill)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found, so that no more ids are needed."""
        return self._stops.hit is not None

    def feed(self, delta: TokenDelta) -> list[StreamEvent]:
        """Take the ids that the engine has sampled since the last call, and return their events."""
        self.sampled_ids += delta.token_ids
        self._logprobs += delta.logprobs or ()

        if delta.cached_tokens is not None:
            self._cached_tokens = max(self._cached_tokens, delta.cached_tokens)
        if delta.time_to_first_token is not None:
            self.time_to_first_token = delta.time_to_first_token
        if delta.finish_reason is not None:
            self._finish_reason = delta.finish_reason

        return self._convert_events(self._parser.feed(delta.token_ids))

    def finish(self) -> list[StreamEvent]:
        """End the completion, and return the events that had to wait for its end."""
        is_cut_off = self._find_cut() is not None
        self._completion = self._parser.close("length" if is_cut_off else "stop")
        events = self._convert_events(self._parser.take_pending())

        # The answer may have ended like the beginning of a stop string.
        withheld = self._stops.flush()
        if withheld:
            events.append(TextDelta(withheld))
        return events

    def response(self, prompt: list[int], model: str) -> BaseLMResponse:
        """Make the response, once `finish` was called.

        Args:
            prompt: the ids of the prompt, the prefill included.
            model: the model to name.
        """
        completion = self._completion
        assert completion is not None, "finish() comes before response()"

        text = completion.final or ""
        warnings = list(completion.warnings)
        outcome = _OUTCOMES[completion.finish]
        cut = self._find_cut()
        if cut is not None:
            # What came so far may look whole, but the model had more to say.
            outcome = _Outcome("incomplete", incomplete_reason=cut)
        elif self._left_its_shape():
            outcome = _Outcome("incomplete", incomplete_reason=CONTROL_TOKEN)
            warnings.append(_LEFT_ITS_SHAPE)
        elif self._constrained and not self._has_answer_or_call(completion):
            outcome = _Outcome("incomplete", incomplete_reason=CONTROL_TOKEN)
            warnings.append(_NO_ANSWER)

        if self.stopped:
            # What stands before a stop string is a whole answer, whatever came behind it.
            text = self._stops.text
            outcome = _OUTCOMES["stop"]

        output = self._make_items(completion.messages)
        if outcome.status == "incomplete":
            output = items.mark_cut_off(output)
        logprobs = [_logprob_entry(logprob) for logprob in self._logprobs]
        return BaseLMResponse(
            raw_response=text,
            reasoning=completion.reasoning,
            preamble=completion.preamble,
            tool_calls=items.tool_calls_of(output),
            output=output,
            api_type="harmony",
            model=model,
            status=outcome.status,
            incomplete_reason=outcome.incomplete_reason,
            error=outcome.error,
            usage=self._count_tokens(len(prompt)),
            prompt_token_ids=prompt,
            output_token_ids=self.sampled_ids,
            logprobs=logprobs or None,
            warnings=warnings,
            # Up to a stop string and behind it, more was sampled than the answer has. Such a turn
            # is rendered from its items later, and its ids are nothing to train on.
            tokens_exact=not self.stopped,
        )

    def _find_cut(self) -> str | None:
        """Find why the completion was cut off before its end; None if it was not."""
        # An engine may say so of a completion that ended by itself with the last token.
        has_end = any(stop in self.sampled_ids for stop in harmony.STOP_TOKEN_IDS)
        return None if has_end else find_incomplete_reason(self._finish_reason)

    def _left_its_shape(self) -> bool:
        """Whether a control token stands inside a constrained answer.

        An engine with a tokenizer of its own may let one in, as its grammar takes the name of the
        token for text.
        """
        if not self._constrained:
            return False

        ids = (*self._prefill, *self.sampled_ids)
        controls = [id_ for id_ in ids if id_ >= _FIRST_CONTROL_ID]
        for message in self._parser.sampled_messages:
            if message.header.kind != "final" or message.location is None:
                continue
            behind = controls[message.location.message + 1 :]
            return any(id_ not in harmony.STOP_TOKEN_IDS for id_ in behind)
        return False

    def _has_answer_or_call(self, completion: harmony.Completion) -> bool:
        """Whether there is an answer under its own header, or a call.

        Only the start of a call is constrained, as its tool is the model's choice. Behind it the
        model may write what is neither.
        """
        if completion.tool_calls:
            return True

        for message in self._parser.sampled_messages:
            if message.header.kind == "final" and message.location is not None:
                return True
        return False

    def _convert_events(self, events: Iterable[harmony.Event]) -> list[StreamEvent]:
        """Cut the answer at the first stop string, and give every tool call an id."""
        converted: list[StreamEvent] = []
        for event in events:
            if isinstance(event, TextDelta):
                text = self._stops.feed(event.text)
                if text:
                    converted.append(TextDelta(text))
            elif isinstance(event, ToolCallDelta):
                converted.append(self._with_call_id(event))
            else:
                converted.append(event)

        return converted

    def _with_call_id(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Add a new id to the first delta of a call.

        The first is the one with a name. A call that begins anew has a second one, which makes it
        another call under the same index.
        """
        if delta.name is None:
            return delta

        call_id = items.new_call_id()
        self._call_ids[delta.index] = call_id
        return replace(delta, call_id=call_id)

    def _make_items(self, messages: Iterable[harmony.ParsedMessage]) -> list[Item]:
        """Make the items of the response, in the order in which the model wrote the messages."""
        output: list[Item] = []
        call_count = 0
        for message in messages:
            if message.kind == "reasoning":
                output.append(items.reasoning_item(message.text))
            elif message.kind == "preamble":
                output.append(items.assistant_message(message.text, phase="commentary"))
            elif message.kind == "tool_call":
                call_id = self._call_ids[call_count]
                call_count += 1
                output.append(items.function_call(call_id, message.name or "", message.text))
            elif not self.stopped:
                output.append(items.assistant_message(message.text, phase="final_answer"))

        if self.stopped:
            # In place of the final messages, which hold the stop string and what is behind it.
            output.append(items.assistant_message(self._stops.text, phase="final_answer"))
        return output

    def _count_tokens(self, prompt_length: int) -> Usage:
        # Of reasoning, the ids of its text count, and not those of its headers and ends.
        ids = [*self._prefill, *self.sampled_ids]
        return Usage(
            input_tokens=prompt_length,
            output_tokens=len(self.sampled_ids),
            cached_tokens=self._cached_tokens,
            reasoning_tokens=count_reasoning_tokens(self._parser.sampled_messages, ids),
        )


def _logprob_entry(logprob: TokenLogprob) -> dict[str, Any]:
    """Bring a token's log probability into the shape of OpenAI's APIs, with its id besides."""
    entry = _token_entry(logprob.token_id, logprob.logprob)
    entry["top_logprobs"] = [_token_entry(*alternative) for alternative in logprob.top.items()]
    return entry


def _token_entry(token_id: int, logprob: float) -> dict[str, Any]:
    return {"token": harmony.decode([token_id]), "token_id": token_id, "logprob": logprob}
