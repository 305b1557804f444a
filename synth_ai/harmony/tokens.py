"""Text to token ids and back: the o200k byte pairs plus the control tokens of Harmony.

Text never becomes a control token unless the caller asks for it. The vocabulary ships with the package, so nothing
is ever downloaded. Decoding needs no other package; encoding needs tiktoken, which is imported when first used.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from binascii import a2b_base64
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from synth_ai.errors import ConfigurationError, MissingExtraError

START_OF_TEXT = 199998
END_OF_TEXT = 199999
RETURN = 200002
CONSTRAIN = 200003
CHANNEL = 200005
START = 200006
END = 200007
MESSAGE = 200008
CALL = 200012

ORDINARY_SIZE = 199998
"""Ids below this are text; every id from here on is a control token or no token at all."""

VOCABULARY_SIZE = 201088
"""Ids run from 0 to this, exclusive."""

STOP_TOKEN_IDS = (RETURN, CALL, END_OF_TEXT)
"""Ids that end a completion: the answer is done, a tool is called, and the end-of-text id that the published
generation settings of gpt-oss list beside them."""

_NAMED = {
    "<|startoftext|>": START_OF_TEXT,
    "<|endoftext|>": END_OF_TEXT,
    "<|return|>": RETURN,
    "<|constrain|>": CONSTRAIN,
    "<|channel|>": CHANNEL,
    "<|start|>": START,
    "<|end|>": END,
    "<|message|>": MESSAGE,
    "<|call|>": CALL,
}
CONTROL_TOKENS: dict[str, int] = _NAMED | {
    f"<|reserved_{i}|>": i
    for i in range(ORDINARY_SIZE, VOCABULARY_SIZE)
    if i not in _NAMED.values()
}
"""Every control token by its spelling."""

_FILE = Path(__file__).parent / "vocabulary" / "o200k_base.tiktoken"
_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# The split of text into pieces that o200k is defined over. Its first alternatives are grouped: tiktoken's engine then
# tries them at once, and only the look-ahead takes its slow path.
_PATTERN = (
    r"(?:[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    r"|\s*[\r\n]+)"
    r"|\s+(?!\S)"
    r"|\s+"
)

_CONTROL = re.compile(r"(<\|[a-z]+(?:_[0-9]+)?\|>)")

_LONG = 100_000
_KEPT = 1024
_KEPT_LENGTH = 16_384
_BLANK = r"\t\x0b\x0c \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_LONG_BLANK = re.compile(rf"(?<![{_BLANK}])[{_BLANK}]{{{_LONG},}}(?![{_BLANK}\r\n])")


def encode(text: str, control_tokens: bool = False) -> list[int]:
    """The token ids of `text`.

    Args:
        control_tokens: also turn the spelling of a control token, such as `<|start|>`, into that token. Never set
            this for text that somebody else wrote: it could forge a message.

    Raises:
        MissingExtraError: tiktoken is not installed.
    """
    if not control_tokens:
        return _encode_text(text)
    ids: list[int] = []
    for part in _CONTROL.split(text):
        token = CONTROL_TOKENS.get(part)
        if token is None:
            ids += _encode_text(part)
        else:
            ids.append(token)
    return ids


def decode(ids: Iterable[int]) -> str:
    """The text of `ids`, with control tokens spelled out; broken UTF-8 and ids without text become U+FFFD.

    Do not encode the result with `control_tokens=True`: text that spells a control token would become one.
    """
    spell = _spelling().__getitem__
    return b"".join(map(spell, ids)).decode("utf-8", "replace")


@lru_cache(maxsize=4096)
def encode_word(text: str) -> tuple[int, ...]:
    """The ids of a short text that comes up again and again, such as a header."""
    return tuple(_encode_text(text))


@cache
def token_bytes() -> tuple[bytes, ...]:
    """The bytes of every ordinary token, by id.

    Raises:
        ConfigurationError: the vocabulary file of this installation is missing or not the published one.
    """
    try:
        raw = _FILE.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The vocabulary file {_FILE} cannot be read. Reinstall synth-ai."
        ) from error
    if hashlib.sha256(raw).hexdigest() != _SHA256:
        raise ConfigurationError(
            f"{_FILE} is not the published o200k_base vocabulary. Reinstall synth-ai."
        )
    # Each line is a token in base64 and its rank; the published file is in the order of the ranks.
    return tuple(map(a2b_base64, raw.split()[::2]))


class _Spelling(dict[int, bytes]):
    def __missing__(self, token_id: int) -> bytes:
        return "\ufffd".encode()


@cache
def _spelling() -> _Spelling:
    spelling = _Spelling(enumerate(token_bytes()))
    spelling.update((token_id, text.encode()) for text, token_id in CONTROL_TOKENS.items())
    return spelling


@cache
def _tiktoken() -> Any:
    try:
        from tiktoken import Encoding
    except ImportError as error:
        raise MissingExtraError(
            'Harmony needs tiktoken to turn text into token ids. Install it with: pip install "synth-ai[harmony]"'
        ) from error
    ranks = {token: rank for rank, token in enumerate(token_bytes())}
    # Control tokens are left out on purpose: what is not there cannot be made from text.
    return Encoding(
        "o200k_harmony_text", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )


# Instructions, tool declarations and the messages of a stateless caller come again with every request. Ids are packed,
# so that the most this can hold is some 30 MB.
_kept: dict[str, array[int]] = {}
_kept_lock = Lock()


def _encode_text(text: str) -> list[int]:
    kept = _kept.get(text)
    if kept is not None:
        return kept.tolist()
    if len(text) >= _LONG:
        return _encode_long(text)
    ids: list[int] = _tiktoken().encode_ordinary(text)
    if len(text) <= _KEPT_LENGTH:
        with _kept_lock:
            if len(_kept) >= _KEPT:
                del _kept[next(iter(_kept))]
            _kept[text] = array("I", ids)
    return ids


def _encode_long(text: str) -> list[int]:
    # The look-ahead of the pattern overflows tiktoken's stack on about a million blanks in a row. The pattern makes
    # such a run one piece, all of it at the end of the text and all but the last blank elsewhere, so it can be
    # encoded apart with the same result. (A run with a line break after it matches without look-ahead.)
    encoding = _tiktoken()
    ids: list[int] = []
    position = 0
    for run in _LONG_BLANK.finditer(text):
        end = run.end() if run.end() == len(text) else run.end() - 1
        ids += encoding.encode_ordinary(text[position : run.start()])
        ids += encoding._encode_single_piece(text[run.start() : end])
        position = end
    return ids + encoding.encode_ordinary(text[position:])  # type: ignore[no-any-return]
