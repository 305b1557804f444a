"""Text that has lost control tokens, taken apart if it is clear where its messages are.

A server that strips control tokens leaves `analysisWe need...assistantfinalThe answer` and
`assistantcommentary to=functions.f json{...}`; a model that forgets `<|message|>` leaves the
content in the header.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from synth_ai.harmony.channels import (
    ANALYSIS,
    CALL_CHANNEL_PATTERN,
    COMMENTARY,
    NAME_PATTERN,
    Channel,
    last_channel,
)
from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK
from synth_ai.harmony.tools import BUILT_INS


@dataclass(frozen=True, slots=True)
class Section:
    """One message found in text.

    Attributes:
        channel: the channel it is on; commentary if the text names none.
        recipient: whom it is addressed to; None if it does not say.
        text: its content.
        has_channel: whether the text names the channel.
        has_type: whether the text names the content type.
    """

    channel: Channel
    recipient: str | None
    text: str
    has_channel: bool = True
    has_type: bool = True


# --- expressions ------------------------------------------------------------------------------

# Every repetition in the head of a section is bounded, so that no text takes more than linear time.


def _recipient_pattern(group: str) -> str:
    """Make the pattern of a recipient, which may be missing.

    ::

        to=functions.f    ->  functions.f
        to = "python"     ->  python
    """
    return rf"(?:\s{{0,4}}to\s{{0,4}}=\s{{0,4}}[\"'`]?(?P<{group}>[\w.-]{{1,200}}))?"


# By what the head of a section is known, each with what may stand in front of it:
_HEADS = (
    # the control token:      assistant to=functions.f<|channel|>commentary  -> marked: commentary
    rf"(?:assistant\s{{0,4}}){{0,3}}{_recipient_pattern('before')}\s{{0,4}}"
    rf"{CHANNEL_MARK}\s{{0,4}}(?P<marked>{NAME_PATTERN})",
    # the role, glued to it:  2+2.assistantfinal4                            -> glued: final
    rf"(?:assistant){{1,3}}(?P<glued>{NAME_PATTERN})",
    # the start of the text:  analysisWe need to                             -> leading: analysis
    rf"\A\s{{0,4}}(?P<leading>{NAME_PATTERN})",
    # a recipient there:      assistant to=functions.f json{}
    r"\A\s{0,4}(?:assistant\s{0,4}){0,3}(?=to\s{0,4}=)",
    # a tool as recipient:    Done.assistant to=functions.f json{}
    rf"assistant(?=\s{{1,4}}to\s{{0,4}}=\s{{0,4}}(?:{'|'.join(('functions', *BUILT_INS))})\b)",
)

# What may stand between the head and the content. Behind a recipient, the channel once more:
#   assistant to=functions.f commentary json{}   -> " commentary"
_SECOND_CHANNEL = rf"(?:(?<=[\w.-])\s{{1,4}}(?:{CALL_CHANNEL_PATTERN})\b)?"
# The content type, if it is one and not the beginning of a word:
#   " json{}", " <|constrain|>json", "code"      -> " json", " <|constrain|>json", "code"
#   "jsonish"                                    -> nothing
_TYPE = (
    rf"(?P<type>(?:[\s{CONSTRAIN_MARK}]{{0,4}}"
    rf"(?:(?:json|code)(?=[\s{CONSTRAIN_MARK}{{\[]|\Z))?){{0,4}})"
)

_SECTION = re.compile(
    f"(?:{'|'.join(_HEADS)}){_recipient_pattern('after')}{_SECOND_CHANNEL}{_TYPE}", re.IGNORECASE
)

# How content begins that is glued to a channel. What follows a word has a blank in front:
#   finalHello, final2 + 2, final"Yes", analysis**Plan**   -> match, behind the channel
#   final answer: 42, finally done                         -> no match
_GLUED_TEXT = re.compile(r"[A-Z0-9{\[\"“*#]")

# The content type, glued to a name:
#   functions.fjson   -> json
_GLUED_TYPE = re.compile(r"(?<=[A-Za-z0-9])json\Z")

# The remains of a call whose name is lost:
#   assistantcode{"path": ""}, json {}, assistant{   -> match
#   {}, json                                         -> no match
# The possessive `*+` does not try again with fewer blanks, so that any number stays linear.
_NAMELESS_CALL = re.compile(
    r"\s*+(?:(?:assistant\s*+)++(?:json|code)?+|json|code)\s*+\{", re.IGNORECASE
)

# The role in front of an answer:
#   assistantHello, assistant 42, assistant "Yes"   -> "assistant", "assistant ", "assistant "
#   assistants help                                 -> nothing
_ROLE = re.compile(r"\s*+(?:assistant(?=[A-Z\d\s\"{]|assistant|\Z)\s*+)++")

# Nothing but words of a header, and punctuation:
#   assistant, analysis json, commentary??, ...   -> match
#   final answer                                  -> no match
_HEADER_WORDS = re.compile(
    rf"[\W_]*(?:(?:assistant|{NAME_PATTERN}|json|code)[\W_]*)*", re.IGNORECASE
)


# --- reading ----------------------------------------------------------------------------------


def split_sections(text: str, functions: Container[str] = ()) -> list[Section]:
    """Split a text into the messages in it.

    Args:
        text: the text, with marks in place of the control tokens that it still has.
        functions: the names of the functions that are offered.

    Returns:
        The messages; an empty list for plain text.
    """
    heads = _find_heads(text)
    if not heads:
        return []

    sections = []
    before = text[: heads[0].start()].strip()
    if before and CHANNEL_MARK not in before:
        sections.append(Section(ANALYSIS, None, before))

    for number, head in enumerate(heads):
        is_last = number == len(heads) - 1
        end = len(text) if is_last else heads[number + 1].start()
        sections.append(_read_section(head, text[head.end() : end], functions))

    return sections


def _find_heads(text: str) -> list[re.Match[str]]:
    heads = list(_SECTION.finditer(text))
    if not heads:
        return []

    return heads if _is_certain(heads[0], text, len(heads)) else heads[1:]


def _is_certain(head: re.Match[str], text: str, count: int) -> bool:
    """Tell whether the first head of a text is one.

    A word such as `final` at the very start is a channel only if something else says so: another
    head, a recipient, or text that is glued to it.
    """
    if head["leading"] is None:
        return True
    if count > 1:
        return True
    if head["after"] is not None:
        return True

    return _GLUED_TEXT.match(text, head.end("leading")) is not None


def _read_section(head: re.Match[str], content: str, functions: Container[str]) -> Section:
    # The name may not be spelled as in the table: where case does not count, a regular expression
    # takes the Turkish ı for an i.
    name = head["marked"] or head["glued"] or head["leading"]
    channel = None if name is None else last_channel(name)
    has_type = bool(head["type"].strip())

    # to=functions.fjson{}: a recipient has nothing to part it from the type.
    recipient: str | None = head["after"] or head["before"]
    may_be_glued = not has_type and content.startswith(("{", "["))
    if may_be_glued:
        recipient = _strip_type(recipient, functions)

    # to=python codeprint(1): code has nothing to part it from its type.
    if recipient == "python":
        content = content.removeprefix("code")
    content = content.strip(f"{CHANNEL_MARK}{CONSTRAIN_MARK}")

    return Section(channel or COMMENTARY, recipient, content, channel is not None, has_type)


def _strip_type(recipient: str | None, functions: Container[str]) -> str | None:
    """Strip the content type from the end of a name, unless a function is called so."""
    if recipient is None:
        return None
    if recipient.removeprefix("functions.") in functions:
        return recipient

    return _GLUED_TYPE.sub("", recipient)


def plain_text(text: str) -> str | None:
    """Read the answer in text without any markup; None if it is the remains of a header."""
    if CHANNEL_MARK in text:
        return None
    if _NAMELESS_CALL.match(text):
        return None
    if _HEADER_WORDS.fullmatch(text):
        return None

    role = _ROLE.match(text)
    answer = text[role.end() :] if role else text
    return answer.replace(CONSTRAIN_MARK, "")


def looks_like_content(text: str) -> bool:
    """Tell whether text behind a header that was cut off is more than the rest of that header."""
    if text.lstrip().startswith(("{", "[")):
        return True

    return len(text.split()) > 3
