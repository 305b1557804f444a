"""A completion as history: the ids that were sampled, made well-formed if they are not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from synth_ai.harmony.assembly import SampledMessage
from synth_ai.harmony.channels import ANALYSIS, CHANNEL_OF_KIND, COMMENTARY
from synth_ai.harmony.completion import FinishReason
from synth_ai.harmony.drafts import Location
from synth_ai.harmony.messages import (
    MessageTokens,
    ToolAddress,
    address_tool,
    encode_call_header,
    encode_header,
)
from synth_ai.harmony.parser import StreamParser
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

# Whom a well-formed header addresses:
#   assistant to=functions.f<|channel|>commentary   -> functions.f
_RECIPIENT = re.compile(r" to=([\w.-]+)")

_HEADER_TOKENS = frozenset((START, CHANNEL, CONSTRAIN, MESSAGE))


def render_completion(
    token_ids: Iterable[int],
    *,
    prefill: Sequence[int] = (),
    tools: Sequence[Tool] = (),
    finish_reason: FinishReason = "stop",
) -> tuple[list[MessageTokens], list[ToolAddress]]:
    """Make the messages of a completion ready to stand in a prompt.

    Well-formed messages are kept id by id. Of the others, the content is kept, and the rest is
    rendered.

    Returns:
        The messages, and to whom each of its tool calls is addressed.
    """
    ids = [*prefill, *token_ids]
    parser = StreamParser(tools=tools)
    parser.feed(ids)
    parser.close(finish_reason)

    sampled_count = len(ids) - len(prefill)
    mask = bytes(len(prefill)) + b"\x01" * sampled_count
    completion = _SampledIds(ids, mask, _find_controls(ids))

    messages: list[MessageTokens] = []
    addresses: list[ToolAddress] = []
    for message in parser.sampled_messages:
        address = _find_address(message)
        is_last = message is parser.sampled_messages[-1]
        messages.append(_render(message, address, completion, is_last=is_last))
        if address is not None:
            addresses += [address] * len(message.parsed)

    return messages, addresses


def count_reasoning_tokens(messages: Iterable[SampledMessage], token_ids: Sequence[int]) -> int:
    """Count the ids that are the text of reasoning, without its headers and ends.

    Reasoning that was found in text without control tokens has no ids by itself; the ids of its
    text are counted then.

    Args:
        messages: what a `StreamParser` made of `token_ids`.
        token_ids: all ids that it was fed.
    """
    controls = _find_controls(token_ids)
    count = 0
    for message in messages:
        first = message.parsed[0]
        if first.kind != "reasoning":
            continue

        location = message.location
        if location is None:
            count += len(encode(first.text))
            continue

        end = len(token_ids) if location.end is None else controls[location.end]
        count += end - controls[location.message] - 1

    return count


def _find_controls(ids: Sequence[int]) -> list[int]:
    """Find the indexes of all ids that are not text; a `Location` has positions in this list."""
    return [index for index, token_id in enumerate(ids) if not 0 <= token_id < ORDINARY_SIZE]


@dataclass(frozen=True, slots=True)
class _SampledIds:
    """The ids of a completion.

    Attributes:
        ids: all of them.
        mask: as long; 1 if the model sampled the id, 0 if the prompt held it.
        controls: the indexes of the control tokens among them, see `Location`.
    """

    ids: Sequence[int]
    mask: bytes
    controls: Sequence[int]

    def header(self, location: Location) -> tuple[tuple[int, ...], bytes] | None:
        """Return a header and its mask as they were sampled; None if it cannot be kept."""
        begin = 0 if location.start is None else self.controls[location.start]
        end = self.controls[location.message] + 1
        controls = self.controls[location.start or 0 : location.message + 1]
        tokens = {self.ids[index] for index in controls}
        if not tokens <= _HEADER_TOKENS:
            return None

        # If the prompt held the start, that becomes a part of the message.
        start = (START, *encode_word("assistant")) if location.is_first else ()
        ids = (*start, *self.ids[begin:end])
        return ids, bytes(len(start)) + self.mask[begin:end]

    def content(self, location: Location) -> tuple[tuple[int, ...], bytes]:
        """Return a content and its mask as they were sampled, without stray control tokens."""
        begin = self.controls[location.message] + 1
        end = len(self.ids) if location.end is None else self.controls[location.end]
        ids, mask = tuple(self.ids[begin:end]), self.mask[begin:end]

        strays = self.controls[location.message + 1 : location.end]
        if not strays:
            return ids, mask

        removed = {index - begin for index in strays}
        kept = [index for index in range(len(ids)) if index not in removed]
        kept_ids = tuple(ids[index] for index in kept)
        return kept_ids, bytes(mask[index] for index in kept)

    def end_mask(self, location: Location, end: int) -> bytes:
        """Return the mask of the end of a message: 1 only if the model ended it as it should."""
        if location.end is None:
            return b"\0"

        # In a prompt an answer has an `<|end|>`.
        proper_ends = (END, RETURN) if end == END else (end,)
        index = self.controls[location.end]
        if self.ids[index] not in proper_ends:
            return b"\0"

        return self.mask[index : index + 1]


def _render(
    message: SampledMessage, address: ToolAddress | None, completion: _SampledIds, *, is_last: bool
) -> MessageTokens:
    """Render one message: by the ids that were sampled, as far as they can stand in a prompt.

    Args:
        message: the message.
        address: the tool that it calls, if it calls one.
        completion: the ids.
        is_last: whether no other message of the completion follows. Behind a `<|call|>` nothing
            counts, so that only the last one of several calls ends with it.
    """
    kind = message.parsed[0].kind
    end = END
    if address is None:
        channel = CHANNEL_OF_KIND[kind]
        header = encode_header(channel)
    else:
        channel = address.channel
        header = encode_call_header(address)
        if is_last:
            end = CALL

    dropped, is_final = channel.dropped_after_final, kind == "final"
    location = message.location
    if location is None:
        rendered: list[int] = []
        for parsed in message.parsed:
            rendered += (*header, *encode(parsed.text), END)
        rendered[-1] = end
        return MessageTokens.from_prompt(rendered, dropped_after_final=dropped, is_final=is_final)

    mask = bytes(len(header))
    sampled_header = completion.header(location) if message.header.clean else None
    if sampled_header is not None:
        header, mask = sampled_header

    content, content_mask = completion.content(location)
    mask += content_mask + completion.end_mask(location, end)
    return MessageTokens((*header, *content, end), mask, dropped, is_final)


def _find_address(message: SampledMessage) -> ToolAddress | None:
    """Find to whom a call is addressed; None if the message calls no tool."""
    if message.parsed[0].kind != "tool_call":
        return None

    header = message.header
    match = _RECIPIENT.search(message.header_text) if header.clean else None
    if match is not None:
        # The output of a built-in tool comes on the channel of its call, which may be either.
        is_on_analysis = ANALYSIS.name in message.header_text
        is_built_in = ToolAddress(match[1]).namespace in BUILT_INS
        in_reasoning = is_built_in and is_on_analysis
        return ToolAddress(match[1], ANALYSIS if in_reasoning else COMMENTARY)

    if header.code:
        return ToolAddress("python", ANALYSIS)
    return address_tool(header.name)
