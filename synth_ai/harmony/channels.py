"""The channels of Harmony, as data: the one table that everything else derives its channels from.

A model writes each message on a channel. Its name stands in the message's header, behind
`<|channel|>`, and models garble it: the table says by which words they mean which channel.

https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from synth_ai.events import PreambleDelta, ReasoningDelta, TextDelta
from synth_ai.harmony.completion import Kind


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of the format.

    Attributes:
        name: what a well-formed header calls it.
        kind: what a message on it is, unless it calls a tool.
        delta: the events by which the text of such a message is streamed.
        spellings: a pattern of the words that models write for it.
        has_calls: whether tools are called on it.
        dropped_after_final: whether its messages leave the history once a final answer follows.
    """

    name: str
    kind: Kind
    delta: type[TextDelta | ReasoningDelta | PreambleDelta]
    spellings: str
    has_calls: bool = False
    dropped_after_final: bool = False


ANALYSIS = Channel(
    "analysis",
    kind="reasoning",
    delta=ReasoningDelta,
    spellings=r"analy\w*|think\w*|thought\w*|reasoning",
    has_calls=True,
    dropped_after_final=True,
)
COMMENTARY = Channel(
    "commentary",
    kind="preamble",
    delta=PreambleDelta,
    spellings=r"comment\w*",
    has_calls=True,
)
FINAL = Channel("final", kind="final", delta=TextDelta, spellings=r"final\w*")

#: Every channel by its name, in the order of the system message.
CHANNELS = {channel.name: channel for channel in (ANALYSIS, COMMENTARY, FINAL)}

#: The channel of each kind of message that is text. A tool call may be on one of two.
CHANNEL_OF_KIND: dict[str, Channel] = {channel.kind: channel for channel in CHANNELS.values()}

#: The names of the channels on which tools are called.
CALL_CHANNELS = tuple(channel.name for channel in CHANNELS.values() if channel.has_calls)

#: The names as alternatives of a regular expression: of all channels, and of those with calls.
NAME_PATTERN = "|".join(CHANNELS)
CALL_CHANNEL_PATTERN = "|".join(CALL_CHANNELS)

# Every spelling, in a group that is named after its channel:
#   analysis, Thinking      -> analysis
#   commentary, COMMENT     -> commentary
#   final, final_answer     -> final
_SPELLING = re.compile(
    "|".join(f"(?P<{channel.name}>{channel.spellings})" for channel in CHANNELS.values()),
    re.IGNORECASE,
)


def starts_with_channel(text: str) -> bool:
    """Tell whether `text` starts with a word for a channel."""
    return _SPELLING.match(text) is not None


def last_channel(text: str) -> Channel | None:
    """Find the channel that `text` names last, as the last one is what the model settled on."""
    name = None
    for match in _SPELLING.finditer(text):
        name = match.lastgroup

    return None if name is None else CHANNELS[name]
