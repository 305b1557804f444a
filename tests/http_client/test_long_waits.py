"""A call does not wait in silence, and not longer than the policy for what a server allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM, RetryPolicy
from synth_ai.errors import RateLimitError
from synth_ai.http.rate_limits import RateLimiter

Hosted = Callable[..., LM]


def _headers(kind: str, limit: int, remaining: int, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": reset,
    }


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("kind", ["requests", "tokens"])
@pytest.mark.parametrize("reset", ["23h59m0s", "5m0s", "6d12h"])
async def test_a_long_wait_is_an_error(
    openai_server: OpenAIServer, hosted: Hosted, transport: Any, kind: str, reset: str
) -> None:
    """At once, for all calls, and nothing is sent."""
    # A key of its own, as its limits stay as long as any LM has it.
    lm = hosted(transport=transport, api_key=f"sk-{kind}-{reset}-{transport}")
    openai_server.enqueue(Answer(text="One", headers=_headers(kind, 200, 0, reset)))
    assert (await lm.respond_async("one")).text == "One"

    async with asyncio.timeout(5):
        calls = [lm.respond_async(str(number)) for number in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for error in outcomes:
        assert isinstance(error, RateLimitError)
        assert error.retry_after is not None
        assert error.retry_after > 60
        assert "wait_max" in str(error)
    assert len(openai_server.requests) == 1


async def test_the_policy_says_what_is_long(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """A policy that waits for longer has the call wait."""
    openai_server.enqueue(Answer(text="One", headers=_headers("requests", 200, 0, "2m0s")))
    lm = hosted(retry=RetryPolicy(wait_max=100), api_key="sk-patient")
    await lm.respond_async("one")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lm.respond_async("two"), 0.3)


@pytest.mark.parametrize("kind", ["requests", "tokens"])
async def test_a_short_wait_is_logged(
    openai_server: OpenAIServer, hosted: Hosted, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """With its seconds, and without a word of what is asked."""
    openai_server.enqueue(Answer(text="One", headers=_headers(kind, 600, 0, "60s")))
    lm = hosted(api_key=f"sk-{kind}")
    with caplog.at_level(logging.INFO, "synth_ai"):
        await lm.respond_async("one")
        await lm.respond_async("a private question", max_tokens=16)
    (line,) = [record.message for record in caplog.records if "waits" in record.message]
    assert "s for the server's limit for 'gpt-5'" in line
    assert "private" not in line


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "seconds"),
    [
        (200, 199, "7m12s", 432.0),
        (10_000, 9_999, "8.64s", 8.64),
        (14_400, 14_370, "2m59.56s", 6.0),
        (30_000, 29_976, "48ms", 0.002),
        (500, 499, "120ms", 0.12),
        (1_000, 999, "59s", 0.06),
        (60, 0, "1m0s", 1.0),
    ],
)
def test_a_limit_per_day_is_not_one_per_minute(
    limit: int, remaining: int, reset: str, seconds: float
) -> None:
    """A server tells when its limit is full again, and so how fast it fills."""
    now = 1000.0
    limiter = RateLimiter(lambda: now)
    model = limiter.for_model("m")
    model.update(_headers("requests", limit, remaining, reset))
    model.requests.take(remaining)
    assert model.requests.seconds_until(1) == pytest.approx(seconds, rel=0.01)


async def test_a_limit_of_the_callers_own_is_waited_for() -> None:
    """However long it takes: a batch under it goes through, as it is what the caller asked for."""
    limiter = RateLimiter(time.monotonic)
    limiter.cap(1, None)
    async with limiter.reserve({"model": "m"}, wait_max=0.01):
        pass
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(limiter.reserve({"model": "m"}, wait_max=0.01).__aenter__(), 0.1)


async def test_calls_that_used_more_than_was_estimated_are_waited_for() -> None:
    """The server has not said that nothing is left, so a batch does not fail for our own count."""
    limiter = RateLimiter(time.monotonic)
    limiter.for_model("m").update(_headers("tokens", 1000, 1000, "0s"))
    body = {"model": "m", "input": "How many tokens do you write?"}
    async with limiter.reserve(body, wait_max=60) as reservation:
        reservation.used_tokens = 5000
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(limiter.reserve(body, wait_max=60).__aenter__(), 0.1)
