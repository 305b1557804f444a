"""`max_cost=`: no call is sent once the calls before it have cost what they may."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.openai_fake import OpenAIServer
from servers.sockets import chat_body, reply, response_body, serve
from synth_ai import LM, BaseLMResponse, LMRequest, Price, Usage
from synth_ai import content as items
from synth_ai.errors import OptionError, RateLimitError, SpendingCapError
from synth_ai.http.rate_limits import rate_limiter_for
from synth_ai.testing import ScriptedVendor, tool_call

TRANSPORTS = ["httpx", "aiohttp"]
APIS = ["chat", "responses"]

#: A dollar for each prompt token; both servers' bodies have one.
A_DOLLAR_A_CALL = {"m": Price(1e6, 0.0)}


def answer_of(cost: int) -> BaseLMResponse:
    """An answer that costs so many dollars."""
    usage = Usage(input_tokens=cost)
    return BaseLMResponse.of_output([items.assistant_message("Hi")], usage=usage)


def scripted(costs: list[int], **options: Any) -> LM:
    vendor = ScriptedVendor([answer_of(cost) for cost in costs])
    return LM("m", vendor=vendor, prices=A_DOLLAR_A_CALL, **options)


async def test_a_call_beyond_the_cap_is_not_sent() -> None:
    """What has cost as much as the cap allows is the last; the error and the totals say it."""
    lm = scripted([1, 1, 1], max_cost=2)
    await lm.respond_async("one")
    await lm.respond_async("two")
    with pytest.raises(SpendingCapError, match=r"cost \$2, and max_cost=2") as refused:
        await lm.respond_async("three")
    assert (refused.value.max_cost, refused.value.cost) == (2, 2)
    assert (lm.totals.calls, lm.totals.cost, lm.totals.max_cost) == (2, 2, 2)


def test_streams_are_calls_too() -> None:
    """On both sides: what they cost counts, and they are refused."""
    lm = scripted([2, 2], max_cost=2)
    list(lm.stream_sync("one"))
    with pytest.raises(SpendingCapError), lm.stream_sync("two"):
        pytest.fail("it was entered")
    with pytest.raises(SpendingCapError):
        list(lm.stream_sync("two"))
    assert lm.totals.cost == 2


async def test_forks_batches_and_tool_runs_share_the_cap() -> None:
    """Whoever calls, the sum counts."""

    def look() -> str:
        return "seen"

    lm = scripted([1] * 9, max_cost=3)
    first = await lm.respond_async("one")
    await lm.fork(first.response_id).respond_async("two")
    await lm.respond_batch_async(["three"])
    for call in (
        lm.fork(first.response_id).respond_async("x"),
        lm.respond_batch_async(["x"]),
        lm.run_tools_async("x", tools=[look]),
    ):
        with pytest.raises(SpendingCapError):
            await call
    assert lm.totals.cost == 3


async def test_a_tool_run_ends_at_the_cap() -> None:
    """The round that reaches it is the last; its turn can be continued elsewhere."""

    def look() -> str:
        return "seen"

    asks = BaseLMResponse.of_output([tool_call("look")], usage=Usage(input_tokens=5))
    lm = LM("m", vendor=ScriptedVendor([asks]), prices=A_DOLLAR_A_CALL, max_cost=5)
    with pytest.raises(SpendingCapError):
        await lm.run_tools_async("x", tools=[look])
    assert lm.head is not None


@pytest.mark.parametrize("places", [1, 3])
async def test_no_more_than_the_calls_in_flight_go_beyond_it(places: int) -> None:
    """Those that wait for a place are refused when they get it, however many they are."""

    async def answer(request: LMRequest) -> BaseLMResponse:
        await asyncio.sleep(0.001)
        return answer_of(1)

    vendor = ScriptedVendor([answer] * 200)
    lm = LM("m", vendor=vendor, prices=A_DOLLAR_A_CALL, max_cost=10, max_concurrency=places)
    answers = await lm.respond_batch_async(["x"] * 200, return_exceptions=True)
    answered = [each for each in answers if isinstance(each, BaseLMResponse)]
    refused = [each for each in answers if isinstance(each, SpendingCapError)]
    assert len(answered) + len(refused) == 200
    assert 10 <= len(answered) <= 10 + places - 1
    assert lm.totals.cost == len(answered)


def test_threads_share_it() -> None:
    """Forks of one LM on many threads never spend more than the cap and what was in flight."""
    lm = scripted([1] * 200, max_cost=20)
    outcomes: list[bool] = []

    def work() -> None:
        branch = lm.fork()
        for _ in range(10):
            try:
                branch.respond("x", auto_store=False)
                outcomes.append(True)
            except SpendingCapError:
                outcomes.append(False)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 80
    assert 20 <= outcomes.count(True) <= 27
    assert lm.totals.cost == outcomes.count(True)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("api", APIS)
async def test_calls_that_wait_for_a_rate_limit_look_again(api: str, transport: str) -> None:
    """A whole batch is past its first look by then; the server sees what the cap allows."""
    body = chat_body() if api == "chat" else response_body()
    with serve(lambda request, connection: reply(connection, body)) as server:
        async with LM(
            "m",
            api=api,
            base_url=server.base_url,
            api_key="k",
            transport=transport,  # type: ignore[arg-type]
            prices=A_DOLLAR_A_CALL,
            max_cost=2,
            requests_per_minute=300,
        ) as lm:
            # The bucket begins full: it has one call left when they come.
            rate_limiter_for(server.base_url, "k").overall.requests.take(299)
            batch = lm.respond_batch_async(["x"] * 6, return_exceptions=True)
            batch_task = asyncio.ensure_future(batch)
            await asyncio.sleep(0.1)
            streams = [read_stream(lm), read_stream(lm)]
            failures = await asyncio.gather(*streams, return_exceptions=True)
            answers = await batch_task
    assert [type(each) for each in failures] == [SpendingCapError] * 2
    assert sum(isinstance(each, SpendingCapError) for each in answers) == 4
    assert len(server.requests) == 2


async def read_stream(lm: LM) -> None:
    async for _ in lm.stream_async("x"):
        pass


@pytest.mark.parametrize("api", APIS)
def test_streams_from_a_server_are_counted(api: str, hosted: Callable[..., LM]) -> None:
    """The counts come in the last event, which is asked for on chat."""
    lm = hosted(api, prices={"gpt-5": Price(1e6, 0.0)}, max_cost=1)
    list(lm.stream_sync("one"))
    assert lm.totals.cost
    with pytest.raises(SpendingCapError):
        lm.respond("two")


async def test_a_call_is_not_tried_again_beyond_it() -> None:
    """While one call waits for its next try, another one spends the rest."""
    vendor = ScriptedVendor()
    lm = LM("m", vendor=vendor, prices=A_DOLLAR_A_CALL, max_cost=1, retry=2)

    async def fail(request: LMRequest) -> str:
        spent = answer_of(1)
        spent.cost = 1.0
        lm._config.usage.add(spent)
        raise RateLimitError("later", retry_after=0)

    vendor.add(fail)
    with pytest.raises(SpendingCapError):
        await lm.respond_async("x")


# --- what has no price ----------------------------------------------------------------------------


def test_a_model_without_a_price_is_an_error_when_the_lm_is_made() -> None:
    """Its calls would cost nothing; the error shows how to give a price."""
    with pytest.raises(OptionError, match=r"price of 'house-model'.*prices=\{'house-model': Price"):
        LM("house-model", vendor=ScriptedVendor(), max_cost=1)
    with pytest.raises(OptionError, match="price of 'house-model'"):
        LM("house-model", vendor=ScriptedVendor(), max_cost=1, prices={"other": Price(1, 1)})
    with pytest.raises(OptionError, match="price of 'gpt-4o'"):
        LM("gpt-4o", base_url="http://localhost:1/v1", max_cost=1)


def test_openais_models_have_their_list_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is needed for them."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with LM("gpt-4o-mini-2024-07-18", max_cost=0.5) as lm:
        assert lm.totals.max_cost == 0.5


async def test_a_model_of_another_name_costs_what_its_own_price_says() -> None:
    """The name that the server reports comes first; without a price it costs what was asked for."""
    usage = Usage(input_tokens=1)
    output = [items.assistant_message("Hi")]
    named = [
        BaseLMResponse.of_output(output, model=name, usage=usage)
        for name in ("deployment-7", "large", "m")
    ]
    prices = {"m": Price(1e6, 0.0), "large": Price(9e6, 0.0)}
    lm = LM("m", vendor=ScriptedVendor(named), prices=prices, max_cost=10)
    assert [(await lm.respond_async("Hi")).cost for _ in range(2)] == [1, 9]
    with pytest.raises(SpendingCapError):
        await lm.respond_async("Hi")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_counts_nothing_ends_the_calls(transport: str) -> None:
    """The first answer comes; what it cost is not known, so nothing more is sent."""
    body = chat_body()
    del body["usage"]
    with serve(lambda request, connection: reply(connection, body)) as server:
        async with LM(
            "m",
            base_url=server.base_url,
            transport=transport,  # type: ignore[arg-type]
            prices=A_DOLLAR_A_CALL,
            max_cost=100,
        ) as lm:
            assert (await lm.respond_async("x")).text == "hi"
            with pytest.raises(SpendingCapError, match="did not say how many tokens") as refused:
                await lm.respond_async("x")
    assert refused.value.cost is None
    assert len(server.requests) == 1


async def test_an_answer_that_failed_without_counts_is_free() -> None:
    """Servers do not charge for it."""
    failed = BaseLMResponse.of_output([], status="failed", error="server_error")
    vendor = ScriptedVendor([failed, answer_of(1)])
    lm = LM("m", vendor=vendor, prices=A_DOLLAR_A_CALL, max_cost=1)
    await lm.respond_async("x")
    assert (await lm.respond_async("x")).cost == 1


def test_more_cached_tokens_than_tokens_do_not_lower_what_was_spent() -> None:
    """A server's counts may be wrong."""
    usage = Usage(input_tokens=1, cached_tokens=1000)
    assert Price(1e6, 0.0, 0.0).cost_of(usage) == 0


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_cost", [-1, -0.01, math.nan, True, "5", -math.inf, [1]])
def test_a_cap_is_a_number_of_dollars(max_cost: Any) -> None:
    """Anything else is an error of the LM."""
    with pytest.raises(OptionError, match="max_cost must be a number of US dollars from 0"):
        scripted([], max_cost=max_cost)


@pytest.mark.parametrize("max_cost", [0, 0.0])
async def test_a_cap_of_nothing_allows_no_call(max_cost: float) -> None:
    """As it says."""
    lm = scripted([1], max_cost=max_cost)
    with pytest.raises(SpendingCapError, match=r"have cost \$0"):
        await lm.respond_async("x")


@pytest.mark.parametrize("max_cost", [None, math.inf, 10**400])
async def test_a_cap_without_end_allows_all(max_cost: float | None) -> None:
    """None is the default."""
    lm = scripted([1, 1], max_cost=max_cost)
    await lm.respond_async("x")
    assert (await lm.respond_async("x")).cost == 1


@pytest.mark.parametrize("price", [math.nan, -1, math.inf])
def test_a_price_is_a_number_of_dollars(price: float) -> None:
    """With NaN no sum would ever reach the cap."""
    with pytest.raises(OptionError, match="input must be a price in dollars"):
        LM("m", vendor=ScriptedVendor(), prices={"m": Price(price, 1)}, max_cost=1)


def test_it_is_an_option_of_the_lm_alone(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """A call has none."""
    lm = scripted([1])
    with pytest.raises(OptionError, match="max_cost"):
        lm.respond("x", max_cost=1)  # type: ignore[call-arg]
