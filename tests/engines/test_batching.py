"""Calls that come together are one batch, and each still has its own answer, error and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from synth_ai.engines.base import Engine, EngineFacts, Sampling, TokenDelta
from synth_ai.engines.batching import BatchingEngine
from synth_ai.errors import EngineDeadError, EngineError, EngineRequestError

BAD = 666


class Batching(Engine):
    """An engine that echoes, and remembers how its prompts came; it refuses a batch with 666."""

    model = "batching"

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.samplings: list[Sampling] = []
        self.alone: list[list[int]] = []
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.error: Exception | None = None
        self.lost = 0

    async def facts(self) -> EngineFacts:
        return EngineFacts(100, 1000)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        self.alone.append(list(prompt))
        if BAD in prompt:
            raise EngineRequestError("666 is refused")
        yield TokenDelta(list(prompt), "stop")

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sequence[Sampling]
    ) -> list[TokenDelta]:
        self.batches.append([list(prompt) for prompt in prompts])
        self.samplings += sampling
        self.begun.set()
        try:
            if self.held is not None:
                await self.held.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if any(BAD in prompt for prompt in prompts):
            raise EngineRequestError("one of them is refused")
        deltas = [TokenDelta(list(prompt), "stop") for prompt in prompts]
        return deltas[self.lost :]

    async def aclose(self) -> None:
        pass


async def ask(
    engine: BatchingEngine, *prompt: int, stream: bool = False, max_tokens: int = 5
) -> list[int]:
    """The ids of one answer."""
    async with aclosing(
        engine.generate(prompt, Sampling(max_tokens=max_tokens), stream=stream)
    ) as deltas:
        return [id_ async for delta in deltas for id_ in delta.token_ids]


async def test_all_that_come_are_one_batch() -> None:
    """Each call gets its own answer, by its own sampling."""
    engine = Batching()
    batching = BatchingEngine(engine, 3)
    answers = await asyncio.gather(
        *(ask(batching, number, max_tokens=number) for number in (1, 2, 3))
    )
    assert answers == [[1], [2], [3]]
    assert engine.batches == [[[1], [2], [3]]]
    assert [sampling.max_tokens for sampling in engine.samplings] == [1, 2, 3]
    assert await ask(batching, 4) == [4]


async def test_calls_that_never_come_are_not_waited_for() -> None:
    """A bad prompt is refused by name and a stream goes at once; the others are a batch."""
    engine = Batching()
    batching = BatchingEngine(engine, 5)
    answers = await asyncio.gather(
        ask(batching, 1),
        ask(batching, -7),
        ask(batching, 2),
        ask(batching, 3, stream=True),
        return_exceptions=True,
    )
    assert isinstance(answers[1], EngineRequestError)
    assert "-7" in str(answers[1])
    assert (answers[0], answers[2], answers[3]) == ([1], [2], [3])
    assert (engine.batches, engine.alone) == ([[[1], [2]]], [[3]])


async def test_a_batch_that_is_refused() -> None:
    """Only the call that the engine will not take fails; the others are served alone."""
    engine = Batching()
    batching = BatchingEngine(engine, 3)
    answers = await asyncio.gather(
        *(ask(batching, id_) for id_ in (1, BAD, 2)), return_exceptions=True
    )
    assert (answers[0], answers[2]) == ([1], [2])
    assert isinstance(answers[1], EngineRequestError)
    assert "666" in str(answers[1])


async def test_death_fails_every_call() -> None:
    """None of them waits for ever, and none is served again."""
    engine = Batching()
    engine.error = EngineDeadError("dead")
    batching = BatchingEngine(engine, 2)
    answers = await asyncio.gather(ask(batching, 1), ask(batching, 2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [EngineDeadError] * 2
    assert engine.alone == []


async def test_a_batch_with_a_result_too_few() -> None:
    """An engine that is wrong fails every call: nobody can tell whose result is missing."""
    engine = Batching()
    engine.lost = 1
    batching = BatchingEngine(engine, 2)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(ask(batching, 1), ask(batching, 2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [EngineError] * 2
    assert "returned 1 completions for 2 prompts" in str(answers[0])


async def test_cancelling() -> None:
    """One call that is cancelled leaves the batch to the others; the last one takes it along."""
    engine = Batching()
    engine.held = asyncio.Event()
    batching = BatchingEngine(engine, 2)
    one, two = (asyncio.create_task(ask(batching, number)) for number in (1, 2))
    await engine.begun.wait()
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert engine.cancelled == 0
    two.cancel()
    with pytest.raises(asyncio.CancelledError):
        await two
    await asyncio.sleep(0)
    assert engine.cancelled == 1


async def test_cancelling_before_the_batch_is_sent() -> None:
    """Who has left by then is no part of it."""
    engine = Batching()
    batching = BatchingEngine(engine, 3)
    one, two = (asyncio.create_task(ask(batching, number)) for number in (1, 2))
    await asyncio.sleep(0)
    one.cancel()
    assert await two == [2]
    assert engine.batches == [[[2]]]
