"""Our sampling options as vLLM's, and vLLM's outputs as our deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synth_ai.engines.base import Sampling, TokenDelta, TokenLogprob, finish_reason, given_options
from synth_ai.engines.vllm.structural_tag import structural_tag

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

    structure = sampling.structure
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
