"""Text to ids and back, for any text and at any length."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth_ai.errors import ConfigurationError
from synth_ai.harmony import CONTROL_TOKENS, STOP_TOKEN_IDS, VOCABULARY_SIZE, decode, encode, tokens


@given(st.text())
def test_round_trip(text: str) -> None:
    """Text comes back as it was, and holds no control token whatever it spells."""
    ids = encode(text)
    assert decode(ids) == text
    assert all(token < tokens.ORDINARY_SIZE for token in ids)


def test_control_tokens() -> None:
    """Control tokens are made only on request, one id each, and are spelled out again."""
    for spelling, token in CONTROL_TOKENS.items():
        assert encode(f"a{spelling}b", control_tokens=True) == [*encode("a"), token, *encode("b")]
        assert token not in encode(f"a{spelling}b")
        assert decode([token]) == spelling
    assert sorted(CONTROL_TOKENS.values()) == list(range(tokens.ORDINARY_SIZE, VOCABULARY_SIZE))
    assert [decode([token]) for token in STOP_TOKEN_IDS] == [
        "<|return|>",
        "<|call|>",
        "<|endoftext|>",
    ]


def test_unknown_names_are_text() -> None:
    """What looks like a control token and is none stays text."""
    assert decode(encode("<|im_start|>", control_tokens=True)) == "<|im_start|>"
    assert encode("<|im_start|>", control_tokens=True) == encode("<|im_start|>")


def test_ids_without_text() -> None:
    """Ids outside the vocabulary and half characters decode to the replacement character."""
    assert decode([VOCABULARY_SIZE + 5, -1]) == "\ufffd\ufffd"
    assert decode(encode("\N{MELTING FACE}")[:1]) == "\ufffd"


def test_half_of_a_surrogate_pair() -> None:
    """A string that cannot be UTF-8 is encoded all the same."""
    assert decode(encode("a\ud83db")) == "a\ufffdb"


RUNS = {
    "letters": "a",
    "capitals": "A",
    "accents": "é",
    "digits": "7",
    "punctuation": "!",
    "symbols": "=",
    "slashes": "/",
    "spaces": " ",
    "tabs": "\t",
    "no-break spaces": "\u00a0",
    "blanks": " \t\u3000",
    "line breaks": "\n",
    "returns": "\r\n",
    "lines of blanks": " \n",
    "nulls": "\0",
    "Chinese": "中",
    "Arabic": "ع",
    "emoji": "😀",
    "families": "👩‍👩‍👧",
    "marks": "\u0301",
    "marked letters": "a\u0301",
    "modifier letters": "ʰ",
    "mixed case": "aA",
    "apostrophes": "'s",
    "zero width": "\u200b",
    "control tokens": "<|start|>",
    "words": "hello world ",
    "mixture": "aA1 !中😀\n",
}


@pytest.mark.parametrize("unit", RUNS.values(), ids=list(RUNS))
def test_a_million_characters(unit: str) -> None:
    """No class of characters, however long its run, is slow or breaks the encoder."""
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    encode("warm")
    begin = time.process_time()
    ids = encode(text)
    assert time.process_time() - begin < 2
    assert decode(ids) == text


@pytest.mark.parametrize("after", ["", "x", "!", "7", "\n", "\u0301", " \n"])
@pytest.mark.parametrize("before", ["", "x", "!\n"])
@pytest.mark.parametrize("blank", [" ", "\t\u3000"])
def test_long_blanks_are_split_without_a_trace(before: str, blank: str, after: str) -> None:
    """A run of blanks that is encoded apart gives the ids that it has in one piece."""
    text = before + blank * 120_000 + after
    assert encode(text) == tokens._tiktoken().encode_ordinary(text)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vocabulary comes with the package: nothing is looked up, whatever tiktoken would do."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    tokens._tiktoken.cache_clear()
    tokens.token_bytes.cache_clear()
    assert encode("hello world") == [24912, 2375]


def test_damaged_vocabulary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    """A vocabulary that is not the published one is refused rather than used."""
    damaged = tmp_path / "o200k_base.tiktoken"  # type: ignore[operator]
    damaged.write_bytes(b"IQ== 0\n")
    for path in (damaged, damaged.with_name("nowhere")):
        monkeypatch.setattr(tokens, "_FILE", path)
        tokens.token_bytes.cache_clear()
        with pytest.raises(ConfigurationError, match="Reinstall"):
            tokens.token_bytes()
    monkeypatch.undo()
    tokens.token_bytes.cache_clear()


WITHOUT_TIKTOKEN = """
import sys
sys.modules["tiktoken"] = None
from synth_ai import harmony
from synth_ai.errors import MissingExtraError
assert harmony.decode([24912, 2375]) == "hello world"
assert harmony.parse([200005, 17196, 200008, 24912, 200002]).final == "hello"
try:
    harmony.render([{"role": "user", "content": "hi"}])
except MissingExtraError as error:
    assert 'pip install ".[harmony]" in a clone of synth_ai' in str(error), error
else:
    raise AssertionError("rendered without tiktoken")
"""
LIGHT = """
import sys
import synth_ai.harmony
optional = {"tiktoken", "openai_harmony", "openai", "pydantic", "torch", "vllm", "numpy", "regex"}
heavy = optional & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("program", [WITHOUT_TIKTOKEN, LIGHT], ids=["without tiktoken", "import"])
def test_imports(program: str) -> None:
    """Importing is light, reading needs no tiktoken, and encoding says what it needs."""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
