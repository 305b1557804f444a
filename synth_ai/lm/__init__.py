"""LM and what a call goes through.

`from synth_ai.lm import LM, BaseLMResponse` loads them when they are asked for: importing this
package brings in nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth_ai.lm.lm import LM
    from synth_ai.response import BaseLMResponse

__all__ = ["LM", "BaseLMResponse"]

_HOMES = {"LM": "synth_ai.lm.lm", "BaseLMResponse": "synth_ai.response"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
