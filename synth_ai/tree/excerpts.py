"""What people want to read in a turn's items: what was asked, thought, called and answered.

Items come from many servers and from imported files, so nothing here trusts their shape: an item
of an unknown type is shown as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "user", "system", "tool", "reasoning", "preamble", "call", "answer", "refusal", "other"
]

# What stands before the output of a tool, which would else look like what a user said.
OUTPUT_MARK = "↳ tool: "


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One piece of a turn, to be read.

    Attributes:
        kind: who says it, or what it is. `tool` is the output of a tool, `other` an item of an
            unknown type.
        text: its text; of a call, its arguments.
        name: the function of a call.
        images: the addresses of its images, `data:` ones included.
    """

    kind: Kind
    text: str
    name: str = ""
    images: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read in it."""
        return not (self.text or self.name or self.images)


def read_excerpts(items: Iterable[Mapping[str, object]]) -> list[Excerpt]:
    """Read items into excerpts, in order, without those that have nothing to read."""
    excerpts = []
    for item in items:
        excerpt = _read_item(item)
        if not excerpt.is_empty:
            excerpts.append(excerpt)
    return excerpts


def to_line(excerpts: Iterable[Excerpt]) -> str:
    """Write everything but the reasoning in one line.

    Texts are as they are, calls `name(...)`, outputs of tools `↳ tool: ...`.
    """
    texts = []
    for excerpt in excerpts:
        text = _fold(excerpt.text)
        if excerpt.kind == "call":
            texts.append(f"{excerpt.name}({text})")
        elif excerpt.kind != "reasoning":
            text = text or f"[{len(excerpt.images)} image(s)]"
            texts.append(f"{OUTPUT_MARK}{text}" if excerpt.kind == "tool" else text)
    return " ".join(texts)


def reasoning_line(excerpts: Iterable[Excerpt]) -> str:
    """Write the reasoning alone in one line; empty if there is none."""
    return " ".join(_fold(excerpt.text) for excerpt in excerpts if excerpt.kind == "reasoning")


def _fold(text: str) -> str:
    return " ".join(text.split())


def _read_item(item: Mapping[str, object]) -> Excerpt:
    item_type = item.get("type", "message")
    if item_type == "message":
        return _read_message(item)

    if item_type == "reasoning":
        # Some servers give the reasoning itself, most of them no more than a summary.
        content = item.get("content") or item.get("summary")
        return Excerpt("reasoning", _read_text(content))

    if item_type in ("function_call", "custom_tool_call"):
        # The arguments of a function, the input of a custom tool.
        arguments = item.get("arguments") or item.get("input") or ""
        return Excerpt("call", str(arguments), name=str(item.get("name", "")))

    if item_type in ("function_call_output", "custom_tool_call_output"):
        output = item.get("output")
        return Excerpt("tool", _read_text(output), images=_read_images(output))

    return Excerpt("other", json.dumps(item, ensure_ascii=False, default=str))


def _read_message(item: Mapping[str, object]) -> Excerpt:
    content = item.get("content")
    text = _read_text(content)
    images = _read_images(content)

    role = item.get("role", "user")
    if role == "user":
        return Excerpt("user", text, images=images)
    if role != "assistant":
        return Excerpt("system", text, images=images)

    is_refusal = any(part.get("type") == "refusal" for part in _parts_of(content))
    if is_refusal:
        return Excerpt("refusal", text)
    if item.get("phase") == "commentary":
        return Excerpt("preamble", text, images=images)
    return Excerpt("answer", text, images=images)


def _read_text(content: object) -> str:
    if isinstance(content, str):
        return content

    texts = []
    for part in _parts_of(content):
        text = part.get("text") or part.get("refusal")
        if isinstance(text, str):
            texts.append(text)
    return "\n\n".join(texts)


def _read_images(content: object) -> tuple[str, ...]:
    addresses = []
    for part in _parts_of(content):
        if part.get("type") != "input_image":
            continue
        # An image may also be named by an id, which only its server can show.
        address = part.get("image_url")
        if isinstance(address, str):
            addresses.append(address)
    return tuple(addresses)


def _parts_of(content: object) -> list[Mapping[str, object]]:
    """List the parts of a content; text among them is a part, too."""
    if not isinstance(content, (list, tuple)):
        return []

    parts = []
    for part in content:
        parts.append(part if isinstance(part, Mapping) else {"text": part})
    return parts
