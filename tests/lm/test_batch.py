"""Batches: independent calls at once, results in order, errors in their places."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from synth_ai import LM, BaseLMResponse, LMRequest
from synth_ai import content as items
from synth_ai.engines.base import Engine, Sampling, TokenDelta
from synth_ai.engines.batching import BatchingEngine
from synth_ai.errors import MissingExtraError, OverloadedError, RequestError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text


class Backwards(ScriptedVendor):
    """Answers the call made last first."""

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        response = await super().respond(request)
        number = int(items.text_of(request.input[-1]))
        for _ in range(20 - number):
            await asyncio.sleep(0)
        return response


def echo(request: LMRequest) -> str:
    """An answer that tells whose it is; 13 fails."""
    text = items.text_of(request.input[-1])
    if text == "13":
        raise OverloadedError("13 brings bad luck")
    return f"re: {text}"


def batch_lm(count: int, **options: Any) -> tuple[LM, ScriptedVendor]:
    """An LM that echoes `count` times."""
    vendor = Backwards([echo] * count)
    return LM("x", vendor=vendor, retry=False, **options), vendor


async def test_results_are_in_the_order_of_the_prompts() -> None:
    """Whichever ends first."""
    lm, _ = batch_lm(10)
    responses = await lm.respond_batch_async([str(number) for number in range(10)])
    assert [response.raw_response for response in responses] == [
        f"re: {number}" for number in range(10)
    ]


@pytest.mark.parametrize("failing", [False, True])
async def test_progress_is_shown(capfd: pytest.CaptureFixture[str], failing: bool) -> None:
    """A long batch shows how far it is, failed calls included."""
    lm, _ = batch_lm(3)
    prompts = ["1", "13" if failing else "2", "3"]
    await lm.respond_batch_async(prompts, progress=True, return_exceptions=True)
    assert "3/3" in capfd.readouterr().err


async def test_progress_needs_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before any call is made, with what to install."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    lm, vendor = batch_lm(1)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[progress\]"'):
        await lm.respond_batch_async(["1"], progress=True)
    assert vendor.requests == []


async def test_an_error_says_whose_it_is() -> None:
    """Of hundreds of prompts, the one to look at."""
    lm, _ = batch_lm(3)
    with pytest.raises(OverloadedError) as raised:
        await lm.respond_batch_async(["1", "2", "13"])
    assert raised.value.__notes__ == [
        "This was prompts[2]; return_exceptions=True keeps the answers to the others."
    ]


async def test_calls_of_a_batch_are_never_chained() -> None:
    """Neither to the head nor to each other; each can be continued by its id."""
    lm, vendor = batch_lm(6)
    one = await lm.respond_async("Be terse.", "1")
    responses = await lm.respond_batch_async(["2", "3", "4"])
    assert {response.previous_response_id for response in responses} == {None}
    assert {request.instructions for request in vendor.requests[1:]} == {None}
    assert lm.head == one.response_id
    more = await lm.respond_async("5", previous_response_id=responses[1].response_id)
    assert more.previous_response_id == responses[1].response_id


async def test_a_batch_of_forks() -> None:
    """With `previous_response_id=` each call is a branch of that turn."""
    lm, vendor = batch_lm(4)
    one = await lm.respond_async("Be terse.", "1")
    responses = await lm.respond_batch_async(["2", "3"], previous_response_id=one.response_id)
    assert [response.previous_response_id for response in responses] == [one.response_id] * 2
    assert {request.instructions for request in vendor.requests} == {"Be terse."}


async def test_prompts_of_every_shape() -> None:
    """A string, a (system, user) pair, messages, and arguments on top of those of the batch."""
    lm, vendor = batch_lm(4)
    await lm.respond_batch_async(
        [
            "1",
            ("Be kind.", "2"),
            [{"role": "system", "content": "Be loud."}, {"role": "user", "content": "3"}],
            {"user_message": "4", "temperature": 0.1},
        ],
        temperature=0.9,
    )
    asked = {items.text_of(request.input[-1]): request for request in vendor.requests}
    assert [asked[name].instructions for name in "1234"] == [None, "Be kind.", "Be loud.", None]
    assert [asked[name].options["temperature"] for name in "1234"] == [0.9, 0.9, 0.9, 0.1]


@pytest.mark.parametrize("prompt", [5, None, [], [1], ("a", 5), ["a", "b"]])
async def test_a_prompt_of_no_shape(prompt: Any) -> None:
    """Told before any call of the batch is sent."""
    lm, vendor = batch_lm(2)
    with pytest.raises(RequestError, match=r"prompt of a batch must be a string"):
        await lm.respond_batch_async(["1", prompt])
    assert vendor.requests == []


async def test_one_string_is_not_a_batch() -> None:
    """It would be taken letter by letter."""
    lm, vendor = batch_lm(2)
    with pytest.raises(RequestError, match="list of prompts"):
        await lm.respond_batch_async("12")
    assert vendor.requests == []


async def test_an_error_is_raised_when_all_have_ended() -> None:
    """The others' answers are in the store, not thrown away."""
    lm, vendor = batch_lm(3)
    with pytest.raises(OverloadedError, match="bad luck"):
        await lm.respond_batch_async(["13", "1", "2"])
    assert len(vendor.requests) == 3
    assert sorted(response.raw_response for response in await lm.responses.list_async()) == [
        "re: 1",
        "re: 2",
    ]


async def test_errors_in_their_places() -> None:
    """For those who sort them out themselves; bad arguments of one call are one of them."""
    lm, _ = batch_lm(3)
    one, bad, two, empty = await lm.respond_batch_async(
        ["1", "13", "2", ""], return_exceptions=True
    )
    assert (one.raw_response, two.raw_response) == ("re: 1", "re: 2")
    assert isinstance(bad, OverloadedError)
    assert isinstance(empty, RequestError)


async def test_cancelling_a_batch_cancels_its_calls() -> None:
    """Nothing goes on in the background."""
    cancelled = 0

    class Silent(ScriptedVendor):
        async def respond(self, request: LMRequest) -> BaseLMResponse:
            nonlocal cancelled
            self.requests.append(request)
            if len(self.requests) == 3:
                started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled += 1
            raise AssertionError

    vendor, started = Silent(), asyncio.Event()
    task = asyncio.create_task(LM("x", vendor=vendor).respond_batch_async(["1", "2", "3"]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert cancelled == 3


def test_the_sync_twin_and_the_gate() -> None:
    """Without an event loop, no more at a time than the LM allows; an empty batch is fine."""
    inside = most = 0

    class Counting(ScriptedVendor):
        async def respond(self, request: LMRequest) -> BaseLMResponse:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            return await super().respond(request)

    lm = LM("x", vendor=Counting([echo] * 12), max_concurrency=3)
    assert len(lm.respond_batch([str(number) for number in range(12)])) == 12
    assert most == 3
    assert lm.respond_batch([]) == []


class Batching(ScriptedEngine):
    """An engine that serves batches, as one over a `vllm.LLM` does, and remembers their sizes."""

    def __init__(self, *completions: Any) -> None:
        super().__init__(completions)
        self.batches: list[int] = []

    def for_batch(self, count: int) -> Engine:
        return BatchingEngine(self, count)

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sequence[Sampling]
    ) -> list[TokenDelta]:
        self.batches.append(len(prompts))
        deltas = []
        for prompt, own in zip(prompts, sampling, strict=True):
            async with aclosing(self.generate(prompt, own)) as completion:  # type: ignore[type-var]
                deltas.append(await anext(completion))
        return deltas


async def test_a_batch_reaches_the_engine_as_one() -> None:
    """Each response is typed, stored, counted and checked as any other."""
    # The first call of a process loads the vocabulary on threads, which may end in any order.
    warm = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("warm")]))
    await warm.respond_async("Hi")

    engine = Batching(
        *(final_text(f"{number}", reasoning="Hm.") for number in range(4)), final_text("more")
    )
    lm = LM("gpt-oss-20b", engine=engine)
    bad = {"user_message": "b", "max_tokens": -1}
    prompts = [
        "a",
        bad,
        ("Be kind.", "c"),
        {"user_message": "d", "temperature": 0.5, "response_model": int},
    ]
    responses = await lm.respond_batch_async(prompts, return_exceptions=True)
    good = [response for response in responses if isinstance(response, BaseLMResponse)]
    assert engine.batches == [3]
    assert [response.text for response in good] == ["0", "1", "2"]
    assert good[2].structured_output == 2
    assert [sampling.temperature for sampling in engine.samplings] == [None, None, 0.5]
    assert lm.totals.calls == 3
    assert {response.response_id for response in await lm.responses.list_async()} == {
        r.response_id for r in good
    }
    await lm.respond_async("e", previous_response_id=good[1].response_id)
    assert engine.batches == [3]
    await lm.aclose()
    assert engine.closed


async def test_a_batch_through_the_gate_and_under_a_deadline() -> None:
    """No more go to the engine at a time than the LM allows; one that takes too long ends."""
    engine = Batching(*[final_text("x")] * 5)
    lm = LM("gpt-oss-20b", engine=engine, max_concurrency=2)
    assert len(await lm.respond_batch_async(["?"] * 5)) == 5
    assert engine.batches == [2, 2, 1]
    ended = asyncio.Event()

    class Endless(Batching):
        async def generate_batch(self, *_: Any) -> list[TokenDelta]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

    slow = LM("gpt-oss-20b", engine=Endless(), timeout=0.1)
    results = await slow.respond_batch_async(["?"] * 2, return_exceptions=True)
    assert all(isinstance(result, TimeoutError) for result in results)
    await asyncio.wait_for(ended.wait(), 5)
