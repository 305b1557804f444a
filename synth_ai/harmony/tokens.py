"""Text to token ids and back: the o200k byte pairs plus the control tokens of Harmony.

Text never becomes a control token unless the caller asks for it. The vocabulary ships with the
package, so nothing is ever downloaded. Decoding needs no other package; encoding needs tiktoken,
which is imported when first used.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from binascii import a2b_base64
from codecs import utf_8_decode
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from synth_ai.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from tiktoken import Encoding

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
"""Ids that end a completion: the answer is done, a tool is called, and the end-of-text id that the
published generation settings of gpt-oss list beside them."""

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


# Half of a surrogate pair in three bytes, which is broken UTF-8. The grammars that constrain
# answers take it for one character, so that one U+FFFD stands for it: a text as long as it may be
# would be too long otherwise.
#   ED A0 BD, ED B8 80   -> match
#   ED 95 9C (Korean)    -> no match
_HALF_CHARACTER = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_HALF_AT_END = re.compile(rb"\xed[\xa0-\xbf]\Z")
_REPLACEMENT = "\ufffd".encode()


def _list_control_tokens() -> dict[str, int]:
    """List the control tokens by their spelling: those with a name, then those in reserve."""
    tokens = dict(_NAMED)
    named_ids = frozenset(_NAMED.values())
    for token_id in range(ORDINARY_SIZE, VOCABULARY_SIZE):
        if token_id not in named_ids:
            tokens[f"<|reserved_{token_id}|>"] = token_id

    return tokens


CONTROL_TOKENS = _list_control_tokens()
"""Every control token by its spelling."""

# How text may spell a control token; whether there is one of that name is to be looked up.
#   <|start|>, <|reserved_200010|>, <|im|>   -> match
#   <|im_start|>, <|Start|>                  -> no match
_SPELLED_TOKEN = re.compile(r"(<\|[a-z]+(?:_[0-9]+)?\|>)")

_FILE = Path(__file__).parent / "vocabulary" / "o200k_base.tiktoken"
_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# The split of text into pieces that o200k is defined over, each of which is encoded by itself:
#   "Hello world's end"   -> "Hello", " world's", " end"
#   "x = 12345;"          -> "x", " =", " ", "123", "45", ";"
# Its first alternatives are grouped: tiktoken's engine then tries them at once, and only the
# look-ahead takes its slow path.
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATTERN = (
    rf"(?:[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    r"|\s*[\r\n]+)"
    r"|\s+(?!\S)"
    r"|\s+"
)

# The blanks that the look-ahead of the pattern is about: all but line breaks.
_BLANK = r"\t\x0b\x0c \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

# From this length on, in characters, a text is searched for runs of blanks that are as long.
_LONG = 100_000
_LONG_BLANK = re.compile(rf"(?<![{_BLANK}])[{_BLANK}]{{{_LONG},}}(?![{_BLANK}\r\n])")

# Instructions, tool declarations and the messages of a stateless caller come again with every
# request, so the ids of that many texts of up to that many characters are cached. They are packed,
# four bytes each, so that the most this can hold is some 30 MB.
_CACHE_SIZE = 1024
_CACHED_LENGTH = 16_384
_cache: dict[str, array[int]] = {}
_cache_lock = Lock()


def encode(text: str, control_tokens: bool = False) -> list[int]:
    """Turn text into token ids.

    Args:
        text: any string.
        control_tokens: also turn the spelling of a control token, such as `<|start|>`, into that
            token. Never set this for text that somebody else wrote: it could forge a message.

    Raises:
        MissingExtraError: tiktoken is not installed.
    """
    if not control_tokens:
        return _encode_text(text)

    ids: list[int] = []
    for part in _SPELLED_TOKEN.split(text):
        token_id = CONTROL_TOKENS.get(part)
        if token_id is None:
            ids += _encode_text(part)
        else:
            ids.append(token_id)

    return ids


def decode(ids: Iterable[int]) -> str:
    """Turn token ids into text, with control tokens spelled out.

    Broken UTF-8 and ids without text become U+FFFD. Do not encode the result with
    `control_tokens=True`: text that spells a control token would become one.
    """
    spell = _spelling().__getitem__
    text, rest = decode_utf8(b"".join(map(spell, ids)))
    return text + rest.decode("utf-8", "replace")


def decode_utf8(data: bytes) -> tuple[str, bytes]:
    """Decode text as far as it is whole, with U+FFFD for broken UTF-8.

    Returns:
        The text, and the bytes at the end that may be a character once more have come.
    """
    if b"\xed" not in data:
        text, used = utf_8_decode(data, "replace", False)
        return text, data[used:]

    data = _HALF_CHARACTER.sub(_REPLACEMENT, data)
    if _HALF_AT_END.search(data) is not None:
        text, _ = utf_8_decode(data[:-2], "replace", True)
        return text, data[-2:]

    text, used = utf_8_decode(data, "replace", False)
    return text, data[used:]


@lru_cache(maxsize=4096)
def encode_word(text: str) -> tuple[int, ...]:
    """Turn a short text that comes up again and again, such as a header, into token ids."""
    return tuple(_encode_text(text))


@cache
def token_bytes() -> tuple[bytes, ...]:
    """Return the bytes of every ordinary token, by id.

    Raises:
        ConfigurationError: the vocabulary file of this installation is missing, or is not the
            published one.
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


class _Spellings(dict[int, bytes]):
    """The bytes of every id; those of U+FFFD for an id that stands for no text."""

    def __missing__(self, token_id: int) -> bytes:
        return _REPLACEMENT


@cache
def _spelling() -> _Spellings:
    spellings = _Spellings(enumerate(token_bytes()))
    for text, token_id in CONTROL_TOKENS.items():
        spellings[token_id] = text.encode()

    return spellings


@cache
def _tiktoken() -> Encoding:
    try:
        from tiktoken import Encoding
    except ImportError as error:
        raise MissingExtraError(
            "Harmony needs tiktoken to turn text into token ids. "
            'Install it with: pip install ".[harmony]" in a clone of synth_ai'
        ) from error

    ranks = {token: rank for rank, token in enumerate(token_bytes())}
    # Control tokens are left out on purpose: what is not there cannot be made from text.
    return Encoding(
        "o200k_harmony_text", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )


def _encode_text(text: str) -> list[int]:
    cached = _cache.get(text)
    if cached is not None:
        return cached.tolist()
    if len(text) >= _LONG:
        return _encode_long(text)

    ids: list[int] = _tiktoken().encode_ordinary(text)
    if len(text) <= _CACHED_LENGTH:
        _add_to_cache(text, ids)
    return ids


def _add_to_cache(text: str, ids: list[int]) -> None:
    """Add the ids of a text, in place of the oldest if the cache is full."""
    with _cache_lock:
        if len(_cache) >= _CACHE_SIZE:
            del _cache[next(iter(_cache))]
        _cache[text] = array("I", ids)


def _encode_long(text: str) -> list[int]:
    """Encode a text in which there may be a very long run of blanks.

    The look-ahead of the pattern overflows tiktoken's stack on about a million blanks in a row. The
    pattern makes such a run one piece, all of it at the end of the text and all but the last blank
    elsewhere, so it can be encoded apart with the same result. (A run with a line break after it
    matches without look-ahead.)
    """
    encoding = _tiktoken()
    ids: list[int] = []
    position = 0
    for run in _LONG_BLANK.finditer(text):
        is_last = run.end() == len(text)
        end = run.end() if is_last else run.end() - 1

        ids += encoding.encode_ordinary(text[position : run.start()])
        ids += encoding._encode_single_piece(text[run.start() : end])
        position = end

    ids += encoding.encode_ordinary(text[position:])
    return ids
