"""What gpt-oss samples, read into events and a response as the ids come. Pure: the ids come from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from synth_ai import content as items
from synth_ai import harmony
from synth_ai.content import Item
from synth_ai.engines.base import TokenDelta, TokenLogprob
from synth_ai.events import StreamEvent, TextDelta, ToolCallDelta
from synth_ai.harmony.history import count_reasoning_tokens
from synth_ai.lm.stop_strings import StopStrings
from synth_ai.response import BaseLMResponse, Status, Usage

_STATUS: dict[str, tuple[Status, str | None, str | None]] = {
    "stop": ("completed", None, None),
    "tool_calls": ("completed", None, None),
    "length": ("incomplete", "max_output_tokens", None),
    "malformed": ("failed", None, "The model stopped without an answer or a complete tool call."),
}


class Reading:
    """One completion as it comes.

    Args:
        tools: the names that the model knows its tools by.
        stop: strings that end the answer. They cost exactness: the ids sampled up to and behind a stop string say
            more than the answer does, so such a turn is kept, and rendered later, as text, and has no ids to train on.
        prefill: the ids that the completion was made to begin with.

    Attributes:
        sampled: the ids so far, without the prefill.
        stopped: whether a stop string was found, so that nothing more is wanted.
    """

    def __init__(
        self, *, tools: Sequence[str] = (), stop: Sequence[str] = (), prefill: Sequence[int] = ()
    ) -> None:
        self.sampled: list[int] = []
        self._parser = harmony.StreamParser(tools=tools)
        self._stops = StopStrings(stop)
        self._logprobs: list[TokenLogprob] = []
        self._cached_tokens = 0
        self._finish_reason = "stop"
        self._call_ids: list[str] = []
        self._completion: harmony.Completion | None = None
        self._prefill = tuple(prefill)
        # A prefill is a header, which by itself says nothing.
        self._parser.feed(prefill)

    @property
    def stopped(self) -> bool:
        return self._stops.hit is not None

    def take(self, delta: TokenDelta) -> list[StreamEvent]:
        """The events that a delta of the engine adds."""
        self.sampled += delta.token_ids
        self._logprobs += delta.logprobs or ()
        self._cached_tokens = max(self._cached_tokens, delta.cached_tokens or 0)
        self._finish_reason = delta.finish_reason or self._finish_reason
        return self._translated(self._parser.feed(delta.token_ids))

    def finish(self) -> list[StreamEvent]:
        """The last events, once the engine has stopped or a stop string was found."""
        self._completion = self._parser.close(
            "length" if self._finish_reason == "length" else "stop"
        )
        events = self._translated(self._parser.take_pending())
        rest = self._stops.rest()
        return [*events, TextDelta(rest)] if rest else events

    def response(self, prompt: list[int], model: str) -> BaseLMResponse:
        """The whole response, after `finish`.

        Its reasoning tokens are the sampled ids of the text of the reasoning, without headers and ends.
        """
        completion = self._completion
        assert completion is not None
        cut = self.stopped
        status, incomplete_reason, error = _STATUS["stop" if cut else completion.finish]
        response = BaseLMResponse(
            raw_response=self._stops.text if cut else completion.final or "",
            reasoning=completion.reasoning,
            preamble=completion.preamble,
            output=self._output(completion),
            api_type="harmony",
            model=model,
            status=status,
            incomplete_reason=incomplete_reason,
            error=error,
            usage=Usage(
                input_tokens=len(prompt),
                output_tokens=len(self.sampled),
                cached_tokens=self._cached_tokens,
                reasoning_tokens=count_reasoning_tokens(
                    self._parser.sampled_messages, [*self._prefill, *self.sampled]
                ),
            ),
            prompt_token_ids=prompt,
            output_token_ids=self.sampled,
            logprobs=[_logprob(entry) for entry in self._logprobs] or None,
            warnings=list(completion.warnings),
        )
        response.tool_calls = items.tool_calls_of(response.output)
        # Cut at a stop string, the answer is shorter than what was sampled; it is rendered from its items later.
        response.tokens_exact = not cut
        return response

    def _translated(self, events: Sequence[harmony.Event]) -> list[StreamEvent]:
        ours: list[StreamEvent] = []
        for event in events:
            if isinstance(event, TextDelta):
                if text := self._stops.feed(event.text):
                    ours.append(TextDelta(text))
            elif isinstance(event, ToolCallDelta) and event.name:
                # A name begins a call, and may begin it anew.
                self._call_ids[event.index :] = [items.new_call_id()]
                ours.append(replace(event, call_id=self._call_ids[-1]))
            else:
                ours.append(event)
        return ours

    def _output(self, completion: harmony.Completion) -> list[Item]:
        """The items of the answer, in the order the model wrote them."""
        output: list[Item] = []
        calls = iter(self._call_ids)
        for message in completion.messages:
            if message.kind == "reasoning":
                output.append(items.reasoning_item(message.text))
            elif message.kind == "preamble":
                output.append(items.assistant_message(message.text, phase="commentary"))
            elif message.kind == "tool_call":
                output.append(items.function_call(next(calls), message.name or "", message.text))
            elif not self.stopped:
                output.append(items.assistant_message(message.text, phase="final_answer"))
        if self.stopped:
            output.append(items.assistant_message(self._stops.text, phase="final_answer"))
        return output


def _logprob(entry: TokenLogprob) -> dict[str, Any]:
    """A token's log probability in the shape of OpenAI's APIs, with its id beside the text."""
    return {
        "token": harmony.decode([entry.token_id]),
        "token_id": entry.token_id,
        "logprob": entry.logprob,
        "top_logprobs": [
            {"token": harmony.decode([token_id]), "token_id": token_id, "logprob": value}
            for token_id, value in entry.top.items()
        ],
    }
