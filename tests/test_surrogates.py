"""Halves of surrogate pairs, in text and in JSON."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth_ai.lm.vendors.wire import HalfCharacters
from synth_ai.surrogates import mend_object, mend_text, spells_half

FACE = "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("", ""),
        ("abc", "abc"),
        (f"a{FACE}ü", f"a{FACE}ü"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00a", "\ufffda"),
        ("\ud83d\ude00", FACE),
        ("\ud83d\ud83d\ude00\ude00", f"\ufffd{FACE}\ufffd"),
    ],
)
def test_mend_text(text: str, mended: str) -> None:
    """Halves beside each other are a character; what is left of others can be printed."""
    assert mend_text(text) == mended
    mend_text(text).encode()


def test_mend_object() -> None:
    """Every text at any depth, and nothing but texts."""
    data = {"a": ["x\ud83d", {"b": "\ude00"}, 5, None, True], "c": FACE}
    assert mend_object(data) == {"a": ["x\ufffd", {"b": "\ufffd"}, 5, None, True], "c": FACE}


def test_spelled_halves_are_found() -> None:
    """As JSON escapes them; a character that is not escaped is whole."""
    assert spells_half(json.dumps("\ud83d").encode())
    assert spells_half(b'"\\uD83D\\uDE00"')
    assert not spells_half(json.dumps(FACE, ensure_ascii=False).encode())
    assert not spells_half(b'"\\u00e9 ud83d"')


@given(st.text(st.characters(), max_size=20), st.lists(st.integers(0, 40), max_size=5))
def test_text_that_is_cut_anywhere_comes_out_whole(text: str, cuts: list[int]) -> None:
    """Also inside of its characters, as UTF-16 has them."""
    units = text.encode("utf-16-le", "surrogatepass")
    bounds = [0, *sorted(2 * cut for cut in cuts), len(units)]
    pieces = [
        units[start:end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(bounds)
    ]
    halves = HalfCharacters()
    joined = "".join(halves.join("text", piece) for piece in pieces)
    assert joined == mend_text(text)
