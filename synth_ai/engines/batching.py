"""Calls that come together, handed to an engine as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
)
from synth_ai.errors import EngineError, EngineRequestError

# How long to wait for the next call of a batch. Some may never come: they were refused before they
# reached the engine, or wait because of a limit on concurrent calls.
_QUIET_SECONDS = 0.02


def _new_future() -> asyncio.Future[TokenDelta | None]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class _BatchedCall:
    """One call of a batch; its result is None if the batch failed and the call has to go alone."""

    prompt: Sequence[int]
    sampling: Sampling
    result: asyncio.Future[TokenDelta | None] = field(default_factory=_new_future)


class BatchingEngine(Engine):
    """An engine for a number of calls that come at about the same time, on one event loop.

    They go to `generate_batch` of another engine when all have come, or when no further one has
    come for a moment. Streams go to that engine at once. Closing this closes nothing: the other
    engine belongs to somebody else.

    Args:
        engine: the engine that serves them.
        count: how many calls there will be, at most.
    """

    def __init__(self, engine: Engine, count: int) -> None:
        self.model = engine.model
        self._engine = engine
        self._missing = count
        self._waiting: list[_BatchedCall] = []
        self._timer: asyncio.TimerHandle | None = None
        # The batches under way, each with the calls that still wait for it.
        self._batches: dict[asyncio.Task[None], set[_BatchedCall]] = {}

    async def facts(self) -> EngineFacts:
        return await self._engine.facts()

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        if not stream:
            # Checked here, so that one bad call does not have the whole batch refused.
            facts = await self.facts()
            check_prompt(prompt, facts)
            check_sampling(sampling, facts)

            delta = await self._generate_in_batch(_BatchedCall(prompt, sampling))
            if delta is not None:
                yield delta
                return

        async with aclosing(self._engine.generate(prompt, sampling, stream=stream)) as deltas:
            async for delta in deltas:
                yield delta

    def close(self, *, wait: bool = True) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def _generate_in_batch(self, call: _BatchedCall) -> TokenDelta | None:
        """Wait for the call's batch and its result; None if the call has to go alone."""
        self._waiting.append(call)
        self._missing -= 1
        # More than there were to be: calls that are tried again, or ask again, come together, too.
        self._send_after(0 if self._missing == 0 else _QUIET_SECONDS)

        try:
            return await call.result
        finally:
            self._remove(call)

    def _send_after(self, seconds: float) -> None:
        """Send the waiting calls after a while, unless another call comes before that."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._send)

    def _send(self) -> None:
        calls = self._waiting
        self._waiting = []
        if not calls:
            return

        task = asyncio.create_task(self._run(calls))
        self._batches[task] = set(calls)
        task.add_done_callback(lambda task: self._batches.pop(task, None))

    def _remove(self, call: _BatchedCall) -> None:
        """Take a call out of its batch, and cancel a batch that nobody waits for any more."""
        if call in self._waiting:
            self._waiting.remove(call)

        for task, calls in self._batches.items():
            if call not in calls:
                continue
            calls.remove(call)
            if not calls:
                task.cancel()

    async def _run(self, calls: Sequence[_BatchedCall]) -> None:
        """Generate a batch, and give each call its result or the error that ended the batch."""
        results: Sequence[TokenDelta | None]
        try:
            results = await self._generate_batch(calls)
        except EngineRequestError:
            # One of them was refused, and the error does not say which: each goes on alone.
            results = [None] * len(calls)
        except Exception as error:
            # Whatever went wrong, the callers must get it: they wait for these results.
            for call in calls:
                if not call.result.done():
                    call.result.set_exception(error)
            return

        for call, result in zip(calls, results, strict=True):
            if not call.result.done():
                call.result.set_result(result)

    async def _generate_batch(self, calls: Sequence[_BatchedCall]) -> list[TokenDelta]:
        prompts = [call.prompt for call in calls]
        samplings = [call.sampling for call in calls]
        results = await self._engine.generate_batch(prompts, samplings)

        # An engine that somebody else wrote may be wrong, and the callers must not wait for ever.
        if len(results) != len(calls):
            raise EngineError(
                f"{self._engine!r} returned {len(results)} completions for {len(calls)} prompts."
            )
        return results
