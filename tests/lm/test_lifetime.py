"""LMs that are closed, copied, pickled, or called and forgotten: each is told in plain words."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings

import pytest

from synth_ai import LM
from synth_ai.errors import RequestError
from synth_ai.testing import ScriptedVendor


async def test_a_closed_lm_takes_no_calls() -> None:
    """However it is called, and neither do its forks; a fork's end closes nothing."""
    lm = LM("m", vendor=ScriptedVendor(["one"]))
    fork = lm.fork()
    await fork.aclose()
    await lm.respond_async("Hi")
    await lm.aclose()
    await lm.aclose()

    for closed in (lm, fork):
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.respond_async("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            closed.stream_async("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            closed.stream_sync("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.respond_batch_async(["Hi"])
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.run_tools_async("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.models_async()


def test_an_lm_cannot_be_pickled() -> None:
    """The error says what to do in a pool of processes."""
    lm = LM("m", vendor=ScriptedVendor(["one"]))
    for pickled in (pickle.dumps, copy.deepcopy):
        with pytest.raises(RequestError, match=r"cannot be pickled.*initializer="):
            pickled(lm)
    assert copy.copy(lm).respond("Hi").text == "one"


def test_a_call_that_nobody_awaits_is_named() -> None:
    """By the method that was called, not by a function inside."""
    lm = LM("m", vendor=ScriptedVendor(["one"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lm.respond_async("Hi")
        gc.collect()
    assert "coroutine 'LM.respond_async' was never awaited" in [str(w.message) for w in caught]
