"""TransformersEngine on the tiny gpt-oss: vLLM's answers, batches, streams, what it refuses."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from synth_ai import LM
from synth_ai.engines import transformers as transformers_module
from synth_ai.engines.base import OutputConstraint, Sampling, TokenDelta
from synth_ai.engines.transformers import TransformersEngine
from synth_ai.errors import EngineDeadError, EngineRequestError, EngineStartError, OptionError

# transformers and torch come with vLLM.
pytestmark = pytest.mark.vllm

GREEDY = Sampling(temperature=0, stop_token_ids=(200002, 200012))
STORY = "Tell me a story."


@pytest.fixture
async def engine(tiny_model: Path) -> AsyncIterator[TransformersEngine]:
    """The tiny gpt-oss on transformers."""
    engine = TransformersEngine(tiny_model, batch_size=4, dtype="float32")
    yield engine
    await engine.aclose()


async def complete(engine: Any, prompt: list[int], sampling: Sampling = GREEDY) -> TokenDelta:
    """The only delta of a completion that is not streamed."""
    (delta,) = [delta async for delta in engine.generate(prompt, sampling)]
    return delta


async def test_the_load_is_no_part_of_the_time_of_a_call(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the call that begins it, and not for one that comes meanwhile."""
    load = transformers_module._load

    def load_slowly(*arguments: Any) -> Any:
        time.sleep(6)
        return load(*arguments)

    monkeypatch.setattr(transformers_module, "_load", load_slowly)
    engine = TransformersEngine(tiny_model, dtype="float32")
    async with LM("gpt-oss-20b", engine=engine, timeout=5, max_tokens=1) as lm:
        answers = await lm.respond_batch_async(["one", "two"])
    assert [answer.status for answer in answers] == ["incomplete"] * 2


async def test_same_tokens_as_vllm(
    engine: TransformersEngine, tiny_engine: Any, prompt_of: Any
) -> None:
    """A batch of several lengths gives vLLM's tokens, and log probabilities that are near."""
    prompts = [
        prompt_of(STORY),
        prompt_of("What is the capital of France?"),
        prompt_of("Hello!", "Hi!", STORY),
    ]
    ours = await asyncio.gather(*(complete(engine, prompt) for prompt in prompts))
    assert [delta.token_ids for delta in ours] == [
        (await complete(tiny_engine, prompt)).token_ids for prompt in prompts
    ]

    sampling = Sampling(temperature=0, max_tokens=5, logprobs=2)
    here, there = (
        await complete(engine, prompts[0], sampling),
        await complete(tiny_engine, prompts[0], sampling),
    )
    assert here.logprobs is not None
    assert there.logprobs is not None
    for own, other in zip(here.logprobs, there.logprobs, strict=True):
        assert own.top.keys() == other.top.keys()
        assert own.logprob == pytest.approx(other.logprob, abs=1e-3)


async def test_stream_and_limits(engine: TransformersEngine, prompt_of: Any) -> None:
    """A stream adds up to the completion; a limit ends it; leaving early frees the engine."""
    prompt = prompt_of(STORY)
    whole = await complete(engine, prompt)
    deltas = [delta async for delta in engine.generate(prompt, GREEDY, stream=True)]
    assert tuple(id_ for delta in deltas for id_ in delta.token_ids) == whole.token_ids
    assert [delta.finish_reason for delta in deltas[-2:]] == [None, "stop"]
    short = await complete(engine, prompt, Sampling(temperature=0, max_tokens=4))
    assert (short.token_ids, short.finish_reason) == (whole.token_ids[:4], "length")
    endless = engine.generate(prompt, Sampling(temperature=0, max_tokens=100_000), stream=True)
    await anext(endless)
    await endless.aclose()
    assert (await complete(engine, prompt)).token_ids == whole.token_ids


async def test_seed(engine: TransformersEngine, prompt_of: Any) -> None:
    """The same seed gives the same sample."""
    sampling = Sampling(temperature=1.5, top_p=0.9, top_k=50, seed=3, max_tokens=12)
    first, second = await asyncio.gather(
        *(complete(engine, prompt_of(STORY), sampling) for _ in range(2))
    )
    assert first.token_ids == second.token_ids


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        (Sampling(presence_penalty=1.0), "presence_penalty"),
        (Sampling(constraint=OutputConstraint({})), "constraint"),
    ],
)
async def test_unsupported_options(
    engine: TransformersEngine, sampling: Sampling, named: str
) -> None:
    """What transformers cannot do is refused by name, not dropped."""
    with pytest.raises(EngineRequestError, match=named):
        await complete(engine, [17360], sampling)


async def test_closed(tiny_model: Path) -> None:
    """A closed engine says so."""
    engine = TransformersEngine(tiny_model)
    await engine.aclose()
    with pytest.raises(EngineDeadError, match="was closed"):
        await complete(engine, [17360])


async def test_closed_while_it_loads(
    tiny_model: Path, prompt_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that waited for the model is told so, and does not wait for ever."""
    may_load = threading.Event()
    load = transformers_module._load

    def load_when_told(*what: Any) -> Any:
        may_load.wait(30)
        return load(*what)

    monkeypatch.setattr(transformers_module, "_load", load_when_told)
    engine = TransformersEngine(tiny_model, dtype="float32")
    call = asyncio.create_task(complete(engine, prompt_of(STORY)))
    await asyncio.sleep(0.05)
    await engine.aclose()
    may_load.set()
    with pytest.raises(EngineDeadError, match="was closed"):
        async with asyncio.timeout(30):
            await call
    with pytest.raises(EngineDeadError, match="was closed"):
        await engine.facts()


async def test_calls_before_the_end_are_served(engine: TransformersEngine, prompt_of: Any) -> None:
    """Closing an engine ends it behind the calls that it has."""
    await engine.facts()
    call = asyncio.create_task(complete(engine, prompt_of(STORY)))
    await asyncio.sleep(0.01)
    await engine.aclose()
    assert (await call).finish_reason == "stop"


async def test_failed_load(tmp_path: Path) -> None:
    """A folder without weights fails with the reason."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt_oss"}))
    with pytest.raises(EngineStartError, match="could not load"):
        await TransformersEngine(tmp_path).facts()


async def test_adapter(
    tiny_model: Path, tmp_path: Path, prompt_of: Callable[..., list[int]]
) -> None:
    """The folder of a LoRA adapter loads its base model and changes what it says."""
    peft = pytest.importorskip("peft", reason="LoRA adapters need peft")
    import torch
    from transformers import GptOssForCausalLM

    base = GptOssForCausalLM.from_pretrained(tiny_model, dtype="float32")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    peft.get_peft_model(base, config).save_pretrained(tmp_path)
    plain, tuned = (
        TransformersEngine(tiny_model, dtype="float32"),
        TransformersEngine(tmp_path, dtype="float32"),
    )
    sampling = Sampling(temperature=0, max_tokens=5, logprobs=0)
    ours, base_ = (
        await complete(tuned, prompt_of(STORY), sampling),
        await complete(plain, prompt_of(STORY), sampling),
    )
    assert ours.logprobs != base_.logprobs
    await tuned.aclose()
    await plain.aclose()


async def test_a_model_that_is_loaded_already(
    tiny_model: Path, engine: TransformersEngine, prompt_of: Any
) -> None:
    """It answers as the folder does, and is named after where it came from."""
    from transformers import GptOssForCausalLM

    loaded = GptOssForCausalLM.from_pretrained(tiny_model, dtype="float32").train()
    mine = TransformersEngine(loaded)
    prompt = prompt_of("What is the capital of France?")
    assert (await complete(mine, prompt)).token_ids == (await complete(engine, prompt)).token_ids
    assert mine.model == str(tiny_model)
    await mine.aclose()


async def test_a_loaded_model_with_arguments(tiny_model: Path) -> None:
    """It is too late for them."""
    from transformers import GptOssForCausalLM

    loaded = GptOssForCausalLM.from_pretrained(tiny_model, dtype="float32")
    with pytest.raises(OptionError, match="loaded already, so dtype cannot be set"):
        TransformersEngine(loaded, dtype="float32")


@pytest.mark.parametrize("model", [None, 5, object(), ["gpt-oss-20b"]])
def test_what_is_no_model(model: Any) -> None:
    """The error names what was given."""
    with pytest.raises(OptionError, match=f"not {type(model).__name__}"):
        TransformersEngine(model)
