"""Events are read as they were sent, wherever their bytes are cut."""

from __future__ import annotations

import random

import pytest
from openai._streaming import SSEDecoder

from synth_ai.errors import MalformedAnswerError
from synth_ai.http.event_decoder import EventDecoder


def _decode(content: bytes, cuts: list[int]) -> list[str]:
    decoder = EventDecoder()
    events: list[str] = []
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        events += decoder.feed(content[start:end])
    decoder.finish()
    return events


CASES = {
    "LF": (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    "CR": (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    "no blank": (b"data:a\n\n", ["a"]),
    "several lines": (b"data: a\ndata: b\ndata:\n\n", ["a\nb\n"]),
    "other fields": (b"event: x\nid: 1\nretry: 5\n: note\ndata: a\n\nevent: y\n\n", ["a"]),
    "line ends of Unicode": ("data: a\u2028b\x85c\x0bd\n\n".encode(), ["a\u2028b\x85c\x0bd"]),
    "no end": (b"data: a\n\ndata: b\n", ["a"]),
    "no data": (b"data\n\ndata:\n\n: x\n\n", []),
    "letters": ("data: hé😀\n\n".encode(), ["hé😀"]),
}


@pytest.mark.parametrize(("content", "events"), CASES.values(), ids=CASES)
def test_events_wherever_they_are_cut(content: bytes, events: list[str]) -> None:
    """In one piece, byte by byte, and with each single cut."""
    assert _decode(content, []) == events
    assert _decode(content, list(range(1, len(content)))) == events
    for cut in range(len(content)):
        assert _decode(content, [cut]) == events


def test_events_are_those_of_the_sdk() -> None:
    """For random bytes of everything that means something, cut at random."""
    dice = random.Random(1)
    words = [b"data", b":", b" ", b"\n", b"\r", b"\r\n", b"a", b"event", b"\xc3\xa9", b"id"]
    for _ in range(3000):
        content = b"".join(dice.choices(words, k=dice.randint(0, 30)))
        cuts = sorted(dice.choices(range(len(content) + 1), k=dice.randint(0, 5)))
        theirs = [event.data for event in SSEDecoder().iter_bytes(iter([content])) if event.data]
        # The SDK counts an event that has nothing but line breaks in it; so do we.
        assert _decode(content, cuts) == theirs, content


@pytest.mark.parametrize("content", [b"data: \xff\n\n", b"data: \xc3"])
def test_what_is_not_utf8(content: bytes) -> None:
    """It is an error, in an event and at the end."""
    with pytest.raises(MalformedAnswerError):
        _decode(content, [])
