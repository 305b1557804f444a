"""The tiny gpt-oss: a complete folder, tiktoken's ids, and a build that is safe to repeat."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tiny_gpt_oss import build as tiny

pytestmark = pytest.mark.vllm  # torch and tokenizers come with vLLM

TEXTS = [
    "Hello, world! It's 12345 o'clock.",
    "  spaces\n\n\ttabs\r\n",
    "naïve café ÆØÅ 漢字 テスト 🙂👩‍👩‍👧",
    "def f(x):\n    return x**2 // 3\n",
    "I'LL DON'T McDonald's ßtraße ſ",
    '{"a":[1,2,3]}',
    "العربية हिन्दी ไทย",
    "<|start|>assistant<|channel|>final<|message|>x<|end|>",
    "<|endofprompt|><|return|><|call|><|constrain|>",
    "=" * 500,
    Path(__file__).read_text(),
    Path(json.__file__).read_text(),
]


def random_texts(seed: int, count: int) -> list[str]:
    """Short strings from alphabets that byte-pair encoders get wrong.

    Latin, all of the first plane, emoji.
    """
    draw = random.Random(seed)
    alphabets = [(0x20, 0x7F), (0, 0x250), (0, 0x3000), (0x900, 0xE00), (0x1F000, 0x1FA00)]
    return [
        "".join(chr(draw.randint(*alphabet)) for _ in range(draw.randint(1, 40)))
        for alphabet in alphabets
        for _ in range(count)
    ]


def test_the_tokenizer_gives_the_ids_of_tiktoken(tiny_model: Path) -> None:
    """A prompt tokenized by a server and one rendered here must be the same ids."""
    tiktoken = pytest.importorskip("tiktoken")
    tokenizers = pytest.importorskip("tokenizers")
    ours = tokenizers.Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    control = {token: token_id for token_id, token in tiny.CONTROL_TOKENS.items()}
    theirs = tiktoken.Encoding(
        "o200k_harmony",
        pat_str=tiny.PIECES,
        mergeable_ranks=tiny._read_ranks(),
        special_tokens=control,
    )

    texts = TEXTS + random_texts(seed=7, count=200)

    wrong = [
        text
        for text in texts
        if ours.encode(text, add_special_tokens=False).ids
        != theirs.encode(text, allowed_special="all")
    ]
    assert wrong == []
    assert ours.get_vocab_size() == tiny.TOKENIZER_IDS
    assert [
        ours.decode(ours.encode(text).ids, skip_special_tokens=False) for text in TEXTS
    ] == TEXTS


def test_transformers_loads_the_folder(tiny_model: Path) -> None:
    """The folder is a whole Hugging Face model folder.

    It has a config, a tokenizer with its template, and weights that fit.
    """
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    text = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi"}],
        tokenize=False,
        add_generation_prompt=True,
        reasoning_effort="low",
    )
    assert text.startswith("<|start|>system<|message|>You are ChatGPT")
    assert "Reasoning: low" in text
    assert text.endswith(
        "<|start|>developer<|message|># Instructions\n\nBe terse.<|end|>"
        "<|start|>user<|message|>Hi<|end|><|start|>assistant"
    )

    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_model, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert model.config.vocab_size == tiny.ROWS


def test_building_again_leaves_the_folder_alone(tiny_model: Path) -> None:
    """A second run must cost nothing, and must not pull files from under a running engine."""
    before = (tiny_model / "model.safetensors").stat()
    assert tiny.build(tiny_model) == tiny_model
    after = (tiny_model / "model.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_outdated_folder_is_replaced_and_a_foreign_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a folder that the builder made may be thrown away, and no scratch folder may stay."""
    monkeypatch.setattr(
        tiny, "write_weights", lambda folder: (folder / "model.safetensors").write_text("new")
    )
    monkeypatch.setattr(tiny, "write_tokenizer", lambda folder: None)
    outdated = tmp_path / "outdated"
    outdated.mkdir()
    (outdated / tiny.STAMP).write_text("another digest")
    assert (tiny.build(outdated) / "model.safetensors").read_text() == "new"

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="foreign"):
        tiny.build(foreign)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "outdated"]
