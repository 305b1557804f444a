"""Families of models: which API each is served on, and why.

The table has patterns with a reason rather than names, so that tomorrow's models find their way.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from synth_ai.api import API
from synth_ai.lm.vendors.apis import CHAT, HARMONY, RESPONSES


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share an API, and why."""

    pattern: re.Pattern[str]
    api: API
    reason: str


# The first pattern that fits the whole name decides. A path fits none of them.
FAMILIES: tuple[Family, ...] = (
    # gpt-oss-20b, gpt-oss-120b, openai/gpt-oss-20b
    Family(
        re.compile(r"(openai/)?gpt-oss(-.+)?"),
        HARMONY,
        "gpt-oss has open weights and speaks Harmony, which is rendered and parsed here",
    ),
    # gpt-audio, gpt-4o-audio-preview, gpt-4o-audio-preview-2025-06-03
    Family(
        re.compile(r"gpt-audio.*|.+-audio(-.+)?"),
        CHAT,
        "audio in and out exists on Chat Completions alone",
    ),
    # gpt-4o-search-preview, gpt-4o-mini-search-preview-2025-03-11
    Family(
        re.compile(r".+-search-preview(-.+)?"),
        CHAT,
        "the search-preview models exist on Chat Completions alone; on Responses, search is a tool",
    ),
    # gpt-5.5, o1-mini, tomorrow's names
    Family(
        re.compile(r"[^/]+"),
        RESPONSES,
        "OpenAI's text models, old and new, are all served on Responses",
    ),
)


#: OpenAI's models that do not reason. They refuse what only reasoning has, such as
#: `include=["reasoning.encrypted_content"]`; of names that nobody knows yet, all may reason.
_WITHOUT_REASONING = re.compile(
    # gpt-3.5-turbo, gpt-4, gpt-4-turbo, gpt-4o, gpt-4o-mini-2024-07-18, gpt-4.1-nano
    r"gpt-3\.5.*|gpt-4([-.o].*)?|chatgpt-4o.*"
    # gpt-5-chat-latest alone of its generation
    r"|gpt-5-chat(-.+)?"
    r"|davinci.*|babbage.*"
)


@dataclass(frozen=True, slots=True)
class Maker:
    """Somebody else than OpenAI whose models people ask for by their names.

    Attributes:
        pattern: the names.
        name: who makes them.
        base_url: where they speak Chat Completions; None for open weights, which anybody serves.
    """

    pattern: re.Pattern[str]
    name: str
    base_url: str | None = None


#: OpenAI serves none of these, whatever comes.
OTHER_MAKERS: tuple[Maker, ...] = (
    # claude-opus-4-5
    Maker(re.compile(r"claude-.+"), "Anthropic", "https://api.anthropic.com/v1"),
    # gemini-3-pro
    Maker(
        re.compile(r"gemini-.+"),
        "Google",
        "https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    # grok-4
    Maker(re.compile(r"grok-.+"), "xAI", "https://api.x.ai/v1"),
    # mistral-large-latest, codestral-latest
    Maker(
        re.compile(r"(mistral|magistral|codestral|ministral)-.+"),
        "Mistral",
        "https://api.mistral.ai/v1",
    ),
    # deepseek-chat
    Maker(re.compile(r"deepseek-.+"), "DeepSeek", "https://api.deepseek.com"),
    # llama3.2, qwen3-8b, gemma-3-27b-it
    Maker(re.compile(r"(llama|qwen|gemma|phi|mixtral)-?\d.*"), "others"),
)


def find_other_maker(model: str) -> Maker | None:
    """Return who makes a model, if it is known not to be OpenAI; None for any other name."""
    for maker in OTHER_MAKERS:
        if maker.pattern.fullmatch(model.lower()):
            return maker
    return None


def reasons(model: str) -> bool:
    """Tell whether a model may reason, by its name.

    ::

        gpt-4o-mini, openai/gpt-4.1, ft:gpt-4o-mini:my-team::8abc  ->  no
        gpt-5.5, o4-mini, anything else                            ->  yes
    """
    name = _base_of(model).rpartition("/")[2]
    return _WITHOUT_REASONING.fullmatch(name) is None


def _base_of(model: str) -> str:
    """Return the model that a fine-tune is made from; the name itself for any other."""
    if model.startswith("ft:"):
        return model.split(":")[1]
    return model


def family_of(model: str) -> Family | None:
    """Return the family of a model's name; None for a path.

    A fine-tune belongs to the family of its base::

        ft:gpt-4o-mini:my-team::8abc  ->  gpt-4o-mini
    """
    name = _base_of(model)
    for family in FAMILIES:
        if family.pattern.fullmatch(name):
            return family
    return None


def is_gpt_oss(model: str) -> bool:
    """Tell whether a model speaks Harmony: by its name, or by the config in its folder."""
    family = family_of(model)
    if family is not None and family.api is HARMONY:
        return True

    directory = Path(model).expanduser()
    return directory.is_dir() and _holds_gpt_oss(directory)


def looks_like_path(model: str) -> bool:
    """Tell whether a model's name is meant as a folder on this disk."""
    if model.startswith((".", "/", "~")) or "\\" in model:
        return True
    # org/model is a name on a hub; more slashes are none.
    if model.count("/") > 1:
        return True
    return _is_model_directory(Path(model))


def _is_model_directory(directory: Path) -> bool:
    """Tell whether there is a model in a folder.

    A folder alone is not enough: one of results may well be called after a hosted model.
    """
    has_config = (directory / "config.json").is_file()
    has_adapter = (directory / "adapter_config.json").is_file()
    return has_config or has_adapter


def _holds_gpt_oss(directory: Path) -> bool:
    if _says_gpt_oss(directory):
        return True

    # A LoRA says only which model it adapts, by a name or by a folder.
    base = _read_json(directory / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return False
    if re.fullmatch(r"(.*/)?gpt-oss-[^/]+", base):
        return True
    base_directory = Path(base).expanduser()
    return base_directory.is_dir() and _says_gpt_oss(base_directory)


def _says_gpt_oss(directory: Path) -> bool:
    return _read_json(directory / "config.json").get("model_type") == "gpt_oss"


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
