"""What sharing vLLM in this process costs: the engine's bars, side by side with `LLM.generate`.

    python benchmarks/engine.py                                         # the tiny model on a CPU
    python benchmarks/engine.py gpt-oss-20b --load-format dummy         # a GPU, without weights

Every comparison is interleaved and uses fresh prompts in every round, so neither a busy machine
nor the prefix cache favours one side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from synth_ai import LM, VLLMEngine, harmony
from synth_ai.engines.base import Sampling
from synth_ai.errors import EngineDeadError

ROOT = Path(__file__).resolve().parent.parent
TINY_ARGS: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 4096,
    "kv_cache_memory_bytes": 256 * 2**20,
}

CALLS = 64
PROMPT_TOKENS = 96
NEW_TOKENS = 48
GREEDY = Sampling(temperature=0, max_tokens=NEW_TOKENS)


def prompts(count: int = CALLS, length: int = PROMPT_TOKENS) -> list[list[int]]:
    """Prompts that no cache has seen."""
    return [[random.randrange(1000, 150_000) for _ in range(length)] for _ in range(count)]


async def complete(
    engine: VLLMEngine, prompt: list[int], sampling: Sampling = GREEDY
) -> tuple[int, ...]:
    """All ids of one completion."""
    return tuple(
        [id_ async for delta in engine.generate(prompt, sampling) for id_ in delta.token_ids]
    )


async def timed(work: Awaitable[Any]) -> float:
    """How many seconds the work takes."""
    before = time.perf_counter()
    await work
    return time.perf_counter() - before


class Report:
    """Prints each figure next to its bar, and keeps them all."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, figure: float, bar: float, *, at_least: bool = False, unit: str = ""
    ) -> None:
        """One figure; it is good below its bar, or above it with `at_least`."""
        good = figure >= bar if at_least else figure <= bar
        sign = ">=" if at_least else "<="
        self.figures[name] = {
            "figure": round(figure, 4),
            "bar": f"{sign} {bar}{unit}",
            "good": good,
        }
        print(
            f"{'ok  ' if good else 'MISS'} {name}: {figure:.3f}{unit} (bar {sign} {bar}{unit})",
            flush=True,
        )


def offline(llm: Any, batch: list[list[int]], stop_token_ids: Sequence[int] = ()) -> None:
    """The yardstick: one `LLM.generate` over the whole batch."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input

    settings = {
        "temperature": 0,
        "max_tokens": NEW_TOKENS,
        "stop_token_ids": list(stop_token_ids),
        "detokenize": False,
    }
    params = [SamplingParams(**settings) for _ in batch]
    llm.generate([tokens_input(prompt) for prompt in batch], params, use_tqdm=False)


async def throughput(report: Report, engines: dict[str, VLLMEngine], llm: Any, rounds: int) -> None:
    """64 concurrent calls, against one LLM.generate over prompts of the same lengths."""
    ratios: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        yardstick = await timed(asyncio.to_thread(offline, llm, prompts()))
        for name, engine in engines.items():
            seconds = await timed(
                asyncio.gather(*(complete(engine, prompt) for prompt in prompts()))
            )
            ratios[name].append(seconds / yardstick)
    for name, values in ratios.items():
        report.add(
            f"64 concurrent calls, {name} / LLM.generate, median of {rounds}",
            statistics.median(values),
            1.10,
        )


async def through_lm(report: Report, engine: VLLMEngine, llm: Any, rounds: int) -> None:
    """64 concurrent `respond_async`, against one LLM.generate over the same 64 token prompts."""
    lm = LM(
        str(engine.model),
        engine=engine,
        temperature=0,
        max_tokens=NEW_TOKENS,
        auto_store_responses=False,
    )
    ratios = []
    for _ in range(rounds):
        # Numbers of three digits are a token each, so all prompts are of one length.
        texts = [
            ",".join(str(random.randrange(100, 1000)) for _ in range(PROMPT_TOKENS // 4))
            for _ in range(CALLS)
        ]
        before = time.perf_counter()
        responses = await asyncio.gather(*(lm.respond_async(text) for text in texts))
        seconds = time.perf_counter() - before
        batch = [response.prompt_token_ids or [] for response in responses]
        ratios.append(
            seconds / await timed(asyncio.to_thread(offline, llm, batch, harmony.STOP_TOKEN_IDS))
        )
    report.add(
        f"64 respond_async / LLM.generate, median of {rounds}", statistics.median(ratios), 1.15
    )


async def arrivals(report: Report, engine: VLLMEngine, llm: Any, rounds: int) -> None:
    """Calls that arrive every 20 ms, against a lock around LLM.generate."""
    lock = threading.Lock()

    def locked(prompt: list[int]) -> None:
        with lock:
            offline(llm, [prompt])

    async def mean_latency(call: Callable[[list[int]], Awaitable[Any]]) -> float:
        tasks = []
        for prompt in prompts(32):
            tasks.append(asyncio.create_task(timed(call(prompt))))
            await asyncio.sleep(0.02)
        return statistics.mean(await asyncio.gather(*tasks))

    ratios = []
    for _ in range(rounds):
        ours = await mean_latency(lambda prompt: complete(engine, prompt))
        ratios.append(ours / await mean_latency(lambda prompt: asyncio.to_thread(locked, prompt)))
    report.add(
        "arrivals every 20 ms, mean latency / lock around LLM.generate",
        statistics.median(ratios),
        0.35,
    )


async def prefix_reuse(report: Report, engine: VLLMEngine, block: int) -> None:
    """A fork of a 1,000-token branch finds the branch's full blocks in the cache."""
    shares = []
    for _ in range(5):
        (branch,) = prompts(1, 1000)
        await complete(engine, branch)
        async for delta in engine.generate([*branch, *prompts(1, 20)[0]], GREEDY):
            shares.append((delta.cached_tokens or 0) / (1000 // block * block))
    report.add(
        "fork of a 1,000-token branch, cached share of its full blocks",
        min(shares),
        0.95,
        at_least=True,
    )


async def cancelling(report: Report, engine: VLLMEngine, rounds: int) -> None:
    """Cancel half of 64 calls, often: the rest is right, nothing stays, memory does not grow."""
    me = psutil.Process()
    memory = 0
    wrong = left = 0
    for number in range(rounds):
        batch = prompts()
        tasks = [asyncio.create_task(complete(engine, prompt)) for prompt in batch]
        await asyncio.sleep(random.uniform(0, 0.05))
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        wrong += sum(not isinstance(result, tuple) for result in results[1::2])
        left += engine.running_calls
        if number == rounds // 5:
            # The first rounds fill caches and pools.
            memory = me.memory_info().rss
        if number == rounds - 1:
            alone = [await complete(engine, prompt) for prompt in batch[1:8:2]]
            wrong += sum(one != other for one, other in zip(alone, results[1:8:2], strict=True))
    report.add("cancel 32 of 64: calls that were wrong or lost", wrong, 0)
    report.add("cancel 32 of 64: calls left in the engine", left, 0)
    report.add(
        f"cancel 32 of 64: memory growth over {rounds} rounds",
        me.memory_info().rss / memory - 1,
        0.05,
    )


@contextmanager
def watched_loop() -> Iterator[list[float]]:
    """Collects for how long the event loop was not free, in seconds."""
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before - 0.001)

    watcher = asyncio.create_task(watch())
    yield gaps
    watcher.cancel()


async def blocking(report: Report, engine: VLLMEngine) -> None:
    """How long the caller's event loop is held while 64 calls stream."""

    async def stream(prompt: list[int]) -> None:
        async for _ in engine.generate(prompt, GREEDY, stream=True):
            pass

    worst = []
    for _ in range(5):
        with watched_loop() as gaps:
            await asyncio.gather(*(stream(prompt) for prompt in prompts()))
        worst.append(max(gaps))
    report.add(
        "64 streams: longest gap of the event loop, median of 5",
        statistics.median(worst) * 1000,
        50,
        unit=" ms",
    )


async def death(report: Report, engine: VLLMEngine, core: psutil.Process) -> None:
    """kill -9 of the engine's process with 64 calls waiting."""
    endless = Sampling(temperature=0, max_tokens=3000)
    tasks = [asyncio.create_task(complete(engine, prompt, endless)) for prompt in prompts()]
    await asyncio.sleep(0.3)
    core.kill()
    before = time.perf_counter()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    seconds = time.perf_counter() - before
    failed = sum(isinstance(result, EngineDeadError) for result in results)
    report.add("kill -9: calls that failed with EngineDeadError", failed, CALLS, at_least=True)
    report.add("kill -9: seconds until all of them failed", seconds, 10, unit=" s")


def tiny_model() -> Path:
    """The folder of the tiny gpt-oss, built if it is not there yet."""
    sys.path.insert(0, str(ROOT / "examples"))
    from tiny_gpt_oss.build import build

    return build(ROOT / ".build" / "tiny-gpt-oss")


async def main(arguments: argparse.Namespace) -> None:
    """Load the model twice, once as AsyncLLM and once as LLM, and measure."""
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    settings = json.loads(arguments.engine_args) | (
        {"load_format": arguments.load_format} if arguments.load_format else {}
    )
    if arguments.model is None:
        arguments.model, settings = tiny_model(), TINY_ARGS | settings
    me, report = psutil.Process(), Report()
    before = set(me.children())
    engine = VLLMEngine(arguments.model, **settings)
    await engine.start()
    (core,) = [
        child for child in me.children() if child not in before and child.name().startswith("VLLM")
    ]

    from vllm import LLM

    llm = LLM(**engine.plan.settings().engine_args)
    shared = VLLMEngine.from_llm(llm)
    for one in (engine, shared):
        await asyncio.gather(*(complete(one, prompt) for prompt in prompts()))

    block = llm.llm_engine.vllm_config.cache_config.block_size
    await throughput(report, {"AsyncLLM": engine, "from_llm": shared}, llm, arguments.rounds)
    await through_lm(report, engine, llm, arguments.rounds)
    await arrivals(report, engine, llm, max(5, arguments.rounds // 3))
    await prefix_reuse(report, engine, block)
    await blocking(report, engine)
    await cancelling(report, engine, 50)
    await death(report, engine, core)
    await engine.aclose()
    await shared.aclose()
    if arguments.json:
        arguments.json.write_text(json.dumps(report.figures, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", nargs="?", help="a model folder, gpt-oss-20b or gpt-oss-120b; else the tiny model"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--load-format", help="'dummy' makes up the weights")
    parser.add_argument(
        "--engine-args", default="{}", help="more of vLLM's engine arguments, as JSON"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asyncio.run(main(parser.parse_args()))
