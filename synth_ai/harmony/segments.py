"""The first stage of parsing: token ids to stretches of text and the control tokens between them.

Ids become bytes, with a marker for each control token, so that joining and splitting them runs at
C speed however many come at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from synth_ai.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    END_OF_TEXT,
    MESSAGE,
    RETURN,
    START,
    token_bytes,
)

UNKNOWN = -1
"""Stands for every id without a meaning: reserved tokens, and ids outside of the vocabulary."""

# 0xFF never stands in UTF-8, so it can introduce the letter of a control token.
_INTRODUCER = b"\xff"
_LETTERS = {
    START: b"S",
    CHANNEL: b"H",
    CONSTRAIN: b"K",
    MESSAGE: b"M",
    END: b"E",
    CALL: b"C",
    RETURN: b"R",
    UNKNOWN: b"?",
}
_TOKEN_OF_LETTER = {letter: token for token, letter in _LETTERS.items()}
_MARKER = re.compile(_INTRODUCER + rb"(.)")


def split_segments(ids: Iterable[int]) -> tuple[bytes, Iterable[tuple[int, bytes]]]:
    """Split ids at their control tokens.

    ::

        Hi<|end|><|start|>assistant   ->  b"Hi", [(END, b""), (START, b"assistant")]

    Returns:
        The text before the first control token, and each control token with the text behind it.
        `<|endoftext|>` is given as `RETURN`, as it ends a completion like that. Text is UTF-8, and
        may begin or end within a character.
    """
    data = b"".join(map(_bytes_of_id(), ids))
    # Most portions of a stream are text alone.
    if _INTRODUCER not in data:
        return data, ()

    pieces = _MARKER.split(data)
    tokens = map(_TOKEN_OF_LETTER.__getitem__, pieces[1::2])
    return pieces[0], zip(tokens, pieces[2::2], strict=True)


class _BytesOfId(dict[int, bytes]):
    def __missing__(self, token_id: int) -> bytes:
        return _INTRODUCER + _LETTERS[UNKNOWN]


@cache
def _bytes_of_id() -> Callable[[int], bytes]:
    """Make the function that gives the text of an ordinary id, and the marker of any other."""
    # The vocabulary has a token of the byte 0xFF. By itself it reads as U+FFFD anyway.
    replacement = "\ufffd".encode()
    texts = (token.replace(_INTRODUCER, replacement) for token in token_bytes())

    table = _BytesOfId(enumerate(texts))
    for token_id, letter in _LETTERS.items():
        table[token_id] = _INTRODUCER + letter
    table[END_OF_TEXT] = table[RETURN]

    return table.__getitem__
