"""A completion as history: what is kept of it, to whom its calls go, and what is reasoning."""

from __future__ import annotations

import pytest

from synth_ai.harmony import StreamParser, decode, encode
from synth_ai.harmony.channels import ANALYSIS, COMMENTARY
from synth_ai.harmony.history import count_reasoning_tokens, render_completion
from synth_ai.harmony.messages import ToolAddress

THOUGHT = "<|channel|>analysis<|message|>We need 4.<|end|><|start|>assistant"
ANSWER = "<|channel|>final<|message|>4<|return|>"


def ids(text: str) -> list[int]:
    return encode(text, control_tokens=True)


def test_messages_know_what_becomes_of_them() -> None:
    """Reasoning is dropped after a final answer, and the final answer says that it is one."""
    messages, addresses = render_completion(ids(THOUGHT + ANSWER))
    assert [decode(message.ids) for message in messages] == [
        "<|start|>assistant<|channel|>analysis<|message|>We need 4.<|end|>",
        "<|start|>assistant<|channel|>final<|message|>4<|end|>",
    ]
    assert [message.dropped_after_final for message in messages] == [True, False]
    assert [message.is_final for message in messages] == [False, True]
    assert addresses == []


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (" to=functions.f<|channel|>commentary", ToolAddress("functions.f", COMMENTARY)),
        ("<|channel|>commentary to= f", ToolAddress("functions.f", COMMENTARY)),
        ("<|channel|>analysis to=python code", ToolAddress("python", ANALYSIS)),
        ("<|channel|>commentary to=python code", ToolAddress("python", COMMENTARY)),
        ("<|channel|>analysis to=browser.search code", ToolAddress("browser.search", ANALYSIS)),
    ],
)
def test_calls_are_addressed(header: str, address: ToolAddress) -> None:
    """The output of a call goes back to where the call went."""
    _, addresses = render_completion(ids(f"{header}<|message|>{{}}<|call|>"))
    assert addresses == [address]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (THOUGHT + ANSWER, 5),
        (THOUGHT + THOUGHT + ANSWER, 10),
        ("<|channel|>analysis<|message|>We need", 2),
        ("analysisWe need 4.assistantfinal4", 5),
        (ANSWER, 0),
    ],
)
def test_count_reasoning_tokens(text: str, count: int) -> None:
    """Only the text of reasoning counts, without its headers and ends."""
    assert len(encode("We need 4.")) == 5
    parser = StreamParser()
    parser.feed(ids(text))
    parser.close()
    assert count_reasoning_tokens(parser.sampled_messages, ids(text)) == count
