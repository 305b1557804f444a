"""Temporary."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from synth_ai.engines.base import Engine
from synth_ai.errors import MissingExtraError


def make_engine(engine: str | Mapping[str, Any], model: str) -> Engine:
    if find_spec("vllm") is None:
        raise MissingExtraError(
            f"{model!r} runs on an engine, and there is none. Either install vLLM to run it in this process "
            '(pip install "synth-ai[vllm]", with a GPU), or set SYNTH_GPU_HARMONY_ENDPOINT to a server that takes and '
            "returns token ids, or pass an engine of your own with engine=. "
            "(To talk to a chat server instead, give base_url=.)"
        )
    from synth_ai.engines.shared import shared_engine

    assert not isinstance(engine, str)
    return shared_engine(model, **engine)
