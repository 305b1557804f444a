"""What parsing gives: the messages of a completion, and the deltas that lead up to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from synth_ai.events import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta

Kind: TypeAlias = Literal["reasoning", "preamble", "final", "tool_call"]
"""What a message of a completion is."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Finish: TypeAlias = Literal["stop", "tool_calls", "length", "malformed"]
"""How a completion ended, see `Completion.finish`."""

FinishReason: TypeAlias = Literal["stop", "length"] | str
"""Why the engine stopped: `length` if it cut the completion off; all others mean the same."""

Event: TypeAlias = TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta
"""A delta of a completion."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call with complete arguments.

    Attributes:
        name: the function's name, or the full name of a tool outside `functions`, such as
            `browser.search`.
        arguments: a JSON string; for the built-in `python`, the code as it is.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """One message of a completion.

    Attributes:
        kind: what it is.
        text: its text; the arguments of a tool call.
        name: the tool that is called; None for other kinds.
    """

    kind: Kind
    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered.

    Attributes:
        messages: all that counts, in order. Several messages of one kind are joined by a line
            break in the fields below, which are None if there is no such message.
        final: the answer.
        preamble: what the model told the user before it called tools.
        reasoning: the chain of thought; not for users to read.
        tool_calls: the calls, in order.
        finish: `stop` (there is an answer), `tool_calls`, `length` (cut off), or `malformed` (the
            model stopped and there is nothing to use).
        warnings: what was repaired or left out, in plain English.
    """

    messages: list[ParsedMessage] = field(default_factory=list)
    final: str | None = None
    preamble: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish: Finish = "stop"
    warnings: list[str] = field(default_factory=list)


def join_texts(messages: list[ParsedMessage], kind: Kind) -> str | None:
    """Join the texts of all messages of a kind; None if there is none."""
    texts = [message.text for message in messages if message.kind == kind]
    return "\n".join(texts) if texts else None
