"""What a stream yields, the same on every API: small deltas, then the finished response."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias

from synth_ai.content import AnswerT

if TYPE_CHECKING:
    from synth_ai.response import BaseLMResponse


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer: together, the `text` of the finished response.

    A refusal is no answer and has no deltas; the finished response has it in `refusal`.

    Attributes:
        text: the text.
        item_id: the server's id of the output item that it is part of; None if it gives none.
    """

    text: str
    item_id: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of the reasoning.

    Attributes:
        text: the text.
        item_id: the server's id of the output item that it is part of; None if it gives none.
        is_summary: whether it is a summary of the reasoning.
    """

    text: str
    item_id: str | None = field(default=None, compare=False, repr=False)
    is_summary: bool = field(default=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PreambleDelta:
    """More of what the model shows before it calls tools.

    Attributes:
        text: the text.
        item_id: the server's id of the output item that it is part of; None if it gives none.
    """

    text: str
    item_id: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a tool call.

    The finished response says which calls there are. One that was cut off is not among them, and
    gpt-oss may write arguments that have to be repaired: then the call begins anew, with a name at
    an index that has had one.

    Attributes:
        index: which call of the turn, from 0.
        name: the name of the function or custom tool, with the first delta of a call; else None.
        arguments: more of the arguments' JSON text, or of a custom tool's input.
        call_id: the call's id, with the first delta where the backend knows it then.
        item_id: the server's id of the output item, with the first delta; None if it gives none.
    """

    index: int
    name: str | None
    arguments: str
    call_id: str | None = None
    item_id: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Started:
    """The id that the server has given to the response, before anything of it.

    Vendors yield it where they know it; LM takes it out of the stream, whose `response_id` it is.
    """

    response_id: str


@dataclass(frozen=True, slots=True)
class Completed(Generic[AnswerT]):
    """The end of the stream, with the whole response."""

    response: BaseLMResponse[AnswerT]


if TYPE_CHECKING:
    StreamEvent: TypeAlias = (
        TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta | Completed[AnswerT]
    )
    """Any event of a stream."""
else:
    # `isinstance` takes classes alone.
    StreamEvent = TextDelta | ReasoningDelta | PreambleDelta | ToolCallDelta | Completed

VendorEvent: TypeAlias = StreamEvent | Started
"""What the stream of a vendor yields."""
