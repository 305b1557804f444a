"""Runs of five rounds on a real engine: what is streamed when, and what cancelling leaves."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest

from synth_ai import (
    LM,
    Engine,
    PreambleDelta,
    ReasoningDelta,
    RunEvent,
    Sampling,
    TextDelta,
    ToolFinished,
    ToolRun,
    VLLMEngine,
    harmony,
)
from synth_ai.engines.base import EngineFacts, TokenDelta

pytestmark = pytest.mark.vllm

ROUNDS = 5

MESSAGE, END = harmony.encode("<|message|><|end|>", control_tokens=True)
CALL = (
    "<|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>"
    '{"n": 1}<|call|>'
)


class CallingEngine(Engine):
    """The tiny gpt-oss, whose words are its own, and who calls a tool in each of five rounds."""

    def __init__(self, engine: VLLMEngine) -> None:
        self.model = engine.model
        self.under_way = 0
        self.calls = 0
        self._engine = engine

    async def facts(self) -> EngineFacts:
        return await self._engine.facts()

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        self.under_way += 1
        try:
            deltas = self._engine.generate(prompt, sampling, stream=True)
            async with aclosing(deltas):
                if harmony.decode(prompt).count("to=assistant") >= ROUNDS:
                    async for delta in deltas:
                        yield delta
                    return
                async for delta in self._first_words(deltas):
                    yield delta
            self.calls += 1
            yield TokenDelta(harmony.encode(CALL, control_tokens=True), "stop")
        finally:
            self.under_way -= 1

    async def _first_words(
        self, deltas: AsyncGenerator[TokenDelta, None]
    ) -> AsyncGenerator[TokenDelta, None]:
        """The message that the model begins, up to its sixth token."""
        words: int | None = None
        async for delta in deltas:
            for token in delta.token_ids:
                if token == END or words == 6:
                    yield TokenDelta([END])
                    return
                yield TokenDelta([token])
                if words is not None:
                    words += 1
                elif token == MESSAGE:
                    words = 0

    async def aclose(self) -> None:
        """The engine belongs to all tests."""


@pytest.fixture
def engine(tiny_engine: VLLMEngine) -> CallingEngine:
    return CallingEngine(tiny_engine)


def make_lm(engine: CallingEngine) -> LM:
    return LM("tiny-gpt-oss", engine=engine, temperature=0, max_tokens=60)


def is_text(event: RunEvent) -> bool:
    return isinstance(event, TextDelta | ReasoningDelta | PreambleDelta)


async def test_five_rounds_stream_their_first_text_before_the_second_tool_ends(
    engine: CallingEngine,
) -> None:
    """The second tool waits for the first text to be seen: nothing holds that back."""
    has_text = threading.Event()
    seen: list[bool] = []

    def look(n: int) -> str:
        seen.append(len(seen) != 1 or has_text.wait(timeout=60))
        return "sunny"

    events: list[RunEvent] = []
    lm = make_lm(engine)
    async with lm.stream_tools_async("Tell me a story.", tools=[look]) as stream:
        async for event in stream:
            events.append(event)
            if is_text(event):
                has_text.set()
    assert seen == [True] * ROUNDS
    assert len(stream.run.steps) == ROUNDS
    tools = [index for index, event in enumerate(events) if isinstance(event, ToolFinished)]
    texts = [index for index, event in enumerate(events) if is_text(event)]
    assert texts[0] < tools[0]
    # Words of the model's own come between the tools, too.
    for one, other in pairwise(tools):
        assert any(one < text < other for text in texts)


async def test_cancelled_at_many_moments(engine: CallingEngine) -> None:
    """No turn that was finished is lost, and the engine generates nothing any more."""

    async def look(n: int) -> str:
        await asyncio.sleep(0.005)
        return "sunny"

    async def read(lm: LM) -> ToolRun:
        async with lm.stream_tools_async("Tell me a story.", tools=[look]) as stream:
            async for _ in stream:
                pass
        return stream.run

    started_at = asyncio.get_running_loop().time()
    await read(make_lm(engine))
    seconds = asyncio.get_running_loop().time() - started_at

    left: list[int] = []
    for seed in range(20):
        lm = make_lm(engine)
        task = asyncio.create_task(read(lm))
        await asyncio.sleep(random.Random(seed).uniform(0, seconds))
        task.cancel()
        try:
            run: ToolRun | None = await task
        except asyncio.CancelledError as error:
            run = error.run  # type: ignore[attr-defined]

        kept = [] if run is None else [response.response_id for response in run.responses]
        stored = [response.response_id for response in await lm.responses.list_async()]
        assert sorted(stored) == sorted(kept)
        assert lm.head == (kept[-1] if kept else None)
        assert engine.under_way == 0
        left.append(len(kept))
    assert len(set(left)) > 2
    # It still serves others.
    assert (await make_lm(engine).respond_async("My name is Ada.")).response_id
