"""A completion as history: the ids that were sampled, made well-formed where they are not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synth_ai.harmony.messages import Author, Part, address, call_header, header, written
from synth_ai.harmony.parser import Body, FinishReason, Record, StreamParser
from synth_ai.harmony.tokens import (
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
from synth_ai.harmony.tools import BUILT_INS, Tool

_CHANNELS = {"final": "final", "reasoning": "analysis", "preamble": "commentary"}
_RECIPIENT = re.compile(r" to=([\w.-]+)")
_IN_HEADERS = frozenset((START, CHANNEL, CONSTRAIN, MESSAGE))


def sampled_parts(
    token_ids: Iterable[int],
    *,
    prefill: Sequence[int] = (),
    tools: Sequence[Tool] = (),
    finish_reason: FinishReason = "stop",
) -> tuple[list[Part], list[Author]]:
    """The messages of a completion, and who each of its tool calls is addressed to."""
    ids = [*prefill, *token_ids]
    parser = StreamParser(tools=tools)
    parser.feed(ids)
    parser.close(finish_reason)
    mask = bytes(len(prefill)) + b"\x01" * (len(ids) - len(prefill))
    controls = [place for place, token in enumerate(ids) if not 0 <= token < ORDINARY_SIZE]
    completion = _Ids(ids, mask, controls)
    parts, authors = [], []
    for record in parser.records:
        author = _addressee(record) if record.messages[0].kind == "tool_call" else None
        parts.append(_part(record, author, completion))
        if author is not None:
            authors += [author] * len(record.messages)
    return parts, authors


def reasoning_tokens(records: Iterable[Record], token_ids: Sequence[int]) -> int:
    """How many of `token_ids` are the text of reasoning, without its headers and ends.

    Reasoning found in text that has lost its control tokens has no ids of its own; it counts by the ids of its text.

    Args:
        records: what a `StreamParser` made of `token_ids`.
        token_ids: all ids that it was fed.
    """
    controls = [place for place, token in enumerate(token_ids) if not 0 <= token < ORDINARY_SIZE]
    count = 0
    for record in records:
        body, first = record.body, record.messages[0]
        if first.kind != "reasoning":
            continue
        if body.header is None:
            count += len(encode(first.text))
        else:
            end = len(token_ids) if body.ended is None else controls[body.ended]
            count += end - controls[body.opened] - 1
    return count


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of a completion, which of them were sampled, and where among them the control tokens are."""

    ids: Sequence[int]
    mask: bytes
    controls: Sequence[int]

    def header(self, body: Body) -> tuple[tuple[int, ...], bytes] | None:
        """The header as it was sampled, with the start that the prompt held; None if it must be written anew."""
        span = slice(
            0 if body.started is None else self.controls[body.started],
            self.controls[body.opened] + 1,
        )
        ids = tuple(self.ids[span])
        if not body.clean or not all(
            0 <= token < ORDINARY_SIZE or token in _IN_HEADERS for token in ids
        ):
            return None
        given = (START, *encode_word("assistant")) if body.implied else ()
        return (*given, *ids), bytes(len(given)) + self.mask[span]

    def content(self, body: Body) -> tuple[tuple[int, ...], bytes]:
        """The content as it was sampled, without control tokens that strayed into it."""
        span = slice(
            self.controls[body.opened] + 1,
            None if body.ended is None else self.controls[body.ended],
        )
        ids, mask = tuple(self.ids[span]), self.mask[span]
        if all(0 <= token < ORDINARY_SIZE for token in ids):
            return ids, mask
        kept = [
            (token, flag)
            for token, flag in zip(ids, mask, strict=True)
            if 0 <= token < ORDINARY_SIZE
        ]
        return tuple(token for token, _ in kept), bytes(flag for _, flag in kept)

    def end(self, body: Body, *proper: int) -> bytes:
        """The mask of the message's end: 1 only where the model ended it as such a message is ended."""
        if body.ended is None or self.ids[self.controls[body.ended]] not in proper:
            return b"\0"
        return self.mask[self.controls[body.ended] :][:1]


def _part(record: Record, author: Author | None, completion: _Ids) -> Part:
    body, first = record.body, record.messages[0]
    passing = first.kind == "reasoning" if author is None else author.channel == "analysis"
    head = header(_CHANNELS[first.kind]) if author is None else call_header(author)
    closing = END if author is None else CALL
    if body.header is None:
        again = [i for message in record.messages for i in (*head, *encode(message.text), closing)]
        return written(again, passing=passing, final=first.kind == "final")
    head_ids, head_mask = completion.header(body) or (head, bytes(len(head)))
    content, mask = completion.content(body)
    end = completion.end(body, CALL) if author else completion.end(body, END, RETURN)
    return Part(
        (*head_ids, *content, closing), head_mask + mask + end, passing, first.kind == "final"
    )


def _addressee(record: Record) -> Author:
    """Who a call is addressed to. The output of a built-in tool comes on the channel of its call."""
    body = record.body
    found = _RECIPIENT.search(body.header or "") if body.clean else None
    if found is None:
        return Author("python", "analysis") if body.code else address(body.name)
    built_in = found[1].split(".")[0] in BUILT_INS
    return Author(
        found[1], "analysis" if built_in and "analysis" in (body.header or "") else "commentary"
    )
