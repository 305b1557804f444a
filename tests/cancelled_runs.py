"""Runs of tools that are cancelled at random moments, for the tests and for their long form."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from synth_ai import LM, ToolRun
from synth_ai.lm.request import LMRequest
from synth_ai.testing import ScriptedVendor, tool_call

ROUNDS = 5


class Tools:
    """An async tool and a sync one, each of which takes a moment."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.under_way = 0

    async def look(self, n: int) -> str:
        """Looks."""
        self.under_way += 1
        try:
            await asyncio.sleep(self._random.uniform(0, 0.003))
            return f"seen {n}"
        finally:
            self.under_way -= 1

    def read(self, n: int) -> str:
        """Reads."""
        time.sleep(self._random.uniform(0, 0.003))
        return f"read {n}"


def scripted_run(seed: int) -> tuple[LM, Tools]:
    """An LM whose run takes five rounds and some 30 ms."""
    moments = random.Random(seed)

    def answer(n: int) -> Callable[[LMRequest], Any]:
        async def think(request: LMRequest) -> Any:
            await asyncio.sleep(moments.uniform(0, 0.003))
            if n == ROUNDS:
                return "All of it was seen."
            return [tool_call("look", n=n), tool_call("read", n=n)]

        return think

    tools = Tools(seed)
    vendor = ScriptedVendor([answer(n) for n in range(ROUNDS + 1)])
    return LM("any-name", vendor=vendor, tools=[tools.look, tools.read]), tools


async def read_stream(lm: LM) -> ToolRun:
    async with lm.stream_tools_async("Hi") as stream:
        async for _ in stream:
            pass
    return stream.run


async def cancel_after(seconds: float, work: Any) -> ToolRun | None:
    """Cancel a run after some time, and return what is left of it; it may have ended by then."""
    task: asyncio.Task[ToolRun] = asyncio.ensure_future(work)
    await asyncio.sleep(seconds)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError as error:
        run: ToolRun | None = error.run  # type: ignore[attr-defined]
        return run


async def check_nothing_is_lost(lm: LM, run: ToolRun | None) -> None:
    """The run has every turn that was stored, and the conversation goes on from the last one."""
    stored = [turn.response_id for turn in await lm.responses.list_async()]
    kept = [] if run is None else [response.response_id for response in run.responses]
    assert sorted(stored) == sorted(kept)
    assert lm.head == (kept[-1] if kept else None)
    if run is None:
        return

    for step in run.steps:
        called = {each["id"] for each in step.response.tool_calls or ()}
        assert {result.call_id for result in step.results} <= called
    *whole, _ = run.steps or (None,)
    assert all(step is not None and len(step.results) == 2 for step in whole)


def tool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "synth-ai-tool"]


def is_alone() -> bool:
    """Whether the test is the only task of its loop."""
    return asyncio.all_tasks() == {asyncio.current_task()}


async def wait_until(is_done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_done():  # noqa: ASYNC110 - threads end without telling the loop
            await asyncio.sleep(0.005)


async def cancel_at_moments(way: str, seeds: range) -> list[int]:
    """Cancel a run for each seed, from before its first call to behind its last one.

    Returns:
        How many responses each run had by then.
    """
    left: list[int] = []
    for seed in seeds:
        lm, tools = scripted_run(seed)
        work = lm.run_tools_async("Hi") if way == "run" else read_stream(lm)
        run = await cancel_after(random.Random(seed).uniform(0, 0.04), work)

        assert tools.under_way == 0
        await wait_until(is_alone)
        await check_nothing_is_lost(lm, run)
        left.append(0 if run is None else len(run.responses))
    await wait_until(lambda: not tool_threads())
    return left
