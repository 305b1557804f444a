"""The Synth backend: a server of OpenAI's shapes, in front of another server or of an LM.

::

    from synth_ai.backend import BackendConfig, make_app

    app = make_app(BackendConfig(upstream="http://localhost:8000/v1", store="turns.db"))

`app` is an ASGI application; `synth-ai serve` runs one. Needs the extra `backend`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synth_ai.backend.app import make_app
    from synth_ai.backend.config import BackendConfig
    from synth_ai.backend.keys import KeyFile
    from synth_ai.backend.limits import Limits
    from synth_ai.backend.usage import UsageFile, UsageRecord

# Loaded when they are asked for: keys can be made without a server.
_HOMES = {
    "BackendConfig": "synth_ai.backend.config",
    "KeyFile": "synth_ai.backend.keys",
    "Limits": "synth_ai.backend.limits",
    "UsageFile": "synth_ai.backend.usage",
    "UsageRecord": "synth_ai.backend.usage",
    "make_app": "synth_ai.backend.app",
}

__all__ = ["BackendConfig", "KeyFile", "Limits", "UsageFile", "UsageRecord", "make_app"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
