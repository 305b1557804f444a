"""Text that has lost control tokens, taken apart where it is unambiguous.

A server that strips control tokens leaves `analysisWe need...assistantfinalThe answer` and
`assistantcommentary to=functions.f json{...}`; a model that forgets `<|message|>` leaves the content in the header.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK

# Every repetition is bounded, so that no text takes more than linear time.
_TO = r"(?:\s{{0,4}}to\s{{0,4}}=\s{{0,4}}[\"'`]?(?P<{}>[\w.-]{{1,200}}))?"
_SECTION = re.compile(
    rf"(?:(?:assistant\s{{0,4}}){{0,3}}{_TO.format('before')}\s{{0,4}}{CHANNEL_MARK}\s{{0,4}}"
    r"(?P<marked>analysis|commentary|final)"
    r"|(?:assistant){1,3}(?P<glued>analysis|commentary|final)"
    r"|\A\s{0,4}(?P<leading>analysis|commentary|final)"
    r"|\A\s{0,4}(?:assistant\s{0,4}){0,3}(?=to\s{0,4}=)"
    r"|assistant(?=\s{1,4}to\s{0,4}=\s{0,4}(?:functions|python|browser)\b))"
    rf"{_TO.format('after')}(?:(?<=[\w.-])\s{{1,4}}(?:analysis|commentary)\b)?"
    rf"(?P<type>[\s{CONSTRAIN_MARK}]{{0,4}}(?:(?:json|code)(?=[\s{CONSTRAIN_MARK}{{\[]|\Z))?){{0,4}}",
    re.IGNORECASE,
)
_GLUED_TEXT = re.compile(r"[A-Z0-9{\[\"“*#]")
_GLUED_JSON = re.compile(r"(?<=[A-Za-z0-9])json\Z")
# Possessive: what they have taken is not tried again in parts, so that blanks without end stay linear.
_NO_CALL = re.compile(r"\s*+(?:(?:assistant\s*+)++(?:json|code)?+|json|code)\s*+\{", re.IGNORECASE)
_ASSISTANT = re.compile(r"\s*+(?:assistant(?=[A-Z\d\s\"{]|assistant|\Z)\s*+)++")
_WORDS = re.compile(
    r"[\W_]*(?:(?:assistant|analysis|commentary|final|json|code)[\W_]*)*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Section:
    """One message found in text.

    Attributes:
        recipient: whom it is addressed to; None where it says nobody.
        named: whether the text names the channel.
        typed: whether the text names the content type.
    """

    channel: str
    recipient: str | None
    text: str
    named: bool = True
    typed: bool = True


def sections(text: str, known: Container[str] = ()) -> list[Section]:
    """The messages in `text`, or nothing if it is plain text; `known` are the names of the functions."""
    heads = list(_SECTION.finditer(text))
    if heads and not _certain(heads[0], text, len(heads)):
        del heads[0]
    if not heads:
        return []
    found = []
    before = text[: heads[0].start()].strip()
    if before and CHANNEL_MARK not in before:
        found.append(Section("analysis", None, before))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        content = text[head.end() : following.start() if following else len(text)]
        channel = head["marked"] or head["glued"] or head["leading"]
        recipient = head["after"] or head["before"]
        typed = bool(head["type"].strip())
        if (
            recipient
            and content[:1] in ("{", "[")
            and not typed
            and recipient.removeprefix("functions.") not in known
        ):
            recipient = _GLUED_JSON.sub("", recipient)
        if recipient == "python":
            content = content.removeprefix("code")
        content = content.strip(f"{CHANNEL_MARK}{CONSTRAIN_MARK}")
        found.append(
            Section(
                (channel or "commentary").lower(), recipient, content, channel is not None, typed
            )
        )
    return found


def plain(text: str) -> str | None:
    """The answer in text without any markup, or None if it is the remains of a header."""
    if CHANNEL_MARK in text or _NO_CALL.match(text) or _WORDS.fullmatch(text):
        return None
    spoken = _ASSISTANT.match(text)
    return (text[spoken.end() :] if spoken else text).replace(CONSTRAIN_MARK, "")


def reads_as_content(text: str) -> bool:
    """Whether text behind a header that was cut off is more than the rest of that header."""
    return text.lstrip()[:1] in ("{", "[") or len(text.split()) > 3


def _certain(head: re.Match[str], text: str, count: int) -> bool:
    """A word such as `final` at the very start is a channel only if something else says so."""
    if head["leading"] is None:
        return True
    return (
        count > 1
        or head["after"] is not None
        or _GLUED_TEXT.match(text, head.end("leading")) is not None
    )
