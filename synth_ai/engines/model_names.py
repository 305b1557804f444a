"""From the model that a user names to what an engine loads: a name on the hub, or a folder.

A folder is checked here, so that a wrong one is refused before anything heavy is imported.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from synth_ai.errors import OptionError

_SHORT_NAMES = {"gpt-oss-20b": "openai/gpt-oss-20b", "gpt-oss-120b": "openai/gpt-oss-120b"}

#: The models that OpenAI published, by their names on the hub.
PUBLISHED = frozenset(_SHORT_NAMES.values())

# A name on the Hugging Face hub, with or without an organization:
#   openai/gpt-oss-20b      -> match
#   my_model.v2             -> match
#   ./models/tiny, /models  -> no match: a folder
#   a/b/c, -x, ""           -> no match
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
    """Find out what to load for the model that a user names.

    Args:
        model: as for `resolve_model`, or the folder of a LoRA adapter, which names its base model.

    Raises:
        OptionError: the folder does not exist, or holds neither a gpt-oss model nor an adapter.
    """
    folder = Path(model).expanduser()
    adapter_path = folder / "adapter_config.json"
    if not adapter_path.is_file():
        return ModelSource(resolve_model(model))

    config = _read_object(adapter_path)
    base_model = config.get("base_model_name_or_path")
    rank = config.get("r")
    if not isinstance(base_model, str) or not isinstance(rank, int):
        raise OptionError(
            f"{adapter_path} does not name its base model and rank (base_model_name_or_path, r)."
        )
    return ModelSource(resolve_model(base_model), str(folder), rank)


def resolve_model(model: str | os.PathLike[str]) -> str:
    """Return the name or folder to load.

    Args:
        model: `gpt-oss-20b`, `gpt-oss-120b`, a Hugging Face name (`org/name`), or a folder with a
            gpt-oss model.

    Raises:
        OptionError: the folder does not exist, or does not hold a gpt-oss model.
    """
    name = os.fspath(model)

    # A folder wins over a name on the hub that is spelled the same.
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder)

    if not _HUB_NAME.fullmatch(name):
        raise OptionError(
            f"The model folder {name!r} does not exist. Give a folder with config.json and "
            "weights, or a name such as 'gpt-oss-20b' or 'openai/gpt-oss-120b'."
        )
    return full_name(name)


def check_gpt_oss(model: str) -> None:
    """Refuse the name of a model that is plainly another one, such as `gpt-4o`.

    A folder has been looked into, and a name of somebody else's on the hub may be of a fine-tune.

    Args:
        model: as `resolve_model` gives it.

    Raises:
        OptionError: naming what there is.
    """
    if Path(model).is_dir():
        return

    organization, _, name = model.rpartition("/")
    publishers = {published.partition("/")[0] for published in PUBLISHED}
    is_fine_tune = organization != "" and organization not in publishers
    if is_fine_tune or "gpt-oss" in name.lower():
        return

    raise OptionError(
        f"{model!r} must be a gpt-oss model: these settings are for no other. Give 'gpt-oss-20b', "
        "'gpt-oss-120b', the full name of a fine-tune on the hub, or a model folder."
    )


def full_name(model: str) -> str:
    """Return the name on the hub of a published model that goes by a short one; others as is."""
    return _SHORT_NAMES.get(model, model)


def canonical_name(model: str | os.PathLike[str]) -> str:
    """Return one spelling for all the ways to name a model: `gpt-oss-20b` -> `openai/gpt-oss-20b`.

    Nothing is checked, so the name may be of any model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder)
    return full_name(os.fspath(model))


def has_tokenizer(model: str) -> bool:
    """Whether `model`, as `resolve_model` gives it, comes with a tokenizer.

    Models on the hub are assumed to.
    """
    folder = Path(model)
    if not folder.is_dir():
        return True
    return (folder / "tokenizer.json").is_file()


def weights_gib(model: str) -> float:
    """Return the size on disk of the weights in a model folder, in GiB.

    It is 0 for a name on the hub, and for a folder without weights.
    """
    folder = Path(model)
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    return sum(file.stat().st_size for file in files) / 2**30


def _check_folder(folder: Path) -> None:
    """Refuse a folder that does not hold a gpt-oss model."""
    path = folder / "config.json"
    if not path.is_file():
        raise OptionError(
            f"The model folder {str(folder)!r} has no config.json, so it holds no model to load."
        )

    model_type = _read_object(path).get("model_type")
    if model_type != "gpt_oss":
        raise OptionError(f"{path} says model_type {model_type!r}; only 'gpt_oss' can run here.")


def _read_object(path: Path) -> dict[str, object]:
    """Read a file that holds a JSON object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OptionError(f"{path} is not JSON: {error}.") from error

    if not isinstance(data, dict):
        raise OptionError(f"{path} is not a JSON object.")
    return data
