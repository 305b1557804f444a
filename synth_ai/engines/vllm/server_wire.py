"""Token ids in the shape of vLLM's `/v1/completions`: pure conversion, both ways."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from synth_ai.engines.base import Sampling, TokenDelta, TokenLogprob
from synth_ai.engines.vllm.params import collect_options, read_finish_reason
from synth_ai.engines.vllm.structural_tag import make_structural_tag
from synth_ai.errors import MalformedAnswerError

VOCABULARY_SIZE = 201_088
"""Of gpt-oss; a server does not tell."""

# How the server names a token in log probabilities, with return_tokens_as_token_ids:
# `token_id:200002`.
_ID_PREFIX = "token_id:"


def make_request_body(
    model: str, prompt: Sequence[int], sampling: Sampling, *, tokens_left: int, stream: bool
) -> dict[str, object]:
    """Make the body of a request.

    Args:
        tokens_left: how many tokens the prompt leaves of the context.
    """
    body = collect_options(sampling, tokens_left)
    body.update(
        model=model,
        prompt=list(prompt),
        return_token_ids=True,
        return_tokens_as_token_ids=True,
        stream=stream,
    )

    if sampling.constraint is not None:
        tag = make_structural_tag(sampling.constraint)
        body["structured_outputs"] = {"structural_tag": tag}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return body


def read_delta(body: Mapping[str, object], num_logprobs: int | None) -> TokenDelta | None:
    """Read the delta in an answer, or in one event of a stream.

    ::

        {"choices": [{"token_ids": [35644, 200002], "finish_reason": "stop", ...}], ...}
        ->  TokenDelta((35644, 200002), "stop")

        {"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": 16}, ...}}
        ->  None

    Args:
        num_logprobs: how many alternatives were asked for per token; None for no log probabilities.

    Returns:
        None for an event without tokens, such as the one with the usage.

    Raises:
        MalformedAnswerError: there are no token ids, as from a server that does not return them,
            or the answer has another shape.
        EngineRequestError: the server failed this request.
    """
    choices: Any = body.get("choices")
    if not choices:
        return None

    try:
        return _read_choice(choices[0], body, num_logprobs)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedAnswerError(
            f"The server's answer is not a completion as vLLM sends it: {reprlib.repr(body):.300}",
            body=body,
        ) from error


def _read_choice(
    choice: Mapping[str, Any], body: Mapping[str, object], num_logprobs: int | None
) -> TokenDelta:
    token_ids = choice.get("token_ids")
    if token_ids is None:
        raise MalformedAnswerError(
            "The server returned text without token ids. A vLLM server of version 0.10.2 or later "
            "returns them.",
            body=body,
        )

    if not _is_list_of_ids(token_ids):
        raise TypeError("token_ids must be a list of ids")
    return TokenDelta(
        token_ids=tuple(token_ids),
        finish_reason=read_finish_reason(choice.get("finish_reason")),
        logprobs=_read_logprobs(token_ids, choice.get("logprobs"), num_logprobs),
        cached_tokens=read_cached_tokens(body),
    )


def _is_list_of_ids(token_ids: object) -> TypeGuard[list[int]]:
    """Whether they are ids of the vocabulary: others can be neither stored nor sent back."""
    if not isinstance(token_ids, list):
        return False
    # A stream has an event for each id, and an answer may have thousands of them.
    if any(type(id_) is not int for id_ in token_ids):
        return False
    return not token_ids or (min(token_ids) >= 0 and max(token_ids) < VOCABULARY_SIZE)


def read_cached_tokens(body: Mapping[str, object]) -> int | None:
    """Read how many prompt tokens came from the server's cache.

    Returns:
        None for a server that was not started to report them, and for an event without the usage.
    """
    value: object = body
    for key in ("usage", "prompt_tokens_details", "cached_tokens"):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)

    # A bool is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if value >= 0 else None


def _read_logprobs(
    token_ids: Sequence[int], logprobs: Mapping[str, Any] | None, num_logprobs: int | None
) -> tuple[TokenLogprob, ...] | None:
    """Read the log probabilities of the tokens.

    ::

        {"token_logprobs": [-0.1], "top_logprobs": [{"token_id:35644": -0.1, "token_id:17": -2.5}]}
    """
    if num_logprobs is None or logprobs is None:
        return None

    rows = zip(token_ids, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return tuple(
        TokenLogprob(token_id, float(logprob), _read_best(top, num_logprobs))
        for token_id, logprob, top in rows
    )


def _read_best(top: Mapping[str, float], num_logprobs: int) -> dict[int, float]:
    # The sampled token is in there too, first, whether or not it is one of the best.
    ranked = sorted(top.items(), key=lambda entry: -entry[1])
    return {
        int(name.removeprefix(_ID_PREFIX)): float(logprob)
        for name, logprob in ranked[:num_logprobs]
    }
