"""The table of channels, and all that is derived from it."""

from __future__ import annotations

import re

import pytest

from synth_ai.harmony import encode, parse, render
from synth_ai.harmony.channels import (
    ANALYSIS,
    CALL_CHANNELS,
    CHANNEL_OF_KIND,
    CHANNELS,
    COMMENTARY,
    FINAL,
    last_channel,
    starts_with_channel,
)
from synth_ai.harmony.completion import KINDS
from synth_ai.harmony.tool_names import NOT_TOOLS


def test_every_kind_of_text_has_a_channel() -> None:
    """Each kind of message is on a channel, and calls are on two of them."""
    assert {*CHANNEL_OF_KIND, "tool_call"} == set(KINDS)
    assert CALL_CHANNELS == ("analysis", "commentary")


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("analysis", ANALYSIS),
        ("Thinking", ANALYSIS),
        ("my thoughts", ANALYSIS),
        ("reasoning", ANALYSIS),
        ("COMMENT", COMMENTARY),
        ("commentaryjson", COMMENTARY),
        ("final_answer", FINAL),
        ("analysis final", FINAL),
        ("fınal", FINAL),
        ("assistant", None),
        ("", None),
    ],
)
def test_spellings(text: str, channel: object) -> None:
    """A garbled name is told from any other word, and the last one counts."""
    assert last_channel(text) is channel


def test_a_text_that_starts_with_a_channel() -> None:
    """Only the start counts."""
    assert starts_with_channel("commentary to=functions.f")
    assert not starts_with_channel("no commentary")


@pytest.mark.parametrize("channel", CHANNELS.values(), ids=list(CHANNELS))
def test_a_channel_is_one_everywhere(channel: object) -> None:
    """The prompt names it, headers and stripped text are read by it, and no tool is called so."""
    assert channel in (ANALYSIS, COMMENTARY, FINAL)
    name = next(name for name, one in CHANNELS.items() if one is channel)
    kind = CHANNELS[name].kind

    prompt = render([{"role": "user", "content": "Hi"}])
    line = encode(f"# Valid channels: {', '.join(CHANNELS)}.")
    assert re.search(str(line)[1:-1], str(prompt))

    for text in (f"<|channel|>{name}<|message|>Yes", f"assistant{name}Yes"):
        completion = parse(encode(text, control_tokens=True))
        assert [(message.kind, message.text) for message in completion.messages] == [(kind, "Yes")]
    assert name in NOT_TOOLS
