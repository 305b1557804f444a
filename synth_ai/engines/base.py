"""What an engine is: token ids in, token ids out.

An engine knows nothing of conversations, channels or text. Harmony renders a prompt into ids before it and parses
the ids that come back, so vLLM, a remote server and a scripted fake are peers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synth_ai.errors import ContextLengthError, EngineRequestError

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Structure:
    """A constraint on the final answer of a completion; what comes before it stays free.

    Attributes:
        schema: the JSON schema that the text of the final channel must satisfy.
        reasoning_budget: the most tokens the reasoning may take, or None for no limit of its own.
        tool_calls: whether the completion may be a tool call instead of the final answer.
    """

    schema: Mapping[str, Any]
    reasoning_budget: int | None = None
    tool_calls: bool = False


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
    def generate(self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False) -> AsyncIterator[TokenDelta]:
        """One completion of `prompt`, as deltas; without `stream` it may come as a single one.

        Leaving the iteration early, closing it or cancelling the task aborts the request in the engine.

        Raises:
            EngineRequestError: this request cannot be served; others are not touched.
            EngineDeadError: the engine has stopped.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the engine and free what it holds. Safe to call twice."""


def finish_reason(reason: str | None) -> FinishReason | None:
    """Why vLLM says that a completion ended, in our terms; None while it goes on.

    Raises:
        EngineRequestError: the engine failed this request.
    """
    if reason is None:
        return None
    if reason not in _FINISH_REASONS:
        raise EngineRequestError(f"The engine ended this request with {reason!r}; its log may say more.")
    return _FINISH_REASONS[reason]


# vLLM can also end a completion that repeats itself, when its own options ask for that: an end of the model's making.
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "abort": "abort",
    "repetition": "stop",
}


def given_options(sampling: Sampling, room: int) -> dict[str, Any]:
    """The options that are set, and `max_tokens`, by the names that vLLM and its server both use.

    Args:
        room: how many tokens the prompt leaves of the context; `max_tokens` is at most that.
    """
    given = {name: value for name in _NAMES if (value := getattr(sampling, name)) is not None}
    return given | {
        "max_tokens": room if sampling.max_tokens is None else min(sampling.max_tokens, room),
        "stop_token_ids": list(sampling.stop_token_ids),
    }


_NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logprobs",
)


def check_prompt(prompt: Sequence[int], facts: EngineFacts) -> None:
    """Refuse a prompt that would hurt the engine: one id out of range can take all of vLLM down.

    Raises:
        EngineRequestError: the prompt is empty or has an id out of range.
        ContextLengthError: the prompt leaves no room in the context.
    """
    if not prompt:
        raise EngineRequestError("The prompt has no token ids; an engine needs at least one.")
    if len(prompt) >= facts.context_length:
        raise ContextLengthError(
            f"The prompt has {len(prompt)} tokens and the context {facts.context_length}, so nothing can be generated. "
            "Shorten the conversation, or load the engine with a larger context (max_model_len)."
        )
    low, high = min(prompt), max(prompt)
    if low < 0 or high >= facts.vocabulary_size:
        bad = low if low < 0 else high
        raise EngineRequestError(
            f"Token id {bad} is outside the model's vocabulary (0 to {facts.vocabulary_size - 1})."
        )


def check_sampling(sampling: Sampling) -> None:
    """Refuse sampling values that no engine can use, naming the value.

    Raises:
        EngineRequestError: a value is out of its range.
    """
    for name, low, high in _RANGES:
        value = getattr(sampling, name)
        if value is not None and not low <= value <= high:
            raise EngineRequestError(f"{name}={value!r} is out of range: it goes from {low} to {high}.")


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("max_tokens", 1, float("inf")),
    ("temperature", 0.0, 2.0),
    ("top_p", 1e-9, 1.0),
    ("top_k", -1, float("inf")),
    ("min_p", 0.0, 1.0),
    ("seed", -(2**63), 2**63 - 1),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("repetition_penalty", 1e-9, float("inf")),
    ("logprobs", 0, 20),
)
