"""gpt-oss on an engine: the prompt is rendered to token ids here, and the ids that come back are parsed here."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from synth_ai import harmony
from synth_ai.engines.base import Engine, EngineFacts, Sampling, Structure, TokenDelta, TokenLogprob
from synth_ai.errors import ContextLengthError
from synth_ai.lm import items
from synth_ai.lm.events import Completed, PreambleDelta, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from synth_ai.lm.items import Item
from synth_ai.lm.request import LMRequest
from synth_ai.lm.response import BaseLMResponse, Usage
from synth_ai.lm.routing import ApiType
from synth_ai.lm.stops import StopStrings
from synth_ai.lm.vendors.base import VendorBase

#: How many branches keep their rendered ids at hand; others are rendered again when they go on.
_KEPT_TRANSCRIPTS = 512

_SAMPLING = ("top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty")
_PREFACE = ("knowledge_cutoff", "model_identity")


class HarmonyVendor(VendorBase):
    """gpt-oss behind an engine that takes and returns token ids."""

    api_type: ApiType = "harmony"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._transcripts = _TranscriptCache(_KEPT_TRANSCRIPTS)

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        # Stop strings are looked for as the text comes, so that the engine is not left running past them.
        async with aclosing(self._run(request, stream=bool(request.stop))) as events:
            async for event in events:
                if isinstance(event, Completed):
                    return event.response
        raise AssertionError("a run ends with Completed")

    def stream(self, request: LMRequest) -> AsyncIterator[StreamEvent]:
        return self._run(request, stream=True)

    async def models(self) -> list[str]:
        return [self.engine.model]

    async def aclose(self) -> None:
        await self.engine.aclose()

    async def _run(self, request: LMRequest, *, stream: bool) -> AsyncGenerator[StreamEvent, None]:
        transcript = self._transcripts.of(request)
        prompt = harmony.prompt(preface(request), transcript, prefill := forced_start(request))
        facts = await self.engine.facts()
        run = _Run(request, StopStrings(request.stop), harmony.StreamParser(tools=_names(request)))
        sampling, clipped = _sampling(request, len(prompt), facts)
        async with aclosing(_closable(self.engine.generate(prompt, sampling, stream=stream))) as deltas:
            for event in run.begin(prefill):
                yield event
            async for delta in deltas:
                for event in run.take(delta):
                    yield event
                if run.stops.hit:
                    break
        for event in run.end():
            yield event
        response = run.response(prompt, self.engine.model)
        if clipped is not None:
            response.warnings.append(clipped)
        if response._exact:
            self._transcripts.keep(response.response_id, transcript.sampled([*prefill, *run.sampled]))
        yield Completed(response)


def preface(request: LMRequest) -> harmony.Preface:
    """What stands before the conversation: the system and the developer message."""
    settings = {name: request.options[name] for name in _PREFACE if name in request.options}
    if request.reasoning_effort is not None:
        settings["reasoning_effort"] = request.reasoning_effort
    shape = request.response_format
    return harmony.Preface(
        instructions=request.instructions,
        tools=() if request.tool_choice == "none" else request.tools,
        date=request.date,
        response_format=None if shape is None else {"name": shape.name, "schema": shape.schema},
        **settings,
    )


def forced_start(request: LMRequest) -> list[int]:
    """The ids that a `tool_choice` puts into the model's mouth: the header of the call that it has to make."""
    choice = request.tool_choice
    if choice is None or choice in ("none", "auto"):
        return []
    if isinstance(choice, Mapping):
        choice = choice["function"]["name"] if "function" in choice else choice["name"]
    known = _names(request)
    if choice == "required":
        # The name is left to the model. The cut is before the dot, where its own tokens would have one.
        text = "<|channel|>commentary to=functions"
    elif choice in known:
        text = f"<|channel|>commentary to=functions.{choice} <|constrain|>json<|message|>"
    else:
        raise_unknown_choice(str(choice), known)
    return harmony.encode(text, control_tokens=True)


@dataclass(slots=True)
class _Run:
    """One completion as it comes: ids in, events out, the response at the end."""

    request: LMRequest
    stops: StopStrings
    parser: harmony.StreamParser
    sampled: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    cached_tokens: int = 0
    finish_reason: str = "stop"
    completion: harmony.Completion | None = None
    call_ids: dict[int, str] = field(default_factory=dict)

    def begin(self, prefill: Sequence[int]) -> list[StreamEvent]:
        return self._translated(self.parser.feed(prefill)) if prefill else []

    def take(self, delta: TokenDelta) -> list[StreamEvent]:
        self.sampled += delta.token_ids
        self.logprobs += delta.logprobs or ()
        self.cached_tokens = max(self.cached_tokens, delta.cached_tokens or 0)
        self.finish_reason = delta.finish_reason or self.finish_reason
        return self._translated(self.parser.feed(delta.token_ids))

    def end(self) -> list[StreamEvent]:
        events = self._translated(self.parser.finish(self._parsers_reason()))
        self.completion = self.parser.close(self._parsers_reason())
        if rest := self.stops.rest():
            events.append(TextDelta(rest))
        return events
