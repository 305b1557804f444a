"""The options of a call in the terms of an engine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from synth_ai import harmony
from synth_ai.engines.base import EngineFacts, OutputConstraint, Sampling
from synth_ai.errors import ContextLengthError, OptionError
from synth_ai.lm.request import LMRequest

#: The options that an engine has too, by the same name. A new field of `Sampling` is one of them.
_SAMPLING_OPTIONS = tuple(field.name for field in fields(Sampling))

#: The most alternatives per token, as in OpenAI's APIs.
_MAX_TOP_LOGPROBS = 20

_BUILT_IN_TOOLS = ("python", "browser")


def make_sampling(
    request: LMRequest, options: Mapping[str, Any], prompt_length: int, facts: EngineFacts
) -> tuple[Sampling, list[str]]:
    """Make what the engine is told of a call, beside its prompt.

    Args:
        request: the call.
        options: its options by their names.
        prompt_length: the tokens of its prompt.
        facts: those of the engine.

    Returns:
        The sampling, and a warning if `max_tokens` had to be clipped.

    Raises:
        ContextLengthError: the prompt leaves no room for an answer.
        OptionError: options contradict each other, or one is out of its range.
    """
    room = facts.context_length - prompt_length
    if room < _minimum_room(request, options, facts.context_length):
        hint = f" ({facts.context_option})" if facts.context_option else ""
        raise ContextLengthError(
            f"The conversation has {prompt_length} tokens and the model's context "
            f"{facts.context_length}, which leaves no room for an answer. Start a new branch from "
            f"an earlier response, or load the model with a larger context{hint}."
        )

    warnings = []
    max_tokens = options.get("max_tokens", room)
    if max_tokens > room:
        warnings.append(
            f"max_tokens={max_tokens} was clipped to {room}, all that the context has left."
        )
        max_tokens = room

    # What the engine takes otherwise than callers give it, such as `logprobs`, is set below.
    given = {name: options[name] for name in _SAMPLING_OPTIONS if name in options}
    sampling = replace(
        Sampling(**given),
        max_tokens=max_tokens,
        stop_token_ids=harmony.STOP_TOKEN_IDS,
        logprobs=_count_logprobs(options),
        constraint=_make_constraint(request, options),
    )
    return sampling, warnings


def _minimum_room(request: LMRequest, options: Mapping[str, Any], context_length: int) -> int:
    """Return how many tokens the context must have left for the answer.

    A call that can come again with less history needs room for its whole answer: for `max_tokens`
    or an eighth of the context, but never for more than half of it. Any other takes what there is.
    """
    can_be_compacted = request.compactable and bool(request.history)
    if not can_be_compacted:
        return 1

    wanted = options.get("max_tokens", context_length // 8)
    return int(min(wanted, context_length // 2))


def _count_logprobs(options: Mapping[str, Any]) -> int | None:
    """Return how many alternatives per token are wanted; None for no log probabilities at all.

    `logprobs=True` alone asks for those of the sampled tokens, which is 0 alternatives.
    """
    logprobs = options.get("logprobs")
    if not isinstance(logprobs, bool | None):
        raise OptionError(
            f"logprobs={logprobs!r} is neither True nor False; "
            "top_logprobs= takes how many alternatives."
        )

    count = options.get("top_logprobs")
    if count is None:
        return 0 if logprobs else None

    if not _is_count(count):
        raise OptionError(
            f"top_logprobs={count!r} is out of range; "
            f"it takes a whole number from 0 to {_MAX_TOP_LOGPROBS}."
        )
    return int(count)


def _is_count(value: object) -> bool:
    # True is an int to Python, and here a mistake.
    if isinstance(value, bool):
        return False
    return isinstance(value, int) and 0 <= value <= _MAX_TOP_LOGPROBS


def _make_constraint(request: LMRequest, options: Mapping[str, Any]) -> OutputConstraint | None:
    """Make the constraint that `response_model` puts on the completion.

    The tools stand in it, as the completion may call one instead of answering.
    """
    budget = options.get("reasoning_budget")
    choice = options.get("tool_choice")

    if request.response_format is None:
        if budget is not None:
            raise OptionError(
                "reasoning_budget= comes with response_model=: "
                "it is part of the constraint on the answer."
            )
        return None

    if choice not in (None, "auto", "none"):
        raise OptionError(
            f"tool_choice={choice!r} makes the model call a tool, and response_model= makes it "
            "answer, so one call cannot have both. Ask for the tool call first, then give its "
            "tool_outputs= with response_model=."
        )

    tools = () if choice == "none" else request.tools
    tool_types = [tool["type"] for tool in tools]
    return OutputConstraint(
        request.response_format.grammar,
        reasoning_budget=budget,
        tool_calls="function" in tool_types,
        builtins=tuple(type for type in tool_types if type in _BUILT_IN_TOOLS),
    )
