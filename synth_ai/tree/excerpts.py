"""What people want to read in a turn's items: what was asked, thought, called and answered.

Items come from many servers and from imported files, so nothing here trusts their shape: what it does not know, it
shows as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of a turn, to be read.

    Attributes:
        kind: `user`, `system`, `tool` (a tool's output), `reasoning`, `preamble`, `call`, `answer`, `refusal`, or
            `other` (an item that is none of these).
        text: its text; of a call, its arguments.
        name: the function of a call.
        images: the addresses of its pictures, `data:` ones included.
    """

    kind: str
    text: str
    name: str = ""
    images: tuple[str, ...] = ()


def passages(items: Iterable[Mapping[str, Any]]) -> list[Passage]:
    """The items as passages, in order; those without anything to read are left out."""
    found = (_passage(item) for item in items)
    return [passage for passage in found if passage.text or passage.name or passage.images]


def backend_of(turn: Turn) -> str:
    """The model and the API that answered."""
    return f"{turn.model}, {turn.api_type}"


def one_line(passages: Iterable[Passage]) -> str:
    """Everything but the reasoning, in one line: texts as they are, calls as `name(arguments)`."""
    texts = []
    for passage in passages:
        if passage.kind == "call":
            texts.append(f"{passage.name}({' '.join(passage.text.split())})")
        elif passage.kind != "reasoning":
            texts.append(" ".join(passage.text.split()) or f"[{len(passage.images)} image(s)]")
    return " ".join(texts)


def reasoning(passages: Iterable[Passage]) -> str:
    """The reasoning alone, in one line; empty when there is none."""
    return " ".join(
        " ".join(passage.text.split()) for passage in passages if passage.kind == "reasoning"
    )


def _passage(item: Mapping[str, Any]) -> Passage:
    kind = item.get("type", "message")
    if kind == "message":
        return _message(item)
    if kind == "reasoning":
        return Passage("reasoning", _text(item.get("content") or item.get("summary")))
    if kind in ("function_call", "custom_tool_call"):
        return Passage(
            "call", str(item.get("arguments") or item.get("input") or ""), str(item.get("name", ""))
        )
    if kind in ("function_call_output", "custom_tool_call_output"):
        return Passage("tool", _text(item.get("output")), images=_images(item.get("output")))
    return Passage("other", json.dumps(item, ensure_ascii=False, default=str))


def _message(item: Mapping[str, Any]) -> Passage:
    content = item.get("content")
    text, images = _text(content), _images(content)
    role = str(item.get("role", "user"))
    if role != "assistant":
        return Passage("user" if role == "user" else "system", text, images=images)
    if any(part.get("type") == "refusal" for part in _parts(content)):
        return Passage("refusal", text)
    return Passage(
        "preamble" if item.get("phase") == "commentary" else "answer", text, images=images
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = (part.get("text") or part.get("refusal") for part in _parts(content))
    return "\n\n".join(text for text in texts if isinstance(text, str))


def _images(content: Any) -> tuple[str, ...]:
    addresses = (
        part.get("image_url") for part in _parts(content) if part.get("type") == "input_image"
    )
    return tuple(address for address in addresses if isinstance(address, str))


def _parts(content: Any) -> list[Mapping[str, Any]]:
    if not isinstance(content, (list, tuple)):
        return []
    return [part if isinstance(part, Mapping) else {"text": part} for part in content]
