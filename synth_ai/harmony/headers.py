"""What the header of a sampled message says, however garbled.

A header is given as text with `CHANNEL_MARK` and `CONSTRAIN_MARK` in place of those control tokens, and without
`<|start|>` and `<|message|>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from synth_ai.harmony.names import Offered
from synth_ai.harmony.tools import BUILT_INS

CHANNEL_MARK = "\x01"
CONSTRAIN_MARK = "\x02"

Role = Literal["reasoning", "preamble", "final", "tool_call", "untargeted", "unclear", "author", "turn", "foreign"]
"""What a message is, as far as its header tells. Beside the four kinds that `parse` returns: `untargeted`, a call that
names no tool; `unclear`, no channel that is known; `author`, a tool's name where the role should be; `turn`, a message
of the user or developer; `foreign`, one from or to anybody else."""

_RECIPIENT = re.compile(r"to\s*=\s*[\"'`]?([\w./:-]*)", re.ASCII)
# A function whose `to=` got lost.
_FUNCTION = re.compile(r"\bfunctions\.[\w-]+", re.ASCII)
_CHANNEL = re.compile(r"analy\w*|comment\w*|final\w*|think\w*|thought\w*|reasoning", re.IGNORECASE)
_CONTENT_TYPE = re.compile(rf"{CONSTRAIN_MARK}|\b(?:json|code)\b", re.IGNORECASE)
_ASSISTANT = re.compile(r"\s*(?:assistant\s*)+", re.IGNORECASE)
_AUTHOR = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(?:to\s*=.*|\s(?:json|code|analysis|commentary|final)\b.*)?", re.S)
_ROLES = {"a": "reasoning", "t": "reasoning", "r": "reasoning", "c": "preamble", "f": "final"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says.

    Attributes:
        name: the tool of a call, or of an author.
        clean: whether it says so in a form that the published format has.
    """

    role: Role
    name: str | None = None
    clean: bool = False


def read_header(text: str, offered: Offered, implied: bool) -> Header:
    """Read a header; `implied` is true for the first of a completion, whose author the prompt has already named."""
    return _read_known(text, offered, implied) if len(text) < 200 else _read(text, offered, implied)


def _read(text: str, offered: Offered, implied: bool) -> Header:
    header = _understood(text, offered, implied)
    form = _form(header)
    clean = form is not None and re.fullmatch(form if implied else f"assistant{form}", text) is not None
    return replace(header, clean=clean)


def _form(header: Header) -> str | None:
    """The pattern of a well-formed header, behind `assistant`."""
    if header.role == "tool_call" and header.name is not None:
        own = "." in header.name or header.name in BUILT_INS
        to = rf" to=(?:functions\.){'?' if own else ''}{re.escape(header.name)}"
        channel = f"{CHANNEL_MARK}(?:analysis|commentary)"
        return rf"(?:{to}{channel}|{channel}{to})(?: ?{CONSTRAIN_MARK}(?:json|code)| json| code)?"
    if header.role == "final":
        return rf"{CHANNEL_MARK}final(?: ?{CONSTRAIN_MARK}json| json)?"
    channels = {"reasoning": "analysis", "preamble": "commentary"}
    return CHANNEL_MARK + channels[header.role] if header.role in channels else None


def _understood(text: str, offered: Offered, implied: bool) -> Header:
    recipients = [found.strip("./:") for found in _RECIPIENT.findall(text)]
    bare = _RECIPIENT.sub(" ", text)
    author = None if implied else _author(text)
    if author is not None:
        if author.lower() in ("user", "system", "developer"):
            return Header("turn")
        if "assistant" in recipients:
            return Header("foreign")
        name = offered.resolve(author)
        certain = author.startswith("functions.") or author in offered.functions or author.split(".")[0] in BUILT_INS
        return Header("author", name if certain else None)
    names = [name for name in map(offered.resolve, recipients or _FUNCTION.findall(text)) if name]
    if names:
        return Header("tool_call", next((name for name in names if offered.includes(name)), names[-1]))
    channels = _CHANNEL.findall(bare)
    role = _ROLES[channels[-1][0].lower()] if channels else None
    if role in ("final", "reasoning"):
        return Header("final" if role == "final" else "reasoning")
    if "assistant" in recipients:
        return Header("foreign")
    if any(not found or found.lower().startswith("function") for found in recipients):
        return Header("untargeted")
    if role is None:
        return Header("unclear")
    return Header("untargeted" if _CONTENT_TYPE.search(bare) else "preamble")


# A conversation has few different headers.
_read_known = lru_cache(maxsize=1024)(_read)


def _author(text: str) -> str | None:
    """Who the header says is speaking, or None for the assistant or nobody that can be told."""
    role = text.partition(CHANNEL_MARK)[0].partition(CONSTRAIN_MARK)[0]
    if _ASSISTANT.match(role) or role.lstrip().startswith("to="):
        return None
    found = _AUTHOR.fullmatch(role)
    if found is None or _CHANNEL.match(found[1]):
        return None
    return found[1]
