"""What an engine can do that has no more than `facts`, `generate` and `aclose`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    TokenLogprob,
    join_deltas,
)
from synth_ai.errors import EngineRequestError, EngineStartError


class SmallEngine(Engine):
    """Echoes a prompt in deltas of one id each; an id of 666 is refused, and 7 never ends."""

    model = "small"

    def __init__(self) -> None:
        self.closed = 0
        self.cancelled = 0

    async def facts(self) -> EngineFacts:
        return EngineFacts(100, 1000)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        limit = sampling.max_tokens or len(prompt)
        for number, id_ in enumerate(prompt[:limit], 1):
            if id_ == 666:
                raise EngineRequestError("666 is refused")
            if id_ == 7:
                await self._wait_for_ever()
            logprobs = None if sampling.logprobs is None else [TokenLogprob(id_, 0.0, {})]
            yield TokenDelta([id_], "stop" if number == limit else None, logprobs, cached_tokens=3)

    async def aclose(self) -> None:
        self.closed += 1
        if self.closed > 1:
            raise ValueError("closed twice")

    async def _wait_for_ever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1


async def test_a_batch_is_the_calls_at_once() -> None:
    """Each prompt has its whole completion, in the order of the prompts, by its own sampling."""
    engine = SmallEngine()
    deltas = await engine.generate_batch([[1, 2], [3]], Sampling(logprobs=0))
    assert [(delta.token_ids, delta.finish_reason) for delta in deltas] == [
        ([1, 2], "stop"),
        ([3], "stop"),
    ]
    assert [entry.token_id for entry in deltas[0].logprobs or ()] == [1, 2]
    assert deltas[0].cached_tokens == 3
    deltas = await engine.generate_batch([[1, 2], [3]], [Sampling(max_tokens=1), Sampling()])
    assert [delta.token_ids for delta in deltas] == [[1], [3]]
    assert deltas[0].logprobs is None
    assert await engine.generate_batch([], Sampling()) == []


async def test_a_batch_that_fails() -> None:
    """The error is that of the call, and the others are ended."""
    engine = SmallEngine()
    with pytest.raises(EngineRequestError, match="666 is refused"):
        await engine.generate_batch([[7], [666]], Sampling())
    await asyncio.sleep(0)
    assert engine.cancelled == 1
    with pytest.raises(EngineRequestError, match="1 samplings for 2 prompts"):
        await engine.generate_batch([[1], [2]], [Sampling()])


async def test_a_batch_that_is_cancelled() -> None:
    """Nothing of it goes on."""
    engine = SmallEngine()
    batch = asyncio.create_task(engine.generate_batch([[7], [7]], Sampling()))
    await asyncio.sleep(0.01)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    await asyncio.sleep(0)
    assert engine.cancelled == 2


async def test_closing_without_await(until: Callable[[Callable[[], bool], float], bool]) -> None:
    """`close` runs `aclose` beside the event loop of the caller, and waits for it if asked to."""
    engine = SmallEngine()
    engine.close()
    assert engine.closed == 1
    with pytest.raises(ValueError, match="closed twice"):
        engine.close()
    another = SmallEngine()
    another.close(wait=False)
    assert until(lambda: another.closed == 1, 5)


async def test_what_a_small_engine_cannot_do() -> None:
    """It is neither loaded again nor better at batches, and says so."""
    engine = SmallEngine()
    assert engine.drop_if_dead() is False
    assert engine.for_batch(10) is engine
    with pytest.raises(EngineStartError, match="cannot be restarted from here"):
        await engine.restart()


def test_joining_deltas() -> None:
    """Ids and log probabilities are put together; why it ended is said once."""
    entry = TokenLogprob(2, -1.0, {})
    deltas = [TokenDelta((1,), cached_tokens=5), TokenDelta([2], logprobs=[entry])]
    assert join_deltas(deltas) == TokenDelta([1, 2], None, [entry], 5)
    assert join_deltas([*deltas, TokenDelta([], "length")]).finish_reason == "length"
    assert join_deltas([]) == TokenDelta([])
