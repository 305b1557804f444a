"""Token ids to answers, incrementally and tolerantly: whatever a model emits, it never raises.

The ids go through these stages, each a module:

- segments: ids to stretches of text and the control tokens between them;
- headers: the text in front of `<|message|>` to what kind of message it is;
- deltas: the text of a message to events, as it comes;
- assembly: complete messages to a completion;
- recovery and arguments: what is not well-formed, repaired.

The parser leads a completion through them. It knows where in a message it is, and what each control
token means there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

from synth_ai.harmony.assembly import (
    BEHIND_CALL,
    GARBLED_HEADER,
    CompletionBuilder,
    SampledMessage,
)
from synth_ai.harmony.channels import CHANNEL_OF_KIND
from synth_ai.harmony.completion import Completion, Event, FinishReason
from synth_ai.harmony.deltas import DeltaQueue
from synth_ai.harmony.drafts import HeaderDraft, Location, MessageDraft
from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK, read_header
from synth_ai.harmony.segments import UNKNOWN, split_segments
from synth_ai.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MESSAGE,
    RETURN,
    START,
    decode_utf8,
)
from synth_ai.harmony.tool_names import OfferedTools
from synth_ai.harmony.tools import Tool


class State(Enum):
    """Where in a completion the parser is."""

    HEADER = "header"
    """In front of `<|message|>`."""

    CONTENT = "content"
    """Behind `<|message|>`, in the text of a message."""

    OVER = "over"
    """Behind the end of the model's turn. What follows is ignored."""

    CLOSED = "closed"
    """There are no more ids."""


# A member of an enum costs more to look up in Python 3.11 than all else that is done with an id.
_HEADER, _CONTENT, _OVER, _CLOSED = State

# The kinds of messages that are surfaced as they are. All others get another warning.
_SURFACED = frozenset(CHANNEL_OF_KIND) | {"tool_call"}

# What ends a message, and begins none.
_ENDS = frozenset((END, CALL, RETURN))


class StreamParser:
    """Parses a completion as its ids come.

    ::

        parser = StreamParser(tools=tools)
        for ids in stream:
            for event in parser.feed(ids): ...
        completion = parser.close("stop")
        for event in parser.take_pending(): ...

    The deltas of all events together are what `parse` gives for all ids at once, however the ids
    are split.

    Args:
        tools: the tools of the request, as specifications or names. Without any, every name is
            taken as it comes; with some, another name is still surfaced, with a warning.

    Attributes:
        state: where in the completion the parser is.
    """

    def __init__(self, *, tools: Iterable[Tool] = ()) -> None:
        self._tools = OfferedTools.from_tools(tools)
        self._deltas = DeltaQueue()
        self._builder = CompletionBuilder(self._tools, self._deltas)
        self.state = State.HEADER
        self._header = HeaderDraft()
        self._message: MessageDraft  # there is one in State.CONTENT alone
        # The bytes of a character that is not complete yet.
        self._partial_character = b""
        self._control_token_count = 0
        self._completion: Completion | None = None

    @property
    def sampled_messages(self) -> list[SampledMessage]:
        """The messages so far that count, and where they stand in the completion."""
        return self._builder.messages

    def feed(self, ids: Iterable[int]) -> list[Event]:
        """Take the next ids, and return what they add.

        Raises:
            RuntimeError: the parser is closed.
        """
        if self.state is _CLOSED:
            raise RuntimeError(
                "This parser is closed: a completion is whole, and further ids need a new parser."
            )

        text, segments = split_segments(ids)
        if text:
            self._take_text(text)
        for token, text in segments:
            self._take_control_token(token)
            if text:
                self._take_text(text)

        return self._deltas.take()

    def close(self, finish_reason: FinishReason = "stop") -> Completion:
        """End the completion. Deltas that could not be known before can then be taken.

        Args:
            finish_reason: why the engine stopped: `"length"` if it cut the completion off.
        """
        if self._completion is None:
            self._completion = self._finish(cut=finish_reason == "length")
            self.state = _CLOSED

        return self._completion

    def take_pending(self) -> list[Event]:
        """Return the deltas that are not handed out yet: after `close`, those that it settled."""
        return self._deltas.take()

    # --- text ---------------------------------------------------------------------------------

    def _take_text(self, data: bytes) -> None:
        state = self.state
        if state is _OVER:
            if data.strip():
                self._warn_if_behind_call()
            return

        if self._partial_character:
            data = self._partial_character + data
        text, self._partial_character = decode_utf8(data)

        if state is _CONTENT:
            self._message.texts.append(text)
            self._deltas.stream(self._message, text)
        else:
            self._header.texts.append(text)

    def _warn_if_behind_call(self) -> None:
        """Warn that something is left out, if a call is what ended the turn."""
        if self._header.after == CALL:
            self._builder.warn(BEHIND_CALL)

    def _end_broken_character(self, token: int) -> None:
        """Put U+FFFD for bytes that are not text: a header must not look better than it is.

        At the end of a message, or of a header without one, they are left out.
        """
        if token in (MESSAGE, CHANNEL, CONSTRAIN):
            self._header.texts.append("\ufffd")
        self._partial_character = b""

    # --- control tokens -----------------------------------------------------------------------

    def _take_control_token(self, token: int) -> None:
        state = self.state
        if state is _OVER:
            if token not in _ENDS:
                self._warn_if_behind_call()
            return

        position = self._control_token_count
        self._control_token_count += 1
        if token == UNKNOWN:
            self._builder.warn("ids that stand for no text were left out")
        elif state is _CONTENT:
            self._take_token_in_content(token, position)
        else:
            self._take_token_in_header(token, position)

    def _take_token_in_header(self, token: int, position: int) -> None:
        if self._partial_character:
            self._end_broken_character(token)

        if token == MESSAGE:
            self._begin_message(position)
        elif token == CHANNEL:
            self._header.texts.append(CHANNEL_MARK)
        elif token == CONSTRAIN:
            self._header.texts.append(CONSTRAIN_MARK)
        else:
            self._builder.recover(self._header, end=token)
            self._begin_header(token, position)

    def _take_token_in_content(self, token: int, position: int) -> None:
        if token in (MESSAGE, CONSTRAIN):
            self._builder.warn("a control token inside a message was left out")
            return

        self._message.finish(token, position)
        self._builder.add_message(self._message)
        self._begin_header(token, position)

    def _begin_header(self, after: int, position: int) -> None:
        """Begin the header behind a control token, unless that token ends the turn."""
        self._partial_character = b""
        self._header = HeaderDraft(after)
        # The `<|start|>` may have been left out.
        if after == START:
            self._header.start = position
        elif after == CHANNEL:
            self._header.texts.append(CHANNEL_MARK)

        self.state = _OVER if self._ends_turn(after) else _HEADER

    def _ends_turn(self, token: int) -> bool:
        """Tell whether nothing that the model writes behind a control token counts.

        Behind a call that has ended stands the tool's output. What the model makes up in its place,
        an answer from that or another call, must not reach anybody. Calls that belong together are
        parted by `<|end|>`.
        """
        if token == CALL:
            return self._builder.waits_for_tool

        return token == RETURN and self._builder.has_answer

    def _begin_message(self, position: int) -> None:
        """Begin the message behind the `<|message|>` that completes a header."""
        draft = self._header
        header_text = draft.text
        is_first = draft.after is None
        header = read_header(header_text, self._tools, implied=is_first)
        has_start = is_first or draft.start is not None
        if not has_start:
            header = replace(header, clean=False)

        is_over = header.kind == "turn" and self._builder.has_answer
        if is_over:
            self._builder.warn("the model went on to speak for the user; that was left out")
            # What ends the completion is this message, and not a stop token in front of it.
            self._header = HeaderDraft(after=MESSAGE)
            self.state = _OVER
            return

        is_garbled = not header.clean and header.kind in _SURFACED
        if is_garbled:
            self._builder.warn(GARBLED_HEADER)

        location = Location(is_first, draft.start, position)
        self._message = MessageDraft(header, header_text, location)
        self.state = _CONTENT

    # --- the end ------------------------------------------------------------------------------

    def _finish(self, *, cut: bool) -> Completion:
        last_message = self._message if self.state is _CONTENT else None
        stop = self._header.after if last_message is None else None
        # An engine may say that it cut off what had ended by itself with the last token.
        if stop in (RETURN, CALL):
            cut = False

        if last_message is not None:
            self._builder.add_message(last_message, cut=cut)
        elif self.state is _HEADER:
            self._builder.recover(self._header, cut=cut)

        return self._builder.build(last_message=last_message, stop=stop, cut=cut)


def parse(
    token_ids: Iterable[int], *, tools: Iterable[Tool] = (), finish_reason: FinishReason = "stop"
) -> Completion:
    """Read what a completion says. Never raises on what a model emitted, whatever the ids.

    Args:
        token_ids: the sampled ids, from behind the generation prompt, with or without the stop
            token.
        tools: the tools of the request, as specifications or names; without any, every name is
            taken as it comes.
        finish_reason: why the engine stopped: `"length"` if it cut the completion off.
    """
    parser = StreamParser(tools=tools)
    parser.feed(token_ids)
    return parser.close(finish_reason)
