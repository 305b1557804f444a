"""What is handed out of a message before it is complete."""

from __future__ import annotations

import pytest

from synth_ai.events import PreambleDelta, TextDelta, ToolCallDelta
from synth_ai.harmony import Event
from synth_ai.harmony.channels import FINAL
from synth_ai.harmony.deltas import DeltaQueue
from synth_ai.harmony.drafts import ArgumentStream, MessageDraft
from synth_ai.harmony.headers import Header


@pytest.mark.parametrize(
    ("pieces", "ready"),
    [
        ([' {"a":', " 1", "} ", "\n"], ['{"a":', " 1", "}", ""]),
        (["{", "  ", "\n", "}"], ["{", "", "", "  \n}"]),
        ([" ", "\n", "{}"], ["", "", "{}"]),
        (["```json\n", '{"a": 1}'], ["", ""]),
        (["[1]"], [""]),
    ],
)
def test_json_is_handed_out_without_the_blanks_around_it(
    pieces: list[str], ready: list[str]
) -> None:
    """Blanks wait for what follows; what does not begin as an object waits for good."""
    stream = ArgumentStream(is_code=False)
    assert [stream.feed(piece) for piece in pieces] == ready
    assert stream.sent == "".join(ready)
    assert stream.is_empty is not any(ready)


def test_code_is_handed_out_as_it_is() -> None:
    """Blanks are a part of code."""
    stream = ArgumentStream(is_code=True)
    assert [stream.feed(piece) for piece in (" ", "x = 1\n")] == [" ", "x = 1\n"]


def stream_texts(header: Header, *texts: str) -> tuple[MessageDraft, list[Event]]:
    """Stream the texts of one message."""
    deltas, draft = DeltaQueue(), MessageDraft(header)
    for text in texts:
        draft.texts.append(text)
        deltas.stream(draft, text)
    return draft, deltas.take()


def test_text_waits_for_its_first_word() -> None:
    """Blanks alone are not a message, and are handed out with the first word."""
    assert stream_texts(Header("final"), " ", "\n")[1] == []
    assert stream_texts(Header("final"), " ", "A", " B")[1] == [TextDelta(" A"), TextDelta(" B")]


def test_a_preamble_that_begins_as_json_waits() -> None:
    """It may turn out to be a call that names no tool, unless it is addressed to the user."""
    draft, events = stream_texts(Header("preamble"), ' {"a"', ": 1}")
    assert (draft.header.kind, events) == ("untargeted", [])
    _, events = stream_texts(Header("preamble", "user"), "{}")
    assert events == [PreambleDelta("{}")]


@pytest.mark.parametrize("kind", ["untargeted", "unclear", "author", "turn", "foreign"])
def test_what_is_not_certain_is_not_handed_out(kind: str) -> None:
    """Only messages that are what they are stream."""
    assert stream_texts(Header(kind), "text")[1] == []  # type: ignore[arg-type]


def test_a_call_streams_with_its_name_first() -> None:
    """The name comes once; a call without a name does not stream."""
    _, events = stream_texts(Header("tool_call", "f"), "{", "}")
    assert events == [ToolCallDelta(0, "f", "{"), ToolCallDelta(0, None, "}")]
    assert stream_texts(Header("tool_call"), "{}")[1] == []


def test_messages_of_one_kind_are_parted_by_a_line_break() -> None:
    """As they are joined in the completion."""
    deltas = DeltaQueue()
    deltas.add_text(FINAL, "A")
    deltas.add_text(FINAL, "B")
    assert deltas.take() == [TextDelta("A"), TextDelta("\nB")]
    assert deltas.counts["final"] == 2
    assert deltas.take() == []


@pytest.mark.parametrize(
    ("sent", "events"),
    [
        ("", [ToolCallDelta(0, "f", '{"a":1}')]),
        ('{"a"', [ToolCallDelta(0, None, ":1}")]),
        ('{"a":1}', []),
        ('{"b"', [ToolCallDelta(0, "f", '{"a":1}')]),
    ],
)
def test_a_complete_call_hands_out_what_is_missing(sent: str, events: list[Event]) -> None:
    """A call begins anew if its arguments are not what was streamed of them."""
    deltas = DeltaQueue()
    deltas.add_calls("f", ['{"a":1}', "{}"], sent)
    assert deltas.take() == [*events, ToolCallDelta(1, "f", "{}")]
