"""Drive a user's `vllm.LLM`: one thread steps it for all callers.

An LLM may be used by one thread only, and its step waits for ever once vLLM's process is dead. So
everything happens on one thread, step by step with the calls that there are, and a second thread
watches the process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from synth_ai.engines.base import EngineFacts, TokenDelta
from synth_ai.engines.mailbox import EngineCall, ResultQueue
from synth_ai.engines.vllm.errors import call_error, closed_error
from synth_ai.engines.vllm.params import DEFAULT_TEMPERATURE, read_output
from synth_ai.engines.vllm.process_log import log_stream
from synth_ai.errors import EngineDeadError, EngineStartError

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams
    from vllm.v1.engine.llm_engine import LLMEngine

# How often to look whether vLLM's process is alive: callers wait that much longer for its death.
_WATCH_SECONDS = 0.2

# How long `stop` waits for the thread, which may be in the middle of a step.
_STOP_SECONDS = 20.0

Command: TypeAlias = Callable[[], None]


class Batch(ResultQueue[list[TokenDelta]]):
    """Prompts that go through `LLM.generate` together.

    Args:
        prompts: token ids.
        params: the sampling parameters of each prompt.

    Attributes:
        abandoned: nobody waits for the result any more.
    """

    def __init__(self, prompts: list[list[int]], params: list[SamplingParams]) -> None:
        super().__init__()
        self.prompts = prompts
        self.params = params
        self.abandoned = False


class LLMDriver:
    """Drives one `vllm.LLM`, which is loaded already and stays its owner's. See `Driver`."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._engine: LLMEngine = llm.llm_engine
        self._pid = os.getpid()
        self._commands: SimpleQueue[Command] = SimpleQueue()
        # The calls that vLLM has; only the driver's thread uses them.
        self._calls: dict[str, EngineCall] = {}
        # Whatever somebody waits for, so that the watching thread can fail it when vLLM dies.
        self._waiting: set[EngineCall | Batch] = set()
        self._facts: Future[EngineFacts] = Future()
        self._stopped = threading.Event()
        self._dead = False
        self._thread = threading.Thread(target=self._run, name="synth-ai-vllm", daemon=True)
        self._watcher = threading.Thread(
            target=self._watch_process, name="synth-ai-vllm-watch", daemon=True
        )

    def start(self) -> Future[EngineFacts]:
        """Start the threads. The facts are there at once, as the model is loaded."""
        # A running future cannot be cancelled by one of those who wait for it.
        self._facts.set_running_or_notify_cancel()
        if _is_dead(self._engine):
            self._facts.set_exception(EngineStartError(_explain_death()))
            return self._facts

        config = self._engine.model_config
        self._facts.set_result(
            EngineFacts(
                config.max_model_len,
                config.get_vocab_size(),
                "max_model_len",
                temperature=DEFAULT_TEMPERATURE,
                logprobs_mode=config.logprobs_mode,
            )
        )
        self._thread.start()
        self._watcher.start()
        return self._facts

    def submit(self, call: EngineCall) -> None:
        self._enqueue(partial(self._start_call, call), call)

    def submit_batch(self, batch: Batch) -> None:
        """Run a batch through `LLM.generate`; from any thread.

        Raises:
            EngineDeadError: vLLM has stopped.
        """
        self._enqueue(partial(self._run_batch, batch), batch)

    def cancel(self, call: EngineCall) -> None:
        self._commands.put(partial(self._abort_call, call))

    def running(self) -> int:
        unfinished: int = self._engine.get_num_unfinished_requests()
        return unfinished

    def prompt_tokens(self) -> int:
        """Count the tokens of all prompts that somebody waits for."""
        count = 0
        # A copy, as other threads add to the set meanwhile.
        for reply in list(self._waiting):
            prompts = reply.prompts if isinstance(reply, Batch) else [reply.prompt]
            count += sum(map(len, prompts))
        return count

    def is_dead(self) -> bool:
        return self._dead

    def stop(self, *, wait: bool = True) -> None:
        # A forked process has no copy of the thread.
        if os.getpid() != self._pid:
            return
        if not self._thread.is_alive():
            return

        self._stopped.set()
        # The thread may be waiting for a command.
        self._commands.put(_do_nothing)

        if not wait:
            return
        # A dead vLLM may keep the thread in a step for ever.
        if self._dead:
            return
        # No thread can wait for itself.
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_SECONDS)

    def _enqueue(self, command: Command, reply: EngineCall | Batch) -> None:
        # Added first: if vLLM dies between the two, the watching thread fails it.
        self._waiting.add(reply)
        if self._is_over():
            self._waiting.discard(reply)
            raise self._end_error()

        self._commands.put(command)

    def _is_over(self) -> bool:
        return self._dead or self._stopped.is_set()

    def _end_error(self) -> EngineDeadError:
        if self._dead:
            return EngineDeadError(_explain_death())
        return closed_error()

    def _watch_process(self) -> None:
        while not self._stopped.wait(_WATCH_SECONDS):
            if _is_dead(self._engine):
                self._die()
                return

    def _die(self) -> None:
        self._dead = True
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        # A copy, as other threads add to the set meanwhile.
        for reply in list(self._waiting):
            reply.put(self._end_error())
        self._waiting.clear()

    # What follows runs on the driver's thread.

    def _run(self) -> None:
        while not self._is_over():
            for command in self._take_commands():
                command()
            if self._calls:
                self._step()

        if not self._dead:
            self._engine.abort_request(list(self._calls))
        self._fail_waiting()

    def _take_commands(self) -> list[Command]:
        """Take all commands that there are; wait for one if vLLM has nothing to do."""
        commands: list[Command] = []
        if not self._calls:
            commands.append(self._commands.get())

        while True:
            try:
                commands.append(self._commands.get_nowait())
            except Empty:
                return commands

    def _step(self) -> None:
        try:
            outputs = self._engine.step()
        except Exception:
            # Whatever ends the step loop ends the engine, as nobody else would run the calls.
            logging.getLogger(__name__).exception("vLLM's step failed")
            self._die()
            return

        for output in outputs:
            call = self._calls.get(output.request_id)
            if call is not None:
                self._deliver(call, output)

    def _deliver(self, call: EngineCall, output: RequestOutput) -> None:
        if output.finished:
            self._forget(call)

        try:
            call.put(read_output(output, call.params.logprobs))
        except Exception as error:
            # The caller waits on another thread: it must get whatever went wrong.
            call.put(call_error(error))

    def _start_call(self, call: EngineCall) -> None:
        from vllm.inputs import tokens_input

        try:
            self._engine.add_request(call.id, tokens_input(call.prompt), call.params)
        except Exception as error:
            # The caller waits on another thread, as above.
            self._waiting.discard(call)
            call.put(call_error(error))
        else:
            self._calls[call.id] = call

    def _abort_call(self, call: EngineCall) -> None:
        if call.id in self._calls:
            self._forget(call)
            self._engine.abort_request([call.id])

    def _forget(self, call: EngineCall) -> None:
        del self._calls[call.id]
        self._waiting.discard(call)

    def _run_batch(self, batch: Batch) -> None:
        # Calls that vLLM has already are finished first: LLM.generate would take their results.
        while self._calls and not self._is_over():
            self._step()

        try:
            batch.put(self._generate(batch))
        except Exception as error:
            # The caller waits on another thread, as above.
            batch.put(call_error(error))
        self._waiting.discard(batch)

    def _generate(self, batch: Batch) -> list[TokenDelta]:
        """Run a batch through `LLM.generate`.

        Raises:
            EngineDeadError: the batch was abandoned, or the driver stopped, before its end.
        """
        from vllm.inputs import tokens_input

        def must_leave() -> bool:
            return batch.abandoned or self._stopped.is_set()

        prompts = [tokens_input(prompt) for prompt in batch.prompts]
        with self._leave_generate_if(must_leave):
            outputs = self._llm.generate(prompts, batch.params, use_tqdm=False)

        if len(outputs) != len(prompts):
            raise closed_error()
        return [
            read_output(output, params.logprobs)
            for output, params in zip(outputs, batch.params, strict=True)
        ]

    @contextmanager
    def _leave_generate_if(self, must_leave: Callable[[], bool]) -> Iterator[None]:
        """Have `LLM.generate` return within one step once `must_leave()`.

        It calls `LLMEngine.step` for as long as there are unfinished requests, and has no other way
        out. Without any it returns the outputs that there are.
        """
        step = self._engine.step

        def step_or_leave() -> list[RequestOutput]:
            if not must_leave():
                outputs: list[RequestOutput] = step()
                return outputs

            # LLM.generate numbers its requests itself, so they are found by vLLM's internal ids.
            request_ids = list(self._engine.output_processor.request_states)
            self._engine.abort_request(request_ids, internal=True)
            return []

        # Set on the object, where it hides the method of the class until it is deleted.
        self._engine.step = step_or_leave
        try:
            yield
        finally:
            del self._engine.step


def _explain_death() -> str:
    return (
        "The LLM behind this engine has died: its process was killed or failed; its log on "
        f"{log_stream()} says more. Make a new vllm.LLM and a new engine from it."
    )


def _do_nothing() -> None:
    """Wake a thread that waits for a command."""


def _is_dead(engine: LLMEngine) -> bool:
    """Whether vLLM has noticed that its process is gone. An LLM inside this process has none."""
    resources = getattr(engine.engine_core, "resources", None)
    if resources is None:
        return False
    return bool(resources.engine_dead)
