"""What a turn keeps of the tokens: log probabilities as they were, prompts to the id."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, MemoryStore, ResponseStore, SQLiteStore, VLLMEngine
from synth_ai import content as items
from synth_ai.engines.base import Sampling, TokenDelta, TokenLogprob
from synth_ai.errors import RequestError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text

Hosted = Callable[..., LM]

TRANSPORTS = pytest.mark.parametrize("transport", ["httpx", "aiohttp"])


class NoisyEngine(ScriptedEngine):
    """A scripted engine whose log probabilities differ from token to token."""

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> Any:
        async for delta in super().generate(prompt, sampling, stream=stream):
            if delta.logprobs is None:
                yield delta
                continue
            noisy = [TokenLogprob(id, -math.sqrt(id), {}) for id in delta.token_ids]
            yield replace(delta, logprobs=noisy)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class City(BaseModel):
    name: str


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResponseStore:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "turns.db")


def assert_prompts_are_kept(lm: LM, responses: Sequence[BaseLMResponse]) -> None:
    """Every response reads as it was, ids and log probabilities, whatever came after it."""
    for response in responses:
        again = lm.responses.retrieve(response.response_id)
        assert response.prompt_token_ids
        assert again.prompt_token_ids == response.prompt_token_ids
        assert again.output_token_ids == response.output_token_ids
        assert logprobs_of(again) == rounded(logprobs_of(response))


def logprobs_of(response: BaseLMResponse) -> list[float]:
    return [entry["logprob"] for entry in response.logprobs or ()]


def rounded(numbers: Sequence[float]) -> list[float]:
    """The same in four bytes each."""
    return list(array("f", numbers))


# --- on an engine -----------------------------------------------------------------------------


async def test_every_kind_of_turn_is_kept(store: ResponseStore) -> None:
    """Tool rounds, forks, forced calls, shapes, settings, hidden reasoning, new instructions."""
    engine = NoisyEngine()
    lm = LM("gpt-oss-20b", engine=engine, response_store=store, logprobs=True, tools=[add])
    seen: list[BaseLMResponse] = []

    async def ask(completion: str, *texts: str, **options: Any) -> BaseLMResponse:
        engine.add(completion)
        seen.append(await lm.respond_async(*texts, **options))
        return seen[-1]

    called = await ask(call_text("add", a=1, b=2, reasoning="Add them."), "Be terse.", "1 + 2?")
    outputs = {call["id"]: 3 for call in called.tool_calls or ()}
    answered = await ask(final_text("3", reasoning="So."), tool_outputs=outputs)
    await ask(final_text("6"), "And twice that?", reasoning_effort="high")
    await ask(final_text("Fork"), "A fork.", previous_response_id=answered.response_id)
    await ask(final_text('{"name": "Oslo"}'), "Where?", response_model=City)
    await ask('{"a": 1, "b": 2}<|call|>', "Call it.", tool_choice="add", tool_outputs=None)
    outputs = {call["id"]: 3 for call in seen[-1].tool_calls or ()}
    await ask(final_text("ok"), tool_outputs=outputs, tool_choice="none")
    await ask(final_text("ok"), "Hide it.", include_reasoning=False)
    await ask(final_text("ok"), "Talk like a pirate.", "Hello?", tools=None)
    await ask(final_text("long " * 50), "Tell me more.", max_tokens=7)
    await ask(final_text("ok"), "Go on.", knowledge_cutoff="2020-01", model_identity="You are X.")
    assert seen[-2].status == "incomplete"

    assert_prompts_are_kept(lm, seen)
    assert [response.prompt_token_ids for response in seen] == engine.prompts
    again = lm.responses.retrieve(called.response_id)
    assert (again.logprobs_mode, again.temperature) == ("raw_logprobs", 1.0)
    assert again.logprobs is not None
    assert again.logprobs[0]["token"] == "<|channel|>"
    await store.aclose()


async def test_only_what_was_asked_for_is_kept() -> None:
    """Without `logprobs=True` there are none; the prompt is there all the same."""
    lm = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("a"), final_text("b")]))
    plain = await lm.respond_async("Hi")
    warm = await lm.respond_async("Hi", logprobs=True, temperature=0.5)
    again = lm.responses.retrieve(plain.response_id)
    assert (again.logprobs, again.logprobs_mode, again.temperature) == (None, None, None)
    assert again.prompt_token_ids == plain.prompt_token_ids
    assert lm.responses.retrieve(warm.response_id).temperature == 0.5
    (_, turn) = await lm._config.store.list()
    assert isinstance(turn.output_logprobs, array)
    assert turn.output_logprobs.itemsize == 4


async def test_a_turn_that_a_stop_string_ended_has_its_prompt() -> None:
    """Its ids are not all that was sampled, so neither they nor their log probabilities stay."""
    engine = ScriptedEngine([final_text("one STOP two"), final_text("three")])
    lm = LM("gpt-oss-20b", engine=engine, logprobs=True)
    stopped = await lm.respond_async("Count.", stop="STOP")
    after = await lm.respond_async("Go on.")
    again = lm.responses.retrieve(stopped.response_id)
    assert (again.text, again.output_token_ids, again.logprobs) == ("one ", None, None)
    assert again.prompt_token_ids == engine.prompts[0]
    assert_prompts_are_kept(lm, [after])


@pytest.mark.parametrize("compact", [None, "hook"])
async def test_prompts_of_compacted_conversations(
    store: ResponseStore, compact: str | None
) -> None:
    """What stood in the place of old turns is kept, and is in the turn's training example."""
    engine = ScriptedEngine([final_text(f"answer {n} " * 60) for n in range(8)], context_length=900)
    options: dict[str, Any] = {"truncation": "auto"}
    if compact == "hook":
        options = {"compact": lambda items: f"{len(items)} items were here."}
    lm = LM("gpt-oss-20b", engine=engine, response_store=store, logprobs=True, **options)
    responses = []
    for number in range(8):
        responses.append(await lm.respond_async(f"Question {number}?", max_tokens=250))
    compacted = [response for response in responses if "compacted" in str(response.warnings)]
    assert compacted
    assert_prompts_are_kept(lm, responses)
    for response in responses:
        (example,) = lm.responses.training_examples(
            response.response_id, only_from=response.response_id
        )
        length = example.prompt_length
        assert example.token_ids[:length] == response.prompt_token_ids
        assert example.token_ids[length:] == response.output_token_ids
    await store.aclose()


async def test_a_branch_that_came_from_another_backend(store: ResponseStore) -> None:
    """What gpt-oss cannot be shown is left out again."""
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    question = {"role": "user", "content": [{"type": "input_text", "text": "What?"}, image]}
    tools = [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}]
    hosted = LM("x", vendor=ScriptedVendor(["A cat."]), response_store=store)
    first = await hosted.respond_async(messages=[question], tools=tools)
    engine = ScriptedEngine([final_text("one"), final_text("two")])
    lm = LM("gpt-oss-20b", engine=engine, response_store=store)
    second = await lm.respond_async("And?", previous_response_id=first.response_id)
    third = await lm.respond_async("And then?")
    assert "Left out" in second.warnings[0]
    assert_prompts_are_kept(lm, [second, third])
    # Whoever reads the store: it need not have the engine.
    assert hosted.responses.retrieve(third.response_id).prompt_token_ids == engine.prompts[1]
    await store.aclose()


async def test_prompts_that_are_not_known_any_more() -> None:
    """None, and never ids that the model was not given."""
    engine = ScriptedEngine([final_text(str(number)) for number in range(3)])
    lm = LM("gpt-oss-20b", engine=engine)
    first, second, third = [await lm.respond_async(f"Question {n}") for n in range(3)]
    lm.responses.redact(first.response_id)
    for response in (first, second, third):
        assert lm.responses.retrieve(response.response_id).prompt_token_ids is None

    other = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("a"), final_text("b")]))
    root = await other.respond_async("Hi")
    await other.respond_async("And?")
    turns = await other._config.store.list()
    alone = MemoryStore()
    await alone.put(turns[1])
    await alone.put(replace(turns[0], id="changed", instructions="Others."))
    reader = LM("x", vendor=ScriptedVendor(), response_store=alone)
    assert reader.responses.retrieve(turns[1].id).prompt_token_ids is None
    assert reader.responses.retrieve("changed").prompt_token_ids is None
    assert other.responses.retrieve(root.response_id).prompt_token_ids == root.prompt_token_ids


async def test_what_is_deleted_or_redacted_leaves_no_log_probabilities(tmp_path: Path) -> None:
    """Not in the file, not beside it; those of others stay."""
    store = SQLiteStore(tmp_path / "turns.db")
    lm = LM("gpt-oss-20b", engine=NoisyEngine(), response_store=store, logprobs=True)
    responses = []
    for text in ("one two three", "four five six", "seven eight nine"):
        lm.engine.add(final_text(text))  # type: ignore[union-attr]
        responses.append(await lm.respond_async("Hi", auto_store=False))

    def packed(response: BaseLMResponse) -> bytes:
        # The last ones, as all answers begin with the same tokens.
        return array("f", logprobs_of(response)[3:6]).tobytes()

    def content() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert all(packed(response) in content() for response in responses)
    deleted, redacted, kept = responses
    lm.responses.delete(deleted.response_id)
    lm.responses.redact(redacted.response_id)
    await store.compact()
    assert packed(deleted) not in content()
    assert packed(redacted) not in content()
    assert packed(kept) in content()
    assert_prompts_are_kept(lm, [kept])
    await store.aclose()


async def test_exports_keep_them(tmp_path: Path) -> None:
    """Another store gives the same ids and log probabilities."""
    engine = NoisyEngine([final_text("one"), final_text("two")])
    lm = LM("gpt-oss-20b", engine=engine, logprobs=True)
    responses = [await lm.respond_async(f"Question {n}") for n in range(2)]
    lm.responses.export(tmp_path / "turns.jsonl")
    other = LM("x", vendor=ScriptedVendor(), response_store=tmp_path / "turns.db")
    assert other.responses.import_(tmp_path / "turns.jsonl") == 2
    assert_prompts_are_kept(other, responses)
    assert other.responses.import_(tmp_path / "turns.jsonl") == 0
    other.close()


# --- training examples ------------------------------------------------------------------------


async def test_training_examples_say_all_of_their_turns() -> None:
    """Log probabilities beside the ids, and what trainers want to know of a row."""
    engine = NoisyEngine()
    lm = LM("gpt-oss-20b", engine=engine, logprobs=True, tools=[add])
    engine.add(call_text("add", a=1, b=2, reasoning="Add."), final_text("3", reasoning="So."))
    run = await lm.run_tools_async("1 + 2?", tags={"task": 1})
    first = run.steps[0].response
    engine.add(final_text("cut off " * 20))
    last = await lm.respond_async("Tell me more.", max_tokens=5, tags={"task": 2})
    lm.responses.annotate(first.response_id, reward=0.25, by="judge")
    lm.responses.annotate(run.response.response_id, reward=1)

    rows = lm.responses.training_examples(last.response_id)
    tools, talk = rows
    assert tools.response_ids == [first.response_id, run.response.response_id]
    assert (tools.finish_reason, tools.reward) == ("stop", 1.0)
    assert tools.tags == {"task": 1, "by": "judge"}
    assert tools.prompt_length == len(first.prompt_token_ids or ())
    assert (talk.response_ids, talk.finish_reason) == ([last.response_id], "length")
    assert (talk.reward, talk.tags) == (None, {"task": 2})
    sampled = {response.response_id: response for response in (first, run.response, last)}
    for row in rows:
        assert row.logprobs is not None
        assert len(row.logprobs) == len(row.loss_mask) == len(row.token_ids)
        expected: list[float] = []
        for id in row.response_ids:
            expected += rounded(logprobs_of(sampled[id]))
        kept = [value for value, mask in zip(row.logprobs, row.loss_mask, strict=True) if mask]
        assert kept == expected
        shown = [value for value, mask in zip(row.logprobs, row.loss_mask, strict=True) if not mask]
        assert set(shown) == {0.0}

    (call_row,) = lm.responses.training_examples(first.response_id)
    assert call_row.finish_reason == "tool_calls"


async def test_a_row_without_all_log_probabilities_has_none() -> None:
    """Half of them would be misread."""
    engine = ScriptedEngine([call_text("add", a=1, b=2), final_text("3")])
    lm = LM("gpt-oss-20b", engine=engine, tools=[add])
    called = await lm.respond_async("1 + 2?", logprobs=True)
    outputs = {call["id"]: 3 for call in called.tool_calls or ()}
    last = await lm.respond_async(tool_outputs=outputs)
    (row,) = lm.responses.training_examples(last.response_id)
    assert row.logprobs is None
    assert len(row.response_ids) == 2


async def test_samples_of_one_prefix_are_as_many_rows() -> None:
    """And not as many times the prefix, whose own ids are context then."""
    engine = ScriptedEngine([final_text("Hello.", reasoning="Greet."), final_text("Fine.")])
    lm = LM("gpt-oss-20b", engine=engine)
    await lm.respond_async("Hi")
    prefix = await lm.respond_async("How are you?")
    engine.add(*(final_text(f"Sample {number}.") for number in range(4)))
    prompts = [{"user_message": "Again?", "previous_response_id": prefix.response_id}] * 4
    samples = await lm.respond_batch_async(prompts)
    for start in (prefix.response_id, None):
        rows = []
        for sample in samples:
            only_from = start or sample.response_id
            rows += lm.responses.training_examples(sample.response_id, only_from=only_from)
        assert [row.response_ids for row in rows] == [[each.response_id] for each in samples]
        for row, sample in zip(rows, samples, strict=True):
            assert row.token_ids[: row.prompt_length] == sample.prompt_token_ids
            assert row.token_ids[row.prompt_length :] == sample.output_token_ids
    assert len(lm.responses.training_examples(samples[0].response_id)) == 3

    with pytest.raises(RequestError, match=r"only_from must be the response_id of a response that"):
        lm.responses.training_examples(prefix.response_id, only_from=samples[0].response_id)


# --- on servers -------------------------------------------------------------------------------


def chat_answer(*logprobs: Any) -> Raw:
    entries = [
        {"token": f"t{n}", "logprob": logprob, "bytes": None, "top_logprobs": []}
        for n, logprob in enumerate(logprobs)
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
        "logprobs": {"content": entries},
    }
    return Raw({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]})


@TRANSPORTS
async def test_a_chat_servers_log_probabilities(
    openai_server: OpenAIServer, hosted: Hosted, transport: str
) -> None:
    """They are kept as numbers; the server does not say which ones they are."""
    openai_server.enqueue(chat_answer(-0.1, -9999.0, 0))
    async with hosted("chat", transport=transport, logprobs=True, temperature=0.3) as lm:
        response = await lm.respond_async("Hi")
        again = lm.responses.retrieve(response.response_id)
    assert logprobs_of(again) == rounded([-0.1, -9999.0, 0])
    assert (again.logprobs_mode, again.temperature) == (None, 0.3)
    assert again.prompt_token_ids is None


@pytest.mark.parametrize("odd", [None, "low", True, 1e300])
async def test_log_probabilities_that_are_none(
    openai_server: OpenAIServer, hosted: Hosted, odd: Any
) -> None:
    """The answer is kept without them; its reader had what the server sent."""
    openai_server.enqueue(chat_answer(-0.1, odd))
    async with hosted("chat", logprobs=True) as lm:
        response = await lm.respond_async("Hi")
        assert response.logprobs is not None
        assert lm.responses.retrieve(response.response_id).logprobs is None


# --- on the tiny model ------------------------------------------------------------------------


@pytest.mark.vllm
async def test_the_tiny_model_is_kept_exactly(tiny_engine: VLLMEngine, tmp_path: Path) -> None:
    """Conversations with tool outputs, forks and shapes at temperature 1: every id, every float."""
    dice = random.Random(13)
    path = tmp_path / "turns.db"
    lm = LM(
        str(tiny_engine.model),
        engine=tiny_engine,
        response_store=path,
        logprobs=True,
        temperature=1.0,
        max_tokens=60,
        tools=[add],
    )
    seen: list[BaseLMResponse] = []
    for conversation in range(10):
        lm.reset()
        last = await lm.respond_async(f"Count to {conversation + 2}.")
        seen.append(last)
        for _ in range(4):
            outputs = {call["id"]: "5" for call in last.tool_calls or ()}
            options: dict[str, Any] = {"tool_outputs": outputs} if outputs else {}
            if dice.random() < 0.3:
                options["response_model"] = City
            text = [] if outputs else ["Go on."]
            last = await lm.respond_async(*text, **options)
            seen.append(last)

    other = LM("x", vendor=ScriptedVendor(), response_store=path)
    assert_prompts_are_kept(other, seen)
    kept = other.responses.retrieve(seen[0].response_id)
    assert (kept.logprobs_mode, kept.temperature) == ("raw_logprobs", 1.0)
    rows = other.responses.training_examples(last.response_id)
    assert sum(sum(row.loss_mask) for row in rows) == sum(
        len(response.output_token_ids or ()) for response in seen[-5:]
    )
    other.close()
    await lm._config.store.aclose()


def test_engines_say_what_they_measure() -> None:
    """A delta has the first one's time; joined deltas have it too."""
    from synth_ai.engines.base import join_deltas

    joined = join_deltas([TokenDelta([1], time_to_first_token=0.5), TokenDelta([2], "stop")])
    assert joined.time_to_first_token == 0.5


async def test_an_engine_that_knows_its_first_token() -> None:
    """An answer that is not streamed has it, too."""

    class TimedEngine(ScriptedEngine):
        async def generate(self, *arguments: Any, **options: Any) -> Any:
            async for delta in super().generate(*arguments, **options):
                yield replace(delta, time_to_first_token=0.25)

    lm = LM("gpt-oss-20b", engine=TimedEngine([final_text("one")]))
    response = await lm.respond_async("Hi")
    assert response.time_to_first_token == 0.25
    assert lm.responses.retrieve(response.response_id).time_to_first_token == 0.25
    assert items.text_of(response.output[-1]) == "one"
