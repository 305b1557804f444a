"""Build the tiny gpt-oss into a folder that vLLM and transformers load: `python build.py OUT`.

The repository keeps the trained numbers alone (1.6 MB). The full model is 104 MB, because gpt-oss
has 201,088 embedding rows, and its tokenizer 12 MB, because Hugging Face spells out what tiktoken
derives; both follow from what is here in a few seconds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "model.compact.safetensors"
CONFIGS = (HERE / "config.json", HERE / "generation_config.json")
TEMPLATE = HERE / "chat_template.jinja"
RANKS = Path(str(files("synth_ai") / "harmony" / "vocabulary" / "o200k_base.tiktoken"))
STAMP = "built_from.sha256"

ROWS = 201_088  # rows of the embedding and of the head, as in the published gpt-oss
CODE = 18  # bits that spell an id, since 2**18 > ROWS

FIRST_CONTROL_ID = 199_998
CONTROL_TOKENS = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
    200_018: "<|endofprompt|>",
}
TOKENIZER_IDS = 200_019  # ordinary ids and control ids; the rows above them mean nothing

# How o200k_base cuts text into pieces before any merge: the pattern published with tiktoken
# (openai_public.py).
PIECES = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def build(out: Path) -> Path:
    """Make the model folder `out`, or leave it as it is when it was built from these very files.

    The folder appears whole or not at all, so several processes may build it at the same time.

    Raises:
        FileExistsError: `out` holds something that this function did not make.
    """
    out = Path(out).resolve()
    stamp = _stamp()
    if _is_built(out, stamp):
        return out
    if out.exists() and not (out / STAMP).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"{out} exists and is not a tiny gpt-oss; name another folder, or remove it."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch, "fresh")
        fresh.mkdir()
        write_weights(fresh)
        write_tokenizer(fresh)
        (fresh / STAMP).write_text(stamp)
        _put(fresh, out, stamp, aside=Path(scratch, "old"))
    return out


def write_weights(folder: Path) -> None:
    """Expand the compact weights into `folder`, in the layout of `GptOssForCausalLM`.

    Every embedding row spells its own id in bits of +1 and -1, so that attention can copy any
    token, trained or not.
    """
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(WEIGHTS)
    used = tensors.pop("used").long()  # the ids with a trained row
    trained_embedding = tensors.pop(
        "emb"
    )  # one row per used id, then the row that all other ids share
    trained_head = tensors.pop("head")  # one row per used id; all other ids have zeros
    copied_as = tensors.pop(
        "out_id"
    ).long()  # the id whose bits a used id answers to when it is copied

    bits = (
        ((torch.arange(ROWS)[:, None] >> torch.arange(CODE)) & 1)
        .mul(2)
        .sub(1)
        .to(trained_head.dtype)
    )
    row_of = torch.full((ROWS,), len(used))
    row_of[used] = torch.arange(len(used))
    working_space = torch.zeros(ROWS, 3 * CODE, dtype=bits.dtype)
    tensors["model.embed_tokens.weight"] = torch.cat(
        [bits, working_space, trained_embedding[row_of]], dim=1
    )

    head = torch.zeros(ROWS, trained_head.shape[1], dtype=bits.dtype)
    head[used] = trained_head
    head[:, CODE : 2 * CODE] = bits
    head[used, CODE : 2 * CODE] = bits[copied_as]
    head[TOKENIZER_IDS:] = 0
    tensors["lm_head.weight"] = head

    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for config in CONFIGS:
        shutil.copyfile(config, folder / config.name)


def write_tokenizer(folder: Path) -> None:
    """Write a Hugging Face tokenizer with the ids of tiktoken and of Harmony's control tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    ranks = _read_ranks()
    letters = _byte_letters()

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    vocabulary = {spell(token): rank for token, rank in ranks.items()}
    merges = [tuple(map(spell, _last_merge(token, ranks))) for token in ranks if len(token) > 1]
    # A piece that is a token as it stands is taken whole, as tiktoken does.
    tokenizer = Tokenizer(BPE(vocabulary, merges, fuse_unk=False, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(
                CONTROL_TOKENS.get(token_id, f"<|reserved_{token_id}|>"),
                normalized=False,
                special=True,
            )
            for token_id in range(FIRST_CONTROL_ID, TOKENIZER_IDS)
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG, indent=2))
    shutil.copyfile(TEMPLATE, folder / TEMPLATE.name)


_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|startoftext|>",
    "eos_token": "<|return|>",
    "pad_token": "<|endoftext|>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131_072,
    "model_input_names": ["input_ids", "attention_mask"],
}


def _read_ranks() -> dict[bytes, int]:
    """The byte-pair ranks: token to id, in the order of the ids."""
    pairs = (line.split() for line in RANKS.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that byte-pair encoding joins last when it makes `token`.

    These are the only merges that the encoding ever does: wherever two neighbours make up a token,
    the bytes of that token were merged in the same order as they are here.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(parts[i] + parts[i + 1], ROWS), i) for i in range(len(parts) - 1)]
        _, first = min(pairs)
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts[0], parts[1]


def _byte_letters() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE files.

    It is GPT-2's `bytes_to_unicode`.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    letter = {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + n) for n, byte in enumerate(others)
    }
    return [letter[byte] for byte in range(256)]


def _stamp() -> str:
    """A digest of all that the built folder depends on."""
    digest = hashlib.sha256()
    for source in (Path(__file__), WEIGHTS, *CONFIGS, TEMPLATE, RANKS):
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def _is_built(folder: Path, stamp: str) -> bool:
    try:
        return (folder / STAMP).read_text() == stamp
    except OSError:
        return False


def _put(fresh: Path, out: Path, stamp: str, *, aside: Path) -> None:
    """Move `fresh` to `out`; whoever finished the same build a moment earlier wins."""
    try:
        if out.exists():
            os.rename(out, aside)
        os.rename(fresh, out)
    except OSError:
        if not _is_built(out, stamp):
            raise


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python build.py OUT")
    sys.stdout.write(f"{build(Path(sys.argv[1]))}\n")
