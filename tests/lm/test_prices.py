"""What calls cost, and the running totals of an LM."""

from __future__ import annotations

from typing import Any

import pytest

from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, Usage
from synth_ai import content as items
from synth_ai.lm.prices import PRICES, Price, find_price
from synth_ai.testing import ScriptedVendor


def test_cached_tokens_cost_less() -> None:
    """A price has three rates, per million tokens."""
    usage = Usage(input_tokens=1_000_000, cached_tokens=400_000, output_tokens=100_000)
    assert Price(2.0, 10.0, 0.5).cost_of(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 10)
    assert Price(2.0, 10.0).cost_of(usage) == pytest.approx(2 + 1)


def test_a_dated_snapshot_costs_what_its_model_does() -> None:
    """`gpt-4o-2024-08-06` is looked up as `gpt-4o`; an unknown model has no price."""
    assert find_price("gpt-4o-2024-08-06", PRICES) == PRICES["gpt-4o"]
    assert find_price("gpt-oss-20b", PRICES) is None


async def test_openais_models_have_list_prices(
    openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of the openai vendor is priced by the dated table."""
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    async with LM("gpt-4o-mini") as lm:
        response = await lm.respond_async("Hi")
    assert response.usage is not None
    assert response.cost == pytest.approx(PRICES["gpt-4o-mini"].cost_of(response.usage))


async def test_other_servers_have_no_list_prices(openai_server: OpenAIServer) -> None:
    """A server of one's own does not charge OpenAI's prices, whatever its model is called."""
    async with LM("gpt-4o-mini", base_url=openai_server.base_url) as lm:
        assert (await lm.respond_async("Hi")).cost is None


async def test_totals_add_up_over_forks() -> None:
    """Calls, tokens and dollars of an LM and its forks are counted together."""
    lm = LM("mine", vendor=ScriptedVendor(["a", "b"]), prices={"mine": Price(1e6, 0.0)})
    first = await lm.respond_async("one")
    await lm.fork(first.response_id).respond_async("two")
    totals = lm.totals
    assert (totals.calls, totals.unpriced) == (2, 0)
    assert totals.cost == totals.usage.input_tokens


async def test_the_totals_have_no_cost_while_nothing_is_priced() -> None:
    """A zero would say that the calls were free."""
    lm = LM("mine", vendor=ScriptedVendor(["a"]))
    await lm.respond_async("one")
    assert (lm.totals.cost, lm.totals.unpriced) == (None, 1)


def test_absurd_counts_have_a_cost_without_end() -> None:
    """A server may report any number."""
    assert Price(1, 1).cost_of(Usage(input_tokens=10**400)) == float("inf")


async def test_a_price_by_the_name_that_the_lm_was_given() -> None:
    """The name that the server reports comes first; a price may be a dict of its fields."""
    prices: dict[str, Any] = {"mine": {"input": 1e6, "output": 0.0}, "served": Price(2e6, 0.0)}
    usage = Usage(input_tokens=3)
    output = [items.assistant_message("Hi")]
    named = [
        BaseLMResponse.of_output(output, model=name, usage=usage)
        for name in ("unheard-of", "served")
    ]
    lm = LM("mine", vendor=ScriptedVendor(named), prices=prices)
    assert [(await lm.respond_async("Hi")).cost for _ in named] == [3, 6]
