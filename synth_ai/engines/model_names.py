"""From the model a user names to what an engine loads: a Hugging Face name, or a folder that was checked."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth_ai.errors import OptionError

_SHORT_NAMES = {"gpt-oss-20b": "openai/gpt-oss-20b", "gpt-oss-120b": "openai/gpt-oss-120b"}

#: The models that OpenAI published, by their names on the hub.
PUBLISHED = frozenset(_SHORT_NAMES.values())

_HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What to load.

    Attributes:
        model: a name on the hub, or a folder.
        adapter: the folder of a LoRA adapter to run on top of it.
        rank: the adapter's rank.
    """

    model: str
    adapter: str | None = None
    rank: int = 0


def locate_model(model: str | os.PathLike[str]) -> ModelSource:
    """What to load for what a user names.

    Args:
        model: as for `resolve_model`, or the folder of a LoRA adapter, which names its base model.

    Raises:
        OptionError: the folder does not exist, or holds neither a gpt-oss model nor an adapter.
    """
    folder = Path(model).expanduser()
    path = folder / "adapter_config.json"
    if not path.is_file():
        return ModelSource(resolve_model(model))
    config = _read(path)
    base, rank = config.get("base_model_name_or_path"), config.get("r")
    if not isinstance(base, str) or not isinstance(rank, int):
        raise OptionError(
            f"{path} does not name its base model and rank (base_model_name_or_path, r)."
        )
    return ModelSource(resolve_model(base), str(folder), rank)


def resolve_model(model: str | os.PathLike[str]) -> str:
    """The name or folder to load.

    Args:
        model: `gpt-oss-20b`, `gpt-oss-120b`, a Hugging Face name (`org/name`), or a folder with a gpt-oss model.

    Raises:
        OptionError: the folder does not exist, or holds no gpt-oss model.
    """
    name = os.fspath(model)
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder)
    if not _HUB_NAME.fullmatch(name):
        raise OptionError(
            f"The model folder {name!r} does not exist. Give a folder with config.json and weights, "
            "or a name such as 'gpt-oss-20b' or 'openai/gpt-oss-120b'."
        )
    return full_name(name)


def full_name(model: str) -> str:
    """The name on the hub of a published model that goes by a short one; other names as they are."""
    return _SHORT_NAMES.get(model, model)


def has_tokenizer(model: str) -> bool:
    """Whether `model`, as `resolve_model` gives it, comes with a tokenizer; names on the hub are taken to."""
    folder = Path(model)
    return (folder / "tokenizer.json").is_file() if folder.is_dir() else True


def weights_gib(model: str) -> float:
    """The size of the weights in a model folder, in GiB; 0 for a name on the hub and a folder without weights."""
    folder = Path(model)
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    return sum(file.stat().st_size for file in files) / 2**30


def _check_folder(folder: Path) -> None:
    config = read_config(folder)
    model_type = config.get("model_type")
    if model_type != "gpt_oss":
        raise OptionError(
            f"{folder / 'config.json'} says model_type {model_type!r}; only 'gpt_oss' can run here."
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder.

    Raises:
        OptionError: it is missing or not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise OptionError(
            f"The model folder {str(folder)!r} has no config.json, so it holds no model to load."
        )
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OptionError(f"{path} is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise OptionError(f"{path} is not a JSON object.")
    return config
