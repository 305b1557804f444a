"""Engines by name: one of the test's own, registered, shared and closed as vLLM's is."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pytest

from synth_ai import LM, MemoryStore, TextDelta, harmony, register_engine
from synth_ai.engines import registry
from synth_ai.engines.base import Engine, EngineFacts, Sampling, TokenDelta
from synth_ai.engines.batching import BatchingEngine
from synth_ai.engines.registry import make_engine, unregister_engine
from synth_ai.engines.shared import SharedEngine, shared_engine
from synth_ai.engines.transformers import TransformersEngine
from synth_ai.errors import EngineDeadError, EngineStartError, MissingExtraError, OptionError
from synth_ai.testing import call_text, final_text


class CountingEngine(Engine):
    """An engine that answers with how many prompts it has had: token ids in, token ids out."""

    made: list[CountingEngine]

    def __init__(
        self, model: str, *, word: str = "Answer", context_length: int = 4096, batches: bool = False
    ) -> None:
        self.model = model
        self.word = word
        self.prompts: list[list[int]] = []
        self.batch_sizes: list[int] = []
        self.closed = 0
        self.dead = False
        self._batches = batches
        self._facts = EngineFacts(context_length, harmony.VOCABULARY_SIZE)
        CountingEngine.made.append(self)

    async def facts(self) -> EngineFacts:
        return self._facts

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        if self.dead:
            raise EngineDeadError("dead")
        self.prompts.append(list(prompt))
        text = final_text(f"{self.word} {len(self.prompts)}")
        if sampling.constraint is not None:
            text = final_text("5")
        if "weather" in harmony.decode(prompt) and "Paris" not in harmony.decode(prompt):
            text = call_text("get_weather", city="Paris")
        ids = harmony.encode(text, control_tokens=True)
        if stream:
            for token in ids[:-1]:
                yield TokenDelta([token])
            ids = ids[-1:]
        yield TokenDelta(ids, "stop")

    def for_batch(self, count: int) -> Engine:
        return BatchingEngine(self, count) if self._batches else self

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        self.batch_sizes.append(len(prompts))
        return await super().generate_batch(prompts, sampling)

    def drop_if_dead(self) -> bool:
        was_dead, self.dead = self.dead, False
        return was_dead

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def made() -> Iterator[list[CountingEngine]]:
    """The engines that the test makes, oldest first; `counting` is registered for it alone."""
    CountingEngine.made = []
    register_engine("counting", CountingEngine)
    yield CountingEngine.made
    unregister_engine("counting")
    assert all(engine.closed == 1 for engine in CountingEngine.made)


def test_a_name_is_enough(made: list[CountingEngine]) -> None:
    """Calls, conversations, streams, tools and shaped answers run on a registered engine."""

    def get_weather(city: str) -> str:
        """The weather."""
        return f"Rain in {city}."

    with LM("gpt-oss-20b", engine="counting", max_tokens=50) as lm:
        assert lm.api_type == "harmony"
        assert lm.respond("Hi").text == "Answer 1"
        assert lm.respond("And again").text == "Answer 2"
        texts = [event.text for event in lm.stream_sync("Go") if isinstance(event, TextDelta)]
        assert len(texts) > 1
        assert "".join(texts) == "Answer 3"
        assert lm.respond("A number", response_model=int).structured_output == 5
        run = lm.fork(None).run_tools("What is the weather?", tools=[get_weather])
        assert run.text == "Answer 6"
    (engine,) = made
    assert engine.model == "gpt-oss-20b"
    assert engine.prompts[1][: len(engine.prompts[0])] == engine.prompts[0]
    assert engine.closed == 1


async def test_lms_share_it_by_its_arguments(made: list[CountingEngine]) -> None:
    """Equal arguments are one engine; others are an error that says so, or a second engine."""
    arguments = {"engine": "counting", "word": "Reply"}
    one = LM("gpt-oss-20b", engine=arguments)
    two = LM("openai/gpt-oss-20b", engine=dict(arguments))
    assert (await one.respond_async("Hi")).text == "Reply 1"
    assert (await two.respond_async("Hi")).text == "Reply 2"
    (engine,) = made

    with pytest.raises(OptionError, match=r"word: 'Reply' there, not set here\).*new_engine=True"):
        LM("gpt-oss-20b", engine="counting")
    async with LM("gpt-oss-20b", engine={"engine": "counting", "new_engine": True}) as three:
        assert (await three.respond_async("Hi")).text == "Answer 1"
    assert [engine.closed for engine in made] == [0, 1]

    await one.aclose()
    assert (await two.respond_async("Hi")).text == "Reply 3"
    await two.aclose()
    assert engine.closed == 1


async def test_a_none_that_is_given_is_another_argument() -> None:
    """The error names it, though `get` finds the same."""
    async with LM("gpt-oss-20b", engine={"engine": "counting", "context_length": 100}):
        with pytest.raises(OptionError, match=r"\(context_length: 100 there, None here\)"):
            LM("gpt-oss-20b", engine={"engine": "counting", "context_length": None})
    async with LM("gpt-oss-20b", engine={"engine": "counting", "context_length": None}):
        with pytest.raises(OptionError, match=r"\(context_length: None there, not set here\)"):
            LM("gpt-oss-20b", engine="counting")


async def test_other_engines_of_the_model_are_no_hindrance(made: list[CountingEngine]) -> None:
    """Arguments are compared with those of the same engine alone."""

    def make_another(model: str, **engine_args: Any) -> Engine:
        return CountingEngine(model, word="Other", **engine_args)

    async with LM("gpt-oss-20b", engine={"engine": "counting", "context_length": 2000}) as one:
        other = shared_engine(make_another, "gpt-oss-20b", context_length=3000)
        assert (await one.respond_async("Hi")).text == "Answer 1"
        assert [engine.word for engine in made] == ["Answer", "Other"]
        other.close()


async def test_a_model_of_any_name(made: list[CountingEngine]) -> None:
    """What a model is called is between the user and the engine."""
    async with LM("my models: one / two", engine="counting") as lm:
        assert (await lm.respond_async("Hi")).text == "Answer 1"
    assert made[0].model == "my models: one / two"


async def test_it_is_shared_with_code_that_names_no_engine(made: list[CountingEngine]) -> None:
    """The same factory leads to the same engine, by name or not."""
    async with LM("gpt-oss-20b", engine="counting") as lm:
        share = shared_engine(CountingEngine, "gpt-oss-20b")
        assert isinstance(lm.engine, SharedEngine)
        assert share.engine is lm.engine.engine is made[0]
        await share.aclose()
        with pytest.raises(EngineDeadError, match="share"):
            await share.facts()
        assert made[0].closed == 0


async def test_its_own_batches_are_used(made: list[CountingEngine]) -> None:
    """An engine that serves batches gets them through its shares too."""
    async with LM("gpt-oss-20b", engine={"engine": "counting", "batches": True}) as lm:
        responses = await lm.respond_batch_async(["a", "b", "c"])
    assert [response.text for response in responses] == ["Answer 1", "Answer 2", "Answer 3"]
    assert made[0].batch_sizes == [3]


async def test_a_dead_engine_is_revived_for_a_new_share(made: list[CountingEngine]) -> None:
    """Who asks for a share gets a live engine, and so does everyone who had one before."""
    async with LM("gpt-oss-20b", engine="counting", retry=False) as before:
        made[0].dead = True
        with pytest.raises(EngineDeadError, match="dead"):
            await before.respond_async("Hi")
        async with LM("gpt-oss-20b", engine="counting") as after:
            assert (await after.respond_async("Hi")).text == "Answer 1"
            assert (await before.respond_async("Hi")).text == "Answer 2"
    assert len(made) == 1


async def test_restart_is_the_engines_own() -> None:
    """One that cannot be restarted says so."""
    async with LM("gpt-oss-20b", engine="counting") as lm:
        assert lm.engine is not None
        with pytest.raises(EngineStartError, match="cannot be restarted from here"):
            await lm.engine.restart()


def test_a_collected_share_is_given_back(
    made: list[CountingEngine], until: Callable[[Callable[[], bool], float], bool]
) -> None:
    """The engine of shares that nobody has any more is closed, beside the program."""
    share: Any = shared_engine(CountingEngine, "gpt-oss-20b")
    del share
    gc.collect()
    assert until(lambda: made[0].closed == 1, 5)
    shared_engine(CountingEngine, "gpt-oss-20b").close()
    assert len(made) == 2


class Collecting(CountingEngine):
    """An engine in whose methods the garbage is collected, as may happen anywhere."""

    def drop_if_dead(self) -> bool:
        gc.collect()
        return False


async def test_a_share_that_is_collected_while_another_is_made(made: list[CountingEngine]) -> None:
    """The new share has a live engine, though the one before it was the last at that time."""
    before: Any = shared_engine(Collecting, "gpt-oss-20b")
    gc.disable()
    before.itself = before
    del before
    after = shared_engine(Collecting, "gpt-oss-20b")
    gc.enable()
    (engine,) = made
    assert after.engine is engine
    assert engine.closed == 0
    after.close()


def test_an_unknown_name() -> None:
    """The error lists the names there are, the nearest one, and how to add one."""
    with pytest.raises(
        OptionError,
        match=r"engine='conting' is not known; it takes one of 'vllm', 'transformers', 'counting'\."
        r" Did you mean 'counting'\? .*register_engine",
    ):
        LM("gpt-oss-20b", engine="conting")
    with pytest.raises(OptionError, match="name of an engine must be a string, not 5"):
        LM("gpt-oss-20b", engine={"engine": 5})


@pytest.mark.parametrize(
    ("name", "factory", "message"),
    [
        ("vllm", CountingEngine, "The engine 'vllm' is built in"),
        ("transformers", CountingEngine, "The engine 'transformers' is built in"),
        (
            "counting",
            dict,
            r"There is an engine 'counting' already: .*CountingEngine.*replace=True",
        ),
        ("another", "CountingEngine", "factory of the engine 'another' must be .*, not 'Counting"),
        ("", CountingEngine, "must be a string that is not empty, not ''"),
        (None, CountingEngine, "must be a string that is not empty, not None"),
    ],
)
def test_what_cannot_be_registered(name: Any, factory: Any, message: str) -> None:
    """A name that is taken, and what is neither a name nor a factory."""
    with pytest.raises(OptionError, match=message):
        register_engine(name, factory)


async def test_replacing_and_unregistering(made: list[CountingEngine]) -> None:
    """An engine in use goes on; who asks then gets the new one, or is told that there is none."""
    register_engine("passing", CountingEngine)
    before = LM("gpt-oss-20b", engine="passing")
    register_engine("passing", lambda model: CountingEngine(model, word="New"), replace=True)
    async with before, LM("gpt-oss-20b", engine="passing") as after:
        assert (await before.respond_async("Hi")).text == "Answer 1"
        assert (await after.respond_async("Hi")).text == "New 1"
    unregister_engine("passing")
    with pytest.raises(OptionError, match="engine='passing' is not known"):
        LM("gpt-oss-20b", engine="passing")
    with pytest.raises(OptionError, match="No engine is registered by the name 'passing'"):
        unregister_engine("passing")


def test_a_model_among_the_arguments() -> None:
    """The LM has the model; the error says so instead of Python's own about two values."""
    with pytest.raises(
        OptionError, match="The model is the LM's, 'gpt-oss-20b'; leave 'model' out"
    ):
        LM("gpt-oss-20b", engine={"engine": "counting", "model": "gpt-oss-120b"})


def test_a_factory_that_makes_none() -> None:
    """The error names the factory and what it returned."""

    def make_text(model: str) -> Any:
        return f"an engine for {model}"

    register_engine("text", make_text)
    with pytest.raises(
        OptionError, match=r"factory .*make_text must return an Engine, not 'an engine for gpt-oss"
    ):
        LM("gpt-oss-20b", engine="text")
    unregister_engine("text")


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("vllm", r'pip install "\.\[vllm\]".*SYNTH_GPU_HARMONY_ENDPOINT.*engine=.*base_url='),
        ({}, r'pip install "\.\[vllm\]"'),
        ({"max_model_len": 4096}, r'pip install "\.\[vllm\]"'),
        ("transformers", "pip install transformers torch"),
        ({"engine": "transformers", "batch_size": 4}, "pip install transformers torch"),
    ],
)
def test_built_in_engines_without_their_packages(
    engine: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install; a dict without a name is of the default engine."""
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=message) as raised:
        LM("gpt-oss-20b", engine=engine)
    assert "'gpt-oss-20b'" in str(raised.value)


@pytest.mark.skipif(not find_spec("transformers"), reason="transformers is not installed")
async def test_transformers_by_name() -> None:
    """A built-in engine is made with its arguments, and shared; nothing is loaded before a call."""
    arguments = {"engine": "transformers", "batch_size": 2, "dtype": "float32"}
    async with (
        LM("gpt-oss-20b", engine=arguments) as one,
        LM("gpt-oss-20b", engine=arguments) as two,
    ):
        assert isinstance(one.engine, SharedEngine)
        assert isinstance(two.engine, SharedEngine)
        assert isinstance(one.engine.engine, TransformersEngine)
        assert one.engine.engine is two.engine.engine


def test_what_is_made_by_name_is_a_share(made: list[CountingEngine]) -> None:
    """The engine is closed with the last one, and short and full names of a model are one."""
    first = make_engine("counting", "gpt-oss-20b")
    second = make_engine({"engine": "counting"}, "openai/gpt-oss-20b")
    first.close()
    assert made[0].closed == 0
    second.close()
    assert [engine.closed for engine in made] == [1]


async def test_a_branch_goes_on_elsewhere() -> None:
    """A conversation that began on a registered engine continues on another LM."""
    store = MemoryStore()
    async with (
        LM("gpt-oss-20b", engine="counting", response_store=store) as here,
        LM(
            "gpt-oss-120b", engine={"engine": "counting", "word": "There"}, response_store=store
        ) as there,
    ):
        first = await here.respond_async("Hi")
        second = await there.respond_async("Go on", previous_response_id=first.response_id)
    assert second.text == "There 1"
