"""What a stream yields, the same on every API: small deltas, then the finished response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from synth_ai.deltas import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.lm.response import BaseLMResponse


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of the stream, with the whole response."""

    response: BaseLMResponse


StreamEvent: TypeAlias = TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta | Completed
