"""Chat Completions' chunks, read into events as they come and gathered into the body of a whole completion. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synth_ai.deltas import ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.lm.events import StreamEvent


@dataclass(slots=True)
class _Call:
    kind: str
    id: str | None
    name: str | None
    texts: list[str] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        key = "input" if self.kind == "custom" else "arguments"
        return {"id": self.id, "type": self.kind, self.kind: {"name": self.name, key: "".join(self.texts)}}


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
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None

    def read(self, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """The events that one chunk stands for. An empty chunk is the mark at the end."""
        self._is_done = self._is_done or not chunk
        self._facts |= {key: chunk[key] for key in ("id", "model", "usage") if chunk.get(key)}
        for choice in chunk.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            self._logprobs += (choice.get("logprobs") or {}).get("content") or ()
            delta = choice.get("delta") or {}
            if reasoning := delta.get("reasoning") or delta.get("reasoning_content"):
                self._texts["reasoning"].append(reasoning)
                yield ReasoningDelta(reasoning)
            if content := delta.get("content"):
                self._texts["content"].append(content)
                yield TextDelta(content)
            if audio := delta.get("audio"):
                yield from self._heard(audio)
            if refusal := delta.get("refusal"):
                self._texts["refusal"].append(refusal)
            for call in delta.get("tool_calls") or ():
                yield self._call_delta(call)

    def _heard(self, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        self._audio |= {key: delta[key] for key in ("id", "expires_at") if delta.get(key) is not None}
        if sound := delta.get("data"):
            self._sound.append(sound)
        if transcript := delta.get("transcript"):
            self._audio["transcript"] = self._audio.get("transcript", "") + transcript
            yield TextDelta(transcript)

    def _call_delta(self, delta: Mapping[str, Any]) -> StreamEvent:
        kind = "custom" if "custom" in delta else "function"
        said = delta.get(kind) or {}
        at = self._place(delta, said.get("name"))
        call = self._calls.get(at)
        first = call is None
        if call is None:
            call = self._calls[at] = _Call(kind, delta.get("id"), said.get("name"))
        text = said.get("arguments") or said.get("input") or ""
        call.texts.append(text)
        return ToolCallDelta(at, call.name if first else None, text, call.id if first else None)

    def _place(self, delta: Mapping[str, Any], name: str | None) -> int:
        """Which call a delta is of. Servers that leave `index` out name the call by id, or send it in one piece."""
        index, id = delta.get("index"), delta.get("id")
        if index is not None:
            return int(index)
        if id:
            return next((at for at, call in self._calls.items() if call.id == id), len(self._calls))
        return len(self._calls) if name else max(len(self._calls) - 1, 0)

    def body(self) -> dict[str, Any] | None:
        """The completion as an unstreamed call would have answered it; None when the stream was cut off.

        The usage comes after the answer, where the server tells it, and the mark at the end after both.
        """
        if self._finish_reason is None or not (self._is_done or "usage" in self._facts):
            return None
        message: dict[str, Any] = {key: "".join(parts) or None for key, parts in self._texts.items()}
        message["tool_calls"] = [call.body() for _, call in sorted(self._calls.items())]
        if self._audio:
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
