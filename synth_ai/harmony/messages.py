"""Conversation items, in the shape of OpenAI's Responses API, as Harmony messages.

A tool call is written in the published order, `assistant to=NAME<|channel|>commentary <|constrain|>json`. Calls of
the built-in `python` and `browser` belong to the chain of thought: they are on the analysis channel, like their
outputs, and go when the reasoning around them goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synth_ai.errors import RequestError
from synth_ai.harmony.system_prompt import message
from synth_ai.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MESSAGE,
    START,
    encode,
    encode_word,
)
from synth_ai.harmony.tools import BUILT_INS

Item = Mapping[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})*")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Part:
    """The ids of one or more whole messages.

    Attributes:
        mask: as long as `ids`; 1 where the model sampled the id, else 0.
        passing: part of the chain of thought, left out once a final answer follows.
        final: holds a final answer.
    """

    ids: tuple[int, ...]
    mask: bytes
    passing: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """A tool as Harmony addresses it, and the channel that its output goes to."""

    name: str
    channel: str = "commentary"


def written(ids: Iterable[int], *, passing: bool = False, final: bool = False) -> Part:
    """A part that the model did not sample."""
    ids = tuple(ids)
    return Part(ids, bytes(len(ids)), passing, final)


def address(name: Any, arguments: str = "{}") -> Author:
    """The author for the name of a call: `functions.NAME`, or the name itself if it has a namespace of its own.

    `python` is the built-in one, whose argument is code, unless `arguments` is a JSON object.

    Raises:
        RequestError: the name cannot be written into a message header.
    """
    if (
        not isinstance(name, str)
        or not _NAME.fullmatch(name)
        or ("." in name and name.split(".")[0] in _ROLES)
    ):
        raise RequestError(
            f"The tool name {name!r} cannot be used: names are letters, digits, underscores and hyphens, "
            "with dots between namespaces, and a role is no namespace."
        )
    name = name.removeprefix("functions.")
    root = name.split(".")[0]
    if root in BUILT_INS and not (name == "python" and _is_object(arguments)):
        return Author(name, "analysis")
    return Author(name if "." in name else f"functions.{name}")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def user(item: Item) -> Part:
    return written(message("user", *texts_of(item)))


def developer(item: Item) -> Part:
    """A system or developer message in the course of a conversation; Harmony has the developer speak for both."""
    first, *rest = texts_of(item) or [""]
    return written(message("developer", f"# Instructions\n\n{first}", *rest))


def assistant(item: Item) -> Part:
    channel = "commentary" if item.get("phase") == "commentary" else "final"
    return written(spoken(channel, *texts_of(item)), final=channel == "final")


def reasoning(item: Item) -> Part:
    texts = _texts(item, "content") or _texts(item, "summary")
    return written([i for text in texts for i in spoken("analysis", text)], passing=True)


def call(item: Item, author: Author) -> Part:
    arguments = item.get("arguments")
    if not isinstance(arguments, str):
        raise RequestError(f"The arguments of a function_call must be text, not {arguments!r}.")
    ids = [*call_header(author), *encode(arguments), CALL]
    return written(ids, passing=author.channel == "analysis")


def output(item: Item, author: Author) -> Part:
    header = (
        START,
        *encode_word(author.name),
        *encode_word(" to=assistant"),
        CHANNEL,
        *encode_word(author.channel),
    )
    ids = [*header, MESSAGE]
    for text in _texts(item, "output"):
        ids += encode(text)
    return written([*ids, END], passing=author.channel == "analysis")


def header(channel: str) -> tuple[int, ...]:
    """The head of an assistant message that is not addressed to a tool, `<|message|>` included."""
    return (START, *encode_word("assistant"), CHANNEL, *encode_word(channel), MESSAGE)


def call_header(author: Author) -> tuple[int, ...]:
    """The head of an assistant message to a tool, `<|message|>` included."""
    start = (START, *encode_word("assistant"), *encode_word(f" to={author.name}"), CHANNEL)
    if author.name.split(".")[0] in BUILT_INS:
        return (*start, *encode_word(author.channel), *encode_word(" code"), MESSAGE)
    return (
        *start,
        *encode_word("commentary"),
        *encode_word(" "),
        CONSTRAIN,
        *encode_word("json"),
        MESSAGE,
    )


def spoken(channel: str, *texts: str) -> list[int]:
    """An assistant message to the user or to itself."""
    ids = list(header(channel))
    for text in texts:
        ids += encode(text)
    ids.append(END)
    return ids


def texts_of(item: Item) -> list[str]:
    """The texts in the content of a message.

    Raises:
        RequestError: the content is, or has, something else than text.
    """
    return _texts(item, "content")


def _texts(item: Item, key: str) -> list[str]:
    value = item.get(key)
    if isinstance(value, str):
        return [value]
    if value is None and item.get("type") == "reasoning":
        return []
    if not isinstance(value, (list, tuple)):
        raise RequestError(
            f"The {key} of {_kind(item)} must be text or a list of text parts, not {value!r}."
        )
    return [_text(part, item) for part in value]


def _text(part: Any, item: Item) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    text = (
        part.get("refusal" if kind == "refusal" else "text") if isinstance(part, Mapping) else None
    )
    if not isinstance(text, str):
        raise RequestError(f"{_kind(item)} has a part of type {kind!r}; gpt-oss reads text only.")
    return text


def _kind(item: Item) -> str:
    return f"{item.get('role') or item.get('type') or 'an item'!r}"
