"""Our sampling options as vLLM's, and vLLM's outputs as our deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synth_ai.engines.base import FinishReason, Sampling, TokenDelta, TokenLogprob
from synth_ai.engines.vllm.structural_tag import structural_tag
from synth_ai.errors import EngineRequestError

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams


def sampling_params(sampling: Sampling, *, room: int, stream: bool) -> SamplingParams:
    """vLLM's sampling parameters for one request.

    Args:
        room: how many tokens the prompt leaves of the context.
        stream: whether to report each step, or the whole completion once.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    structure = sampling.constraint
    return SamplingParams(
        **given_options(sampling, room),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY,
        structured_outputs=structure
        and StructuredOutputsParams(structural_tag=structural_tag(structure)),
        # The parameters belong to this one request, so vLLM need not copy them.
        skip_clone=True,
    )


def token_delta(output: RequestOutput, wanted_logprobs: int | None) -> TokenDelta:
    """One output of vLLM as a delta.

    Raises:
        EngineRequestError: vLLM failed this request and goes on with the others.
    """
    completion = output.outputs[0]
    return TokenDelta(
        token_ids=tuple(completion.token_ids),
        finish_reason=finish_reason(completion.finish_reason),
        logprobs=_logprobs(completion.token_ids, completion.logprobs, wanted_logprobs),
        cached_tokens=output.num_cached_tokens,
    )


def _logprobs(
    token_ids: Sequence[int], positions: Sequence[Mapping[int, Any]] | None, wanted: int | None
) -> tuple[TokenLogprob, ...] | None:
    if wanted is None or positions is None:
        return None
    return tuple(
        _logprob(token, position, wanted)
        for token, position in zip(token_ids, positions, strict=True)
    )


def _logprob(token: int, position: Mapping[int, Any], wanted: int) -> TokenLogprob:
    # vLLM adds the sampled token to the best ones where it is not among them; its rank tells.
    best = {
        id_: entry.logprob
        for id_, entry in position.items()
        if entry.rank is not None and entry.rank <= wanted
    }
    return TokenLogprob(token_id=token, logprob=position[token].logprob, top=best)


def finish_reason(reason: str | None) -> FinishReason | None:
    """Why vLLM says that a completion ended, in our terms; None while it goes on.

    Raises:
        EngineRequestError: the engine failed this request.
    """
    if reason is None:
        return None
    if reason not in _FINISH_REASONS:
        raise EngineRequestError(
            f"The engine ended this request with {reason!r}; its log may say more."
        )
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
