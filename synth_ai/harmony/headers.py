"""Read the header of a sampled message, however garbled.

A header is text with `CHANNEL_MARK` and `CONSTRAIN_MARK` in place of those control tokens, and
without `<|start|>` and `<|message|>`. The examples below write the control tokens out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from synth_ai.harmony.channels import (
    ANALYSIS,
    CALL_CHANNEL_PATTERN,
    COMMENTARY,
    FINAL,
    NAME_PATTERN,
    Channel,
    last_channel,
    starts_with_channel,
)
from synth_ai.harmony.completion import Kind
from synth_ai.harmony.tool_names import ADDRESSEES, NOT_TOOLS, OfferedTools, ResolvedTool
from synth_ai.harmony.tools import BUILT_INS

CHANNEL_MARK = "\x01"
CONSTRAIN_MARK = "\x02"

HeaderKind: TypeAlias = Kind | Literal["untargeted", "unclear", "author", "turn", "foreign"]
"""What a message is, as far as its header says. Beside the kinds that `parse` returns:

- untargeted: a call that names no tool;
- unclear: a message on an unknown channel, or on none;
- author: a message with a tool's name in place of its role;
- turn: a message of the user, the system or the developer;
- foreign: a message to the assistant, or from somebody else.
"""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says.

    Attributes:
        kind: what the message is.
        name: the tool of a call, or of an author; of a preamble, the role it is addressed to.
        code: whether the argument of the call is code, and not JSON.
        clean: whether the header says so in a form of the published format.
    """

    kind: HeaderKind
    name: str | None = None
    code: bool = False
    clean: bool = False


# Whom a header addresses:
#   to=functions.get_weather   -> functions.get_weather
#   to = "get_weather"         -> get_weather
#   to=<|channel|>commentary   -> nothing: the name was left out
_RECIPIENT = re.compile(r"to\s*=\s*[\"'`]?([\w./:-]*)", re.ASCII)

# A recipient that names no function:
#   (nothing), functions, function., functions.functions   -> match
#   functions.get_weather, user                            -> no match
_NO_FUNCTION = re.compile(r"(?:functions?[./:]*)*", re.IGNORECASE)

# A function whose `to=` got lost, or stands elsewhere without it:
#   <|channel|>commentary functions.get_weather json   -> functions.get_weather
#   to=<|channel|>commentary functions.f json          -> functions.f
#   <|channel|>functions.f <|constrain|>json           -> functions.f
_FUNCTION = re.compile(r"\bfunctions\.[\w-]+", re.ASCII)

# The type of the content, which only calls (and answers in JSON) have:
#   <|constrain|>json   -> <|constrain|>
#   commentary json     -> json
#   analysis code       -> code
#   get_json            -> nothing: a name
_CONTENT_TYPE = re.compile(rf"{CONSTRAIN_MARK}|\b(?:json|code)\b", re.IGNORECASE)

# The assistant in the place of the role, also more than once, and what it may be glued to:
#   assistant, assistantassistant, assistantcommentary   -> match
#   functions.get_weather                                -> no match
_ASSISTANT = re.compile(r"\s*(?:assistant\s*)+", re.IGNORECASE)

# Anybody else in the place of the role, and what may follow:
#   functions.get_weather to=assistant   -> functions.get_weather
#   python code                          -> python
#   user                                 -> user
#   The answer is                        -> no match: this is text
_AUTHOR = re.compile(
    r"\s*([A-Za-z_][\w.-]*)\s*"
    rf"(?:to\s*=.*|\s(?:json|code|{NAME_PATTERN})\b.*)?",
    re.DOTALL,
)

# Calls have their recipient before the channel or behind it, and may name the content type:
#   assistant to=functions.get_weather<|channel|>commentary <|constrain|>json
#   assistant<|channel|>commentary to=functions.get_weather <|constrain|>json
#   assistant<|channel|>analysis to=python code
#   assistant<|channel|>final to=functions.get_weather   -> no match: no tool is called there
_CALL_CHANNEL = f"{CHANNEL_MARK}(?:{CALL_CHANNEL_PATTERN})"
_WELL_FORMED_CALL = re.compile(
    rf"assistant"
    rf"(?: to=(?P<before>[\w.-]+){_CALL_CHANNEL}|{_CALL_CHANNEL} to=(?P<behind>[\w.-]+))"
    rf"(?: ?{CONSTRAIN_MARK}(?:json|code)| json| code)?"
)

# An answer may be JSON, and say so:
#   assistant<|channel|>final
#   assistant<|channel|>final <|constrain|>json
#   assistant<|channel|>final json
_WELL_FORMED_ANSWER = re.compile(
    rf"assistant{CHANNEL_MARK}{FINAL.name}(?: ?{CONSTRAIN_MARK}json| json)?"
)

_WELL_FORMED: dict[HeaderKind, re.Pattern[str]] = {
    ANALYSIS.kind: re.compile(f"assistant{CHANNEL_MARK}{ANALYSIS.name}"),
    COMMENTARY.kind: re.compile(f"assistant{CHANNEL_MARK}{COMMENTARY.name}"),
    FINAL.kind: _WELL_FORMED_ANSWER,
    "tool_call": _WELL_FORMED_CALL,
}

# A conversation has few different headers, and they are short. A garbled one may be as long as a
# completion, and is not worth the memory.
_CACHED_LENGTH = 200


def read_header(text: str, offered: OfferedTools, implied: bool) -> Header:
    """Read a header.

    Args:
        text: the header, with marks in place of its control tokens.
        offered: the tools of the request.
        implied: whether the header goes on behind a prompt that has already named the assistant.
    """
    if len(text) < _CACHED_LENGTH:
        return _read_cached(text, offered, implied)

    return _read(text, offered, implied)


def _read(text: str, offered: OfferedTools, implied: bool) -> Header:
    header = _interpret(text, offered, implied)
    whole_text = f"assistant{text}" if implied else text

    return replace(header, clean=_is_well_formed(whole_text, header))


_read_cached = lru_cache(maxsize=1024)(_read)


def _interpret(text: str, offered: OfferedTools, implied: bool) -> Header:
    """Tell what a header means, from the words in it, wherever they stand."""
    recipients = [recipient.strip("./:") for recipient in _RECIPIENT.findall(text)]
    other_words = _RECIPIENT.sub(" ", text)
    channel = last_channel(other_words)
    has_type = _CONTENT_TYPE.search(other_words) is not None

    author = None if implied else _find_author(text)
    if author is not None:
        return _interpret_author(author, recipients, offered)

    # A recipient counts for more than the channel: models call functions on every one of them.
    named = [recipient for recipient in recipients if not _NO_FUNCTION.fullmatch(recipient)]
    tool_names = named or _FUNCTION.findall(text)
    call = _find_call(tool_names, offered, has_channel=channel is not None, has_type=has_type)
    if call is not None:
        return Header("tool_call", call.name, call.code)

    return _interpret_message(channel, recipients, has_type)


def _find_author(text: str) -> str | None:
    """Find who speaks, in front of the channel; None if it is the assistant or cannot be told."""
    role, _, _ = text.partition(CHANNEL_MARK)
    role, _, _ = role.partition(CONSTRAIN_MARK)
    if _ASSISTANT.match(role):
        return None
    if role.lstrip().startswith("to="):
        return None

    match = _AUTHOR.fullmatch(role)
    if match is None:
        return None

    # A channel that lost its control token stands here too.
    author = match[1]
    return None if starts_with_channel(author) else author


def _interpret_author(author: str, recipients: list[str], offered: OfferedTools) -> Header:
    if author.lower() in ("user", "system", "developer"):
        return Header("turn")
    if "assistant" in recipients:
        return Header("foreign")

    tool = offered.resolve(author)
    if tool is None or not _must_be_tool(author, offered):
        return Header("author")

    return Header("author", tool.name, tool.code)


def _must_be_tool(author: str, offered: OfferedTools) -> bool:
    """Tell whether an author is a tool by its name alone, as any word may stand in its place."""
    if author.startswith("functions."):
        return True
    if author in offered.functions:
        return True

    namespace = author.split(".")[0]
    return namespace in BUILT_INS


def _find_call(
    names: Iterable[str], offered: OfferedTools, *, has_channel: bool, has_type: bool
) -> ResolvedTool | None:
    """Find the tool that is called: the first that is offered, else the last that is named."""
    last = None
    for name in names:
        call = offered.resolve(name, has_channel=has_channel, has_type=has_type)
        if call is None:
            continue
        if offered.includes(call.name):
            return call
        last = call

    return last


def _interpret_message(channel: Channel | None, recipients: list[str], has_type: bool) -> Header:
    """Tell what a message is that calls no tool that could be resolved."""
    # Reasoning and answers are what they are, whomever they are addressed to.
    if channel in (ANALYSIS, FINAL):
        return Header(channel.kind)

    # Commentary that is addressed to somebody, or on a channel that is not known, may be meant as
    # a call.
    if "assistant" in recipients:
        return Header("foreign")
    if any(map(_NO_FUNCTION.fullmatch, recipients)):
        return Header("untargeted")

    others = [recipient for recipient in recipients if recipient.lower() not in NOT_TOOLS]
    if others:
        return Header("tool_call")  # of a tool that cannot exist

    if channel is None:
        return Header("unclear")
    if has_type:
        return Header("untargeted")

    addressees = [recipient for recipient in recipients if recipient in ADDRESSEES]
    return Header(channel.kind, addressees[0] if addressees else None)


def _is_well_formed(text: str, header: Header) -> bool:
    """Tell whether `text` says what `header` says in a form of the published format."""
    form = _WELL_FORMED.get(header.kind)
    match = form.fullmatch(text) if form else None
    if match is None:
        return False
    if header.kind != "tool_call":
        return True

    recipient = match["before"] or match["behind"]
    return recipient in _list_recipients(header)


def _list_recipients(call: Header) -> tuple[str, ...]:
    """List the recipients by which a well-formed header calls the tool of `call`."""
    name = call.name or ""
    if call.code:
        return (name,)

    is_built_in = "." in name or name in BUILT_INS
    if is_built_in:
        return (name, f"functions.{name}")

    return (f"functions.{name}",)
