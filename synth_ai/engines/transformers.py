"""gpt-oss on Hugging Face transformers: slow and simple, for LoRA adapters and for looking inside."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any

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
from synth_ai.engines.mailbox import Call
from synth_ai.engines.model_names import ModelSource, locate_model
from synth_ai.errors import EngineDeadError, EngineRequestError, EngineStartError, MissingExtraError

_SAME_NAMES = ("top_p", "top_k", "min_p", "repetition_penalty")
_UNSUPPORTED = ("presence_penalty", "frequency_penalty", "structure")


class TransformersEngine(Engine):
    """`GptOssForCausalLM.generate` on a thread of its own; calls that wait together run as one batch.

    Args:
        model: a name on the hub, a model folder, or the folder of a LoRA adapter (needs `peft`).
        batch_size: the most calls to run together; they must have equal sampling, and no seed.
        model_args: for `from_pretrained`, such as `dtype="bfloat16"` or `device_map="auto"`.

    Raises:
        MissingExtraError: transformers or torch is not installed.
        OptionError: the folder holds no gpt-oss model.
    """

    def __init__(
        self, model: str | os.PathLike[str], *, batch_size: int = 8, **model_args: Any
    ) -> None:
        if find_spec("transformers") is None or find_spec("torch") is None:
            raise MissingExtraError(
                "TransformersEngine needs transformers and torch: pip install transformers torch"
            )
        self.model = os.fspath(model)
        self._worker = _Worker(locate_model(model), batch_size, model_args)
        self._stopped = weakref.finalize(self, self._worker.stop)

    async def facts(self) -> EngineFacts:
        loading = self._worker.started()
        return loading.result() if loading.done() else await asyncio.wrap_future(loading)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        """As `Engine.generate`; with log probabilities the completion comes as a single delta.

        Raises:
            EngineRequestError: this request cannot be served, or asks for an option that transformers lacks.
            EngineDeadError: the engine was closed.
        """
        if not self._stopped.alive:
            raise EngineDeadError("The engine was closed; make a new one.")
        facts = await self.facts()
        check_prompt(prompt, facts)
        check_sampling(sampling, facts)
        for name in _UNSUPPORTED:
            if getattr(sampling, name) is not None:
                raise EngineRequestError(
                    f"TransformersEngine has no {name}; use VLLMEngine or leave it out."
                )
        room = facts.context_length - len(prompt)
        call = _Call(list(prompt), sampling, min(sampling.max_tokens or room, room), stream)
        self._worker.calls.put(call)
        try:
            reason = None
            while reason is None:
                delta = await call.next()
                reason = delta.finish_reason
                yield delta
        finally:
            call.cancelled = True

    async def aclose(self) -> None:
        self._stopped()


class _Call(Call):
    def __init__(self, prompt: list[int], sampling: Sampling, limit: int, stream: bool) -> None:
        super().__init__(prompt, sampling)
        self.limit = limit
        self.stream = stream and sampling.logprobs is None
        self.cancelled = False

    def fits_with(self, other: _Call) -> bool:
        """Whether both can be one batch."""
        return (
            self.params == other.params and self.limit == other.limit and self.params.seed is None
        )


class _Worker:
    """The thread that holds the model; None among the calls ends it."""

    def __init__(self, source: ModelSource, batch_size: int, model_args: dict[str, Any]) -> None:
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._source = source
        self._model_args = model_args
        self._batch_size = batch_size
        self._held: list[_Call | None] = []
        self._lock = threading.Lock()
        self._facts: Future[EngineFacts] | None = None

    def started(self) -> Future[EngineFacts]:
        """The load, begun at the first call, and again after one that failed."""
        with self._lock:
            if self._facts is None or (self._facts.done() and self._facts.exception()):
                self._facts = Future()
                self._facts.set_running_or_notify_cancel()
                run = threading.Thread(
                    target=self._run, args=(self._facts,), name="synth-ai-transformers", daemon=True
                )
                run.start()
            return self._facts

    def stop(self) -> None:
        """End the thread, once it has served the calls that came before."""
        self.calls.put(None)

    def _run(self, facts: Future[EngineFacts]) -> None:
        try:
            model = _load(self._source, self._model_args)
        except (
            Exception
        ) as error:  # The callers wait on another thread: they must hear of whatever it was.
            failure = EngineStartError(f"transformers could not load the model: {error}")
            failure.__cause__ = error
            facts.set_exception(failure)
            return
        facts.set_result(EngineFacts(model.config.max_position_embeddings, model.config.vocab_size))
        while batch := self._next_batch():
            try:
                _generate(model, batch)
            except Exception as error:  # As above.
                for call in batch:
                    call.put(EngineRequestError(f"transformers failed this request: {error}"))

    def _next_batch(self) -> list[_Call]:
        """The next call and those behind it that fit with it; empty at the end."""
        first = self._held.pop() if self._held else self.calls.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < self._batch_size and not self.calls.empty():
            call = self.calls.get()
            if call is None or not call.fits_with(first):
                self._held.append(call)
                break
            batch.append(call)
        return batch


def _load(source: ModelSource, model_args: dict[str, Any]) -> Any:
    from transformers import GptOssForCausalLM

    loaded = GptOssForCausalLM.from_pretrained(source.model, **model_args)
    if source.adapter is not None:
        loaded.load_adapter(source.adapter)
    return loaded.eval()


def _generate(model: Any, batch: Sequence[_Call]) -> None:
    """Run a batch and tell each call its result; streamed calls are told token by token meanwhile."""
    import torch

    sampling: Sampling = batch[0].params
    stops = _stops(model, sampling)
    longest = max(len(call.prompt) for call in batch)
    padding = [longest - len(call.prompt) for call in batch]
    ids = [[0] * left + call.prompt for left, call in zip(padding, batch, strict=True)]
    mask = [[0] * left + [1] * len(call.prompt) for left, call in zip(padding, batch, strict=True)]
    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)
    with torch.inference_mode():
        result = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=batch[0].limit,
            eos_token_id=sorted(stops),
            stopping_criteria=[_watch(batch, stops, longest)],
            return_dict_in_generate=True,
            output_logits=sampling.logprobs is not None,
            **_options(sampling),
        )
    for row, call in enumerate(batch):
        if not call.stream:
            tokens = _until_stop(result.sequences[row, longest:].tolist(), stops)
            logprobs = (
                None
                if sampling.logprobs is None
                else _logprobs(result.logits, row, tokens, sampling.logprobs)
            )
            call.put(
                TokenDelta(
                    tuple(tokens), "stop" if tokens and tokens[-1] in stops else "length", logprobs
                )
            )


def _options(sampling: Sampling) -> dict[str, Any]:
    options = {
        name: value for name in _SAME_NAMES if (value := getattr(sampling, name)) is not None
    }
    if options.get("top_k") in (-1, 0):
        options["top_k"] = None
    if sampling.temperature == 0:
        return {"do_sample": False}
    return options | {
        "do_sample": True,
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
    }


def _stops(model: Any, sampling: Sampling) -> set[int]:
    own = model.generation_config.eos_token_id
    return set(sampling.stop_token_ids) | set(
        own if isinstance(own, list) else [] if own is None else [own]
    )


def _until_stop(tokens: list[int], stops: set[int]) -> list[int]:
    """The tokens up to the first stop token, it included; behind it a batch has padding."""
    end = next((place for place, token in enumerate(tokens, 1) if token in stops), len(tokens))
    return tokens[:end]


def _watch(batch: Sequence[_Call], stops: set[int], start: int) -> Any:
    """Called by transformers after each step: tells streamed calls their token, and ends cancelled ones."""
    import torch

    ended = [False] * len(batch)

    def after_step(ids: Any, scores: Any, **_: Any) -> Any:
        count = ids.shape[1] - start
        for row, call in enumerate(batch):
            token = int(ids[row, -1])
            if call.stream and not ended[row]:
                full: FinishReason | None = "length" if count == call.limit else None
                call.put(TokenDelta((token,), "stop" if token in stops else full))
            ended[row] = ended[row] or token in stops
        return torch.tensor([call.cancelled for call in batch], device=ids.device)

    return after_step


def _logprobs(
    logits: Sequence[Any], row: int, tokens: Sequence[int], wanted: int
) -> tuple[TokenLogprob, ...]:
    entries = []
    for step, token in zip(logits, tokens, strict=False):
        logprobs = step[row].float().log_softmax(-1)
        best = logprobs.topk(wanted) if wanted else None
        top = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else {}
        entries.append(TokenLogprob(token, float(logprobs[token]), top))
    return tuple(entries)
