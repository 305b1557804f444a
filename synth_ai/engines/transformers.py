"""gpt-oss on Hugging Face transformers: slow and simple, for LoRA adapters and debugging."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from importlib.util import find_spec
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    FinishReason,
    Sampling,
    TokenDelta,
    TokenLogprob,
    check_prompt,
    check_sampling,
)
from synth_ai.engines.mailbox import ResultQueue
from synth_ai.engines.model_names import ModelSource, locate_model
from synth_ai.errors import (
    EngineDeadError,
    EngineRequestError,
    EngineStartError,
    MissingExtraError,
    OptionError,
)
from synth_ai.timeout import paused_clock

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GptOssForCausalLM

    StoppingCriterion: TypeAlias = Callable[..., Tensor]

# That of a call that names none.
_DEFAULT_TEMPERATURE = 1.0

# Options that `generate` of transformers has by the same names.
_SAME_NAMES = ("top_p", "top_k", "min_p", "repetition_penalty")
_UNSUPPORTED = ("presence_penalty", "frequency_penalty", "constraint")


class TransformersEngine(Engine):
    """`GptOssForCausalLM.generate` on its own thread; calls that wait together run as one batch.

    Args:
        model: a name on the hub, a model folder, the folder of a LoRA adapter (needs `peft`), or a
            `GptOssForCausalLM` that is loaded already and that nothing else uses meanwhile.
        batch_size: the most calls to run together; they must have equal sampling, and no seed.
        model_args: for `from_pretrained`, such as `dtype="bfloat16"` or `device_map="auto"`.

    Raises:
        MissingExtraError: transformers or torch is not installed.
        OptionError: the folder does not hold a gpt-oss model, the loaded model is another one, or
            `model_args` come with a loaded one.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | GptOssForCausalLM,
        *,
        batch_size: int = 8,
        **model_args: object,
    ) -> None:
        if find_spec("transformers") is None or find_spec("torch") is None:
            raise MissingExtraError(
                "TransformersEngine needs transformers and torch: pip install transformers torch"
            )

        if isinstance(model, (str, os.PathLike)):
            self.model = os.fspath(model)
            load = partial(_load, locate_model(model), model_args)
        else:
            _check_loaded(model, model_args)
            self.model = str(model.config.name_or_path or "gpt-oss")
            load = model.eval
        self._worker = _Worker(load, batch_size)
        # An engine that nobody refers to any more ends its thread, and frees the model with it.
        self._stop = weakref.finalize(self, self._worker.stop)

    async def facts(self) -> EngineFacts:
        """Return the engine's facts; loads the model if it is not loaded yet.

        Raises:
            EngineStartError: it could not be loaded; a later call tries again.
            EngineDeadError: the engine was closed.
        """
        loading = self._worker.load()
        if loading.done():
            return loading.result()
        # The load is no part of the time of the calls that wait for it.
        with paused_clock():
            return await asyncio.wrap_future(loading)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        """Generate one completion; with log probabilities it always comes as a single delta.

        Raises:
            EngineRequestError: this request cannot be served, or asks for an option that
                transformers lacks.
            EngineDeadError: the engine was closed.
        """
        facts = await self.facts()
        check_prompt(prompt, facts)
        check_sampling(sampling, facts)
        for name in _UNSUPPORTED:
            if getattr(sampling, name) is not None:
                raise EngineRequestError(
                    f"TransformersEngine has no {name}; use VLLMEngine or leave it out."
                )

        room = facts.context_length - len(prompt)
        max_tokens = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
        call = _GenerateCall(list(prompt), sampling, max_tokens, stream)
        self._worker.submit(call)

        try:
            finish_reason = None
            while finish_reason is None:
                delta = await call.next()
                finish_reason = delta.finish_reason
                yield delta
        finally:
            # Read after each step of the model: nobody waits for this completion any more.
            call.cancelled = True

    def close(self, *, wait: bool = True) -> None:
        """End the engine's thread once it has served the calls that came before; never waits."""
        self._stop()

    async def aclose(self) -> None:
        """End the engine's thread once it has served the calls that came before; never waits."""
        self._stop()


class _GenerateCall(ResultQueue[TokenDelta]):
    """One completion: what to generate, and the queue of its deltas.

    Attributes:
        max_tokens: the most tokens to generate, which the context has room for.
        stream: whether to put each token when it is sampled, or the whole completion at its end.
        cancelled: whether nobody waits for it any more.
    """

    def __init__(
        self, prompt: list[int], sampling: Sampling, max_tokens: int, stream: bool
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.sampling = sampling
        self.max_tokens = max_tokens
        # Log probabilities are only there when `generate` has returned.
        self.stream = stream and sampling.logprobs is None
        self.cancelled = False

    def can_run_with(self, other: _GenerateCall) -> bool:
        """Whether both can be in one batch, which has one set of options and one random state."""
        if self.sampling.seed is not None:
            return False
        return self.sampling == other.sampling and self.max_tokens == other.max_tokens


class _Worker:
    """The thread that has the model, and the queue of its calls."""

    def __init__(self, load: Callable[[], GptOssForCausalLM], batch_size: int) -> None:
        self._load_model = load
        self._batch_size = batch_size
        # None among the calls ends the thread.
        self._calls: SimpleQueue[_GenerateCall | None] = SimpleQueue()
        # What was taken from the queue and did not fit into the batch: at most one.
        self._postponed: list[_GenerateCall | None] = []
        self._lock = threading.Lock()
        self._facts: Future[EngineFacts] | None = None
        self._stopped = False

    def load(self) -> Future[EngineFacts]:
        """Begin to load the model, unless that is under way or done; from any thread.

        Returns:
            The facts, when it is loaded, or an EngineStartError; the next call then tries again.

        Raises:
            EngineDeadError: the worker was stopped.
        """
        with self._lock:
            self._check_running()
            if self._facts is None or _has_failed(self._facts):
                self._facts = self._start_thread()
            return self._facts

    def submit(self, call: _GenerateCall) -> None:
        """Put a call into the queue; from any thread.

        Raises:
            EngineDeadError: the worker was stopped.
        """
        # Under the lock, so that no call comes behind the None that ends the thread: it would
        # never be served, and its caller would wait for ever.
        with self._lock:
            self._check_running()
            self._calls.put(call)

    def stop(self) -> None:
        """End the thread, once it has served the calls that came before; from any thread."""
        with self._lock:
            self._stopped = True
            self._calls.put(None)

    def _check_running(self) -> None:
        if self._stopped:
            raise EngineDeadError("The engine was closed; make a new one.")

    def _start_thread(self) -> Future[EngineFacts]:
        facts: Future[EngineFacts] = Future()
        # Running futures cannot be cancelled: one caller that gives up takes nothing from others.
        facts.set_running_or_notify_cancel()
        thread = threading.Thread(
            target=self._run, args=(facts,), name="synth-ai-transformers", daemon=True
        )
        thread.start()
        return facts

    # What follows runs on the worker's thread.

    def _run(self, facts: Future[EngineFacts]) -> None:
        try:
            model = self._load_model()
        except Exception as error:
            # Whatever it was, the callers must hear of it: they wait on other threads.
            failure = EngineStartError(f"transformers could not load the model: {error}")
            failure.__cause__ = error
            facts.set_exception(failure)
            return

        facts.set_result(
            EngineFacts(
                model.config.max_position_embeddings,
                model.config.vocab_size,
                temperature=_DEFAULT_TEMPERATURE,
                logprobs_mode="raw_logprobs",
            )
        )

        while True:
            batch = self._next_batch()
            if not batch:
                return
            _run_batch(model, batch)

    def _next_batch(self) -> list[_GenerateCall]:
        """Wait for a call, and take those behind it that can run with it; empty at the end."""
        first = self._postponed.pop() if self._postponed else self._calls.get()
        if first is None:
            return []

        batch = [first]
        while len(batch) < self._batch_size and not self._calls.empty():
            call = self._calls.get()
            if call is None or not call.can_run_with(first):
                self._postponed.append(call)
                break
            batch.append(call)
        return batch


def _has_failed(loading: Future[EngineFacts]) -> bool:
    return loading.done() and loading.exception() is not None


def _check_loaded(model: object, model_args: Mapping[str, object]) -> None:
    """Refuse what is not a loaded gpt-oss model, and arguments that come too late for one.

    Raises:
        OptionError: naming what was given.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    is_gpt_oss = model_type == "gpt_oss" and callable(getattr(model, "generate", None))
    if not is_gpt_oss:
        raise OptionError(
            "model must be a name, a folder or a loaded GptOssForCausalLM, "
            f"not {type(model).__name__}."
        )
    if model_args:
        names = ", ".join(model_args)
        raise OptionError(f"The model is loaded already, so {names} cannot be set any more.")


def _load(source: ModelSource, model_args: Mapping[str, object]) -> GptOssForCausalLM:
    from transformers import GptOssForCausalLM

    model = GptOssForCausalLM.from_pretrained(source.model, **model_args)
    if source.adapter is not None:
        model.load_adapter(source.adapter)
    return model.eval()


def _run_batch(model: GptOssForCausalLM, batch: Sequence[_GenerateCall]) -> None:
    """Generate a batch, and give each call its result or the error that ended the batch."""
    try:
        _generate(model, batch)
    except Exception as error:
        # Whatever it was, the callers must hear of it: they wait on other threads.
        for call in batch:
            call.put(EngineRequestError(f"transformers failed this request: {error}"))


def _generate(model: GptOssForCausalLM, batch: Sequence[_GenerateCall]) -> None:
    """Generate a batch and give each call its result; streamed calls get it token by token."""
    import torch

    # Calls that run together have equal options.
    sampling = batch[0].sampling
    stop_ids = _stop_ids(model, sampling)
    ids, mask = _pad_prompts([call.prompt for call in batch])
    prompt_length = len(ids[0])

    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)

    with torch.inference_mode():
        result = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=batch[0].max_tokens,
            eos_token_id=sorted(stop_ids),
            stopping_criteria=[_watch_steps(batch, stop_ids, prompt_length)],
            return_dict_in_generate=True,
            output_logits=sampling.logprobs is not None,
            **_generation_options(sampling),
        )

    for row, call in enumerate(batch):
        if call.stream:
            continue

        tokens = _cut_after_stop(result.sequences[row, prompt_length:].tolist(), stop_ids)
        logprobs = None
        if sampling.logprobs is not None:
            logprobs = _read_logprobs(result.logits, row, tokens, sampling.logprobs)
        call.put(TokenDelta(tuple(tokens), _finish_reason(tokens, stop_ids), logprobs))


def _pad_prompts(prompts: Sequence[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Pad prompts on the left to the length of the longest, as a batch needs them.

    Returns:
        The rows of ids, and the attention mask: 0 for padding and 1 for ids.
    """
    longest = max(len(prompt) for prompt in prompts)

    rows = []
    mask = []
    for prompt in prompts:
        padding = [0] * (longest - len(prompt))
        rows.append(padding + prompt)
        mask.append(padding + [1] * len(prompt))
    return rows, mask


def _generation_options(sampling: Sampling) -> dict[str, object]:
    """Return the options as `generate` of transformers takes them."""
    if sampling.temperature == 0:
        return {"do_sample": False}

    options: dict[str, object] = {}
    for name in _SAME_NAMES:
        value = getattr(sampling, name)
        if value is not None:
            options[name] = value

    # transformers has its own word for all tokens.
    if sampling.top_k in (-1, 0):
        options["top_k"] = None

    options["do_sample"] = True
    options["temperature"] = _DEFAULT_TEMPERATURE
    if sampling.temperature is not None:
        options["temperature"] = sampling.temperature
    return options


def _stop_ids(model: GptOssForCausalLM, sampling: Sampling) -> set[int]:
    """Return the ids that end a completion: those of the call, and the model's own."""
    stop_ids = set(sampling.stop_token_ids)
    model_ids = model.generation_config.eos_token_id
    if isinstance(model_ids, list):
        stop_ids.update(model_ids)
    elif model_ids is not None:
        stop_ids.add(model_ids)
    return stop_ids


def _cut_after_stop(tokens: list[int], stop_ids: set[int]) -> list[int]:
    """Return the tokens up to the first stop token and with it; a batch has padding behind it."""
    for index, token in enumerate(tokens):
        if token in stop_ids:
            return tokens[: index + 1]
    return tokens


def _finish_reason(tokens: list[int], stop_ids: set[int]) -> FinishReason:
    if tokens and tokens[-1] in stop_ids:
        return "stop"
    return "length"


def _watch_steps(
    batch: Sequence[_GenerateCall], stop_ids: set[int], prompt_length: int
) -> StoppingCriterion:
    """Make what transformers calls after each step of the model.

    It gives streamed calls their token, and ends the rows of cancelled ones.
    """
    import torch

    max_tokens = batch[0].max_tokens
    ended = [False] * len(batch)

    def after_step(ids: Tensor, scores: object, **_: object) -> Tensor:
        is_last_step = ids.shape[1] - prompt_length == max_tokens
        for row, call in enumerate(batch):
            token = int(ids[row, -1])
            is_stop = token in stop_ids

            # Behind its stop token a row has padding, until the longest one of the batch has ended.
            if call.stream and not ended[row]:
                call.put(TokenDelta((token,), _step_finish_reason(is_stop, is_last_step)))
            ended[row] = ended[row] or is_stop

        return torch.tensor([call.cancelled for call in batch], device=ids.device)

    return after_step


def _step_finish_reason(is_stop: bool, is_last_step: bool) -> FinishReason | None:
    if is_stop:
        return "stop"
    if is_last_step:
        return "length"
    return None


def _read_logprobs(
    logits: Sequence[Tensor], row: int, tokens: Sequence[int], alternatives: int
) -> tuple[TokenLogprob, ...]:
    """Read the log probabilities of one row's tokens.

    Args:
        logits: those of each step, for all rows.
        alternatives: how many of the best tokens to report beside the sampled one.
    """
    entries = []
    # Not strict: the longest row of the batch has as many steps as there are logits.
    for step_logits, token in zip(logits, tokens, strict=False):
        logprobs = step_logits[row].float().log_softmax(-1)
        top: dict[int, float] = {}
        if alternatives:
            best = logprobs.topk(alternatives)
            top = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        entries.append(TokenLogprob(token, float(logprobs[token]), top))
    return tuple(entries)
