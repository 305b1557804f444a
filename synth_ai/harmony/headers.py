"""What the header of a sampled message says, however garbled.

A header is given as text with `CHANNEL_MARK` and `CONSTRAIN_MARK` in place of those control tokens, and without
`<|start|>` and `<|message|>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from synth_ai.harmony.tool_names import NO_TOOL, ROLES, Offered
from synth_ai.harmony.tools import BUILT_INS

CHANNEL_MARK = "\x01"
CONSTRAIN_MARK = "\x02"

Role = Literal[
    "reasoning",
    "preamble",
    "final",
    "tool_call",
    "untargeted",
    "unclear",
    "author",
    "turn",
    "foreign",
]
"""What a message is, as far as its header tells. Beside the four kinds that `parse` returns: `untargeted`, a call that
names no tool; `unclear`, no channel that is known; `author`, a tool's name where the role should be; `turn`, a message
of the user or developer; `foreign`, one from or to anybody else."""

_RECIPIENT = re.compile(r"to\s*=\s*[\"'`]?([\w./:-]*)", re.ASCII)
_NOBODY = re.compile(r"(?:functions?[./:]*)*", re.IGNORECASE)
# A function whose `to=` got lost.
_FUNCTION = re.compile(r"\bfunctions\.[\w-]+", re.ASCII)
_CHANNEL = re.compile(r"analy\w*|comment\w*|final\w*|think\w*|thought\w*|reasoning", re.IGNORECASE)
_CONTENT_TYPE = re.compile(rf"{CONSTRAIN_MARK}|\b(?:json|code)\b", re.IGNORECASE)
_ASSISTANT = re.compile(r"\s*(?:assistant\s*)+", re.IGNORECASE)
_AUTHOR = re.compile(
    r"\s*([A-Za-z_][\w.-]*)\s*(?:to\s*=.*|\s(?:json|code|analysis|commentary|final)\b.*)?", re.S
)
_CALLED = f"{CHANNEL_MARK}(?:analysis|commentary)"
# Headers in the published format.
_FORMS: dict[Role, re.Pattern[str]] = {
    "reasoning": re.compile(f"assistant{CHANNEL_MARK}analysis"),
    "preamble": re.compile(f"assistant{CHANNEL_MARK}commentary"),
    "final": re.compile(rf"assistant{CHANNEL_MARK}final(?: ?{CONSTRAIN_MARK}json| json)?"),
    "tool_call": re.compile(
        rf"assistant(?: to=(?P<before>[\w.-]+){_CALLED}|{_CALLED} to=(?P<behind>[\w.-]+))"
        rf"(?: ?{CONSTRAIN_MARK}(?:json|code)| json| code)?"
    ),
}
_ROLES = {"a": "reasoning", "t": "reasoning", "r": "reasoning", "c": "preamble", "f": "final"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says.

    Attributes:
        name: the tool of a call, or of an author; of a preamble, whom it is addressed to by a role.
        code: whether the argument of the call is code, and not JSON.
        clean: whether it says so in a form that the published format has.
    """

    role: Role
    name: str | None = None
    code: bool = False
    clean: bool = False


def read_header(text: str, offered: Offered, implied: bool) -> Header:
    """Read a header; `implied` is true for the first of a completion, whose author the prompt has already named."""
    return _read_known(text, offered, implied) if len(text) < 200 else _read(text, offered, implied)


def _read(text: str, offered: Offered, implied: bool) -> Header:
    header = _understood(text, offered, implied)
    return replace(header, clean=_is_clean(header, f"assistant{text}" if implied else text))


def _is_clean(header: Header, text: str) -> bool:
    """Whether `text` says what `header` says in a form that is published."""
    form = _FORMS.get(header.role)
    found = form.fullmatch(text) if form else None
    if found is None or header.role != "tool_call":
        return found is not None
    written, name = found["before"] or found["behind"], header.name or ""
    if header.code:
        return bool(written == name)
    return written == f"functions.{name}" or (
        written == name and ("." in name or name in BUILT_INS)
    )


def _understood(text: str, offered: Offered, implied: bool) -> Header:
    recipients = [found.strip("./:") for found in _RECIPIENT.findall(text)]
    bare = _RECIPIENT.sub(" ", text)
    channels = _CHANNEL.findall(bare)
    typed = _CONTENT_TYPE.search(bare) is not None
    author = None if implied else _author(text)
    if author is not None:
        if author.lower() in ("user", "system", "developer"):
            return Header("turn")
        if "assistant" in recipients:
            return Header("foreign")
        called = offered.resolve(author)
        certain = (
            author.startswith("functions.")
            or author in offered.functions
            or author.split(".")[0] in BUILT_INS
        )
        return (
            Header("author", called.name, called.code) if certain and called else Header("author")
        )
    named = recipients or _FUNCTION.findall(text)
    calls = [
        call
        for name in named
        if (call := offered.resolve(name, channel=bool(channels), typed=typed))
    ]
    if calls:
        call = next((call for call in calls if offered.includes(call.name)), calls[-1])
        return Header("tool_call", call.name, call.code)
    role = _ROLES[channels[-1][0].lower()] if channels else None
    if role in ("final", "reasoning"):
        return Header("final" if role == "final" else "reasoning")
    if "assistant" in recipients:
        return Header("foreign")
    if any(map(_NOBODY.fullmatch, recipients)):
        return Header("untargeted")
    if any(found.lower() not in NO_TOOL for found in recipients):
        return Header("tool_call")  # of a tool that cannot be
    if role is None:
        return Header("unclear")
    return (
        Header("untargeted")
        if typed
        else Header("preamble", next(filter(ROLES.__contains__, recipients), None))
    )


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
