"""vLLM in this process, shared by any number of async callers as one continuous batch."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
    sampling_of_each,
)
from synth_ai.engines.batching import BatchingEngine
from synth_ai.engines.mailbox import EngineCall
from synth_ai.engines.model_names import ModelSource, locate_model
from synth_ai.engines.vllm.args import LoadPlan, is_cpu_build
from synth_ai.engines.vllm.async_driver import AsyncDriver
from synth_ai.engines.vllm.driver import Driver
from synth_ai.engines.vllm.grammar_tokenizer import MARKER_PREFIX
from synth_ai.engines.vllm.llm_driver import Batch, LLMDriver
from synth_ai.engines.vllm.params import make_sampling_params
from synth_ai.errors import EngineDeadError, EngineRequestError
from synth_ai.timeout import paused_clock

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams


# What happens at a restart is said at a level that shows without a set-up: somebody waits for as
# long as the first load took.
_logger = logging.getLogger("synth_ai")

# How often a restart says that it still loads.
_REPORT_SECONDS = 10.0

_CHUNKED_PREFILL = "a prompt that it prefills in chunks (it would die of it)"


class _Session(NamedTuple):
    """One load of the engine, until it is stopped."""

    driver: Driver
    facts: Future[EngineFacts]

    def is_broken(self) -> bool:
        """Whether the load has failed."""
        return self.facts.done() and self.facts.exception() is not None


class VLLMEngine(Engine):
    """A gpt-oss model on vLLM in this process.

    Each object is a separate engine, which loads the weights once more: give one object to several
    LMs to share it. `LM("gpt-oss-20b")` and `shared_engine` do that by themselves: they make one
    engine for all who ask for the same model with the same arguments.

    Making one is cheap: the model is loaded at the first use, or by `start`, on a separate thread.
    Many tasks, event loops and threads may use it at once; vLLM serves them as one continuous
    batch. `close` or `aclose` ends its processes; so does the end of the program, however it ends.

    Args:
        model: `gpt-oss-20b`, `gpt-oss-120b`, a Hugging Face name, a model folder, or the folder of
            a LoRA adapter.
        gpu: `"auto"` takes the recommended engine arguments for the GPU of this machine, a name
            such as `"h100"` those for that GPU, None vLLM's defaults. Arguments that are given
            here take precedence.
        eagle3: decode speculatively with the draft model for gpt-oss-120b.
        streams: False if nobody reads streams token by token; vLLM then reports 20 tokens at a
            time.
        engine_args: vLLM's engine arguments, such as `max_model_len=32768` or
            `tensor_parallel_size=2`.

    Raises:
        MissingExtraError: vLLM is not installed.
        OptionError: the folder holds no gpt-oss model, vLLM has no such engine argument, or the
            GPU is not known.

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
        **engine_args: object,
    ) -> None:
        plan = LoadPlan(locate_model(model), engine_args, gpu=gpu, eagle3=eagle3, streams=streams)
        plan.check()
        self._init(os.fspath(model), plan)

    def _init(self, model: str, plan: LoadPlan) -> None:
        self.model = model
        self.plan = plan
        self._pid = os.getpid()
        # Reentrant: a garbage collection while it is locked may close a share of this engine.
        self._lock = threading.RLock()
        self._session: _Session | None = None
        self._closed = False

    @classmethod
    def from_llm(cls, llm: LLM) -> VLLMEngine:
        """Make an engine that drives the caller's `vllm.LLM`, which nothing else may use meanwhile.

        Batches go through `LLM.generate`. Closing the engine only ends its use of the LLM, which
        stays the caller's with all its processes: vLLM leaves those behind when the program is
        ended by a signal.
        """
        return UserLLMEngine(llm)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    @property
    def running_calls(self) -> int:
        """How many calls vLLM has, waiting ones included."""
        session = self._session
        return 0 if session is None else session.driver.running()

    async def start(self) -> None:
        """Load the model now rather than at the first use.

        Raises:
            EngineStartError: it could not be loaded; a later call tries again.
        """
        await self.facts()

    async def facts(self) -> EngineFacts:
        facts = self._ensure_session().facts
        if facts.done():
            return facts.result()

        # The load is no part of the time of the calls that wait for it.
        with paused_clock():
            return await asyncio.wrap_future(facts)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        facts = await self.facts()
        params = self._make_params(prompt, sampling, facts, stream=stream)
        call = EngineCall(list(prompt), params)

        # Looked up only now: the engine may have been closed or restarted while this call waited.
        driver = self._ensure_session().driver
        driver.submit(call)

        finish_reason = None
        try:
            while finish_reason is None:
                delta = await call.next()
                finish_reason = delta.finish_reason
                yield delta
        finally:
            # The caller closed the stream or was cancelled. (After an error there is nothing to
            # cancel any more, and the driver ignores it.)
            if finish_reason is None:
                driver.cancel(call)

    def drop_if_dead(self) -> bool:
        """Stop an engine that has died, so that the next call loads it again.

        Returns:
            Whether it had died.
        """
        session = self._session
        if session is None:
            return False
        if not session.driver.is_dead():
            return False

        self._stop()
        return True

    async def restart(self) -> None:
        """Stop the engine and load it again; calls in flight fail with EngineDeadError.

        The engine may be dead, closed or in use. The log says how far it has come.

        Raises:
            EngineStartError: it could not be loaded.
        """
        begin = time.monotonic()
        _logger.warning("The engine of %s is restarted: it is being stopped.", self.model)
        await asyncio.to_thread(self._stop)

        self._closed = False
        loading = asyncio.wrap_future(self._ensure_session().facts)
        while not loading.done():
            seconds = time.monotonic() - begin
            _logger.warning("%s is loading, %.0f s since the restart.", self.model, seconds)
            await asyncio.wait([loading], timeout=_REPORT_SECONDS)

        loading.result()
        seconds = time.monotonic() - begin
        _logger.warning("%s is loaded again, after %.0f s.", self.model, seconds)

    def close(self, *, wait: bool = True) -> None:
        """Stop the engine and end its processes. Safe to call twice.

        Args:
            wait: return when the processes are gone.
        """
        self._closed = True
        self._stop(wait=wait)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def _make_params(
        self, prompt: Sequence[int], sampling: Sampling, facts: EngineFacts, *, stream: bool
    ) -> SamplingParams:
        """Check a call, and make vLLM's sampling parameters for it.

        Raises:
            EngineRequestError: vLLM could not serve it, or would die of it.
            ContextLengthError: the prompt leaves no room in the context.
        """
        check_prompt(prompt, facts)
        check_sampling(sampling, facts)
        if sampling.seed is not None:
            self._check_can_seed(len(prompt))

        tokens_left = facts.context_length - len(prompt)
        return make_sampling_params(
            sampling, tokens_left=tokens_left, stream=stream, marker_prefix=self._marker_prefix()
        )

    def _check_can_seed(self, token_count: int) -> None:
        """Refuse a seed of which vLLM would die.

        Args:
            token_count: the tokens of the prompt, and of those that come with it.

        Raises:
            EngineRequestError: naming the way out.
        """
        if not self.plan.can_seed():
            raise EngineRequestError(
                f"vLLM on a CPU cannot take a seed with {_CHUNKED_PREFILL}. Leave seed= out, or "
                "load the engine without enable_chunked_prefill= and max_num_batched_tokens=."
            )

    def _marker_prefix(self) -> str:
        """What vLLM's tokenizer has in front of the name of a control token."""
        return "" if self.plan.has_own_tokenizer() else MARKER_PREFIX

    def _new_driver(self) -> Driver:
        return AsyncDriver(self.plan)

    def _ensure_session(self) -> _Session:
        """Return the session; start a new one if there is none, or if its load has failed."""
        if os.getpid() != self._pid:
            # A fork copies this object, but neither the driver's thread nor its event loop.
            raise EngineDeadError(
                f"This engine belongs to process {self._pid}, and this one was forked from it. "
                "Make an engine here."
            )

        with self._lock:
            if self._closed:
                raise EngineDeadError(
                    "The engine was closed. Call `await engine.restart()`, or make a new engine."
                )

            session = self._session
            if session is None or session.is_broken():
                session = self._start_session()
                self._session = session
            return session

    def _start_session(self) -> _Session:
        driver = self._new_driver()
        # An engine that nobody refers to any more frees its memory. Not at the exit of the
        # program: there the driver ends by itself.
        weakref.finalize(self, driver.stop, wait=False).atexit = False

        return _Session(driver, driver.start())

    def _stop(self, *, wait: bool = True) -> None:
        with self._lock:
            session = self._session
            self._session = None

        if session is None:
            return
        # What a forked process has copied belongs to its parent.
        if os.getpid() == self._pid:
            session.driver.stop(wait=wait)


class UserLLMEngine(VLLMEngine):
    """An engine that drives a `vllm.LLM` of the user's. Made by `VLLMEngine.from_llm`.

    Args:
        llm: nothing else may use it while this engine does.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        model = str(llm.llm_engine.model_config.model)
        # A plan that is never carried out, as the LLM is loaded already.
        self._init(model, LoadPlan(ModelSource(model), {}))

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        """Generate one whole completion for each prompt, by one `LLM.generate` if vLLM is idle.

        While other calls are running the batch joins them instead, and calls that come during
        `LLM.generate` wait for its end: vLLM's loop would take their results for its own.
        Cancelling the task ends `LLM.generate` within one step.
        """
        driver = self._ensure_session().driver
        assert isinstance(driver, LLMDriver)
        if not prompts or driver.running():
            return await super().generate_batch(prompts, sampling)

        facts = await self.facts()
        samplings = sampling_of_each(sampling, len(prompts))
        params = [
            self._make_params(prompt, prompt_sampling, facts, stream=False)
            for prompt, prompt_sampling in zip(prompts, samplings, strict=True)
        ]

        if any(each.seed is not None for each in samplings):
            self._check_can_seed(sum(map(len, prompts)))

        batch = Batch([list(prompt) for prompt in prompts], params)
        driver.submit_batch(batch)
        try:
            return await batch.next()
        finally:
            batch.abandoned = True

    def for_batch(self, count: int) -> Engine:
        return BatchingEngine(self, count)

    def _check_can_seed(self, token_count: int) -> None:
        # As `LoadPlan.can_seed` says; here it is known what the LLM does.
        config = self._llm.llm_engine.vllm_config.scheduler_config
        if not is_cpu_build() or not config.enable_chunked_prefill:
            return

        # What came before takes its part of the tokens that go through at once.
        driver = self._ensure_session().driver
        assert isinstance(driver, LLMDriver)
        together = token_count + driver.prompt_tokens()
        if together > config.max_num_batched_tokens:
            raise EngineRequestError(
                f"vLLM on a CPU cannot take a seed with {_CHUNKED_PREFILL}, as it would need here: "
                f"{together} tokens wait, and {config.max_num_batched_tokens} go through at once. "
                "Leave seed= out, or make the LLM with enable_chunked_prefill=False."
            )

    def _marker_prefix(self) -> str:
        # The LLM came with its tokenizer.
        return ""

    def _new_driver(self) -> Driver:
        return LLMDriver(self._llm)
