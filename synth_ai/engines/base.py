"""What an engine is: token ids in, token ids out.

An engine knows nothing of conversations, channels or text. Harmony renders a prompt into ids before it and parses
the ids that come back, so vLLM, a remote server and a scripted fake are peers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synth_ai.errors import ContextLengthError, EngineRequestError, EngineStartError

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Structure:
    """A constraint on the final answer of a completion; what comes before it stays free.

    Attributes:
        schema: the JSON schema that the text of the final channel must satisfy.
        reasoning_budget: the most tokens the reasoning may take, or None for no limit of its own.
        tool_calls: whether the completion may be a call of a function instead of the final answer.
        builtins: the built-in tools that it may call instead: `python`, `browser`.
    """

    schema: Mapping[str, Any]
    reasoning_budget: int | None = None
    tool_calls: bool = False
    builtins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one completion. None leaves a value to the engine, except where said otherwise.

    Attributes:
        max_tokens: the most tokens to produce; None means all that is left of the context.
        stop_token_ids: ids that end the completion; they are part of the result.
        logprobs: how many alternatives to report per token; 0 reports the sampled token alone.
        structure: a constraint on the final answer, where the engine can honour one.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None
    structure: Structure | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log probability of one sampled token, and of the alternatives to it (id to log probability)."""

    token_id: int
    logprob: float
    top: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """What a completion has gained since the delta before it.

    Attributes:
        token_ids: the new ids, the stop token included.
        finish_reason: why the completion ended; None while it goes on.
        logprobs: one entry per new id, where they were asked for.
        cached_tokens: prompt tokens that came from the prefix cache, where the engine knows.
    """

    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    logprobs: Sequence[TokenLogprob] | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What callers need to know about a loaded engine.

    Attributes:
        context_length: the most tokens that prompt and completion may have together.
        vocabulary_size: ids run from 0 to this, exclusive.
    """

    context_length: int
    vocabulary_size: int


class Engine(ABC):
    """Token ids in, token ids out. Safe to use from many tasks, event loops and threads at once.

    Attributes:
        model: the name or folder of the model, as given.
    """

    model: str

    @abstractmethod
    async def facts(self) -> EngineFacts:
        """The engine's facts; loads the engine if it is not loaded yet, without blocking the event loop.

        Raises:
            EngineStartError: it could not be loaded.
        """

    @abstractmethod
    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        """One completion of `prompt`, as deltas; without `stream` it may come as a single one.

        Leaving the iteration early, closing it or cancelling the task aborts the request in the engine.

        Raises:
            EngineRequestError: this request cannot be served; others are not touched.
            EngineDeadError: the engine has stopped.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the engine and free what it holds. Safe to call twice."""

    async def restart(self) -> None:
        """Stop the engine, dead or alive, and load it again; calls in flight fail with EngineDeadError.

        Raises:
            EngineStartError: it could not be loaded, or is none that is loaded from here.
        """
        raise EngineStartError(
            f"{self!r} is not loaded from here, so it cannot be restarted from here."
        )

    def for_batch(self, count: int) -> Engine:
        """This engine for `count` calls that come together; another one where it serves those better as one batch."""
        return self


def check_prompt(prompt: Sequence[int], facts: EngineFacts) -> None:
    """Refuse a prompt that would hurt the engine: one id out of range can take all of vLLM down.

    Raises:
        EngineRequestError: the prompt is empty, or has an id that is no int or out of range.
        ContextLengthError: the prompt leaves no room in the context.
    """
    _check_ids("prompt", prompt, facts.vocabulary_size)
    if not len(prompt):
        raise EngineRequestError("The prompt has no token ids; an engine needs at least one.")
    if len(prompt) >= facts.context_length:
        raise ContextLengthError(
            f"The prompt has {len(prompt)} tokens and the context {facts.context_length}, so nothing can be generated. "
            "Shorten the conversation, or load the engine with a larger context (max_model_len)."
        )


def check_sampling(sampling: Sampling, facts: EngineFacts | None = None) -> None:
    """Refuse sampling values that no engine can use, naming the value.

    Args:
        facts: those of the engine; without them the stop token ids may be of any vocabulary.

    Raises:
        EngineRequestError: a value is of the wrong type or out of its range.
    """
    for name, kind, low, high in _RANGES:
        value = getattr(sampling, name)
        if value is not None:
            _check_number(name, value, kind, low, high)
    _check_ids(
        "stop_token_ids",
        sampling.stop_token_ids,
        facts.vocabulary_size if facts is not None else 2**31,
    )
    structure = sampling.structure
    if structure is not None:
        if not isinstance(structure.schema, Mapping):
            raise EngineRequestError(
                f"schema={structure.schema!r} is no JSON schema; it takes a mapping."
            )
        if structure.reasoning_budget is not None:
            _check_number("reasoning_budget", structure.reasoning_budget, _WHOLE, 0, 2**31 - 1)


def _check_number(name: str, value: Any, kind: str, low: float, high: float) -> None:
    # A bool is an int to Python, and one that somebody wrote here is a mistake.
    if isinstance(value, bool) or not isinstance(value, int if kind == _WHOLE else (int, float)):
        raise EngineRequestError(f"{name}={value!r} is no {kind}.")
    if not low <= value <= high:
        raise EngineRequestError(f"{name}={value!r} is out of range: it goes from {low} to {high}.")


def _check_ids(what: str, ids: Sequence[int], vocabulary_size: int) -> None:
    # Prompts have thousands of ids, so each look at all of them is a single call.
    try:
        kinds = set(map(type, ids))
    except TypeError:
        raise EngineRequestError(f"{what}={ids!r} is no list of token ids.") from None
    if not kinds:
        return
    if kinds != {int}:
        bad = next(id_ for id_ in ids if type(id_) is not int)
        raise EngineRequestError(
            f"{bad!r} in {what} is no token id: ids are of type int, not {type(bad).__name__}."
        )
    low, high = min(ids), max(ids)
    if low < 0 or high >= vocabulary_size:
        raise EngineRequestError(
            f"Token id {low if low < 0 else high} in {what} is outside the model's vocabulary "
            f"(0 to {vocabulary_size - 1})."
        )


_WHOLE, _ANY = "whole number", "number"

_RANGES: tuple[tuple[str, str, float, float], ...] = (
    ("max_tokens", _WHOLE, 1, float("inf")),
    ("temperature", _ANY, 0.0, 2.0),
    ("top_p", _ANY, 1e-9, 1.0),
    ("top_k", _WHOLE, -1, 2**31 - 1),
    ("min_p", _ANY, 0.0, 1.0),
    ("seed", _WHOLE, -(2**63), 2**63 - 1),
    ("presence_penalty", _ANY, -2.0, 2.0),
    ("frequency_penalty", _ANY, -2.0, 2.0),
    ("repetition_penalty", _ANY, 1e-9, 1e9),
    ("logprobs", _WHOLE, 0, 20),
)
