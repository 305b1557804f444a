"""vLLM in this process, shared by any number of async callers as one continuous batch."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
)
from synth_ai.engines.mailbox import Call
from synth_ai.engines.model_names import locate_model
from synth_ai.engines.vllm.args import LoadPlan
from synth_ai.engines.vllm.params import make_sampling_params
from synth_ai.errors import EngineDeadError, EngineRequestError

if TYPE_CHECKING:
    from vllm import LLM


class Driver(Protocol):
    """What runs vLLM behind a `VLLMEngine`: one load, many calls, one stop. All of it from any thread."""

    def start(self) -> Future[EngineFacts]: ...
    def submit(self, call: Call) -> None: ...
    def cancel(self, call: Call) -> None: ...
    def running(self) -> int: ...
    def is_dead(self) -> bool: ...
    def stop(self, *, wait: bool = True) -> None: ...


class VLLMEngine(Engine):
    """A gpt-oss model on vLLM in this process.

    Each object is an engine of its own, with the weights loaded once more: give one object to several LMs to share it.
    `LM("gpt-oss-20b")` and `shared_engine` make an engine that all of the same arguments share without that.

    Making one is cheap: the model is loaded at the first use, or by `start`, on a thread of its own. Many tasks, event
    loops and threads may use it at once; vLLM serves them as one continuous batch. `close` or `aclose` ends its
    processes; so does the end of the program, whatever ends it.

    Args:
        model: `gpt-oss-20b`, `gpt-oss-120b`, a Hugging Face name, a model folder, or the folder of a LoRA adapter.
        gpu: `"auto"` takes the recommended engine arguments for the card found, a name such as `"h100"` those for that
            card, None vLLM's own defaults. Arguments given here beat them.
        eagle3: decode speculatively with the draft model for gpt-oss-120b.
        streams: say False where nobody reads streams token by token; vLLM then reports 20 tokens at a time.
        engine_args: vLLM's own engine arguments, such as `max_model_len=32768` or `tensor_parallel_size=2`.

    Raises:
        MissingExtraError: vLLM is not installed.
        OptionError: the folder holds no gpt-oss model, or vLLM has no such engine argument, or the card is not known.

    Attributes:
        plan: what will be loaded; `plan.settings()` are the complete engine arguments.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        gpu: str | None = "auto",
        eagle3: bool = False,
        streams: bool = True,
        **engine_args: Any,
    ) -> None:
        self.model = os.fspath(model)
        self.plan = LoadPlan(
            locate_model(model), engine_args, gpu=gpu, eagle3=eagle3, streams=streams
        )
        self.plan.check()
        self._set_up()

    def _set_up(self) -> None:
        self._pid = os.getpid()
        # Reentrant, because a garbage collection in here may close a share of this engine.
        self._lock = threading.RLock()
        self._driver: Driver | None = None
        self._loading: Future[EngineFacts] | None = None
        self._closed = False

    @classmethod
    def from_llm(cls, llm: LLM) -> VLLMEngine:
        """An engine that drives a `vllm.LLM` of the caller's own, which nothing else may use meanwhile.

        Batches go through `LLM.generate`. Closing the engine stops driving; the LLM stays with its owner. The processes
        of the LLM are the owner's too: vLLM leaves them behind when the program is ended by a signal.
        """
        from synth_ai.engines.vllm.llm_driver import OfflineEngine

        return OfflineEngine(llm)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def running_calls(self) -> int:
        """How many calls vLLM is working on, waiting ones included."""
        driver = self._driver
        return driver.running() if driver is not None else 0

    async def start(self) -> None:
        """Load the model now rather than at the first use.

        Raises:
            EngineStartError: it could not be loaded; a later call tries again.
        """
        await self.facts()

    async def facts(self) -> EngineFacts:
        _, loading = self._started()
        return loading.result() if loading.done() else await asyncio.wrap_future(loading)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        facts = await self.facts()
        check_prompt(prompt, facts)
        check_sampling(sampling, facts)
        params = make_sampling_params(sampling, tokens_left=facts.context_length - len(prompt), stream=stream)
        driver, _ = self._started()
        call = Call(list(prompt), params)
        driver.submit(call)
        reason = None
        try:
            while reason is None:
                delta = await call.next()
                reason = delta.finish_reason
                yield delta
        finally:
            if reason is None:
                driver.cancel(call)

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        """One whole completion per prompt, in the order of the prompts.

        Args:
            sampling: for all of them, or one for each.

        Raises:
            EngineRequestError: a prompt cannot be served; the others are aborted.
            EngineDeadError: the engine has stopped.
        """
        pairs = zip(prompts, sampling_of_each(sampling, len(prompts)), strict=True)
        tasks = [asyncio.create_task(self._complete(*pair)) for pair in pairs]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def drop_if_dead(self) -> bool:
        """Have the next call load the engine again, if it has died. Returns whether it had."""
        driver = self._driver
        if driver is None or not driver.is_dead():
            return False
        self._stop()
        return True

    async def restart(self) -> None:
        """Stop the engine, dead or alive, and load it again; calls in flight fail with EngineDeadError.

        Raises:
            EngineStartError: it could not be loaded.
        """
        await asyncio.to_thread(self._stop)
        self._closed = False
        await self.start()

    def close(self, *, wait: bool = True) -> None:
        """Stop the engine and end its processes; returns when they are gone, unless told not to wait.

        Safe to call twice.
        """
        self._closed = True
        self._stop(wait=wait)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    async def _complete(self, prompt: Sequence[int], sampling: Sampling) -> TokenDelta:
        async with aclosing(self.generate(prompt, sampling)) as deltas:
            return await anext(deltas)

    def _new_driver(self) -> Driver:
        from synth_ai.engines.vllm.async_driver import AsyncDriver

        return AsyncDriver(self.plan)

    def _started(self) -> tuple[Driver, Future[EngineFacts]]:
        """The driver and its load, begun if there is none; a load that failed is begun again."""
        if os.getpid() != self._pid:
            raise EngineDeadError(
                f"This engine belongs to process {self._pid}, and this one was forked from it. Make an engine here."
            )
        with self._lock:
            if self._closed:
                raise EngineDeadError(
                    "The engine was closed. Call `await engine.restart()`, or make a new engine."
                )
            if self._driver is None or self._loading is None or _failed(self._loading):
                self._driver = self._new_driver()
                # An engine that nobody holds any more gives its memory back; at exit the driver sees to itself.
                weakref.finalize(self, self._driver.stop, wait=False).atexit = False
                self._loading = self._driver.start()
            return self._driver, self._loading

    def _stop(self, *, wait: bool = True) -> None:
        with self._lock:
            driver, self._driver, self._loading = self._driver, None, None
        if driver is not None and os.getpid() == self._pid:
            driver.stop(wait=wait)


def sampling_of_each(sampling: Sampling | Sequence[Sampling], count: int) -> Sequence[Sampling]:
    """What `generate_batch` takes, as one for each prompt.

    Raises:
        EngineRequestError: there are more or fewer than prompts.
    """
    if isinstance(sampling, Sampling):
        return [sampling] * count
    if len(sampling) != count:
        raise EngineRequestError(
            f"There are {len(sampling)} samplings for {count} prompts; give one, or one for each."
        )
    return sampling


def _failed(loading: Future[EngineFacts]) -> bool:
    return loading.done() and loading.exception() is not None
