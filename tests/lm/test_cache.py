"""The response cache: requests that are known are not made again, and nothing else is answered."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from store.crashes import ENVIRONMENT
from synth_ai import LM, BaseLMResponse, Completed, MemoryStore, ReasoningDelta, TextDelta
from synth_ai import content as items
from synth_ai.errors import (
    OptionError,
    OverloadedError,
    SpendingCapError,
    StructuredOutputError,
)
from synth_ai.response import Usage
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

Hosted = Callable[..., LM]

TRANSPORTS = pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
HOSTED_APIS = pytest.mark.parametrize("api", ["chat", "responses"])


def count(request: Any) -> str:
    """An answer that is another one each time."""
    count.calls += 1  # type: ignore[attr-defined]
    return f"answer {count.calls}"  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def start_counting() -> None:
    count.calls = 0  # type: ignore[attr-defined]


def cached(store: Any = None, **options: Any) -> tuple[LM, ScriptedVendor]:
    """An LM with a cache, on a script of a hundred different answers."""
    vendor = ScriptedVendor([count] * 100)
    lm = LM("x", vendor=vendor, response_store=store, cache=True, **options)
    return lm, vendor


# --- hits -------------------------------------------------------------------------------------


@TRANSPORTS
@HOSTED_APIS
async def test_an_evaluation_that_is_repeated_makes_no_call(
    openai_server: OpenAIServer, hosted: Hosted, api: str, transport: str, tmp_path: Path
) -> None:
    """500 questions, asked again by another LM on the same file."""
    questions = [f"Question {number}?" for number in range(500)]
    options: dict[str, Any] = {
        "transport": transport,
        "response_store": tmp_path / "turns.db",
        "temperature": 0,
        "cache": True,
        "max_concurrency": 50,
        "auto_store_responses": None if api == "chat" else False,
    }
    async with hosted(api, **options) as lm:
        first = await lm.respond_batch_async(questions)
        assert len(openai_server.requests) == 500
    async with hosted(api, **options) as lm:
        again = await lm.respond_batch_async(questions)
        assert len(openai_server.requests) == 500
        assert lm.totals.cached == 500
        assert lm.totals.calls == 0

    assert [response.text for response in again] == [response.text for response in first]
    assert all(response.cached for response in again)
    assert not any(response.cached for response in first)
    assert len({response.response_id for response in (*first, *again)}) == 1000


async def test_an_answer_of_the_cache_is_a_turn_of_its_own() -> None:
    """Its id, its parent, its tags and its cost are its own; the rest is as it was recorded."""
    store = MemoryStore()
    usage = Usage(input_tokens=3, output_tokens=5)
    output = [items.reasoning_item("Hm."), items.assistant_message("Yes.")]
    recorded = BaseLMResponse.of_output(output, model="x-2026", usage=usage, warnings=["odd"])
    vendor = ScriptedVendor([recorded, "later", "after the cache"])
    prices = {"x-2026": {"input": 1.0, "output": 2.0}}
    lm = LM("x", vendor=vendor, response_store=store, cache=True, temperature=0, prices=prices)

    made = await lm.respond_async("Hi", tags={"run": 1})
    assert made.cost == pytest.approx(13e-6)
    lm.reset()
    hit = await lm.respond_async("Hi", tags={"run": 2})
    assert (hit.text, hit.reasoning, hit.model) == ("Yes.", "Hm.", "x-2026")
    assert (hit.usage, hit.warnings) == (usage, ["odd"])
    assert (hit.cached, hit.cost, hit.attempts, hit.tags) == (True, 0.0, 0, {"run": 2})
    assert hit.response_id != made.response_id
    assert lm.head == hit.response_id
    assert (lm.totals.calls, lm.totals.cached) == (1, 1)
    assert lm.totals.cost == made.cost

    again = lm.responses.retrieve(hit.response_id)
    assert (again.cached, again.cost, again.attempts, again.tags) == (True, 0.0, 0, {"run": 2})
    assert lm.responses.retrieve(made.response_id).cached is False

    # The branch goes on from it; its server does not know it.
    await lm.respond_async("And?", temperature=1)
    assert vendor.requests[-1].previous_response_id is None
    texts = [items.text_of(item) for item in vendor.requests[-1].items()]
    assert texts[0] == "Hi"
    assert texts[-1] == "And?"


@TRANSPORTS
@HOSTED_APIS
async def test_a_stream_of_the_cache(
    openai_server: OpenAIServer, hosted: Hosted, api: str, transport: str
) -> None:
    """It has the events of the kept output, and shows reasoning to who wants to see it."""
    openai_server.enqueue(Answer(text="one two", reasoning="Hm."))
    async with hosted(api, transport=transport, cache=True, temperature=0) as lm:
        # OpenAI's service gives reasoning away to nobody.
        made = await lm.respond_async("Hi")
        expected: list[type] = [ReasoningDelta] if made.reasoning else []
        lm.reset()
        async with lm.stream_async("Hi") as stream:
            events = [event async for event in stream]
        assert [type(event) for event in events] == [*expected, TextDelta, Completed]
        assert stream.text == "one two"
        assert stream.response.cached
        assert stream.response.time_to_first_token is None

        lm.reset()
        async with lm.stream_async("Hi", include_reasoning=False) as stream:
            events = [event async for event in stream]
        assert [type(event) for event in events] == [TextDelta, Completed]
        assert stream.response.reasoning is None
    assert len(openai_server.requests) == 1


@HOSTED_APIS
async def test_a_conversation_of_several_turns_is_found_turn_by_turn(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """Whatever ids the first run had."""
    async with hosted(api, cache=True, temperature=0) as lm:
        for _ in range(3):
            branch = lm.fork() if lm.head else lm
            branch.reset()
            last = None
            for text in ("one", "two", "three"):
                response = await branch.respond_async(text, previous_response_id=last)
                last = response.response_id
    assert len(openai_server.requests) == 3


async def test_a_run_of_tools_is_found_round_by_round() -> None:
    """The calls have the ids that they had, so the outputs answer the same ones."""
    calls = []

    def add(a: int, b: int) -> int:
        """Add."""
        calls.append((a, b))
        return a + b

    engine = ScriptedEngine([call_text("add", a=1, b=2), final_text("3")])
    lm = LM("gpt-oss-20b", engine=engine, cache=True, seed=7, tools=[add])
    first = await lm.run_tools_async("1 + 2?")
    lm.reset()
    again = await lm.run_tools_async("1 + 2?")
    assert (first.text, again.text) == ("3", "3")
    assert again.response.cached
    assert calls == [(1, 2), (1, 2)]
    assert len(engine.prompts) == 2
    # The ids are those of the prompt that was really answered.
    for run, number in ((first, 1), (again, 1)):
        kept = lm.responses.retrieve(run.response.response_id)
        assert kept.prompt_token_ids == engine.prompts[number]
        assert kept.output_token_ids == first.response.output_token_ids


async def test_a_shaped_answer_is_read_again() -> None:
    """As an object; one that does not fit is the same error again."""

    class City(BaseModel):
        name: str

    vendor = ScriptedVendor(['{"name": "Oslo"}', "no JSON"])
    lm = LM("x", vendor=vendor, cache=True, temperature=0, response_model=City)
    for _ in range(2):
        lm.reset()
        assert (await lm.respond_async("Where?")).structured_output == City(name="Oslo")
    for _ in range(2):
        lm.reset()
        with pytest.raises(StructuredOutputError):
            await lm.respond_async("Where else?")
    assert len(vendor.requests) == 2


# --- what is another request ------------------------------------------------------------------


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **more}


DIFFERENT: list[dict[str, Any]] = [
    {"user_message": "Hi!"},
    {"system_message": "Be terse."},
    {"tools": [tool("f")]},
    {"tools": [tool("g")]},
    {"response_model": int},
    {"response_model": list[int]},
    {"temperature": 0, "max_tokens": 5},
    {"top_p": 0.5},
    {"extra_body": {"a": 1}},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}]},
    {"messages": [{"role": "developer", "content": "Hi"}, {"role": "user", "content": "Hi"}]},
]


async def test_another_request_is_made() -> None:
    """Each of these differs in one thing from all others, and each is found again."""
    lm, vendor = cached(temperature=0, auto_store_responses=False)
    answers = []
    for round in range(2):
        for arguments in ({}, *DIFFERENT):
            given = {"user_message": "Hi", **arguments}
            if "messages" in given:
                del given["user_message"]
            shaped = "response_model" in given
            try:
                response = await lm.respond_async(**given)
            except StructuredOutputError as error:
                assert shaped
                response = error.response
            assert response.cached is bool(round)
            answers.append(response.text)
    half = len(answers) // 2
    assert answers[:half] == answers[half:]
    assert len(set(answers[:half])) == half == len(vendor.requests)


async def test_another_model_server_or_api_is_asked(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The store is shared, the answers are not."""
    store = MemoryStore()
    options: dict[str, Any] = {"response_store": store, "cache": True, "temperature": 0}
    address = openai_server.base_url
    elsewhere = address.replace("127.0.0.1", "localhost")
    key = openai_server.api_key
    for round in range(2):
        for lm in (
            hosted("chat", **options),
            hosted("responses", **options),
            LM("gpt-4o", api="chat", base_url=address, api_key=key, **options),
            LM("gpt-5", api="chat", base_url=elsewhere, api_key=key, **options),
        ):
            assert (await lm.respond_async("Hi")).cached is bool(round)
            await lm.aclose()
    assert len(openai_server.requests) == 4


@pytest.mark.parametrize("options", [{}, {"temperature": 1}, {"temperature": 0.1}])
async def test_what_may_be_answered_otherwise_is_asked_again(options: dict[str, Any]) -> None:
    """Without `temperature=0` or a seed an answer is a sample, of which one wants several."""
    lm, vendor = cached(auto_store_responses=False, **options)
    for _ in range(2):
        assert not (await lm.respond_async("Hi")).cached
    assert len(vendor.requests) == 2
    assert (await lm.respond_async("Hi", temperature=0)).cached is False
    assert (await lm.respond_async("Hi", temperature=0)).cached is True


async def test_without_the_option_every_call_is_made() -> None:
    """A cache is off unless it is asked for; a store that has answers changes nothing."""
    store = MemoryStore()
    vendor = ScriptedVendor([count] * 4)
    for cache in (True, False, False):
        lm = LM("x", vendor=vendor, response_store=store, cache=cache, temperature=0)
        assert not (await lm.respond_async("Hi")).cached
    assert len(vendor.requests) == 3


async def test_a_seed_is_enough_and_another_seed_is_another_request() -> None:
    """Samples of one prompt with a seed each are all found again."""
    engine = ScriptedEngine([final_text(str(number)) for number in range(3)])
    lm = LM("gpt-oss-20b", engine=engine, cache=True, auto_store_responses=False)
    texts = [(await lm.respond_async("Hi", seed=seed)).text for seed in (1, 2, 3, 1, 2, 3)]
    assert texts == ["0", "1", "2"] * 2


# --- what is never given ----------------------------------------------------------------------


async def test_failures_are_not_kept() -> None:
    """Errors, failed answers and those that a filter cut are asked for again; a cut one is not."""
    failed = BaseLMResponse.of_output([], status="failed", error="boom")
    filtered = BaseLMResponse.of_output(
        [items.assistant_message("I c")], status="incomplete", incomplete_reason="content_filter"
    )
    full = BaseLMResponse.of_output(
        [items.assistant_message("I ca")],
        status="incomplete",
        incomplete_reason="max_output_tokens",
    )
    error = OverloadedError("busy", status_code=503)
    vendor = ScriptedVendor([error, failed, filtered, full])
    lm = LM("x", vendor=vendor, cache=True, temperature=0, retry=False, auto_store_responses=False)
    with pytest.raises(OverloadedError):
        await lm.respond_async("Hi")
    statuses = [(await lm.respond_async("Hi")).status for _ in range(4)]
    assert statuses == ["failed", "incomplete", "incomplete", "incomplete"]
    assert len(vendor.requests) == 4


async def test_what_was_redacted_or_deleted_is_asked_for_again() -> None:
    """The cache brings no text back."""
    lm, vendor = cached(temperature=0, auto_store_responses=False)
    first = await lm.respond_async("Hi")
    lm.responses.redact(first.response_id)
    second = await lm.respond_async("Hi")
    assert (second.cached, second.text) == (False, "answer 2")
    lm.responses.delete(second.response_id)
    assert not (await lm.respond_async("Hi")).cached
    assert len(vendor.requests) == 3


async def test_a_tool_with_credentials_is_nobody_elses() -> None:
    """What such a tool told one user must not be told to another."""
    lm, vendor = cached(temperature=0, auto_store_responses=False)
    for token in ("ada", "bob", "ada"):
        mcp = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.test"}
        response = await lm.respond_async("Hi", tools=[{**mcp, "authorization": token}])
        assert not response.cached
    assert len(vendor.requests) == 3


async def test_an_answer_to_a_compacted_conversation_is_not_kept() -> None:
    """Another LM may leave out other turns."""
    engine = ScriptedEngine(
        [final_text("long " * 400), final_text("two"), final_text("three")], context_length=700
    )
    lm = LM("gpt-oss-20b", engine=engine, cache=True, temperature=0, truncation="auto")
    first = await lm.respond_async("Hi")
    texts = []
    for _ in range(2):
        response = await lm.respond_async(
            "And? " * 50, previous_response_id=first.response_id, max_tokens=300
        )
        assert not response.cached
        texts.append(response.text)
    assert texts == ["two", "three"]


async def test_a_hit_costs_nothing_also_beyond_a_cap() -> None:
    """No money is left, and none is needed."""
    usage = Usage(input_tokens=1_000_000)
    answer = BaseLMResponse.of_output([items.assistant_message("one")], usage=usage)
    vendor = ScriptedVendor([answer])
    lm = LM(
        "x",
        vendor=vendor,
        cache=True,
        temperature=0,
        prices={"x": {"input": 1.0, "output": 1.0}},
        max_cost=1.0,
        auto_store_responses=False,
    )
    await lm.respond_async("Hi")
    hit = await lm.respond_async("Hi")
    assert (hit.cached, hit.cost, lm.totals.cost) == (True, 0.0, 1.0)
    with pytest.raises(SpendingCapError):
        await lm.respond_async("Another")


# --- beginnings and processes -----------------------------------------------------------------


def test_a_cache_needs_a_store() -> None:
    """Both are said in the error."""
    with pytest.raises(OptionError, match=r"cache=True and response_store=False contradict"):
        LM("x", vendor=ScriptedVendor(), cache=True, response_store=False)
    with pytest.raises(OptionError, match="cache must be True or False, not 'yes'"):
        LM("x", vendor=ScriptedVendor(), cache="yes")  # type: ignore[arg-type]


async def test_calls_at_once() -> None:
    """Forks and batches share the cache of their LM."""
    lm, vendor = cached(temperature=0)
    await lm.respond_async("Hi")
    lm.reset()
    forks = [lm.fork() for _ in range(20)]
    responses = await asyncio.gather(*(fork.respond_async("Hi") for fork in forks))
    batch = await lm.respond_batch_async(["Hi"] * 20)
    assert all(response.cached for response in (*responses, *batch))
    assert len({response.response_id for response in (*responses, *batch)}) == 40
    assert len(vendor.requests) == 1


EVALUATE = """
import asyncio, sys
from synth_ai import LM
from synth_ai.testing import ScriptedVendor

async def main():
    path, calls = sys.argv[1:]
    vendor = ScriptedVendor([lambda request: f"about {request.input[0]['content']}"] * int(calls))
    lm = LM("x", vendor=vendor, response_store=path, cache=True, temperature=0)
    questions = [f"Question {number}?" for number in range(100)]
    answers = await lm.respond_batch_async(questions)
    assert [answer.text for answer in answers] == [f"about {text}" for text in questions]
    print(lm.totals.cached)
    await lm.aclose()

asyncio.run(main())
"""


async def test_eight_processes_share_a_store(tmp_path: Path) -> None:
    """After one has answered, the others make no call, all at once."""
    path = tmp_path / "turns.db"

    def start(calls: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", EVALUATE, str(path), str(calls)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    assert start(100).communicate(timeout=60) == ("0\n", "")
    others = [start(0) for _ in range(7)]
    assert [each.communicate(timeout=60) for each in others] == [("100\n", "")] * 7

    from synth_ai import SQLiteStore

    store = SQLiteStore(path)
    turns = await store.list()
    assert len(turns) == 800
    assert sum(turn.cached for turn in turns) == 700
    await store.aclose()


async def test_a_call_in_a_conversation_that_only_the_server_knows() -> None:
    """Its id stands for what is not here."""
    vendor = ScriptedVendor([tool_call("f"), "two", "three"])
    lm = LM("x", vendor=vendor, cache=True, temperature=0)
    texts = []
    for id in ("resp_elsewhere", "resp_other", "resp_elsewhere"):
        response = await lm.respond_async("Hi", previous_response_id=id)
        texts.append((response.cached, response.text))
    assert texts == [(False, ""), (False, "two"), (True, "")]
