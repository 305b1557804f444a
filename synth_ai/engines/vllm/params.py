"""Sampling options as vLLM takes them, and vLLM's outputs as deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synth_ai.engines.base import FinishReason, Sampling, TokenDelta, TokenLogprob
from synth_ai.engines.vllm.structural_tag import make_structural_tag
from synth_ai.errors import EngineRequestError

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.logprobs import Logprob

# That of `SamplingParams`.
DEFAULT_TEMPERATURE = 1.0

# The options that have the same name and meaning in `Sampling`, in vLLM and on its server.
_OPTIONS = (
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

# vLLM can also end a completion that repeats itself, if its options ask for that; the model could
# have gone on for ever, so this is an end like its own. Its reason "error" is a failure.
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "abort": "abort",
    "repetition": "stop",
}


def make_sampling_params(
    sampling: Sampling, *, tokens_left: int, stream: bool, marker_prefix: str
) -> SamplingParams:
    """Make vLLM's sampling parameters for one request.

    Args:
        tokens_left: how many tokens the prompt leaves of the context.
        stream: report each step, and not the whole completion once.
        marker_prefix: as for `make_structural_tag`.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    structured_outputs = None
    if sampling.constraint is not None:
        tag = make_structural_tag(
            sampling.constraint, marker_prefix=marker_prefix, excludes_markers=not marker_prefix
        )
        structured_outputs = StructuredOutputsParams(structural_tag=tag)

    return SamplingParams(
        **collect_options(sampling, tokens_left),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY,
        structured_outputs=structured_outputs,
        # The parameters belong to this one request, so vLLM need not copy them.
        skip_clone=True,
    )


def collect_options(sampling: Sampling, tokens_left: int) -> dict[str, object]:
    """Collect the options that are set, by the names that vLLM and its server both use.

    Args:
        tokens_left: how many tokens the prompt leaves of the context; `max_tokens` is at most that.
    """
    options: dict[str, object] = {}
    for name in _OPTIONS:
        value = getattr(sampling, name)
        if value is not None:
            options[name] = value

    max_tokens = tokens_left
    if sampling.max_tokens is not None:
        max_tokens = min(sampling.max_tokens, tokens_left)
    options["max_tokens"] = max_tokens
    options["stop_token_ids"] = list(sampling.stop_token_ids)
    return options


def read_output(output: RequestOutput, num_logprobs: int | None) -> TokenDelta:
    """Read one output of vLLM as a delta.

    Args:
        num_logprobs: how many alternatives were asked for per token; None for no log probabilities.

    Raises:
        EngineRequestError: vLLM failed this request; it serves the others.
    """
    completion = output.outputs[0]
    return TokenDelta(
        token_ids=tuple(completion.token_ids),
        finish_reason=read_finish_reason(completion.finish_reason),
        logprobs=_read_logprobs(completion.token_ids, completion.logprobs, num_logprobs),
        cached_tokens=output.num_cached_tokens,
        time_to_first_token=_read_time_to_first_token(output),
    )


def _read_time_to_first_token(output: RequestOutput) -> float | None:
    """Read the seconds to the first token, which vLLM measures where it keeps statistics."""
    metrics = output.metrics
    if metrics is None or metrics.first_token_latency <= 0:
        return None
    return float(metrics.first_token_latency)


def read_finish_reason(reason: str | None) -> FinishReason | None:
    """Read why a completion ended, as vLLM and its server say it; None while it goes on.

    Raises:
        EngineRequestError: vLLM failed this request.
    """
    if reason is None:
        return None

    if reason not in _FINISH_REASONS:
        raise EngineRequestError(
            f"The engine ended this request with {reason!r}; its log may say more."
        )
    return _FINISH_REASONS[reason]


def _read_logprobs(
    token_ids: Sequence[int],
    positions: Sequence[Mapping[int, Logprob]] | None,
    num_logprobs: int | None,
) -> tuple[TokenLogprob, ...] | None:
    if num_logprobs is None or positions is None:
        return None

    pairs = zip(token_ids, positions, strict=True)
    return tuple(_read_logprob(token_id, position, num_logprobs) for token_id, position in pairs)


def _read_logprob(
    token_id: int, position: Mapping[int, Logprob], num_logprobs: int
) -> TokenLogprob:
    # vLLM lists the sampled token beside the best ones, also if it is not one of them: then its
    # rank is larger than the number that was asked for.
    best = {}
    for candidate, entry in position.items():
        if entry.rank is not None and entry.rank <= num_logprobs:
            best[candidate] = entry.logprob

    return TokenLogprob(token_id=token_id, logprob=position[token_id].logprob, top=best)
