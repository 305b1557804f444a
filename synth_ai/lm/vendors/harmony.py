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


def _names(request: LMRequest) -> list[str]:
    return [tool["name"] for tool in request.tools if "name" in tool] + [
        tool["type"] for tool in request.tools if "name" not in tool
    ]


def _sampling(request: LMRequest, prompt_length: int, facts: EngineFacts) -> tuple[Sampling, str | None]:
    """The request's options in the engine's terms, and a warning where `max_tokens` had to be clipped.

    Raises:
        ContextLengthError: the prompt leaves no room for an answer.
    """
    room = facts.context_length - prompt_length
    if room < 1:
        raise ContextLengthError(
            f"The conversation has {prompt_length} tokens and the model's context {facts.context_length}, so there is "
            "no room for an answer. Start a new branch from an earlier response, or load the model with a larger "
            "context (max_model_len)."
        )
    options = request.options
    wanted = request.max_tokens
    clipped = None
    if wanted is not None and wanted > room:
        clipped = f"max_tokens={wanted} was clipped to {room}, which is all that is left of the context."
    shape = request.response_format
    return Sampling(
        max_tokens=room if wanted is None else min(wanted, room),
        temperature=request.temperature,
        stop_token_ids=harmony.STOP_TOKEN_IDS,
        logprobs=_logprobs_wanted(options),
        structure=None if shape is None else Structure(shape.schema, options.get("reasoning_budget")),
        **{name: options[name] for name in _SAMPLING if name in options},
    ), clipped


def _logprobs_wanted(options: Mapping[str, Any]) -> int | None:
    top = options.get("top_logprobs")
    if top is not None:
        return int(top)
    return 0 if options.get("logprobs") else None


def _logprob_entry(entry: TokenLogprob) -> dict[str, Any]:
    """A token's log probability in the shape of OpenAI's APIs, with the id beside the text."""
    top = [{"token": harmony.decode([id]), "token_id": id, "logprob": value} for id, value in entry.top.items()]
    return {
        "token": harmony.decode([entry.token_id]),
        "token_id": entry.token_id,
        "logprob": entry.logprob,
        "top_logprobs": top,
    }


class _TranscriptCache:
    """Rendered conversations by response id, the least used going first. A fork finds its parent's ids here."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, harmony.Transcript] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request: LMRequest) -> harmony.Transcript:
        """The conversation up to and with the new input, from the nearest turn that is still here."""
        transcript, rest = self._nearest(request.history)
        for turn in rest:
            transcript = _with_turn(transcript, turn)
            self.keep(turn.id, transcript)
        return transcript.extended(request.input)

    def keep(self, id: str, transcript: harmony.Transcript) -> None:
        with self._lock:
            self._kept[id] = transcript
            self._kept.move_to_end(id)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def _nearest(self, history: Sequence[Turn]) -> tuple[harmony.Transcript, Sequence[Turn]]:
        with self._lock:
            for at in range(len(history) - 1, -1, -1):
                if (found := self._kept.get(history[at].id)) is not None:
                    self._kept.move_to_end(history[at].id)
                    return found, history[at + 1 :]
        return harmony.Transcript(), history


def _with_turn(transcript: harmony.Transcript, turn: Turn) -> harmony.Transcript:
    """A stored turn behind a transcript: by the ids that the model sampled where there are any, else rendered."""
    transcript = transcript.extended(turn.input)
    if turn.output_token_ids is None:
        return transcript.extended(turn.output)
    return _with_completion(transcript, turn.output_token_ids, turn.output, turn.status)


def _with_completion(
    transcript: harmony.Transcript, ids: Sequence[int], output: Sequence[Item], status: str
) -> harmony.Transcript:
    calls = [item["call_id"] for item in output if item.get("type") == "function_call"]
    return transcript.sampled(ids, finish_reason="length" if status == "incomplete" else "stop", call_ids=calls)
