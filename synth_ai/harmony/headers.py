"""What the header of a sampled message says, however garbled.

A header is given as text with `CHANNEL_MARK` and `CONSTRAIN_MARK` in place of those control tokens, and without
`<|start|>` and `<|message|>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from synth_ai.harmony.names import Offered

CHANNEL_MARK = "\x1f"
CONSTRAIN_MARK = "\x1e"

Role = Literal["reasoning", "preamble", "final", "tool_call", "untargeted", "unclear", "author", "turn", "foreign"]
"""What a message is, as far as its header tells. Beside the four kinds that `parse` returns: `untargeted`, a call that
names no tool; `unclear`, no channel that is known; `author`, a tool's name where the role should be; `turn`, a message
of the user or developer; `foreign`, one from or to anybody else."""

_RECIPIENT = re.compile(r"to\s*=\s*[\"'`]?([\w./:-]*)", re.ASCII)
_CHANNEL = re.compile(r"analy\w*|comment\w*|final\w*|think\w*|thought\w*|reasoning", re.IGNORECASE)
_CONTENT_TYPE = re.compile(rf"{CONSTRAIN_MARK}|\b(?:json|code)\b", re.IGNORECASE)
_ASSISTANT = re.compile(r"\s*(?:assistant\s*)+", re.IGNORECASE)
_AUTHOR = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(?:to\s*=.*|\s(?:json|code|analysis|commentary|final)\b.*)?", re.S)
_ROLES = {"a": "reasoning", "t": "reasoning", "r": "reasoning", "c": "preamble", "f": "final"}


@dataclass(frozen=True, slots=True)
class Header:
    """`name` is the tool of a call, or of an author."""

    role: Role
    name: str | None = None


def read_header(text: str, offered: Offered, *, implied: bool) -> Header:
    """Read a header; `implied` is true for the first of a completion, whose author the prompt has already named."""
    recipients = [found.strip("./:") for found in _RECIPIENT.findall(text)]
    bare = _RECIPIENT.sub(" ", text)
    author = None if implied else _author(text)
    if author is not None:
        if author.lower() in ("user", "system", "developer"):
            return Header("turn")
        if "assistant" in recipients:
            return Header("foreign")
        return Header("author", offered.resolve(author))
    names = [name for name in map(offered.resolve, recipients) if name]
    if names:
        return Header("tool_call", next((name for name in names if offered.includes(name)), names[-1]))
    channels = _CHANNEL.findall(bare)
    role = _ROLES[channels[-1][0].lower()] if channels else None
    if role in ("final", "reasoning"):
        return Header("final" if role == "final" else "reasoning")
    if "assistant" in recipients:
        return Header("foreign")
    if any(found.lower().startswith("function") for found in recipients):
        return Header("untargeted")
    if role is None:
        return Header("unclear")
    return Header("untargeted" if _CONTENT_TYPE.search(bare) else "preamble")


def _author(text: str) -> str | None:
    """Who the header says is speaking, or None for the assistant or nobody that can be told."""
    role = text.partition(CHANNEL_MARK)[0].partition(CONSTRAIN_MARK)[0]
    if _ASSISTANT.match(role) or role.lstrip().startswith("to="):
        return None
    found = _AUTHOR.fullmatch(role)
    if found is None or _CHANNEL.match(found[1]):
        return None
    return found[1]
