"""What a stream yields, the same on every API: small deltas, then the finished response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from synth_ai.lm.response import BaseLMResponse


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class PreambleDelta:
    """More of what the model shows before it calls tools."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a tool call.

    Attributes:
        index: which call of the turn, from 0.
        name: the function's name, with the first delta of a call; None after that.
        arguments: more of the arguments' JSON text.
        call_id: the call's id, with the first delta where the backend knows it then.
    """

    index: int
    name: str | None
    arguments: str
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of the stream, with the whole response."""

    response: BaseLMResponse


StreamEvent: TypeAlias = TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta | Completed
