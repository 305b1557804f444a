"""gpt-oss on an engine: prompts are rendered to token ids, and completions parsed from them."""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from weakref import WeakKeyDictionary

from synth_ai import harmony
from synth_ai.content import complete_items, new_response_id
from synth_ai.engines.base import Engine
from synth_ai.events import Completed, StreamEvent
from synth_ai.lm.compaction import is_whole
from synth_ai.lm.request import LMRequest
from synth_ai.lm.token_count import TokenCount
from synth_ai.lm.vendors.apis import HARMONY
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.gpt_oss.cache import TranscriptCache
from synth_ai.lm.vendors.gpt_oss.decode import CompletionReader
from synth_ai.lm.vendors.gpt_oss.prompt import PromptSettings, adapt_history, append_completion
from synth_ai.lm.vendors.gpt_oss.sampling import make_sampling
from synth_ai.response import BaseLMResponse
from synth_ai.store.workers import run_on_thread

# How many open vendors each engine has; `_vendor_counts_lock` guards it.
_vendor_counts: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()
_vendor_counts_lock = threading.Lock()


class HarmonyVendor(VendorBase):
    """gpt-oss behind an engine that takes and returns token ids.

    Several vendors may have the same engine; the last of them that is closed closes it.
    """

    api = HARMONY
    engine: Engine

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._transcripts = TranscriptCache()
        self._closed = False
        with _vendor_counts_lock:
            _vendor_counts[engine] = _vendor_counts.get(engine, 0) + 1

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        async with aclosing(self._run(request, stream=False)) as events:
            async for event in events:
                if isinstance(event, Completed):
                    return event.response
        raise AssertionError("a run ends with Completed")

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(self._run(request, stream=True)) as events:
            async for event in events:
                yield event

    def for_batch(self, count: int) -> HarmonyVendor:
        """Make the vendor for `count` calls that come together: on an engine that batches them."""
        engine = self.engine.for_batch(count)
        if engine is self.engine:
            return self

        # A copy has the same transcripts, and counts as no vendor: nobody closes it.
        vendor = copy.copy(self)
        vendor.engine = engine
        return vendor

    async def count_tokens(self, request: LMRequest) -> TokenCount:
        """Render the prompt, and count its ids."""
        await _load_vocabulary()
        request, _ = adapt_history(request)
        transcript = self._transcripts.render(request.history, request.input)
        prompt = PromptSettings.of_request(request).render(transcript)
        return TokenCount(len(prompt), is_exact=True)

    async def models(self) -> list[str]:
        return [self.engine.model]

    async def aclose(self) -> None:
        with _vendor_counts_lock:
            if self._closed:
                return
            self._closed = True
            _vendor_counts[self.engine] -= 1
            is_last = _vendor_counts[self.engine] == 0

        if is_last:
            await self.engine.aclose()

    async def _run(self, request: LMRequest, *, stream: bool) -> AsyncGenerator[StreamEvent, None]:
        """Answer one request as events, the last of which is `Completed`."""
        await _load_vocabulary()

        request, warnings = adapt_history(request)
        settings = PromptSettings.of_request(request)
        transcript = self._transcripts.render(request.history, request.input)
        prompt = settings.render(transcript)

        facts = await self.engine.facts()
        sampling, clip_warnings = make_sampling(request, settings.options, len(prompt), facts)
        warnings += clip_warnings

        reader = CompletionReader(
            tools=settings.tool_names,
            stop=request.stop,
            prefill=settings.prefill(),
            constrained=sampling.constraint is not None,
        )

        # With stop strings the text must come in pieces, so that the engine does not run past them.
        in_pieces = stream or bool(request.stop)
        # Closing the iterator is what aborts the request in the engine.
        async with aclosing(self.engine.generate(prompt, sampling, stream=in_pieces)) as deltas:
            async for delta in deltas:
                for event in reader.feed(delta):
                    yield event
                if reader.stopped:
                    break

        for event in reader.finish():
            yield event

        response = reader.response(prompt, self.engine.model)
        response_id = request.response_id or new_response_id()
        response.response_id = response_id
        # As they will be in the store: the cache compares them.
        response.output = complete_items(response.output, response_id)
        response.warnings += warnings
        response.time_to_first_token = reader.time_to_first_token
        if response.logprobs is not None:
            response.logprobs_mode = facts.logprobs_mode
            response.temperature = sampling.temperature
            if sampling.temperature is None:
                response.temperature = facts.temperature

        can_be_cached = response.tokens_exact and is_whole(request.history)
        if can_be_cached:
            transcript = append_completion(
                transcript, settings, reader.sampled_ids, response.output, status=response.status
            )
            self._transcripts.add(
                request.history,
                response_id,
                transcript,
                input=request.input,
                output=response.output,
                token_ids=response.output_token_ids,
            )

        yield Completed(response)


_vocabulary_lock = threading.Lock()
_vocabulary_is_loaded = False


async def _load_vocabulary() -> None:
    """Load the vocabulary on a thread, once: its first use would block the event loop meanwhile.

    Half of it still does, as tiktoken keeps Python's lock while it builds its tables.
    """
    if not _vocabulary_is_loaded:
        await run_on_thread(_use_vocabulary)


def _use_vocabulary() -> None:
    global _vocabulary_is_loaded
    with _vocabulary_lock:
        if not _vocabulary_is_loaded:
            harmony.decode(harmony.encode(" "))
            _vocabulary_is_loaded = True
