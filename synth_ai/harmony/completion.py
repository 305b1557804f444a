"""What parsing gives: the finished completion, after the deltas that lead up to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from synth_ai.events import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta

Kind = Literal["reasoning", "preamble", "final", "tool_call"]
Finish = Literal["stop", "tool_calls", "length", "malformed"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call with complete arguments.

    Attributes:
        name: the function's name, or the full name of a tool outside `functions`, such as `browser.search`.
        arguments: a JSON string; for the built-in `python`, the code as it is.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """One message of a completion; of a tool call, `text` is the arguments and `name` the tool."""

    kind: Kind
    text: str
    name: str | None = None


Event = TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered.

    Attributes:
        messages: all that counts, in order. Several messages of one kind are joined by a line break in the fields
            below, which are None where there is no such message.
        final: the answer.
        preamble: what the model told the user before it called tools.
        reasoning: the chain of thought; not for users to read.
        tool_calls: the calls, in order.
        finish: `stop` (there is an answer), `tool_calls`, `length` (cut off), or `malformed` (the model stopped and
            there is nothing to use).
        warnings: what was repaired or left out, in plain English.
    """

    messages: list[ParsedMessage] = field(default_factory=list)
    final: str | None = None
    preamble: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish: Finish = "stop"
    warnings: list[str] = field(default_factory=list)


def joined(messages: list[ParsedMessage], kind: Kind) -> str | None:
    """The texts of one kind as one text, or None if there is none."""
    texts = [message.text for message in messages if message.kind == kind]
    return "\n".join(texts) if texts else None
