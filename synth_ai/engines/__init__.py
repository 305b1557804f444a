"""Engines: token ids in, token ids out; each loads its heavy packages only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth_ai.engines.base import Engine as Engine
    from synth_ai.engines.base import EngineFacts as EngineFacts
    from synth_ai.engines.base import OutputConstraint as OutputConstraint
    from synth_ai.engines.base import Sampling as Sampling
    from synth_ai.engines.base import TokenDelta as TokenDelta
    from synth_ai.engines.base import TokenLogprob as TokenLogprob
    from synth_ai.engines.registry import register_engine as register_engine
    from synth_ai.engines.shared import shared_engine as shared_engine
    from synth_ai.engines.transformers import TransformersEngine as TransformersEngine
    from synth_ai.engines.vllm.engine import VLLMEngine as VLLMEngine
    from synth_ai.engines.vllm.server import RemoteEngine as RemoteEngine

#: The module of this package that each public name comes from.
_MODULES = {
    "Engine": "base",
    "EngineFacts": "base",
    "OutputConstraint": "base",
    "RemoteEngine": "vllm.server",
    "Sampling": "base",
    "TokenDelta": "base",
    "TokenLogprob": "base",
    "TransformersEngine": "transformers",
    "VLLMEngine": "vllm.engine",
    "register_engine": "registry",
    "shared_engine": "shared",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    module = import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
