"""Read the chunks of a stream of Chat Completions: into events, and into a whole body. Pure.

https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from synth_ai.events import ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from synth_ai.lm.vendors.chat.decode import (
    find_called,
    find_tool_calls,
    find_usage,
    has_sound,
    is_placeholder,
    raise_if_error,
    read_reasoning,
    split_content,
)
from synth_ai.lm.vendors.chat.shapes import (
    ChatAnnotation,
    ChatAudio,
    ChatBody,
    ChatChoice,
    ChatMessage,
    ChatToolCall,
    ReasoningDetail,
)
from synth_ai.lm.vendors.stop_reasons import find_incomplete_reason
from synth_ai.lm.vendors.wire import (
    CallIds,
    HalfCharacters,
    malformed_as,
    require_json,
    require_str,
)

#: What the body of an answer has beside its choices. Each may come with any chunk.
_FACTS = ("id", "model")

#: The fields of a piece of reasoning that a stream cuts into smaller ones.
_DETAIL_TEXTS: tuple[Literal["text", "summary"], ...] = ("text", "summary")


@dataclass(slots=True)
class _Call:
    """A call of which pieces have come.

    Attributes:
        id: the id that the server gave it, by which its pieces find together.
        unique_id: the id that it has in the answer.
    """

    id: str | None = None
    unique_id: str | None = None
    type: Literal["function", "custom"] = "function"
    name: str | None = None
    extra_content: object = None
    pieces: list[str] = field(default_factory=list)

    def add(self, call_id: str | None, extra_content: object, piece: str) -> None:
        """Add what a delta brings. Servers send the id once, or again with each delta."""
        self.id = self.id or call_id
        self.extra_content = extra_content or self.extra_content
        self.pieces.append(piece)

    def body(self) -> dict[str, object]:
        """Make the call as the message of a whole answer has it."""
        text = "".join(self.pieces)
        if self.type == "custom":
            called = {"name": self.name, "input": text}
        else:
            called = {"name": self.name, "arguments": text}

        body: dict[str, object] = {"id": self.unique_id, "type": self.type, self.type: called}
        if self.extra_content:
            body["extra_content"] = self.extra_content
        return body


class ChunkReader:
    """The chunks of one stream, read one after the other.

    A refusal has no events: `TextDelta`s add up to the answer, and a refusal is not one.
    """

    def __init__(self) -> None:
        # The answer as a whole, and whether the mark at its end has come.
        self._facts: dict[str, object] = {}
        self._has_choice = False
        self._finish_reason: str | None = None
        self._is_truncated = False
        self._logprobs: list[object] = []
        self._is_done = False
        self._halves = HalfCharacters()

        # Its message, in pieces.
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._reasoning_field: str | None = None
        self._reasoning_details: list[ReasoningDetail] = []
        self._refusal: list[str] = []
        self._annotations: list[ChatAnnotation] = []
        self._audio: ChatAudio = {}
        self._sound: list[str] = []

        # Its calls, and where among them the call of each index of the server's is.
        self._calls: list[_Call] = []
        self._positions: dict[int, int] = {}
        self._call_ids = CallIds()

    def read(self, chunk: Mapping[str, object]) -> Iterator[StreamEvent]:
        """Read a chunk and yield the events that it stands for.

        Args:
            chunk: the chunk; an empty one is the mark at the end of the stream.

        Raises:
            MalformedAnswerError: the chunk is of another shape.
            ServerError: it has an error in place of an answer.
        """
        if not chunk:
            self._is_done = True
            return

        body = cast("ChatBody", chunk)
        with malformed_as("An event of the stream is not a chunk of a chat completion", chunk):
            for name in _FACTS:
                if chunk.get(name):
                    self._facts[name] = chunk[name]
            usage = find_usage(body)
            if usage:
                self._facts["usage"] = usage

            for choice in body.get("choices") or ():
                raise_if_error(choice)
                self._on_choice(choice)
                yield from self._on_delta(choice.get("delta") or {})

    def body(self) -> dict[str, object] | None:
        """Make the body that a call without a stream would have had; None if the stream broke off.

        Raises:
            MalformedAnswerError: the pieces of a sound are not base 64.
        """
        if not self._is_complete():
            return None

        choice = {
            "message": self._message(),
            "finish_reason": self._finish_reason,
            "logprobs": {"content": self._logprobs or None},
        }
        return {**self._facts, "choices": [choice]}

    def _is_complete(self) -> bool:
        # Some servers never say why an answer has ended; the mark says that it has.
        if self._is_done:
            return self._has_choice

        # The usage comes behind the answer, if the server sends it, and the mark behind both: with
        # neither of them there might have been more.
        return self._finish_reason is not None and "usage" in self._facts

    def _on_choice(self, choice: ChatChoice) -> None:
        self._has_choice = True
        finish_reason = choice.get("finish_reason")
        if finish_reason:
            self._finish_reason = finish_reason
            self._is_truncated = find_incomplete_reason(finish_reason) is not None

        logprobs = choice.get("logprobs") or {}
        self._logprobs += logprobs.get("content") or ()

    def _on_delta(self, delta: ChatMessage) -> Iterator[StreamEvent]:
        thinking, content = split_content(delta.get("content"))
        reasoning, field = read_reasoning(delta, thinking)
        reasoning = self._halves.join("reasoning", reasoning)
        content = self._halves.join("content", content)
        if reasoning:
            self._reasoning.append(reasoning)
            self._reasoning_field = self._reasoning_field or field
            yield ReasoningDelta(reasoning)
        for detail in delta.get("reasoning_details") or ():
            _add_detail(self._reasoning_details, self._join_detail(detail))
        if content:
            self._content.append(content)
            yield TextDelta(content)

        audio = delta.get("audio")
        if audio:
            yield from self._on_audio_delta(audio)

        refusal = delta.get("refusal")
        if refusal:
            self._refusal.append(self._halves.join("refusal", require_str(refusal)))

        self._annotations += delta.get("annotations") or ()

        for call in find_tool_calls(delta):
            yield from self._on_tool_delta(call)

    def _join_detail(self, detail: ReasoningDetail) -> ReasoningDetail:
        joined = detail.copy()
        for name in _DETAIL_TEXTS:
            text = detail.get(name)
            if text:
                part = ("detail", detail.get("index"), name)
                joined[name] = self._halves.join(part, require_str(text))

        return joined

    def _on_audio_delta(self, delta: ChatAudio) -> Iterator[StreamEvent]:
        if delta.get("id"):
            self._audio["id"] = delta["id"]
        if delta.get("expires_at"):
            self._audio["expires_at"] = delta["expires_at"]

        sound = delta.get("data")
        if sound:
            self._sound.append(require_str(sound))

        # What is spoken is the text of the answer.
        transcript = self._halves.join("transcript", require_str(delta.get("transcript") or ""))
        if transcript:
            self._audio["transcript"] = self._audio.get("transcript", "") + transcript
            yield TextDelta(transcript)

    def _on_tool_delta(self, delta: ChatToolCall) -> Iterator[StreamEvent]:
        called = find_called(delta)
        is_custom = called is delta.get("custom")
        name = called.get("name")
        call_id = delta.get("id") or None
        if call_id is None and is_placeholder(called):
            return

        piece = require_json(called.get("arguments") or called.get("input") or None)
        position = self._find_position(delta.get("index"), call_id, name)
        if position == len(self._calls):
            self._calls.append(_Call())

        piece = self._halves.join(("call", position), piece)
        call = self._calls[position]
        call.add(call_id, delta.get("extra_content"), piece)
        if call.name is not None:
            yield ToolCallDelta(position, None, piece)
        elif name:
            # Some servers send the name late. The first event of a call has it, and all pieces.
            call.type = "custom" if is_custom else "function"
            call.name = require_str(name)
            call.unique_id = self._call_ids.take(call.id)
            yield ToolCallDelta(position, name, "".join(call.pieces), call.unique_id)

    def _find_position(self, index: int | None, call_id: str | None, name: str | None) -> int:
        """Find which call a delta adds to; `len(self._calls)` for a new one."""
        if index is not None:
            return self._find_by_index(index, call_id)

        # Servers that leave the index out name the call by its id, or send it in one piece.
        if call_id:
            return self._find_by_id(call_id)
        if name:
            return len(self._calls)
        return max(len(self._calls) - 1, 0)

    def _find_by_index(self, index: int, call_id: str | None) -> int:
        position = self._positions.setdefault(index, len(self._calls))
        if position == len(self._calls):
            return position

        if call_id is None:
            return position

        known_id = self._calls[position].id
        if known_id in (None, call_id):
            return position

        # Gemini gives every call of a turn the index 0: another id is another call.
        position = self._find_by_id(call_id)
        self._positions[index] = position
        return position

    def _find_by_id(self, call_id: str) -> int:
        for position, call in enumerate(self._calls):
            if call.id == call_id:
                return position
        return len(self._calls)

    def _message(self) -> dict[str, object]:
        """Make the message of a whole answer."""
        message: dict[str, object] = {
            "content": self._whole_content(),
            "refusal": "".join(self._refusal) or None,
        }
        if self._reasoning_field in ("reasoning", "reasoning_content"):
            message[self._reasoning_field] = "".join(self._reasoning)
        if self._reasoning_details:
            message["reasoning_details"] = self._reasoning_details
        if self._annotations:
            message["annotations"] = self._annotations

        # A call that was cut off before its name came cannot be named in a warning either, and one
        # of nothing is none. Another one without a name in a whole answer is a mistake of the
        # server's, which decoding finds.
        calls = []
        for call in self._calls:
            is_nothing = self._is_truncated or not any(call.pieces)
            if call.name or not is_nothing:
                calls.append(call)
        message["tool_calls"] = [call.body() for call in calls]

        if self._sound or has_sound(self._audio):
            with malformed_as("The sound in the stream is not base64", self._sound[:1]):
                message["audio"] = {**self._audio, "data": _join_base64(self._sound)}

        return message

    def _whole_content(self) -> str | list[Mapping[str, object]] | None:
        """Make the content of a whole answer, with the thinking in it if that came so."""
        text = "".join(self._content)
        if self._reasoning_field != "content":
            return text or None

        thinking = {"type": "text", "text": "".join(self._reasoning)}
        return [{"type": "thinking", "thinking": [thinking]}, {"type": "text", "text": text}]


def _add_detail(details: list[ReasoningDetail], piece: ReasoningDetail) -> None:
    """Add a piece of reasoning to those that came before, as a whole answer would have them.

    ::

        {"type": "reasoning.text", "index": 0, "text": "2 "}
        {"type": "reasoning.text", "index": 0, "text": "+ 2"}
        {"type": "reasoning.text", "index": 0, "signature": "c2ln"}
        ->  {"type": "reasoning.text", "index": 0, "text": "2 + 2", "signature": "c2ln"}
    """
    last = details[-1] if details else None
    if last is None or not _continues(last, piece):
        details.append(piece)
        return

    whole = {**last, **{key: value for key, value in piece.items() if value is not None}}
    for name in _DETAIL_TEXTS:
        if last.get(name) and piece.get(name):
            whole[name] = require_str(last[name]) + require_str(piece[name])
        elif last.get(name):
            whole[name] = last[name]
    details[-1] = cast("ReasoningDetail", whole)


def _continues(last: ReasoningDetail, piece: ReasoningDetail) -> bool:
    """Whether a piece of reasoning continues the one before. What is encrypted comes whole."""
    if piece.get("data") or last.get("data"):
        return False
    return piece.get("type") == last.get("type") and piece.get("index") == last.get("index")


def _join_base64(pieces: list[str]) -> str:
    """Join pieces of base 64 into one.

    Padding before the end tells that each piece was encoded by itself::

        "QUJD", "REVG"   ->  "QUJDREVG"  (one text, cut in two)
        "QUI=", "Q0Q="   ->  "QUJDRA=="  (two texts)
    """
    has_padding_inside = any(piece.endswith("=") for piece in pieces[:-1])
    if not has_padding_inside:
        return "".join(pieces)

    sound = b"".join(base64.b64decode(piece) for piece in pieces)
    return base64.b64encode(sound).decode()
