"""A completion as history: the ids that were sampled, made well-formed where they are not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from synth_ai.harmony.encoding import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MESSAGE,
    ORDINARY_SIZE,
    RETURN,
    START,
    encode,
    encode_word,
)
from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK
from synth_ai.harmony.messages import Author, Part, address, call_header, header, written
from synth_ai.harmony.parser import Body, FinishReason, Record, StreamParser
from synth_ai.harmony.tools import BUILT_INS, Tool

_CHANNELS = {"final": "final", "reasoning": "analysis", "preamble": "commentary"}
_TYPES = {"final": rf"(?: ?{CONSTRAIN_MARK}json| json)?", "reasoning": "", "preamble": ""}


def sampled_parts(
    token_ids: Iterable[int], *, tools: Sequence[Tool] = (), finish_reason: FinishReason = "stop"
) -> tuple[list[Part], list[Author]]:
    """The messages of a completion, and who each of its tool calls is addressed to."""
    ids = list(token_ids)
    parser = StreamParser(tools=tools)
    parser.feed(ids)
    parser.close(finish_reason)
    controls = [place for place, token in enumerate(ids) if not 0 <= token < ORDINARY_SIZE]
    parts, authors = [], []
    for record in parser.records:
        part, author = _part(record, ids, controls)
        parts.append(part)
        if author is not None:
            authors += [author] * len(record.messages)
    return parts, authors


def _part(record: Record, ids: list[int], controls: list[int]) -> tuple[Part, Author | None]:
    body, first = record.body, record.messages[0]
    author = _addressee(body, first.text) if first.kind == "tool_call" else None
    passing = first.kind == "reasoning" or (author is not None and author.channel == "analysis")
    final = first.kind == "final"
    if author is None:
        channel = _CHANNELS[first.kind]
        head, closing = header(channel), END
    else:
        head, closing = call_header(author), CALL
    if body.header is None:
        texts = [message.text for message in record.messages]
        again = [i for text in texts for i in (*head, *encode(text), closing)]
        return written(again, passing=passing, final=final), author
    content = ids[controls[body.opened] + 1 : len(ids) if body.ended is None else controls[body.ended]]
    content = [token for token in content if 0 <= token < ORDINARY_SIZE]
    ended = body.ended is not None and ids[controls[body.ended]] in ((CALL,) if author else (END, RETURN))
    mask = b"\x01" * len(content) + bytes([ended])
    sampled_head = _kept_header(body, first.kind, ids, controls)
    if sampled_head is None:
        mask = bytes(len(head)) + mask
    elif body.implied:
        head = (START, *encode_word("assistant"), *sampled_head)
        mask = bytes(2) + b"\x01" * len(sampled_head) + mask
    else:
        head = sampled_head
        mask = b"\x01" * len(head) + mask
    return Part((*head, *content, closing), mask, passing, final), author


def _addressee(body: Body, arguments: str) -> Author:
    """Who a call is addressed to; the channel of a built-in's call is that of its output."""
    author = address(body.name, arguments)
    if author.channel == "analysis" and body.header and re.search(f"{CHANNEL_MARK}\\s*commentary", body.header):
        return Author(author.name)
    return author


def _kept_header(body: Body, kind: str, ids: list[int], controls: list[int]) -> tuple[int, ...] | None:
    """The ids of the header as sampled, `<|message|>` included, or None if it must be written anew."""
    if body.started is None and not body.implied:
        return None
    begin = 0 if body.started is None else controls[body.started]
    sampled = tuple(ids[begin : controls[body.opened] + 1])
    if any(token not in (START, CHANNEL, CONSTRAIN, MESSAGE) for token in sampled if not 0 <= token < ORDINARY_SIZE):
        return None
    who = "" if body.implied else "assistant"
    return sampled if re.fullmatch(who + _wanted(kind, body.name), body.header or "") else None


def _wanted(kind: str, name: str | None) -> str:
    """The pattern of the headers that are well-formed for a message."""
    if name is None:
        return f"{CHANNEL_MARK}{_CHANNELS[kind]}{_TYPES[kind]}"
    own = "." in name or name in BUILT_INS
    to = rf" to=(?:functions\.){'?' if own else ''}{re.escape(name)}"
    channel = f"{CHANNEL_MARK}(?:analysis|commentary)"
    return rf"(?:{to}{channel}|{channel}{to})(?: ?{CONSTRAIN_MARK}(?:json|code)| json| code)?"
