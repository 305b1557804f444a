"""What an engine is: token ids in, token ids out.

An engine knows nothing of conversations, channels or text. Harmony renders a prompt into ids
before it and parses the ids that come back, so a model in this process, a remote server and a
scripted fake are peers.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

from synth_ai.errors import ContextLengthError, EngineRequestError, EngineStartError

FinishReason: TypeAlias = Literal["stop", "length", "abort"]

#: The key of a field's `NumberRange` in its metadata.
_RANGE = "range"


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The numbers that an option may be, both ends included."""

    low: float
    high: float
    whole: bool


def _number(low: float, high: float) -> Mapping[str, NumberRange]:
    """Return the metadata of a dataclass field that takes any number from `low` to `high`."""
    return {_RANGE: NumberRange(low, high, whole=False)}


def _whole_number(low: float, high: float) -> Mapping[str, NumberRange]:
    """Return the metadata of a dataclass field that takes a whole number from `low` to `high`."""
    return {_RANGE: NumberRange(low, high, whole=True)}


@dataclass(frozen=True, slots=True)
class OutputConstraint:
    """A constraint on the final answer of a completion; what comes before it stays free.

    Attributes:
        schema: the JSON schema that the text of the final channel must satisfy.
        reasoning_budget: the most tokens the reasoning may take, or None for no such limit.
        tool_calls: whether the completion may be a call of a function instead of the final answer.
        builtins: the built-in tools that it may call instead: `python`, `browser`.
    """

    schema: Mapping[str, object]
    reasoning_budget: int | None = field(default=None, metadata=_whole_number(0, 2**31 - 1))
    tool_calls: bool = False
    builtins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one completion. None leaves a value to the engine, except as noted below.

    `check_sampling` holds each option to the range in the metadata of its field.

    Attributes:
        max_tokens: the most tokens to produce; None means all that the context has room for.
        stop_token_ids: ids that end the completion; they are part of the result.
        logprobs: how many alternatives to report per token; 0 reports the sampled token alone.
        constraint: a constraint on the final answer, for engines that can honour one.
    """

    max_tokens: int | None = field(default=None, metadata=_whole_number(1, math.inf))
    temperature: float | None = field(default=None, metadata=_number(0.0, 2.0))
    # 0 would leave no token to sample, so the range begins just above it.
    top_p: float | None = field(default=None, metadata=_number(1e-9, 1.0))
    # -1 and 0 both mean all tokens.
    top_k: int | None = field(default=None, metadata=_whole_number(-1, 2**31 - 1))
    min_p: float | None = field(default=None, metadata=_number(0.0, 1.0))
    # Torch's generators take 64 bits.
    seed: int | None = field(default=None, metadata=_whole_number(-(2**63), 2**63 - 1))
    presence_penalty: float | None = field(default=None, metadata=_number(-2.0, 2.0))
    frequency_penalty: float | None = field(default=None, metadata=_number(-2.0, 2.0))
    # Logits are divided by it, so it can be neither 0 nor infinite.
    repetition_penalty: float | None = field(default=None, metadata=_number(1e-9, 1e9))
    stop_token_ids: tuple[int, ...] = ()
    # As many alternatives as OpenAI's own APIs report.
    logprobs: int | None = field(default=None, metadata=_whole_number(0, 20))
    constraint: OutputConstraint | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log probability of a sampled token, and those of its alternatives by their ids."""

    token_id: int
    logprob: float
    top: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """What a completion has gained since the delta before it.

    Attributes:
        token_ids: the new ids, the stop token included.
        finish_reason: why the completion ended; None while it goes on.
        logprobs: one entry per new id, if they were asked for.
        cached_tokens: prompt tokens that came from the prefix cache, if the engine knows.
        time_to_first_token: seconds from the engine's hearing of the request to the first token, if
            the engine knows.
    """

    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    logprobs: Sequence[TokenLogprob] | None = None
    cached_tokens: int | None = None
    time_to_first_token: float | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What callers need to know about a loaded engine.

    Attributes:
        context_length: the most tokens that prompt and completion may have together.
        vocabulary_size: ids run from 0 to this, exclusive.
        context_option: the engine's own argument that sets the context length, for error messages.
        temperature: the temperature of completions that name none, if the engine knows.
        logprobs_mode: what its log probabilities are, in vLLM's words: `raw_logprobs` are those
            before temperature and penalties, `processed_logprobs` those after; None if it does not
            know.
    """

    context_length: int
    vocabulary_size: int
    context_option: str | None = None
    temperature: float | None = None
    logprobs_mode: str | None = None


class Engine(ABC):
    """Token ids in, token ids out. Safe to use from many tasks, event loops and threads at once.

    An engine must have `facts`, `generate` and `aclose`. The other methods have defaults that work
    with these three; an engine overrides those that it can do better.

    Attributes:
        model: the name or folder of the model, as given.
    """

    model: str

    @abstractmethod
    async def facts(self) -> EngineFacts:
        """Return the engine's facts, and load the engine if it is not loaded yet.

        The event loop is not blocked meanwhile.

        Raises:
            EngineStartError: it could not be loaded.
        """

    @abstractmethod
    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        """Generate one completion of `prompt`, as deltas; without `stream` it may be a single one.

        Leaving the iteration early, closing it or cancelling the task aborts the request in the
        engine.

        Raises:
            EngineRequestError: this request cannot be served; others are not touched.
            EngineDeadError: the engine has stopped.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the engine and free its resources. Safe to call twice."""

    def close(self, *, wait: bool = True) -> None:
        """Stop the engine as `aclose` does, for callers that do not await.

        Args:
            wait: return when the engine has stopped.
        """
        # The caller may be inside an event loop, so `aclose` gets another one, on another thread.
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="synth-ai-close")
        closing = executor.submit(asyncio.run, self.aclose())
        executor.shutdown(wait=False)

        if wait:
            closing.result()

    async def restart(self) -> None:
        """Stop the engine, dead or alive, and load it again.

        Calls in flight fail with EngineDeadError.

        Raises:
            EngineStartError: it could not be loaded, or it is not loaded from here at all.
        """
        raise EngineStartError(
            f"{self!r} is not loaded from here, so it cannot be restarted from here."
        )

    def drop_if_dead(self) -> bool:
        """Have the next call load the engine again if it has died; return whether it had died.

        Engines that cannot die, or cannot be loaded again, return False.
        """
        return False

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        """Generate one whole completion per prompt, in the order of the prompts.

        Args:
            sampling: for all of them, or one for each.

        Raises:
            EngineRequestError: a prompt cannot be served; the others are aborted.
            EngineDeadError: the engine has stopped.
        """
        samplings = sampling_of_each(sampling, len(prompts))
        pairs = zip(prompts, samplings, strict=True)
        tasks = [asyncio.create_task(self._complete(*pair)) for pair in pairs]
        try:
            return await asyncio.gather(*tasks)
        finally:
            # One failed, or the caller was cancelled: the others must not run on for nobody.
            for task in tasks:
                task.cancel()

    def for_batch(self, count: int) -> Engine:
        """Return the engine to use for `count` calls that come together.

        That is this one, unless another one serves them better as one batch.
        """
        return self

    async def _complete(self, prompt: Sequence[int], sampling: Sampling) -> TokenDelta:
        async with aclosing(self.generate(prompt, sampling)) as deltas:
            return join_deltas([delta async for delta in deltas])


def join_deltas(deltas: Sequence[TokenDelta]) -> TokenDelta:
    """Join the deltas of one completion to a single delta."""
    # What most engines give without `stream`.
    if len(deltas) == 1:
        return deltas[0]

    token_ids: list[int] = []
    finish_reason = None
    logprobs: list[TokenLogprob] = []
    cached_tokens = None
    time_to_first_token = None
    for delta in deltas:
        token_ids += delta.token_ids
        logprobs += delta.logprobs or ()
        if delta.finish_reason is not None:
            finish_reason = delta.finish_reason
        if delta.cached_tokens is not None:
            cached_tokens = delta.cached_tokens
        if delta.time_to_first_token is not None:
            time_to_first_token = delta.time_to_first_token

    return TokenDelta(
        token_ids, finish_reason, logprobs or None, cached_tokens, time_to_first_token
    )


def sampling_of_each(sampling: Sampling | Sequence[Sampling], count: int) -> Sequence[Sampling]:
    """Return one sampling for each of `count` prompts, from what `generate_batch` takes.

    Raises:
        EngineRequestError: there are more or fewer than prompts.
    """
    if isinstance(sampling, Sampling):
        return [sampling] * count

    if len(sampling) != count:
        raise EngineRequestError(
            f"There are {len(sampling)} samplings for {count} prompts; give one, or one for each."
        )
    return sampling


def check_prompt(prompt: Sequence[int], facts: EngineFacts) -> None:
    """Refuse a prompt that would hurt the engine: one id out of range can end it for everybody.

    Raises:
        EngineRequestError: the prompt is empty, or has an id that is not an int or out of range.
        ContextLengthError: the prompt leaves no room in the context.
    """
    _check_ids("prompt", prompt, facts.vocabulary_size)

    # Prompts may be arrays too, whose truth value is not whether they are empty.
    if len(prompt) == 0:
        raise EngineRequestError("The prompt has no token ids; an engine needs at least one.")

    if len(prompt) >= facts.context_length:
        hint = f" ({facts.context_option})" if facts.context_option else ""
        raise ContextLengthError(
            f"The prompt has {len(prompt)} tokens and the context {facts.context_length}, "
            "so nothing can be generated. Shorten the conversation, or load the engine with a "
            f"larger context{hint}."
        )


def check_sampling(sampling: Sampling, facts: EngineFacts | None = None) -> None:
    """Refuse sampling values that no engine can use, naming the value.

    Args:
        facts: those of the engine; without them the stop token ids may be of any vocabulary.

    Raises:
        EngineRequestError: a value is of the wrong type or out of its range.
    """
    for name, allowed in _SAMPLING_RANGES.items():
        _check_number(name, getattr(sampling, name), allowed)

    vocabulary_size = 2**31 if facts is None else facts.vocabulary_size
    _check_ids("stop_token_ids", sampling.stop_token_ids, vocabulary_size)

    constraint = sampling.constraint
    if constraint is not None:
        _check_constraint(constraint)


def _check_constraint(constraint: OutputConstraint) -> None:
    if not isinstance(constraint.schema, Mapping):
        raise EngineRequestError(
            f"schema must be a JSON schema, given as a mapping, not {constraint.schema!r}."
        )

    for name, allowed in _CONSTRAINT_RANGES.items():
        _check_number(name, getattr(constraint, name), allowed)


def _check_number(name: str, value: object, allowed: NumberRange) -> None:
    if value is None:
        return

    # A bool is an int to Python, but in the place of a number it is a mistake.
    types = int if allowed.whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, types):
        kind = "whole number" if allowed.whole else "number"
        raise EngineRequestError(f"{name} must be a {kind}, not {value!r}.")

    # Asked in this form, NaN is out of every range.
    if not allowed.low <= value <= allowed.high:
        raise EngineRequestError(
            f"{name}={value!r} is out of range: it goes from {allowed.low} to {allowed.high}."
        )


def _check_ids(name: str, ids: Sequence[int], vocabulary_size: int) -> None:
    # Prompts have thousands of ids, so each look at all of them is a single call that runs in C.
    try:
        types = set(map(type, ids))
    except TypeError:
        raise EngineRequestError(f"{name} must be a list of token ids, not {ids!r}.") from None

    if not types:
        return

    if types != {int}:
        bad = next(id_ for id_ in ids if type(id_) is not int)
        raise EngineRequestError(
            f"{bad!r} in {name} is not a token id: ids are of type int, not {type(bad).__name__}."
        )

    lowest = min(ids)
    highest = max(ids)
    if lowest < 0 or highest >= vocabulary_size:
        outside = lowest if lowest < 0 else highest
        raise EngineRequestError(
            f"Token id {outside} in {name} is outside the model's vocabulary "
            f"(0 to {vocabulary_size - 1})."
        )


def _collect_ranges(options: type[Sampling] | type[OutputConstraint]) -> dict[str, NumberRange]:
    """Collect the ranges of a dataclass's fields, by the names of the fields."""
    ranges = {}
    for option in fields(options):
        if _RANGE in option.metadata:
            ranges[option.name] = option.metadata[_RANGE]
    return ranges


# Read once: `check_sampling` runs for every call.
_SAMPLING_RANGES = _collect_ranges(Sampling)
_CONSTRAINT_RANGES = _collect_ranges(OutputConstraint)
