"""A user's own `vllm.LLM` as an engine: one thread drives it for everyone.

An LLM is not safe for threads, and its step loop waits for ever once its process is dead. So all of it happens on one
thread, step by step with whatever calls there are, and a second thread watches the process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
)
from synth_ai.engines.batching import Gathered
from synth_ai.engines.mailbox import Call, Reply
from synth_ai.engines.model_names import ModelSource
from synth_ai.engines.vllm.args import LoadPlan
from synth_ai.engines.vllm.engine import Driver, VLLMEngine, sampling_of_each
from synth_ai.engines.vllm.errors import call_error, closed_error
from synth_ai.engines.vllm.params import make_sampling_params, read_output
from synth_ai.errors import EngineDeadError, EngineStartError

if TYPE_CHECKING:
    from vllm import LLM

_WATCH_SECONDS = 0.2
_STOP_SECONDS = 20.0
_DEAD = (
    "The LLM behind this engine has died: its process was killed or failed; its log on stderr says more. Make a new "
    "vllm.LLM and a new engine from it."
)


class Batch(Reply[list[TokenDelta]]):
    """Prompts that go through `LLM.generate` together.

    Attributes:
        given_up: nobody waits for it any more.
    """

    def __init__(self, prompts: list[list[int]], params: list[Any]) -> None:
        super().__init__()
        self.prompts = prompts
        self.params = params
        self.given_up = False


class OfflineEngine(VLLMEngine):
    """What `VLLMEngine.from_llm` returns.

    Args:
        llm: nothing else may use it while this engine does.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.model = str(llm.llm_engine.model_config.model)
        self.plan = LoadPlan(ModelSource(self.model), {})
        self._set_up()

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        """One whole completion per prompt, in the order of the prompts, by one `LLM.generate`.

        While other calls are running the batch joins them instead, and calls that come during `LLM.generate` wait for
        its end: vLLM's loop would take their results for its own. Cancelling the task ends it within one step.
        """
        driver, _ = self._started()
        if not prompts or driver.running() or not isinstance(driver, OfflineDriver):
            return await super().generate_batch(prompts, sampling)
        facts = await self.facts()
        samplings = sampling_of_each(sampling, len(prompts))
        params = []
        for prompt, own in zip(prompts, samplings, strict=True):
            check_prompt(prompt, facts)
            check_sampling(own, facts)
            params.append(
                make_sampling_params(own, tokens_left=facts.context_length - len(prompt), stream=False)
            )
        batch = Batch([list(prompt) for prompt in prompts], params)
        driver.submit_batch(batch)
        try:
            return await batch.next()
        finally:
            batch.given_up = True

    def for_batch(self, count: int) -> Engine:
        return Gathered(self, count)

    def _new_driver(self) -> Driver:
        return OfflineDriver(self._llm)


class OfflineDriver:
    """Drives one `vllm.LLM`, which is loaded already and stays with its owner."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._engine = llm.llm_engine
        self._pid = os.getpid()
        self._inbox: SimpleQueue[tuple[Callable[[Any], None], Any]] = SimpleQueue()
        # Calls in the engine, and replies of all kinds that someone waits for; the watch answers those.
        self._calls: dict[str, Call] = {}
        self._waiting: set[Reply[Any]] = set()
        self._facts: Future[EngineFacts] = Future()
        self._ended = threading.Event()
        self._dead = False
        self._thread = threading.Thread(target=self._run, name="synth-ai-vllm", daemon=True)
        self._watch = threading.Thread(
            target=self._watch_process, name="synth-ai-vllm-watch", daemon=True
        )

    def start(self) -> Future[EngineFacts]:
        """The facts are there at once, as the model is loaded."""
        self._facts.set_running_or_notify_cancel()
        if _is_dead(self._engine):
            self._facts.set_exception(EngineStartError(_DEAD))
        else:
            config = self._engine.model_config
            self._facts.set_result(EngineFacts(config.max_model_len, config.get_vocab_size()))
            self._thread.start()
            self._watch.start()
        return self._facts

    def submit(self, call: Call) -> None:
        """Begin to serve a call; from any thread.

        Raises:
            EngineDeadError: the engine is gone.
        """
        self._post(self._begin, call)

    def submit_batch(self, batch: Batch) -> None:
        """Run a batch through `LLM.generate`; from any thread.

        Raises:
            EngineDeadError: the engine is gone.
        """
        self._post(self._run_batch, batch)

    def cancel(self, call: Call) -> None:
        """Abort a call in the engine, if it is still running; from any thread."""
        self._inbox.put((self._cancel, call))

    def running(self) -> int:
        """How many calls vLLM has; from any thread."""
        unfinished: int = self._engine.get_num_unfinished_requests()
        return unfinished

    def is_dead(self) -> bool:
        """Whether the LLM's process is gone; from any thread."""
        return self._dead

    def stop(self, *, wait: bool = True) -> None:
        """Abort what is running and stop driving; from any thread, as often as you like."""
        if os.getpid() != self._pid or not self._thread.is_alive():
            return
        self._ended.set()
        # The thread may be waiting for something to do.
        self._inbox.put((_wake_up, None))
        if wait and not self._dead and threading.current_thread() is not self._thread:
            self._thread.join(_STOP_SECONDS)

    def _post(self, function: Callable[[Any], None], reply: Reply[Any]) -> None:
        # Waiting first: the engine may die between the two, and then the watch answers.
        self._waiting.add(reply)
        if self._dead or self._ended.is_set():
            self._waiting.discard(reply)
            raise self._why_not()
        self._inbox.put((function, reply))

    def _watch_process(self) -> None:
        while not self._ended.wait(_WATCH_SECONDS):
            if _is_dead(self._engine):
                self._die()
                return

    def _die(self) -> None:
        self._dead = True
        self._answer_all()

    def _answer_all(self) -> None:
        for reply in list(self._waiting):
            reply.put(self._why_not())
        self._waiting.clear()

    def _why_not(self) -> EngineDeadError:
        return EngineDeadError(_DEAD) if self._dead else closed_error()

    # What follows runs on the driver's thread.

    def _run(self) -> None:
        while not self._ended.is_set() and not self._dead:
            for function, argument in self._posted():
                function(argument)
            if self._calls:
                self._step()
        if not self._dead:
            self._engine.abort_request(list(self._calls))
        self._answer_all()

    def _posted(self) -> list[tuple[Callable[[Any], None], Any]]:
        """What has been posted; waits for something while the engine has nothing to do."""
        posts = [] if self._calls else [self._inbox.get()]
        while True:
            try:
                posts.append(self._inbox.get_nowait())
            except Empty:
                return posts

    def _step(self) -> None:
        try:
            outputs = self._engine.step()
        except Exception:
            # Whatever ends the step loop ends the engine, as nobody else would run the calls.
            logging.getLogger(__name__).exception("vLLM's step failed")
            self._die()
            return
        for output in outputs:
            if call := self._calls.get(output.request_id):
                self._hand_over(call, output)

    def _hand_over(self, call: Call, output: Any) -> None:
        if output.finished:
            self._forget(call)
        try:
            call.put(read_output(output, call.params.logprobs))
        except (
            Exception
        ) as error:  # The caller waits on another thread: it must get whatever went wrong.
            call.put(call_error(error))

    def _begin(self, call: Call) -> None:
        from vllm.inputs import tokens_input

        try:
            self._engine.add_request(call.id, tokens_input(call.prompt), call.params)
        except Exception as error:  # The caller waits on another thread, as above.
            self._waiting.discard(call)
            call.put(call_error(error))
        else:
            self._calls[call.id] = call

    def _cancel(self, call: Call) -> None:
        if call.id in self._calls:
            self._forget(call)
            self._engine.abort_request([call.id])

    def _forget(self, call: Call) -> None:
        del self._calls[call.id]
        self._waiting.discard(call)

    def _run_batch(self, batch: Batch) -> None:
        from vllm.inputs import tokens_input

        # Calls that began before the batch was posted come to their end first.
        while self._calls and not self._dead and not self._ended.is_set():
            self._step()
        prompts = [tokens_input(prompt) for prompt in batch.prompts]
        try:
            with self._leaving_when(lambda: batch.given_up or self._ended.is_set()):
                outputs = self._llm.generate(prompts, batch.params, use_tqdm=False)
            if len(outputs) == len(prompts):
                pairs = zip(outputs, batch.params, strict=True)
                batch.put([read_output(output, params.logprobs) for output, params in pairs])
            else:
                batch.put(closed_error())
        except Exception as error:  # The caller waits on another thread, as above.
            batch.put(call_error(error))
        self._waiting.discard(batch)

    @contextmanager
    def _leaving_when(self, left: Callable[[], bool]) -> Iterator[None]:
        """While it lasts, LLM.generate ends at its next step once `left()`: its loop has no other way out."""
        step = self._engine.step

        def step_or_leave() -> list[Any]:
            if not left():
                return list(step())
            self._engine.abort_request(
                list(self._engine.output_processor.request_states), internal=True
            )
            return []

        self._engine.step = step_or_leave
        try:
            yield
        finally:
            del self._engine.step


def _wake_up(_: None) -> None:
    """What is posted to a thread that waits, for the sake of posting."""


def _is_dead(engine: Any) -> bool:
    """Whether vLLM has noticed that a process of its is gone; an engine inside this process has none."""
    resources = getattr(engine.engine_core, "resources", None)
    return bool(resources is not None and resources.engine_dead)
