"""The processes that an engine spawns, without vLLM: whose they are, and when they end."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess

import pytest

from synth_ai.engines.vllm.processes import EngineProcesses
from synth_ai.errors import EngineStartError

Spawn = Callable[[], SpawnProcess]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Spawns a process that sleeps, by the name that vLLM gives to the one of every engine."""
    sleepers: list[SpawnProcess] = []

    def spawn() -> SpawnProcess:
        sleeper = multiprocessing.get_context("spawn").Process(
            target=time.sleep, args=(600,), name="EngineCore", daemon=True
        )
        sleeper.start()
        sleepers.append(sleeper)
        return sleeper

    yield spawn
    for sleeper in sleepers:
        sleeper.kill()
        sleeper.join()


def was_killed(process: SpawnProcess) -> bool:
    process.join(10)
    return process.exitcode == -signal.SIGKILL


def test_an_engine_kills_no_process_of_another(spawn: Spawn) -> None:
    """Closing one of several engines leaves those alone that were started before or after it."""
    engines = [EngineProcesses(), EngineProcesses(), EngineProcesses()]
    processes = []
    for engine in engines:
        with engine.spawning():
            processes.append(spawn())

    engines[1].cancel()
    assert was_killed(processes[1])
    assert processes[0].is_alive()
    assert processes[2].is_alive()
    engines[0].cancel()
    assert was_killed(processes[0])
    assert processes[2].is_alive()


def test_an_engine_that_is_closed_while_it_spawns(spawn: Spawn) -> None:
    """What it has spawned is killed, also by a second call, and nothing more is spawned."""
    before = spawn()
    engine = EngineProcesses()
    with engine.spawning():
        process = spawn()
        engine.cancel()
        assert was_killed(process)
        with pytest.raises(EngineStartError, match="closed while it was loading"):
            spawn()
    engine.cancel()
    assert before.is_alive()
