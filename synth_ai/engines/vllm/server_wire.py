"""Token ids in the shape of vLLM's `/v1/completions`: pure conversion, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synth_ai.engines.base import Sampling, TokenDelta, TokenLogprob
from synth_ai.engines.vllm.params import finish_reason, given_options
from synth_ai.engines.vllm.structural_tag import structural_tag
from synth_ai.errors import MalformedAnswerError

_ID_PREFIX = "token_id:"


def request_body(
    model: str, prompt: Sequence[int], sampling: Sampling, *, room: int, stream: bool
) -> dict[str, Any]:
    """The body of a request.

    Args:
        room: how many tokens the prompt leaves of the context.
    """
    structure = sampling.constraint
    return given_options(sampling, room) | {
        "model": model,
        "prompt": list(prompt),
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "stream": stream,
        **(
            {"structured_outputs": {"structural_tag": structural_tag(structure)}}
            if structure
            else {}
        ),
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }


def token_delta(answer: Mapping[str, Any], wanted_logprobs: int | None) -> TokenDelta | None:
    """The delta in an answer, or in one event of a stream; None for an event that carries no tokens.

    Raises:
        MalformedAnswerError: there are no token ids, as from a server that does not return them.
    """
    choices = answer.get("choices")
    if not choices:
        return None
    choice = choices[0]
    token_ids = choice.get("token_ids")
    if token_ids is None:
        raise MalformedAnswerError(
            "The server returned text without token ids. A vLLM server of version 0.10.2 or later returns them.",
            body=answer,
        )
    return TokenDelta(
        token_ids=tuple(token_ids),
        finish_reason=finish_reason(choice.get("finish_reason")),
        logprobs=_logprobs(token_ids, choice.get("logprobs"), wanted_logprobs),
        cached_tokens=cached_tokens(answer),
    )


def cached_tokens(answer: Mapping[str, Any]) -> int | None:
    """Prompt tokens that came from the server's cache, from a server that was started to report them."""
    details = (answer.get("usage") or {}).get("prompt_tokens_details") or {}
    count: int | None = details.get("cached_tokens")
    return count


def _logprobs(
    token_ids: Sequence[int], logprobs: Mapping[str, Any] | None, wanted: int | None
) -> tuple[TokenLogprob, ...] | None:
    if wanted is None or logprobs is None:
        return None
    rows = zip(token_ids, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return tuple(TokenLogprob(token, own, _best(top, wanted)) for token, own, top in rows)


def _best(top: Mapping[str, float], wanted: int) -> dict[int, float]:
    # The sampled token is in there too, first, whether or not it is one of the best.
    ranked = sorted(top.items(), key=lambda entry: -entry[1])[:wanted]
    return {int(name.removeprefix(_ID_PREFIX)): logprob for name, logprob in ranked}
