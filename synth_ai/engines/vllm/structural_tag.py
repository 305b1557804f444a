"""A constraint on the final answer as a structural tag of xgrammar, which vLLM applies to tokens.

vLLM's own JSON constraint holds from the first token, so it breaks the header of a Harmony message.
This one spans the whole completion: reasoning as free as it was, then the header of the final
channel, then JSON. Its markers are strings, because tags that begin with token ids got wrong masks
if several constraints run at once (xgrammar 0.2.8).

The format: https://github.com/mlc-ai/xgrammar/blob/main/docs/tutorials/structural_tag.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from synth_ai.engines.base import OutputConstraint

# A node of the tag, by its `type`: {"type": "optional", "content": {...}}.
Node: TypeAlias = dict[str, object]

# Makes the node of a fixed text, in which the control tokens are spelled as `<|end|>`.
_Text: TypeAlias = Callable[[str], Node]

# The control tokens of the vocabulary, <|startoftext|> to <|endofprompt|>.
_CONTROL_TOKENS = range(199_998, 200_019)
_CONSTRAIN, _CHANNEL, _MESSAGE = 200_003, 200_005, 200_008


# A whole tag, of a schema without tools and with reasoning_budget=20:
#
#   {"type": "structural_tag", "format":
#     {"type": "sequence", "elements": [
#       {"type": "optional", "content":
#         {"type": "sequence", "elements": [
#           {"type": "const_string", "value": "<|channel|>analysis<|message|>"},
#           {"type": "any_tokens", "exclude_tokens": [199998, ..., 200018], "max_tokens": 20},
#           {"type": "const_string", "value": "<|end|><|start|>assistant"}]}},
#       {"type": "sequence", "elements": [
#         {"type": "const_string", "value": "<|channel|>final"},
#         {"type": "optional", "content":
#           {"type": "or", "elements": [
#             {"type": "const_string", "value": " json"},
#             {"type": "const_string", "value": " <|constrain|>json"}]}},
#         {"type": "const_string", "value": "<|message|>"},
#         {"type": "json_schema", "json_schema": {...}, "max_whitespace_cnt": 1}]}]}}
#
# It allows, for example:
#
#   <|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>{"a": 1}
#
# With tools the second of the two elements becomes two: a preamble that may be there, and the
# answer or one of the calls (`_calls` has examples).
#
# The stop tokens are not part of it: vLLM allows them wherever the tag may end.
def make_structural_tag(
    structure: OutputConstraint, *, marker_prefix: str = "", excludes_markers: bool = False
) -> str:
    """Make the constraint as JSON, as vLLM takes it.

    Args:
        marker_prefix: what the engine's tokenizer has in front of the name of a control token. With
            none, the published spelling, control tokens are allowed inside the strings of the
            answer.
        excludes_markers: allow no `<|` in them instead, as far as xgrammar can do that.
    """
    text = partial(_text, marker_prefix)
    reasoning = _optional(_message(text, "analysis", structure.reasoning_budget))
    answer = _answer(text, structure.schema, excludes_markers=excludes_markers)

    tools = list(structure.builtins)
    if structure.tool_calls:
        tools.insert(0, "functions")
    if not tools:
        return _dump(_sequence(reasoning, answer))

    calls: list[Node] = []
    for tool in tools:
        calls += _calls(text, tool)
    preamble = _optional(_message(text, "commentary", max_tokens=None))
    return _dump(_sequence(reasoning, preamble, _either(answer, *calls)))


def _dump(format_: Node) -> str:
    return json.dumps({"type": "structural_tag", "format": format_})


def _answer(text: _Text, schema: Mapping[str, object], *, excludes_markers: bool) -> Node:
    """Make the message on the final channel: JSON of the schema, whose type may be named."""
    content_type = _either(text(" json"), text(" <|constrain|>json"))
    # Limited, because a model may otherwise write blanks until its tokens run out.
    content: Node = {"type": "json_schema", "json_schema": dict(schema), "max_whitespace_cnt": 1}
    if excludes_markers and _can_exclude_markers(schema):
        content["excludes"] = ["<|"]

    return _sequence(
        text("<|channel|>final"), _optional(content_type), text("<|message|>"), content
    )


def _can_exclude_markers(schema: Mapping[str, object]) -> bool:
    """Whether the schema means the same without `<|` in strings.

    xgrammar would drop the lengths of strings, and constants that hold one.
    """
    written = json.dumps(schema)
    return not any(part in written for part in ('"minLength"', '"maxLength"', "<|"))


def _message(text: _Text, channel: str, max_tokens: int | None) -> Node:
    """Make a whole message on a channel, and the start of the next one."""
    return _sequence(
        text(f"<|channel|>{channel}<|message|>"),
        _tokens(max_tokens=max_tokens),
        text("<|end|><|start|>assistant"),
    )


def _calls(text: _Text, tool: str) -> list[Node]:
    """Make the forms of a call of a tool: its recipient is behind the channel, or in front of it.

    ::

        <|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}
         to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>{"city": "Oslo"}
        <|channel|>analysis to=python code<|message|>print(1)
         to=python<|channel|>analysis code<|message|>print(1)

    Only the start is fixed, up to the name or its namespace; the rest is up to the tool. It ends in
    front of the dot, which is one token with what comes after it.

    Args:
        tool: `functions`, or a built-in tool, which may be called on the analysis channel too.
    """
    channels = ["commentary"]
    if tool != "functions":
        channels.append("analysis")

    behind_channel = [
        _sequence(text(f"<|channel|>{channel} to={tool}"), _tokens(allowed=(_CONSTRAIN, _MESSAGE)))
        for channel in channels
    ]
    in_front_of_channel = _sequence(
        text(f" to={tool}"), _tokens(allowed=(_CHANNEL, _CONSTRAIN, _MESSAGE))
    )
    return [*behind_channel, in_front_of_channel]


# --- the nodes of a tag -------------------------------------------------------------------------


def _sequence(*elements: Node) -> Node:
    return {"type": "sequence", "elements": list(elements)}


def _either(*elements: Node) -> Node:
    return {"type": "or", "elements": list(elements)}


def _optional(content: Node) -> Node:
    return {"type": "optional", "content": content}


def _text(marker_prefix: str, value: str) -> Node:
    return {"type": "const_string", "value": value.replace("<|", f"{marker_prefix}<|")}


def _tokens(*, allowed: Iterable[int] = (), max_tokens: int | None = None) -> Node:
    """Make a run of any tokens but control tokens, of which only those in `allowed` may come.

    Args:
        max_tokens: how many at most; None for any number.
    """
    excluded = [id_ for id_ in _CONTROL_TOKENS if id_ not in allowed]
    node: Node = {"type": "any_tokens", "exclude_tokens": excluded}
    if max_tokens is not None:
        node["max_tokens"] = max_tokens
    return node
