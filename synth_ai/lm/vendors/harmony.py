"""gpt-oss on an engine: the prompt is rendered to token ids here, and the ids that come back are parsed here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from synth_ai import harmony
from synth_ai.engines.base import Engine, EngineFacts, Sampling, Structure, TokenDelta
from synth_ai.errors import ContextLengthError, OptionError
from synth_ai.lm.events import Completed, StreamEvent
from synth_ai.lm.items import Item, new_response_id
from synth_ai.lm.request import LMRequest
from synth_ai.lm.response import BaseLMResponse
from synth_ai.lm.routing import ApiType
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.formats.harmony import Reading
from synth_ai.store.base import Turn

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

    async def stream(self, request: LMRequest) -> AsyncIterator[StreamEvent]:
        async with aclosing(self._run(request, stream=True)) as events:
            async for event in events:
                yield event

    async def models(self) -> list[str]:
        return [self.engine.model]

    async def aclose(self) -> None:
        await self.engine.aclose()

    async def _run(self, request: LMRequest, *, stream: bool) -> AsyncGenerator[StreamEvent, None]:
        prefill = forced_start(request)
        transcript = self._transcripts.of(request)
        prompt = harmony.prompt(preface(request), transcript, prefill)
        sampling, clipped = sampling_of(request, len(prompt), await self.engine.facts())
        reading = Reading(tools=tool_names(request), stop=request.stop, prefill=prefill)
        # Closing the iterator is what aborts the request in the engine.
        async with aclosing(
            cast("AsyncGenerator[TokenDelta, None]", self._generate(prompt, sampling, stream))
        ) as deltas:
            async for delta in deltas:
                for event in reading.take(delta):
                    yield event
                if reading.stopped:
                    break
        for event in reading.finish():
            yield event
        response = reading.response(prompt, self.engine.model)
        response.response_id = new_response_id()
        if clipped is not None:
            response.warnings.append(clipped)
        if response._exact:
            kept = with_completion(transcript, reading.sampled, response.output, response.status)
            self._transcripts.keep(response.response_id, kept)
        yield Completed(response)

    def _generate(self, prompt: list[int], sampling: Sampling, stream: bool) -> AsyncIterator[TokenDelta]:
        return self.engine.generate(prompt, sampling, stream=stream)


def preface(request: LMRequest) -> harmony.Preface:
    """What stands before the conversation: the system and the developer message."""
    settings: dict[str, Any] = {name: request.options[name] for name in _PREFACE if name in request.options}
    if request.reasoning_effort is not None:
        settings["reasoning_effort"] = request.reasoning_effort
    shape = request.response_format
    return harmony.Preface(
        instructions=request.instructions,
        tools=() if request.tool_choice == "none" else request.tools,
        date=request.date,
        response_format=None
        if shape is None
        else {"type": "json_schema", "name": shape.name, "schema": dict(shape.schema)},
        **settings,
    )


def forced_start(request: LMRequest) -> list[int]:
    """The ids that a `tool_choice` puts into the model's mouth: the header of the call that it has to make."""
    choice = request.tool_choice
    if choice is None or choice in ("none", "auto"):
        return []
    if isinstance(choice, Mapping):
        choice = choice["function"]["name"] if "function" in choice else choice.get("name")
    known = [tool["name"] for tool in request.tools if "name" in tool]
    if choice == "required" and known:
        # Which one is left to the model. The cut is before the dot, where the model's own tokens have one.
        return harmony.encode("<|channel|>commentary to=functions", control_tokens=True)
    if choice in known:
        header = f"<|channel|>commentary to=functions.{choice} <|constrain|>json<|message|>"
        return harmony.encode(header, control_tokens=True)
    raise OptionError(
        f"tool_choice={choice!r} cannot be met: the functions of this call are {', '.join(known) or 'none'}. "
        "It takes none, auto, required, or a function's name."
    )


def tool_names(request: LMRequest) -> list[str]:
    """The names that the model knows its tools by: functions by their own, built-in tools by their type."""
    return [tool.get("name") or tool["type"] for tool in request.tools]


def sampling_of(request: LMRequest, prompt_length: int, facts: EngineFacts) -> tuple[Sampling, str | None]:
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
    if "reasoning_budget" in options and request.response_format is None:
        raise OptionError("reasoning_budget= comes with response_model=: it is part of the constraint on the answer.")
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
    """How many alternatives per token: `logprobs=True` reports the sampled one alone, `top_logprobs=` others too."""
    top = options.get("top_logprobs")
    if top is not None:
        return int(top)
    return 0 if options.get("logprobs") else None


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
    return with_completion(transcript, turn.output_token_ids, turn.output, turn.status)


def with_completion(
    transcript: harmony.Transcript, ids: Sequence[int], output: Sequence[Item], status: str
) -> harmony.Transcript:
    """A transcript with a completion behind it, whose tool outputs will come under the call ids of `output`."""
    calls = [item["call_id"] for item in output if item.get("type") == "function_call"]
    return transcript.sampled(ids, finish_reason="length" if status == "incomplete" else "stop", call_ids=calls)
