"""A constraint on the final answer as a structural tag of xgrammar, which vLLM applies token by token.

vLLM's own JSON constraint holds from the first token, so it breaks the header of a Harmony message. This one spans the
whole completion: reasoning as free as it was, then the header of the final channel, then JSON. Its markers are strings,
because tags that begin with token ids got wrong masks where several constraints run at once (xgrammar 0.2.8).
https://github.com/mlc-ai/xgrammar/blob/main/docs/tutorials/structural_tag.md
"""

from __future__ import annotations

import json
from typing import Any

from synth_ai.engines.base import OutputConstraint

# The control tokens of the vocabulary, <|startoftext|> to <|endofprompt|>.
_CONTROL = range(199_998, 200_019)
_CONSTRAIN, _CHANNEL, _MESSAGE = 200_003, 200_005, 200_008


def structural_tag(structure: OutputConstraint) -> str:
    """The constraint as JSON, as vLLM takes it.

    The stop tokens are no part of it: vLLM allows them wherever it may end.
    """
    answer = _sequence(
        _text("<|channel|>final"),
        _optional(_either(_text(" json"), _text(" <|constrain|>json"))),
        _text("<|message|>"),
        {"type": "json_schema", "json_schema": dict(structure.schema), "max_whitespace_cnt": 1},
    )
    reasoning = _optional(_message("analysis", structure.reasoning_budget))
    calls = [call for tool in _tools(structure) for call in _calls(tool)]
    if calls:
        whole = _sequence(
            reasoning, _optional(_message("commentary", None)), _either(answer, *calls)
        )
    else:
        whole = _sequence(reasoning, answer)
    return json.dumps({"type": "structural_tag", "format": whole})


def _message(channel: str, budget: int | None) -> dict[str, Any]:
    """A whole message on a channel, and the start of the next one."""
    return _sequence(
        _text(f"<|channel|>{channel}<|message|>"),
        _tokens(budget=budget),
        _text("<|end|><|start|>assistant"),
    )


def _sequence(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "sequence", "elements": list(elements)}


def _either(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "or", "elements": list(elements)}


def _optional(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "optional", "content": content}


def _text(value: str) -> dict[str, Any]:
    return {"type": "const_string", "value": value}


def _tokens(*allowed: int, budget: int | None = None) -> dict[str, Any]:
    """Any tokens but control tokens, of which only those named are allowed."""
    tokens = {
        "type": "any_tokens",
        "exclude_tokens": [id_ for id_ in _CONTROL if id_ not in allowed],
    }
    return tokens | ({} if budget is None else {"max_tokens": budget})


def _tools(structure: OutputConstraint) -> list[str]:
    """How the recipients begin that may be called: to the dot, which is one token with what follows it."""
    return (["functions"] if structure.tool_calls else []) + list(structure.builtins)


def _calls(tool: str) -> list[dict[str, Any]]:
    """Calls of a tool: the recipient stands before the channel or after it, and what follows is the tool's business.

    Functions are called on the commentary channel, built-in tools on the analysis channel too.
    """
    channels = ["commentary"] if tool == "functions" else ["commentary", "analysis"]
    return [
        *(
            _sequence(_text(f"<|channel|>{channel} to={tool}"), _tokens(_CONSTRAIN, _MESSAGE))
            for channel in channels
        ),
        _sequence(_text(f" to={tool}"), _tokens(_CHANNEL, _CONSTRAIN, _MESSAGE)),
    ]
