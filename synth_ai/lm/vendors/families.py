"""Which API a model is spoken to over, decided by what was given and by the model's family.

`api` decides when it is given. Otherwise the model's name is looked up in `FAMILIES`, a table of patterns with a
reason each rather than a list of names, so that tomorrow's models find their way too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from synth_ai.errors import RoutingError, did_you_mean

ApiType = Literal["chat", "responses", "harmony"]
VendorName = Literal["openai", "synth", "vllm"]

APIS: tuple[str, ...] = get_args(ApiType)
VENDORS: tuple[str, ...] = get_args(VendorName)


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share an API, and why."""

    pattern: re.Pattern[str]
    api: ApiType
    reason: str


FAMILIES: tuple[Family, ...] = (
    Family(
        re.compile(r"(openai/)?gpt-oss(-.+)?"),
        "harmony",
        "gpt-oss has open weights and speaks Harmony, which is rendered and parsed here",
    ),
    Family(
        re.compile(r"gpt-audio.*|.+-audio(-.+)?"),
        "chat",
        "audio in and out exists on Chat Completions alone",
    ),
    Family(
        re.compile(r".+-search-preview(-.+)?"),
        "chat",
        "the search-preview models exist on Chat Completions alone; on Responses, search is a tool",
    ),
    Family(
        re.compile(r"[^/]+"),
        "responses",
        "OpenAI's text models, old and new, are all served on Responses",
    ),
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model's calls go.

    Attributes:
        api: the API to speak.
        vendor: whose address and key to use; `vllm` is a vLLM server or vLLM in this process.
        reason: why, in a few words, for errors and for `repr`.
    """

    api: ApiType
    vendor: VendorName
    reason: str


def choose(
    model: str,
    *,
    api: str = "auto",
    vendor: str | None = None,
    base_url: str | None = None,
    use_responses_api: bool | None = None,
) -> Route:
    """The route for `model`.

    Args:
        model: a model's name, or a folder on disk.
        api: `auto`, or the API to use whatever the name says.
        vendor: `openai`, `synth` or `vllm`; None lets the name decide.
        base_url: the address of a server, as an argument (an address from the environment belongs to its vendor).
        use_responses_api: choose between chat and Responses where the name allows both.

    Raises:
        RoutingError: a value is unknown, or nothing can serve this name as given.
    """
    if not model or not isinstance(model, str):
        raise RoutingError(
            f"model is {model!r}; it takes the name of a model or the path of a model folder."
        )
    if api != "auto" and api not in APIS:
        raise RoutingError(
            f"api is {api!r}; it takes auto, {', '.join(APIS)}.{did_you_mean(str(api), APIS)}"
        )
    if vendor is not None and vendor not in VENDORS:
        raise RoutingError(
            f"vendor is {vendor!r}; it takes {', '.join(VENDORS)} or a VendorBase object."
            f"{did_you_mean(str(vendor), VENDORS)}"
        )
    if api == "harmony":
        return Route("harmony", "vllm", "api='harmony' was given")
    asked: ApiType | None = None
    if api != "auto":
        asked = "chat" if api == "chat" else "responses"
    elif use_responses_api is not None:
        asked = "responses" if use_responses_api else "chat"

    if vendor == "synth":
        return Route(asked or "responses", "synth", "vendor='synth' was given")
    if base_url is not None:
        kind: VendorName = "vllm" if vendor == "vllm" else "openai"
        return Route(
            asked or "chat",
            kind,
            "a base_url was given, and every compatible server speaks Chat Completions",
        )
    if vendor == "openai":
        return _hosted(model, asked)
    if api == "auto" and (reason := harmony_reason(model)):
        return Route("harmony", "vllm", reason)
    if vendor == "vllm":
        raise RoutingError(
            f"vendor='vllm' with {model!r} needs base_url=, the address of the vLLM server "
            "(vllm serve listens on http://localhost:8000/v1). In this process, vLLM runs gpt-oss models alone."
        )
    return _by_name(model, asked)


def harmony_reason(model: str) -> str | None:
    """Why `model` speaks Harmony: by its name, or by the config in its folder. None when it does not."""
    family = family_of(model)
    if family is not None and family.api == "harmony":
        return family.reason
    folder = Path(model).expanduser()
    if folder.is_dir() and _is_gpt_oss_folder(folder):
        return f"the config in {model} says gpt_oss"
    return None


def family_of(model: str) -> Family | None:
    """The family of a model's name; a fine-tune (`ft:base:...`) belongs to its base's. None for a path."""
    base = model.split(":")[1] if model.startswith("ft:") and model.count(":") >= 1 else model
    return next((family for family in FAMILIES if family.pattern.fullmatch(base)), None)


def _hosted(model: str, asked: ApiType | None) -> Route:
    family = family_of(model)
    if asked is not None:
        return Route(asked, "openai", "it was asked for")
    if family is None or family.api == "harmony":
        return Route("responses", "openai", "vendor='openai' was given")
    return Route(family.api, "openai", family.reason)


def _by_name(model: str, asked: ApiType | None) -> Route:
    if _looks_like_path(model):
        _refuse_folder(model)
    if "/" in model:
        raise RoutingError(
            f"{model!r} names a model on a hub, and nothing here serves it. Give base_url= for a server that has it "
            "(vllm serve, Ollama, LM Studio, ...), the path of a gpt-oss folder on this disk, "
            "or one of gpt-oss-20b and gpt-oss-120b, which run in this process."
        )
    return _hosted(model, asked)


def _looks_like_path(model: str) -> bool:
    return (
        model.startswith((".", "/", "~"))
        or "\\" in model
        or model.count("/") > 1
        or _is_model_folder(Path(model))
    )


def _is_model_folder(folder: Path) -> bool:
    """Whether a bare name is a folder with a model: one of results may well be called after a hosted model."""
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def _refuse_folder(model: str) -> None:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise RoutingError(
            f"There is no model folder at {model!r}. Check the path, or give the name of a model."
        )
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
    raise RoutingError(
        f"The folder {model!r} is no gpt-oss model: its config.json (or adapter_config.json, for a LoRA) must say so; "
        f"it holds {found}. Only gpt-oss runs in this process; serve other models with `vllm serve` and give base_url=."
    )


def _is_gpt_oss_folder(folder: Path) -> bool:
    config = _read_json(folder / "config.json")
    if config.get("model_type") == "gpt_oss":
        return True
    base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return False
    if re.fullmatch(r"(.*/)?gpt-oss-[^/]+", base):
        return True
    target = Path(base).expanduser()
    return target.is_dir() and _read_json(target / "config.json").get("model_type") == "gpt_oss"


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
