"""Recommended engine arguments for gpt-oss on a GPU, as arguments, as a command and as a file.

They come from vLLM's recipes for gpt-oss, as of vLLM 0.14
(https://github.com/vllm-project/recipes/tree/main/OpenAI), with three differences. Prefix caching
stays on: the recipes turn it off to measure. `stream_interval` is set only if nobody streams. And
settings that today's vLLM no longer has are left out, as its automatic choice of kernels has taken
their place: `VLLM_USE_TRTLLM_*`, `VLLM_USE_FLASHINFER_*`, `VLLM_MXFP4_USE_MARLIN`,
`VLLM_USE_AITER_UNIFIED_ATTENTION`, and `VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeGuard

from synth_ai.engines.gpus import GPU
from synth_ai.engines.model_names import weights_gib
from synth_ai.errors import EngineStartError, OptionError

_SMALL, _LARGE = "openai/gpt-oss-20b", "openai/gpt-oss-120b"

_AMD = ("cdna3", "cdna4")

# The memory that OpenAI names for its models, in GB as GPUs are sold by: round figures.
_ADVERTISED_GB: Mapping[str, float] = {_SMALL: 16, _LARGE: 60}

# A GPU "of 16 GB" has between 14.7 and 16 GiB, so this part of the figure is enough.
_ENOUGH = 0.9

# With these a model takes less memory of the GPUs than its weights take on disk.
_SHRINKING_ARGS = ("quantization", "cpu_offload_gb")

_EAGLE3_DRAFTS: Mapping[str, str] = {_LARGE: "nvidia/gpt-oss-120b-Eagle3-v2"}

# What a server needs besides the arguments for the GPU.
SERVER_ARGS: Mapping[str, object] = {
    # vLLM's default forgets the blocks of the sliding-window layers, and forks would not find their
    # branch in the cache.
    "prefix_cache_retention_interval": None,
    # For users of the chat API, who get no tool calls without these two.
    "enable_auto_tool_choice": True,
    "tool_call_parser": "openai",
    # RemoteEngine learns of cached tokens by it.
    "enable_prompt_tokens_details": True,
}


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings for one kind of GPU.

    Attributes:
        engine_args: vLLM's engine arguments.
        environment: environment variables to set before vLLM is imported.
    """

    engine_args: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Setting:
    """One recommended engine argument.

    Attributes:
        reason: what this value is good for.
    """

    name: str
    value: object
    reason: str


_ASYNC_SCHEDULING = (
    _Setting("async_scheduling", True, "less work of the CPU between two steps of the GPU"),
)

_HOPPER_AND_BLACKWELL = (
    _Setting("max_cudagraph_capture_size", 2048, "CUDA graphs for large batches too"),
    _Setting("max_num_batched_tokens", 8192, "a good throughput with prompts of most lengths"),
)

_BLACKWELL = (
    _Setting("kv_cache_dtype", "fp8", "half the memory for each cached token"),
    _Setting(
        "compilation_config",
        {"pass_config": {"fuse_allreduce_rms": True, "eliminate_noops": True}},
        "fused kernels, which Hopper does not support",
    ),
)

_LARGE_ON_ONE_H100 = (
    _Setting("gpu_memory_utilization", 0.95, "vLLM's default leaves too little beside the weights"),
    _Setting("max_num_batched_tokens", 1024, "a larger batch runs out of memory"),
)

_LARGE_ON_SEVERAL_H100 = (
    _Setting("gpu_memory_utilization", 0.9, "0.95 runs out of memory when GPUs share the model"),
)

_CDNA = (
    _Setting("gpu_memory_utilization", 0.95, "more memory for the cache"),
    _Setting("block_size", 64, "faster on AMD, by the recipe"),
    _Setting(
        "compilation_config",
        {"cudagraph_mode": "FULL_AND_PIECEWISE"},
        "graphs of whole decoding steps, and of pieces of the others",
    ),
)

_UNREAD_STREAMS = (
    _Setting("stream_interval", 20, "fewer wake-ups, as nobody reads token by token"),
)

_AMD_ENVIRONMENT: Mapping[str, str] = {
    # AMD's AITER kernels, with unified attention in place of the one for multi-head attention.
    "VLLM_ROCM_USE_AITER": "1",
    "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": "1",
    "VLLM_ROCM_USE_AITER_MHA": "0",
}

# Compresses what the GPUs exchange.
_CDNA3_ENVIRONMENT: Mapping[str, str] = {"VLLM_ROCM_QUICK_REDUCE_QUANTIZATION": "INT4"}


def choose_preset(
    model: str,
    gpus: Sequence[GPU],
    engine_args: Mapping[str, object],
    *,
    eagle3: bool = False,
    streams: bool = True,
) -> Preset:
    """Choose the recommended settings.

    Args:
        model: as `resolve_model` returns it.
        gpus: the GPUs that there are; without any, nothing is recommended.
        engine_args: the user's; they decide how many GPUs share the model.
        eagle3: decode speculatively with the draft model for gpt-oss-120b.
        streams: whether anyone reads streams token by token.

    Raises:
        OptionError: there is no draft model for this model, or a number of GPUs is not a whole
            number above 0.
    """
    sharing = count_sharing_gpus(engine_args)
    if eagle3 and model not in _EAGLE3_DRAFTS:
        raise OptionError(
            f"eagle3=True has a draft model for {' and '.join(_EAGLE3_DRAFTS)} only, "
            f"and this is {model!r}."
        )

    settings = _select_settings(model, gpus, sharing)
    if eagle3:
        settings.append(_eagle3_setting(model))
    if not streams:
        settings += _UNREAD_STREAMS

    recommended = {}
    for setting in settings:
        # Of two with the same name the later one takes precedence. The value is copied, because
        # vLLM writes into dicts that it is given.
        recommended[setting.name] = deepcopy(setting.value)
    return Preset(recommended, _select_environment(gpus))


def _select_settings(model: str, gpus: Sequence[GPU], sharing: int) -> list[_Setting]:
    """Select what is recommended for the kind of GPU, from the general to the special."""
    settings: list[_Setting] = []
    if not gpus:
        return settings

    gpu = gpus[0]
    if gpu.architecture in _AMD:
        count = recommend_gpu_count(gpus)
        settings.append(_Setting("tensor_parallel_size", count, "AMD's recipe is for eight GPUs"))
        settings += _CDNA
        if gpu.architecture == "cdna4":
            settings += _ASYNC_SCHEDULING
        return settings

    settings += _ASYNC_SCHEDULING
    if gpu.architecture in ("hopper", "blackwell"):
        settings += _HOPPER_AND_BLACKWELL
    if gpu.architecture == "blackwell":
        settings += _BLACKWELL

    # Of the Hoppers the H100 with 80 GB is tight; the others have 94 GB and more.
    is_small_hopper = gpu.architecture == "hopper" and gpu.memory_gib < 90
    is_tight = is_small_hopper and model == _LARGE
    if is_tight:
        settings += _LARGE_ON_ONE_H100 if sharing == 1 else _LARGE_ON_SEVERAL_H100

    return settings


def _eagle3_setting(model: str) -> _Setting:
    config = {
        "method": "eagle3",
        "model": _EAGLE3_DRAFTS[model],
        "num_speculative_tokens": 3,
        "draft_tensor_parallel_size": 1,
    }
    reason = "a small model drafts three tokens, and the large one checks them in one step"
    return _Setting("speculative_config", config, reason)


def _select_environment(gpus: Sequence[GPU]) -> dict[str, str]:
    if not gpus:
        return {}

    environment: dict[str, str] = {}
    architecture = gpus[0].architecture
    if architecture in _AMD:
        environment.update(_AMD_ENVIRONMENT)
    if architecture == "cdna3":
        environment.update(_CDNA3_ENVIRONMENT)
    return environment


def recommend_gpu_count(gpus: Sequence[GPU]) -> int:
    """Recommend how many of these GPUs should share a model, for users who do not say."""
    if gpus[0].architecture not in _AMD:
        return 1
    return 8 if len(gpus) >= 8 else 1


def count_sharing_gpus(engine_args: Mapping[str, object]) -> int:
    """Count the GPUs that share one copy of the weights.

    Raises:
        OptionError: a number of GPUs is not a whole number above 0.
    """
    # Data parallel engines have a copy each, unless they share the experts, most of the weights.
    spread = 1
    if engine_args.get("enable_expert_parallel"):
        spread = _read_count(engine_args, "data_parallel_size")

    tensor_parallel = _read_count(engine_args, "tensor_parallel_size")
    pipeline_parallel = _read_count(engine_args, "pipeline_parallel_size")
    return tensor_parallel * pipeline_parallel * spread


def _read_count(engine_args: Mapping[str, object], name: str) -> int:
    value = engine_args.get(name, 1)
    if not _is_count(value):
        raise OptionError(f"{name} must be a whole number of GPUs, 1 or more, not {value!r}.")
    return value


def _is_count(value: object) -> TypeGuard[int]:
    # A bool is an int to Python, and one that somebody wrote here is a mistake.
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_memory(model: str, gpus: Sequence[GPU], engine_args: Mapping[str, object]) -> None:
    """Refuse to load a model that cannot fit.

    Args:
        model: as `resolve_model` returns it; of a folder the size of its weights counts.
        gpus: the GPUs that there are, in the order in which vLLM takes them.

    Raises:
        EngineStartError: naming the memory needed, the GPU, and the ways out.
        OptionError: a number of GPUs is not a whole number above 0.
    """
    sharing = count_sharing_gpus(engine_args)
    if not gpus:
        return
    shrinks = any(engine_args.get(name) for name in _SHRINKING_ARGS)
    if shrinks:
        return

    # All in GiB, which the message calls GB as people do. It names the advertised figure, though a
    # tenth less is enough.
    advertised = _ADVERTISED_GB.get(model)
    if advertised is None:
        needed = weights_gib(model)
        need = f"has {needed:.1f} GB of weights"
    else:
        needed = advertised * _ENOUGH
        need = f"needs about {advertised:g} GB of GPU memory"

    # Each takes an equal part of the weights, so the smallest decides.
    smallest = min(gpus[:sharing], key=lambda gpu: gpu.memory_gib)
    available = smallest.memory_gib * sharing
    if available >= needed:
        return

    way_out = "Use gpt-oss-20b, or share" if model == _LARGE else "Share"
    raise EngineStartError(
        f"{model} {need}, and {sharing} x {smallest.name} has {available:.0f} GB. "
        f"{way_out} it among more GPUs with tensor_parallel_size."
    )


def format_serve_command(model: str, preset: Preset) -> str:
    """Format the settings as a `vllm serve` command for a shell.

    ::

        VLLM_ROCM_USE_AITER=1 vllm serve openai/gpt-oss-120b \\
          --gpu-memory-utilization 0.95 \\
          --enable-auto-tool-choice
    """
    words = [f"{name}={shlex.quote(value)}" for name, value in preset.environment.items()]
    words += ["vllm serve", shlex.quote(model)]

    lines = [" ".join(words)]
    lines += [_format_option(name, value) for name, value in _server_args(preset)]
    return " \\\n  ".join(lines)


def format_config_file(preset: Preset) -> str:
    """Format the settings as a file for `vllm serve --config`.

    It is YAML, and its values are JSON, which YAML includes.
    """
    lines = [f"# export {name}={value}" for name, value in preset.environment.items()]
    lines += [f"{_option_name(name)}: {json.dumps(value)}" for name, value in _server_args(preset)]
    return "\n".join(lines) + "\n"


def _server_args(preset: Preset) -> Iterable[tuple[str, object]]:
    args = {**preset.engine_args, **SERVER_ARGS}
    return args.items()


def _format_option(name: str, value: object) -> str:
    """Format one argument as vLLM's parser reads it.

    ::

        block_size, 64                                  ->  --block-size 64
        async_scheduling, True                          ->  --async-scheduling
        enable_prefix_caching, False                    ->  --no-enable-prefix-caching
        prefix_cache_retention_interval, None           ->  --prefix-cache-retention-interval None
        compilation_config, {"cudagraph_mode": "FULL"}  ->  --compilation-config '{"cudagraph_...'
    """
    flag = f"--{_option_name(name)}"
    if value is True:
        return flag
    if value is False:
        return f"--no-{_option_name(name)}"
    if value is None:
        return f"{flag} None"

    text = value if isinstance(value, str) else json.dumps(value)
    return f"{flag} {shlex.quote(text)}"


def _option_name(name: str) -> str:
    return name.replace("_", "-")
