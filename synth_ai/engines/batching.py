"""Calls that come together, handed to an engine as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
)
from synth_ai.errors import EngineRequestError

# How long to wait for the next call of a batch, some of which may never come: they were refused before the engine, or
# wait for a place.
_QUIET_SECONDS = 0.02


class BatchEngine(Protocol):
    """An engine that serves many prompts at once better than one by one."""

    model: str

    async def facts(self) -> EngineFacts: ...
    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]: ...
    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sequence[Sampling]
    ) -> list[TokenDelta]: ...


@dataclass(eq=False, slots=True)
class _Call:
    """One call of a batch; its result is None where the batch failed and the call has to go alone."""

    prompt: Sequence[int]
    sampling: Sampling
    result: asyncio.Future[TokenDelta | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Gathered(Engine):
    """An engine for a number of calls that come at about the same time, on one event loop.

    They go to `generate_batch` when all have come, or when no further one has for a moment. Streams go to the engine
    at once. Closing this closes nothing: the engine belongs to somebody else.

    Args:
        engine: what serves them.
        count: how many there will be, at most.
    """

    def __init__(self, engine: BatchEngine, count: int) -> None:
        self.model = engine.model
        self._engine = engine
        self._to_come = count
        self._waiting: list[_Call] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: dict[asyncio.Task[None], set[_Call]] = {}

    async def facts(self) -> EngineFacts:
        return await self._engine.facts()

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        if not stream:
            facts = await self.facts()
            check_prompt(prompt, facts)
            check_sampling(sampling, facts)
            delta = await self._result(_Call(prompt, sampling))
            if delta is not None:
                yield delta
                return
        async with aclosing(self._engine.generate(prompt, sampling, stream=stream)) as deltas:
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        pass

    async def _result(self, call: _Call) -> TokenDelta | None:
        self._waiting.append(call)
        self._to_come -= 1
        self._wait(0 if self._to_come <= 0 else _QUIET_SECONDS)
        try:
            return await call.result
        finally:
            self._leave(call)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._send)

    def _send(self) -> None:
        calls, self._waiting = self._waiting, []
        if calls:
            task = asyncio.create_task(self._run(calls))
            self._batches[task] = set(calls)
            task.add_done_callback(lambda task: self._batches.pop(task, None))

    def _leave(self, call: _Call) -> None:
        """A batch that nobody waits for any more is given up."""
        if call in self._waiting:
            self._waiting.remove(call)
        for task, calls in self._batches.items():
            if call in calls:
                calls.remove(call)
                if not calls:
                    task.cancel()

    async def _run(self, calls: Sequence[_Call]) -> None:
        results: Sequence[TokenDelta | None]
        try:
            results = await self._engine.generate_batch(
                [call.prompt for call in calls], [call.sampling for call in calls]
            )
        except EngineRequestError:
            # One of them was refused, and the error does not say which: each goes on alone, to its own end.
            results = [None] * len(calls)
        except (
            Exception
        ) as error:  # The callers wait for these results: they must get whatever went wrong.
            for call in calls:
                if not call.result.done():
                    call.result.set_exception(error)
            return
        for call, result in zip(calls, results, strict=True):
            if not call.result.done():
                call.result.set_result(result)
