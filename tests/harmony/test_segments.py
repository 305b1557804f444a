"""The first stage of parsing: ids to text and control tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synth_ai.harmony import (
    CALL,
    CONTROL_TOKENS,
    END,
    END_OF_TEXT,
    MESSAGE,
    RETURN,
    START,
    VOCABULARY_SIZE,
    decode,
    encode,
)
from synth_ai.harmony.segments import UNKNOWN, split_segments
from synth_ai.harmony.tokens import ORDINARY_SIZE


def split(ids: list[int]) -> tuple[bytes, list[tuple[int, bytes]]]:
    text, segments = split_segments(ids)
    return text, list(segments)


def test_text_alone() -> None:
    """Without a control token there is one stretch of text."""
    assert split(encode("one two")) == (b"one two", [])
    assert split([]) == (b"", [])


def test_control_tokens_part_the_text() -> None:
    """Each control token comes with the text behind it."""
    ids = encode("Hi<|end|><|start|>assistant<|message|>", control_tokens=True)
    assert split(ids) == (b"Hi", [(END, b""), (START, b"assistant"), (MESSAGE, b"")])


def test_the_end_of_text_is_a_return() -> None:
    """Both end a completion."""
    assert split([END_OF_TEXT, RETURN, CALL]) == (b"", [(RETURN, b""), (RETURN, b""), (CALL, b"")])


def test_ids_without_a_meaning() -> None:
    """Reserved tokens, and what is no id at all, are one kind."""
    ids = [CONTROL_TOKENS["<|reserved_200010|>"], VOCABULARY_SIZE, -1, 2**70]
    assert split(ids) == (b"", [(UNKNOWN, b"")] * 4)


def test_a_character_in_two_portions() -> None:
    """Text is bytes, as an id may end within a character."""
    first, *rest = encode("\N{MELTING FACE}")
    assert split([first])[0] + split(rest)[0] == "\N{MELTING FACE}".encode()


@given(st.lists(st.integers(0, ORDINARY_SIZE - 1)))
def test_text_is_what_the_ids_decode_to(ids: list[int]) -> None:
    """No ordinary id is taken for a control token, not even that of the byte 0xFF."""
    text, segments = split(ids)
    assert segments == []
    if 0xFF not in b"".join(map(bytes_of, ids)):
        assert text.decode("utf-8", "replace") == decode(ids)


def bytes_of(token_id: int) -> bytes:
    from synth_ai.harmony.tokens import token_bytes

    return token_bytes()[token_id]
