"""Chat Completions' chunks, read into events as they come and gathered into the body of a whole completion. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synth_ai.events import ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from synth_ai.lm.vendors.chat.decode import STOPPED, calls_of, check_choice, reasoning_of, texts_of
from synth_ai.lm.vendors.wire import expecting, text


@dataclass(slots=True)
class _Call:
    id: str | None = None
    kind: str = "function"
    name: str | None = None
    extra: Any = None
    texts: list[str] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        key = "input" if self.kind == "custom" else "arguments"
        body = {
            "id": self.id,
            "type": self.kind,
            self.kind: {"name": self.name, key: "".join(self.texts)},
        }
        return body | {"extra_content": self.extra} if self.extra else body


class ChunkReader:
    """Chunks of one stream.

    A refusal has no events: what `TextDelta`s add up to is the answer, and a refusal is none.
    """

    def __init__(self) -> None:
        self._is_done = False
        self._facts: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {"content": [], "reasoning": [], "refusal": []}
        self._audio: dict[str, Any] = {}
        self._sound: list[str] = []
        self._annotations: list[Any] = []
        self._calls: list[_Call] = []
        self._places: dict[int, int] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None

    def read(self, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """The events that one chunk stands for. An empty chunk is the mark at the end.

        Raises:
            MalformedAnswerError: the chunk is of another shape.
            ServerError: it holds an error in place of an answer.
        """
        self._is_done = self._is_done or not chunk
        with expecting("An event of the stream is no chunk of a chat completion", chunk):
            self._facts |= {key: chunk[key] for key in ("id", "model", "usage") if chunk.get(key)}
            for choice in chunk.get("choices") or ():
                check_choice(choice)
                self._finish_reason = choice.get("finish_reason") or self._finish_reason
                self._logprobs += (choice.get("logprobs") or {}).get("content") or ()
                yield from self._said(choice.get("delta") or {})

    def _said(self, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        thinking, content = texts_of(delta.get("content"))
        if reasoning := reasoning_of(delta) + thinking:
            self._texts["reasoning"].append(reasoning)
            yield ReasoningDelta(reasoning)
        if content:
            self._texts["content"].append(content)
            yield TextDelta(content)
        if audio := delta.get("audio"):
            yield from self._heard(audio)
        if refusal := delta.get("refusal"):
            self._texts["refusal"].append(text(refusal))
        self._annotations += delta.get("annotations") or ()
        for call in calls_of(delta):
            yield from self._called(call)

    def _heard(self, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        self._audio |= {
            key: delta[key] for key in ("id", "expires_at") if delta.get(key) is not None
        }
        if sound := delta.get("data"):
            self._sound.append(text(sound))
        if transcript := delta.get("transcript"):
            self._audio["transcript"] = self._audio.get("transcript", "") + transcript
            yield TextDelta(transcript)

    def _called(self, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        kind = "custom" if delta.get("custom") else "function"
        said = delta.get(kind) or {}
        name, id = said.get("name") or None, delta.get("id") or None
        at = self._place(delta.get("index"), id, name)
        if at == len(self._calls):
            self._calls.append(_Call())
        call = self._calls[at]
        call.id = call.id or id
        call.extra = delta.get("extra_content") or call.extra
        more = text(said.get("arguments") or said.get("input") or "")
        call.texts.append(more)
        if call.name is not None:
            yield ToolCallDelta(at, None, more)
        elif name is not None:
            call.kind, call.name = kind, text(name)
            yield ToolCallDelta(at, name, "".join(call.texts), call.id)

    def _place(self, index: int | None, id: str | None, name: str | None) -> int:
        """Which call a delta is of; `len(self._calls)` for a new one.

        Servers that leave `index` out name the call by id, or send it in one piece. Others give every call the index
        0, where a new id says that it is another.
        """
        ids = [call.id for call in self._calls]
        if index is not None:
            at = self._places.setdefault(index, len(ids))
            if at < len(ids) and id and ids[at] and ids[at] != id:
                at = self._places[index] = ids.index(id) if id in ids else len(ids)
            return at
        if id:
            return ids.index(id) if id in ids else len(ids)
        return len(ids) if name else max(len(ids) - 1, 0)

    def body(self) -> dict[str, Any] | None:
        """The completion as an unstreamed call would have answered it; None when the stream was cut off.

        The usage comes after the answer, where the server tells it, and the mark at the end after both.
        """
        if self._finish_reason is None or not (self._is_done or "usage" in self._facts):
            return None
        message: dict[str, Any] = {
            key: "".join(parts) or None for key, parts in self._texts.items()
        }
        if self._annotations:
            message["annotations"] = self._annotations
        # Of a call that was cut off before its name there is nothing to tell.
        is_cut = self._finish_reason in STOPPED
        message["tool_calls"] = [call.body() for call in self._calls if call.name or not is_cut]
        if self._audio:
            with expecting("The sound in the stream is no base64", self._sound[:1]):
                message["audio"] = {**self._audio, "data": _joined(self._sound)}
        choice = {
            "message": message,
            "finish_reason": self._finish_reason,
            "logprobs": {"content": self._logprobs or None},
        }
        return {**self._facts, "choices": [choice]}


def _joined(pieces: list[str]) -> str:
    """Pieces of base64 as one: padding within says that each was encoded by itself."""
    if not any(piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
