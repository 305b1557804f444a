"""gpt-oss on an engine: the prompt is rendered to token ids here, and the ids that come back are parsed here."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

from synth_ai import harmony
from synth_ai.content import new_response_id
from synth_ai.engines.base import Engine, EngineFacts, Sampling, Structure
from synth_ai.errors import ContextLengthError, OptionError
from synth_ai.events import Completed, StreamEvent
from synth_ai.lm.compaction import is_whole
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.families import ApiType
from synth_ai.lm.vendors.gpt_oss.decode import Reading
from synth_ai.lm.vendors.gpt_oss.prompt import Shown, prepared, with_completion, with_turn
from synth_ai.response import BaseLMResponse
from synth_ai.store.redaction import redactions
from synth_ai.turn import Turn

#: How many branches keep their rendered ids at hand; others are rendered again when they go on.
_KEPT_TRANSCRIPTS = 512

_BUILTINS = ("python", "browser")
_MOST_LOGPROBS = 20
_SAMPLING = (
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


_holders: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()
_lock = threading.Lock()


class HarmonyVendor(VendorBase):
    """gpt-oss behind an engine that takes and returns token ids.

    Several vendors may hold one engine; the last of them that is closed closes it.
    """

    api_type: ApiType = "harmony"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._closed = False
        with _lock:
            _holders[engine] = _holders.get(engine, 0) + 1
        self._transcripts = _TranscriptCache(_KEPT_TRANSCRIPTS)

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        # Stop strings are looked for as the text comes, so that the engine is not left running past them.
        async with aclosing(self._run(request, stream=bool(request.stop))) as events:
            async for event in events:
                if isinstance(event, Completed):
                    return event.response
        raise AssertionError("a run ends with Completed")

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(self._run(request, stream=True)) as events:
            async for event in events:
                yield event

    def for_batch(self, count: int) -> HarmonyVendor:
        """This backend for `count` calls that come together, on an engine that may serve them as one batch."""
        engine = self.engine.for_batch(count)
        if engine is self.engine:
            return self
        batch = copy.copy(self)
        batch.engine = engine
        return batch

    async def models(self) -> list[str]:
        return [self.engine.model]

    async def aclose(self) -> None:
        with _lock:
            if self._closed:
                return
            self._closed = True
            _holders[self.engine] -= 1
            last = not _holders[self.engine]
        if last:
            await self.engine.aclose()

    async def _run(self, request: LMRequest, *, stream: bool) -> AsyncGenerator[StreamEvent, None]:
        await _vocabulary_loaded()
        request, notes = prepared(request)
        shown = Shown.by_request(request)
        transcript = self._transcripts.of(request)
        prompt = shown.prompt(transcript)
        sampling, clipped = sampling_of(request, len(prompt), await self.engine.facts())
        reading = Reading(tools=shown.tool_names, stop=request.stop, prefill=shown.forced_start())
        # Closing the iterator is what aborts the request in the engine.
        deltas = self.engine.generate(prompt, sampling, stream=stream)
        async with aclosing(deltas):
            async for delta in deltas:
                for event in reading.take(delta):
                    yield event
                if reading.stopped:
                    break
        for event in reading.finish():
            yield event
        response = reading.response(prompt, self.engine.model)
        response.response_id = new_response_id()
        response.warnings += notes
        if clipped is not None:
            response.warnings.append(clipped)
        if response.tokens_exact and is_whole(request.history):
            kept = with_completion(
                transcript, shown, reading.sampled, response.output, response.status
            )
            self._transcripts.keep(response.response_id, redactions(request.history), kept)
        yield Completed(response)


def sampling_of(
    request: LMRequest, prompt_length: int, facts: EngineFacts
) -> tuple[Sampling, str | None]:
    """The request's options in the engine's terms, and a warning where `max_tokens` had to be clipped.

    Raises:
        ContextLengthError: the prompt leaves no room for an answer.
        OptionError: options contradict each other, or one is out of its range.
    """
    room = facts.context_length - prompt_length
    needed = min(request.max_tokens or facts.context_length // 8, facts.context_length // 2)
    if room < (needed if request.compactable and request.history else 1):
        raise ContextLengthError(
            f"The conversation has {prompt_length} tokens and the model's context {facts.context_length}, so there is "
            "no room for an answer. Start a new branch from an earlier response, or load the model with a larger "
            "context (max_model_len)."
        )
    options = request.options
    wanted = request.max_tokens
    clipped = None
    if wanted is not None and wanted > room:
        clipped = (
            f"max_tokens={wanted} was clipped to {room}, which is all that is left of the context."
        )
    return Sampling(
        max_tokens=room if wanted is None else min(wanted, room),
        temperature=request.temperature,
        stop_token_ids=harmony.STOP_TOKEN_IDS,
        logprobs=_logprobs_wanted(options),
        structure=_structure(request),
        **{name: options[name] for name in _SAMPLING if name in options},
    ), clipped


def _structure(request: LMRequest) -> Structure | None:
    """The constraint that `response_model` puts on the completion; what `tool_choice` allows goes into it."""
    shape, budget, choice = (
        request.response_format,
        request.options.get("reasoning_budget"),
        request.tool_choice,
    )
    if shape is None:
        if budget is not None:
            raise OptionError(
                "reasoning_budget= comes with response_model=: it is part of the constraint on the answer."
            )
        return None
    if choice not in (None, "auto", "none"):
        raise OptionError(
            f"tool_choice={choice!r} makes the model call a tool, and response_model= makes it answer, so one call "
            "cannot have both. Ask for the tool call first, then give its tool_outputs= with response_model=."
        )
    tools = () if choice == "none" else request.tools
    return Structure(
        shape.grammar,
        budget,
        tool_calls=any(tool["type"] == "function" for tool in tools),
        builtins=tuple(tool["type"] for tool in tools if tool["type"] in _BUILTINS),
    )


def _logprobs_wanted(options: Mapping[str, Any]) -> int | None:
    """How many alternatives per token: `logprobs=True` reports the sampled one alone, `top_logprobs=` others too."""
    logprobs, top = options.get("logprobs"), options.get("top_logprobs")
    if not isinstance(logprobs, bool | None):
        raise OptionError(
            f"logprobs={logprobs!r} is neither True nor False; top_logprobs= takes how many alternatives."
        )
    if top is None:
        return 0 if logprobs else None
    if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= _MOST_LOGPROBS:
        raise OptionError(
            f"top_logprobs={top!r} is out of range; it takes a whole number from 0 to {_MOST_LOGPROBS}."
        )
    return top


_loading = threading.Lock()
_is_loaded = False


async def _vocabulary_loaded() -> None:
    """Load the vocabulary on a thread, once: at its first use it would hold the event loop meanwhile.

    Half of it still does, as tiktoken keeps Python's lock while it builds its tables.
    """
    if not _is_loaded:
        await asyncio.to_thread(_load_vocabulary)


def _load_vocabulary() -> None:
    global _is_loaded
    with _loading:
        if not _is_loaded:
            harmony.decode(harmony.encode(" "))
            _is_loaded = True


def _rendered(history: Sequence[Turn]) -> harmony.Transcript:
    transcript = harmony.Transcript()
    for turn in history:
        transcript = with_turn(transcript, turn)
    return transcript


class _TranscriptCache:
    """Rendered conversations by response id, the least used going first. A fork finds its parent's ids here.

    A conversation of which a turn was redacted since is another one: how many of its turns are redacted is in the key.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, int], harmony.Transcript] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request: LMRequest) -> harmony.Transcript:
        """The conversation up to and with the new input, from the nearest turn that is still here."""
        if not is_whole(request.history):
            return _rendered(request.history).with_items(request.input)
        transcript, known = self._nearest(request.history)
        redacted = redactions(request.history[:known])
        for turn in request.history[known:]:
            transcript = with_turn(transcript, turn)
            redacted += turn.redacted
            self.keep(turn.id, redacted, transcript)
        return transcript.with_items(request.input)

    def keep(self, id: str, redacted: int, transcript: harmony.Transcript) -> None:
        """Keep the conversation up to this id, of which `redacted` turns are."""
        key = (id, redacted)
        with self._lock:
            self._kept[key] = transcript
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def _nearest(self, history: Sequence[Turn]) -> tuple[harmony.Transcript, int]:
        """The longest beginning of the history that is here, and how many turns it has."""
        redacted = redactions(history)
        with self._lock:
            for at in range(len(history) - 1, -1, -1):
                key = (history[at].id, redacted)
                if (found := self._kept.get(key)) is not None:
                    self._kept.move_to_end(key)
                    return found, at + 1
                redacted -= history[at].redacted
        return harmony.Transcript(), 0
