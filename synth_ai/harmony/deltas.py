"""The deltas of a completion: what can be handed out of a message before it is complete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synth_ai.events import ToolCallDelta
from synth_ai.harmony.channels import CHANNEL_OF_KIND, Channel
from synth_ai.harmony.completion import KINDS, Event, Kind
from synth_ai.harmony.drafts import ArgumentStream, MessageDraft


class DeltaQueue:
    """The deltas that wait to be handed out.

    Attributes:
        counts: how many messages of each kind have been handed out, or begun to be.
    """

    def __init__(self) -> None:
        self.counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._events: list[Event] = []

    def take(self) -> list[Event]:
        """Return the deltas since the last time."""
        events, self._events = self._events, []
        return events

    def stream(self, draft: MessageDraft, text: str) -> None:
        """Hand out more text of a message, unless it cannot be told yet what it will be."""
        # This comes first, as it is what happens with nearly all ids.
        channel = draft.channel
        if channel is not None:
            self._events.append(channel.delta(text))
        elif draft.header.kind == "tool_call":
            self._stream_arguments(draft, text)
        else:
            self._stream_first_words(draft, text)

    def add_text(self, channel: Channel, text: str) -> None:
        """Hand out the text of a message, or its beginning; messages are parted by a line break."""
        is_first = self.counts[channel.kind] == 0
        self._events.append(channel.delta(text if is_first else f"\n{text}"))
        self.counts[channel.kind] += 1

    def add_calls(self, name: str, arguments: Iterable[str], sent: str) -> None:
        """Hand out complete calls of one tool, as far as they have not been streamed.

        Args:
            name: the tool.
            arguments: the arguments of each call.
            sent: what was streamed of the first one. If they had to be repaired, so that they are
                not what was streamed, the call begins anew.
        """
        for text in arguments:
            index = self.counts["tool_call"]
            was_streamed = sent != "" and text.startswith(sent)
            if not was_streamed:
                self._events.append(ToolCallDelta(index, name, text))
            elif text != sent:
                self._events.append(ToolCallDelta(index, None, text.removeprefix(sent)))

            sent = ""
            self.counts["tool_call"] += 1

    def _stream_first_words(self, draft: MessageDraft, text: str) -> None:
        """Begin a message that is text, once there is a word: blanks alone are not a message."""
        channel = CHANNEL_OF_KIND.get(draft.header.kind)
        if channel is None:
            return
        if not text.strip():
            return

        # A preamble that begins as JSON may turn out to be a call without a name.
        if _may_be_call(draft):
            draft.header = replace(draft.header, kind="untargeted")
            return

        draft.channel = channel
        self.add_text(channel, draft.text)

    def _stream_arguments(self, draft: MessageDraft, text: str) -> None:
        header = draft.header
        if header.name is None:
            return
        if draft.arguments is None:
            draft.arguments = ArgumentStream(is_code=header.code)

        # The name comes with the first delta of a call.
        name = header.name if draft.arguments.is_empty else None
        ready = draft.arguments.feed(text)
        if ready:
            self._events.append(ToolCallDelta(self.counts["tool_call"], name, ready))


def _may_be_call(draft: MessageDraft) -> bool:
    if draft.header.kind != "preamble":
        return False
    if draft.header.name is not None:
        return False

    return draft.text.lstrip().startswith("{")
