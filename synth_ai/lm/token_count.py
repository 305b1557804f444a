"""How many tokens a call's prompt has, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synth_ai.http.token_estimate import estimate_tokens
from synth_ai.lm.request import LMRequest

#: About how many tokens the form of a prompt costs, beside its texts: for each item its role and
#: its ends.
_TOKENS_PER_ITEM = 4


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens a prompt has.

    Attributes:
        tokens: how many.
        is_exact: whether they were counted; an estimate may be off by a third, and by more where
            the text is not English, or has images.
    """

    tokens: int
    is_exact: bool


def estimate_prompt_tokens(request: LMRequest) -> int:
    """Estimate the tokens of a whole prompt from the lengths of its texts."""
    items = request.items()
    body: dict[str, object] = {
        "input": [_content_of(item) for item in items],
        "instructions": request.instructions or "",
        "tools": list(request.tools),
    }
    if request.response_format is not None:
        body["tools"] = [*request.tools, dict(request.response_format.schema)]
    return estimate_tokens(body) + _TOKENS_PER_ITEM * (len(items) + 1)


#: What of an item the model is not shown as it stands there.
_NOT_SHOWN = frozenset(
    {"id", "status", "type", "encrypted_content", "reasoning_details", "chat_field", "phase"}
)


def _content_of(item: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in item.items() if name not in _NOT_SHOWN}
