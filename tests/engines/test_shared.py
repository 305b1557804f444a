"""One engine per process for one model and one set of arguments."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from synth_ai.engines.shared import shared_engine
from synth_ai.errors import EngineDeadError, OptionError

pytestmark = pytest.mark.vllm


def test_same_arguments_share_one_engine() -> None:
    """Short and full names of a model, with equal arguments, lead to one engine."""
    first = shared_engine("gpt-oss-20b", max_model_len=4096)
    second = shared_engine("openai/gpt-oss-20b", max_model_len=4096)
    other_model = shared_engine("gpt-oss-120b", max_model_len=4096)
    assert first.engine is second.engine is not other_model.engine
    for share in (first, second, other_model):
        share.close()


def test_different_arguments_are_an_error_or_a_choice() -> None:
    """Other arguments for a loaded model are an error that names them, unless a second engine is asked for."""
    share = shared_engine("gpt-oss-20b", max_model_len=4096)
    with pytest.raises(OptionError, match=r"max_model_len: 4096 there, 8192 here; seed: not set there, 1 here"):
        shared_engine("gpt-oss-20b", max_model_len=8192, seed=1)
    second = shared_engine("gpt-oss-20b", new_engine=True, max_model_len=8192)
    third = shared_engine("gpt-oss-20b", max_model_len=8192)
    assert share.engine is not second.engine is third.engine
    for share_ in (share, second, third):
        share_.close()


async def test_last_share_closes_the_engine() -> None:
    """A closed share says so, the others go on, and the last one closes the engine."""
    first, second = shared_engine("gpt-oss-20b"), shared_engine("gpt-oss-20b")
    engine = first.engine
    await first.aclose()
    await first.aclose()
    with pytest.raises(EngineDeadError, match="share"):
        await first.facts()
    third = shared_engine("gpt-oss-20b")
    assert third.engine is engine
    second.close()
    third.close()
    with pytest.raises(EngineDeadError, match="was closed"):
        await engine.facts()
    fourth = shared_engine("gpt-oss-20b")
    assert fourth.engine is not engine
    fourth.close()


async def test_collected_share_is_given_back() -> None:
    """A share that nobody holds any more counts no longer."""
    share: Any = shared_engine("gpt-oss-20b")
    engine = share.engine
    del share
    gc.collect()
    with pytest.raises(EngineDeadError, match="was closed"):
        await engine.facts()
