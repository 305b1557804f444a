"""One engine per process for one model and one set of arguments."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Future
from typing import Any

import pytest

from synth_ai import LM, VLLMEngine
from synth_ai.engines.base import EngineFacts, Sampling, TokenDelta
from synth_ai.engines.mailbox import EngineCall
from synth_ai.engines.shared import shared_engine
from synth_ai.errors import EngineDeadError, EngineStartError, OptionError
from synth_ai.testing import ScriptedEngine

pytestmark = pytest.mark.vllm


def test_same_arguments_share_one_engine() -> None:
    """Short and full names of a model, with equal arguments, lead to one engine."""
    first = shared_engine(VLLMEngine, "gpt-oss-20b", max_model_len=4096)
    second = shared_engine(VLLMEngine, "openai/gpt-oss-20b", max_model_len=4096)
    other_model = shared_engine(VLLMEngine, "gpt-oss-120b", max_model_len=4096)
    assert first.engine is second.engine is not other_model.engine
    for share in (first, second, other_model):
        share.close()


def test_different_arguments_are_an_error_or_a_choice() -> None:
    """Other arguments are an error that names them, unless a second engine is asked for."""
    share = shared_engine(VLLMEngine, "gpt-oss-20b", max_model_len=4096)
    with pytest.raises(
        OptionError, match=r"max_model_len: 4096 there, 8192 here; seed: not set there, 1 here"
    ):
        shared_engine(VLLMEngine, "gpt-oss-20b", max_model_len=8192, seed=1)
    second = shared_engine(VLLMEngine, "gpt-oss-20b", new_engine=True, max_model_len=8192)
    third = shared_engine(VLLMEngine, "gpt-oss-20b", max_model_len=8192)
    assert share.engine is not second.engine is third.engine
    for share_ in (share, second, third):
        share_.close()


async def test_last_share_closes_the_engine() -> None:
    """A closed share says so, the others go on, and the last one closes the engine."""
    first, second = (
        shared_engine(VLLMEngine, "gpt-oss-20b"),
        shared_engine(VLLMEngine, "gpt-oss-20b"),
    )
    engine = first.engine
    await first.aclose()
    await first.aclose()
    with pytest.raises(EngineDeadError, match="share"):
        await first.facts()
    third = shared_engine(VLLMEngine, "gpt-oss-20b")
    assert third.engine is engine
    second.close()
    third.close()
    with pytest.raises(EngineDeadError, match="was closed"):
        await engine.facts()
    fourth = shared_engine(VLLMEngine, "gpt-oss-20b")
    assert fourth.engine is not engine
    fourth.close()


async def test_collected_share_is_given_back() -> None:
    """A share that nobody holds any more counts no longer."""
    share: Any = shared_engine(VLLMEngine, "gpt-oss-20b")
    engine = share.engine
    del share
    gc.collect()
    with pytest.raises(EngineDeadError, match="was closed"):
        await engine.facts()


class Echo:
    """In place of vLLM: answers a call with its prompt, until it is killed or stopped."""

    def __init__(self, drivers: list[Echo]) -> None:
        drivers.append(self)
        self.killed = self.stopped = False

    def start(self) -> Future[EngineFacts]:
        facts: Future[EngineFacts] = Future()
        facts.set_result(EngineFacts(100, 100))
        return facts

    def submit(self, call: EngineCall) -> None:
        call.put(EngineDeadError("killed") if self.killed else TokenDelta(call.prompt, "stop"))

    def cancel(self, call: EngineCall) -> None:
        pass

    def running(self) -> int:
        return 0

    def is_dead(self) -> bool:
        return self.killed

    def stop(self, *, wait: bool = True) -> None:
        self.stopped = True


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> list[Echo]:
    """What drives the engines that the test makes, oldest first."""
    made: list[Echo] = []
    monkeypatch.setattr(VLLMEngine, "_new_driver", lambda _: Echo(made))
    return made


async def answer_of(engine: Any) -> list[int]:
    """The ids that the engine answers a short prompt with."""
    return [
        id_
        async for delta in engine.generate([7], Sampling(max_tokens=5))
        for id_ in delta.token_ids
    ]


async def test_last_share_stops_a_live_engine(drivers: list[Echo]) -> None:
    """What runs behind the engine is stopped with the last share, not before."""
    first, second = (
        shared_engine(VLLMEngine, "gpt-oss-20b"),
        shared_engine(VLLMEngine, "gpt-oss-20b"),
    )
    assert await answer_of(first) == await answer_of(second) == [7]
    (driver,) = drivers
    await first.aclose()
    assert not driver.stopped
    assert await answer_of(second) == [7]
    await second.aclose()
    assert driver.stopped


async def test_a_new_share_revives_a_dead_engine(drivers: list[Echo]) -> None:
    """Who asks for a share gets a live engine, and so does everyone who had one before."""
    before = shared_engine(VLLMEngine, "gpt-oss-20b")
    assert await answer_of(before) == [7]
    drivers[0].killed = True
    with pytest.raises(EngineDeadError, match="killed"):
        await answer_of(before)
    after = shared_engine(VLLMEngine, "gpt-oss-20b")
    assert await answer_of(after) == await answer_of(before) == [7]
    assert after.engine is before.engine
    assert [driver.stopped for driver in drivers] == [True, False]
    for share in (before, after):
        await share.aclose()


async def test_lms_share_an_engine_by_its_arguments(drivers: list[Echo]) -> None:
    """Equal arguments are one engine; others are an error, or a second engine by choice."""
    arguments = {"max_model_len": 4096}
    async with (
        LM("gpt-oss-20b", engine=arguments) as one,
        LM("openai/gpt-oss-20b", engine=dict(arguments)) as two,
    ):
        assert (await shares(one)).engine is (await shares(two)).engine
        assert len(drivers) == 1
        with pytest.raises(
            OptionError, match=r"max_model_len: 4096 there, not set here\).*new_engine=True"
        ):
            LM("gpt-oss-20b")
        async with LM("gpt-oss-20b", engine={"max_model_len": 8192, "new_engine": True}) as three:
            assert (await shares(three)).engine is not (await shares(one)).engine
        assert [driver.stopped for driver in drivers] == [False, True]
    assert drivers[0].stopped


async def shares(lm: LM) -> Any:
    """The LM's share in an engine, which is loaded then."""
    assert lm.engine is not None
    await lm.engine.facts()
    return lm.engine


async def test_an_lm_restarts_its_engine(drivers: list[Echo]) -> None:
    """`lm.engine.restart()` is the way back after a death, for every LM that shares it."""
    async with LM("gpt-oss-20b") as one, LM("gpt-oss-20b") as two:
        await shares(one)
        drivers[0].killed = True
        assert one.engine is not None
        await one.engine.restart()
        assert [driver.stopped for driver in drivers] == [True, False]
        assert await answer_of(two.engine) == [7]


def test_engine_arguments_of_an_lm() -> None:
    """A misspelt one is refused when the LM is made; with an address there is nothing to load."""
    with pytest.raises(OptionError, match="Did you mean 'max_model_len'"):
        LM("gpt-oss-20b", engine={"max_model_length": 1})
    with pytest.raises(OptionError, match="leave out base_url="):
        LM("gpt-oss-20b", engine={"max_model_len": 1}, base_url="http://localhost:8000")
    with pytest.raises(OptionError, match=r"(?i)engine must be an engine .*a dict.*, not 5"):
        LM("gpt-oss-20b", engine=5)  # type: ignore[arg-type]


def test_the_engine_of_an_lm() -> None:
    """It is there to look at and to restart where there is one."""
    engine = ScriptedEngine()
    assert LM("gpt-oss-20b", engine=engine).engine is engine
    assert LM("gpt-5", api_key="x").engine is None
    with pytest.raises(EngineStartError, match="cannot be restarted from here"):
        asyncio.run(engine.restart())


def test_an_engine_object_is_an_engine_of_its_own() -> None:
    """Two objects are two engines whatever their arguments; one is shared when given to both."""
    one, two = VLLMEngine("gpt-oss-20b"), VLLMEngine("gpt-oss-20b", max_model_len=4096)
    assert LM("gpt-oss-20b", engine=one).engine is LM("gpt-oss-20b", engine=one).engine is one
    assert LM("gpt-oss-20b", engine=two).engine is two
