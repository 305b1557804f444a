"""vLLM's engine arguments that are recommended for gpt-oss on a GPU, as arguments, as a command and as a file.

They come from vLLM's recipes for gpt-oss (https://github.com/vllm-project/recipes/tree/main/OpenAI), with three
differences. Prefix caching stays on: the recipes turn it off to measure. `stream_interval` is set only where
nobody streams. And settings that today's vLLM no longer has are left out, as its automatic choice of kernels has taken
their place: `VLLM_USE_TRTLLM_*`, `VLLM_USE_FLASHINFER_*`, `VLLM_MXFP4_USE_MARLIN`, `VLLM_USE_AITER_UNIFIED_ATTENTION`,
and `VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synth_ai.engines.gpus import GPU
from synth_ai.engines.model_names import weights_gib
from synth_ai.errors import EngineStartError, OptionError

_MEMORY_GIB: Mapping[str, float] = {"openai/gpt-oss-20b": 16, "openai/gpt-oss-120b": 60}
# Those are round figures, and a card "of 16 GB" has between 14.7 and 16 GiB.
_ROUNDING = 0.9
# With these a model takes less of the cards than its weights do on disk.
_SHRINKING = ("quantization", "cpu_offload_gb")
_EAGLE3: Mapping[str, str] = {"openai/gpt-oss-120b": "nvidia/gpt-oss-120b-Eagle3-v2"}
_LARGE = "openai/gpt-oss-120b"
_AMD = ("cdna3", "cdna4")

# What a server needs besides, so that chat users get tool calls, RemoteEngine learns of cached tokens, and forks find
# their branch in the cache: by default vLLM forgets the blocks of the sliding-window layers.
SERVER_ARGS: Mapping[str, Any] = {
    "prefix_cache_retention_interval": None,
    "enable_auto_tool_choice": True,
    "tool_call_parser": "openai",
    "enable_prompt_tokens_details": True,
}


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings for one kind of card.

    Attributes:
        engine_args: vLLM's engine arguments.
        environment: environment variables to set before vLLM is imported.
    """

    engine_args: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def preset_for(
    model: str,
    cards: Sequence[GPU],
    engine_args: Mapping[str, Any],
    *,
    eagle3: bool = False,
    streams: bool = True,
) -> Preset:
    """The recommended settings.

    Args:
        model: as `resolve_model` gives it.
        cards: the GPUs there are; without any, nothing is recommended.
        engine_args: the user's own; they decide how many cards share the model.
        eagle3: decode speculatively with the draft model for gpt-oss-120b.
        streams: whether anyone reads streams token by token.

    Raises:
        OptionError: there is no draft model for this model, or a number of cards is none.
    """
    sharing = cards_sharing(engine_args)
    if eagle3 and model not in _EAGLE3:
        raise OptionError(
            f"eagle3=True has a draft model for {' and '.join(_EAGLE3)} only, and this is {model!r}."
        )
    args = _for_card(model, cards, sharing) if cards else {}
    if eagle3:
        args["speculative_config"] = {
            "method": "eagle3",
            "model": _EAGLE3[model],
            "num_speculative_tokens": 3,
            "draft_tensor_parallel_size": 1,
        }
    if not streams:
        args["stream_interval"] = 20
    return Preset(args, _environment(cards[0]) if cards else {})


def recommended_count(cards: Sequence[GPU]) -> int:
    """How many of these cards should share a model, where the user does not say."""
    return 8 if len(cards) >= 8 and cards[0].architecture in _AMD else 1


def cards_sharing(engine_args: Mapping[str, Any]) -> int:
    """How many cards share one copy of the weights.

    Raises:
        OptionError: a number of cards is none.
    """
    spread = (
        _count(engine_args, "data_parallel_size")
        if engine_args.get("enable_expert_parallel")
        else 1
    )
    return (
        _count(engine_args, "tensor_parallel_size")
        * _count(engine_args, "pipeline_parallel_size")
        * spread
    )


def _count(engine_args: Mapping[str, Any], name: str) -> int:
    value = engine_args.get(name, 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name}={value!r} is no number of GPUs; it takes a whole number from 1.")
    return value


def check_memory(model: str, cards: Sequence[GPU], engine_args: Mapping[str, Any]) -> None:
    """Refuse to load a model that cannot fit.

    Args:
        model: as `resolve_model` gives it; of a folder the size of its weights counts.
        cards: the GPUs there are, in the order that vLLM takes them.

    Raises:
        EngineStartError: naming the memory needed, the card, and the ways out.
        OptionError: a number of cards is none.
    """
    sharing = cards_sharing(engine_args)
    about = _MEMORY_GIB.get(model)
    needed = weights_gib(model) if about is None else about * _ROUNDING
    if not cards or any(engine_args.get(name) for name in _SHRINKING):
        return
    card = min(cards[:sharing], key=lambda card: card.memory_gib)
    if card.memory_gib * sharing < needed:
        smaller = " Use gpt-oss-20b, or share" if model == _LARGE else " Share"
        what = (
            f"has {needed:.1f} GB of weights"
            if about is None
            else f"needs about {about:g} GB of GPU memory"
        )
        raise EngineStartError(
            f"{model} {what}, and {sharing} x {card.name} has "
            f"{card.memory_gib * sharing:.0f} GB.{smaller} it among more GPUs with tensor_parallel_size."
        )


def serve_command(model: str, preset: Preset) -> str:
    """The settings as a `vllm serve` command for a shell."""
    environment = [f"{name}={shlex.quote(value)}" for name, value in preset.environment.items()]
    options = [
        _option(name, value)
        for name, value in (dict(preset.engine_args) | dict(SERVER_ARGS)).items()
    ]
    return " \\\n  ".join([" ".join([*environment, "vllm serve", shlex.quote(model)]), *options])


def config_file(preset: Preset) -> str:
    """The settings as a file for `vllm serve --config`; its values are JSON, which YAML includes."""
    settings = dict(preset.engine_args) | dict(SERVER_ARGS)
    lines = [f"# export {name}={value}" for name, value in preset.environment.items()]
    lines += [f"{_flag(name)}: {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def _for_card(model: str, cards: Sequence[GPU], sharing: int) -> dict[str, Any]:
    card = cards[0]
    if card.architecture in _AMD:
        amd: dict[str, Any] = {
            "tensor_parallel_size": recommended_count(cards),
            "gpu_memory_utilization": 0.95,
            "block_size": 64,
            "compilation_config": {"cudagraph_mode": "FULL_AND_PIECEWISE"},
        }
        return amd | ({"async_scheduling": True} if card.architecture == "cdna4" else {})
    args: dict[str, Any] = {"async_scheduling": True}
    if card.architecture in ("hopper", "blackwell"):
        args |= {"max_cudagraph_capture_size": 2048, "max_num_batched_tokens": 8192}
    if card.architecture == "blackwell":
        args |= {
            "kv_cache_dtype": "fp8",
            "compilation_config": {
                "pass_config": {"fuse_allreduce_rms": True, "eliminate_noops": True}
            },
        }
    if card.architecture == "hopper" and card.memory_gib < 90 and model == _LARGE:
        # On one card the weights leave too little for a large batch; on two, 0.95 leaves too little for the exchange.
        if sharing == 1:
            args |= {"gpu_memory_utilization": 0.95, "max_num_batched_tokens": 1024}
        else:
            args |= {"gpu_memory_utilization": 0.9}
    return args


def _environment(card: GPU) -> dict[str, str]:
    if card.architecture not in _AMD:
        return {}
    aiter = {
        "VLLM_ROCM_USE_AITER": "1",
        "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": "1",
        "VLLM_ROCM_USE_AITER_MHA": "0",
    }
    return aiter | (
        {"VLLM_ROCM_QUICK_REDUCE_QUANTIZATION": "INT4"} if card.architecture == "cdna3" else {}
    )


def _option(name: str, value: Any) -> str:
    if value is True:
        return _flag(name, "--")
    text = str(value) if value is None or isinstance(value, str) else json.dumps(value)
    return f"{_flag(name, '--')} {shlex.quote(text)}"


def _flag(name: str, dashes: str = "") -> str:
    return dashes + name.replace("_", "-")
