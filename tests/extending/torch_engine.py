"""An engine from outside the package that is not vLLM: plain torch, a token a step.

It is slow and small on purpose: what an engine has to do, and nothing else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from synth_ai import Engine, Sampling
from synth_ai.engines import EngineFacts, TokenDelta, TokenLogprob
from synth_ai.engines.base import check_prompt, check_sampling, join_deltas
from synth_ai.errors import EngineRequestError

# <|return|>, <|call|>, <|endoftext|>: what ends a turn of gpt-oss in its generation config.
_END_IDS = (200002, 200012, 199999)


@dataclass
class _Run:
    """One completion under way: what goes into the next step, and what the model remembers."""

    next_ids: list[int]
    generator: Any
    memory: Any = field(default=None)


class TorchEngine(Engine):
    """gpt-oss by `transformers`, for one call's step after the other.

    Args:
        model: the model's folder.
        context_length: the most tokens that prompt and completion may have together.
    """

    def __init__(self, model: str, *, context_length: int = 4096) -> None:
        self.model = model
        self._context_length = context_length
        self._lock = threading.Lock()
        self._loaded: Any = None

    async def facts(self) -> EngineFacts:
        model = await asyncio.to_thread(self._load)
        size = model.config.vocab_size
        return EngineFacts(self._context_length, size, context_option="context_length")

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        facts = await self.facts()
        check_prompt(prompt, facts)
        check_sampling(sampling, facts)
        if sampling.constraint is not None:
            raise EngineRequestError("TorchEngine cannot constrain answers; leave out the shape.")

        room = facts.context_length - len(prompt)
        most = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
        run = await asyncio.to_thread(self._start, prompt, sampling)

        deltas = []
        for number in range(most):
            token_id, logprobs = await asyncio.to_thread(self._step, run, sampling)
            finish_reason: Any = None
            if token_id in (*_END_IDS, *sampling.stop_token_ids):
                finish_reason = "stop"
            elif number == most - 1:
                finish_reason = "length"

            delta = TokenDelta([token_id], finish_reason, logprobs)
            if stream:
                yield delta
            deltas.append(delta)
            if finish_reason is not None:
                break

        if not stream:
            yield join_deltas(deltas)

    async def aclose(self) -> None:
        self._loaded = None

    def _load(self) -> Any:
        with self._lock:
            if self._loaded is None:
                import torch
                from transformers import AutoModelForCausalLM

                self._loaded = AutoModelForCausalLM.from_pretrained(
                    self.model, dtype=torch.float32
                ).eval()
            return self._loaded

    def _start(self, prompt: Sequence[int], sampling: Sampling) -> _Run:
        import torch

        generator = torch.Generator()
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
        return _Run(list(prompt), generator)

    def _step(self, run: _Run, sampling: Sampling) -> tuple[int, list[TokenLogprob] | None]:
        """Sample one token, and report its log probability if that is asked for."""
        import torch

        model = self._load()
        with self._lock, torch.inference_mode():
            ids = torch.tensor([run.next_ids])
            output = model(ids, past_key_values=run.memory, use_cache=True, logits_to_keep=1)
        run.memory = output.past_key_values

        logprobs = torch.log_softmax(output.logits[0, -1].float(), dim=-1)
        temperature = 1.0 if sampling.temperature is None else sampling.temperature
        if temperature == 0:
            token_id = int(logprobs.argmax())
        else:
            weights = torch.softmax(logprobs / temperature, dim=-1)
            token_id = int(torch.multinomial(weights, 1, generator=run.generator))

        run.next_ids = [token_id]
        return token_id, _report(token_id, logprobs, sampling.logprobs)


def _report(token_id: int, logprobs: Any, alternatives: int | None) -> list[TokenLogprob] | None:
    if alternatives is None:
        return None
    values, ids = logprobs.topk(alternatives)
    top = dict(zip(ids.tolist(), values.tolist(), strict=True))
    return [TokenLogprob(token_id, float(logprobs[token_id]), top)]
