"""A tokenizer for vLLM's grammar engine, whose control tokens no text can spell.

xgrammar knows a token by its text alone, and `<|end|>` is good text for a JSON string. So it would
let the model end its message inside one. Here the control tokens begin with two characters instead
that no place for text takes one behind the other:

- U+0001 is in a tag's markers and, of the ordinary tokens, in two, which are respelled below.
- A line break (`\\r`) is in no string: neither plain ones, nor those of a length or a pattern.

Only the engine's grammars see this tokenizer, as ids go in and come out.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

MARKER_PREFIX = "\x01\r"
"""What stands in front of the name of a control token."""

# The control tokens that stand in a tag, and the stop tokens. All others get names that no tag has.
_NAMES = {
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
}
_RETURN = 200_002

# The ids from here on get no text at all, and what has none is never allowed.
_CONTROL_IDS = range(199_998, 200_019)

# Ordinary tokens with U+0001 in them begin with this: at the start of a marker the model could
# write the marker in plain characters otherwise. No string takes it, so nor does the answer.
_RESPELLED = b"\r"


def write_grammar_tokenizer(folder: Path) -> None:
    """Write the tokenizer into a folder, as Hugging Face's libraries load it; takes a second."""
    specials = [
        {
            "id": id_,
            "content": _spell(id_),
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for id_ in _CONTROL_IDS
    ]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    tokenizer = {
        "version": "1.0",
        "added_tokens": specials,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        # Without merges it encodes no text properly, and nobody asks it to.
        "model": {"type": "BPE", "vocab": _spell_ordinary_tokens(), "merges": []},
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _spell(_RETURN),
        "clean_up_tokenization_spaces": False,
    }

    _write(folder / "tokenizer.json", tokenizer)
    _write(folder / "tokenizer_config.json", config)
    # As published. Without these two transformers warns that the tokenizer may be another model's.
    model_config = {"model_type": "gpt_oss", "transformers_version": "4.55.0"}
    _write(folder / "config.json", model_config)


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _spell(control_id: int) -> str:
    name = _NAMES.get(control_id, f"<|reserved_{control_id}|>")
    return MARKER_PREFIX + name


def _spell_ordinary_tokens() -> dict[str, int]:
    """Spell the ordinary tokens as byte-level files do, a character for each byte."""
    letters = _byte_letters()
    vocabulary = {}
    for id_, token in enumerate(_read_ordinary_tokens()):
        if b"\x01" in token:
            token = _RESPELLED + token
        vocabulary[token.decode("latin-1").translate(letters)] = id_
    return vocabulary


def _read_ordinary_tokens() -> Iterator[bytes]:
    # Each line is a token in base64 and its rank, in the order of the ranks.
    vocabulary = files("synth_ai") / "harmony" / "vocabulary" / "o200k_base.tiktoken"
    return map(a2b_base64, vocabulary.read_bytes().split()[::2])


def _byte_letters() -> dict[int, str]:
    """Map each byte to its character in byte-level files, as GPT-2's `bytes_to_unicode` does."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters = {byte: chr(byte) for byte in printable}

    others = [byte for byte in range(256) if byte not in printable]
    for number, byte in enumerate(others):
        letters[byte] = chr(256 + number)
    return letters
