"""The pace of requests: buckets on a clock of the test's own, and the real server's headers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.errors import OptionError
from synth_ai.sdk.pace import Bucket, Pace, estimate_tokens, pace_of, read_duration


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that `asyncio.sleep` sets forward instead of waiting."""
    clock = Clock()
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        await real_sleep(0)

    monkeypatch.setattr("synth_ai.sdk.pace.asyncio.sleep", sleep)
    return clock


def test_bucket_refills_evenly() -> None:
    """What was taken comes back at the rate of the limit."""
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(60)
    assert bucket.wait_for(1) == pytest.approx(1.0)
    clock.now = 30.0
    assert bucket.wait_for(30) == 0.0
    assert bucket.wait_for(31) == pytest.approx(1.0)


def test_bucket_lets_a_request_larger_than_itself_through_once_full() -> None:
    """A request for more tokens than a minute gives waits for a full bucket, not for ever."""
    bucket = Bucket(100, Clock())
    assert bucket.wait_for(1000) == 0.0


def test_servers_word_lowers_the_level_and_never_raises_it() -> None:
    """Calls under way are not in the server's count yet, so more left than we think is not believed."""
    clock = Clock()
    bucket = Bucket(100, clock)
    bucket.take(90)
    bucket.learn(100, 99, None)
    assert bucket.wait_for(11) > 0
    bucket.learn(100, 0, 30.0)
    assert bucket.wait_for(1) == pytest.approx(0.6)


async def test_requests_wait_for_their_turn_in_order(clock: Clock) -> None:
    """Beyond the limit requests are spread over time, first come first served."""
    pace = Pace(clock)
    pace.limit(60, None)
    done: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await pace.turn({})
        done.append((number, clock.now))

    await asyncio.gather(*(one(number) for number in range(70)))
    assert [number for number, _ in done] == list(range(70))
    assert done[59][1] == 0.0
    assert done[69][1] == pytest.approx(10.0)


async def test_ten_thousand_waiting_calls_are_served_fairly(clock: Clock) -> None:
    """A long queue is served in order, without a call being passed over."""
    pace = Pace(clock)
    pace.limit(1_000_000, None)
    order: list[int] = []

    async def one(number: int) -> None:
        await pace.turn({})
        order.append(number)

    await asyncio.gather(*(one(number) for number in range(10_000)))
    assert order == list(range(10_000))


async def test_a_cancelled_wait_lets_the_next_one_through(clock: Clock) -> None:
    """Giving up in the queue does not block those behind."""
    pace = Pace(clock)
    pace.limit(1, None)
    await pace.turn({})
    blocked = asyncio.Event()

    async def first() -> None:
        async with pace._door.slot():
            blocked.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(first())
    await blocked.wait()
    second = asyncio.create_task(pace.turn({}))
    await asyncio.sleep(0)
    waiting.cancel()
    await second
    assert second.done()


async def test_tokens_are_set_aside_and_put_right(clock: Clock) -> None:
    """The estimate is taken first; what was not used comes back."""
    pace = Pace(clock)
    pace.limit(None, 1000)
    reserved = await pace.turn({"input": "x" * 400, "max_output_tokens": 800})
    assert reserved == 900
    pace.settle(reserved, 100)
    assert pace.tokens.wait_for(900) == 0.0
    assert pace.tokens.wait_for(901) > 0


def test_estimate_counts_text_and_what_may_be_generated() -> None:
    """Four characters are about a token, and the limit of new tokens counts in full."""
    assert estimate_tokens({"messages": "x" * 40, "max_tokens": 5}) == 15


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3s", 3723.0), ("soon", None), (None, None)],
)
def test_durations_of_the_headers(text: str | None, seconds: float | None) -> None:
    """OpenAI writes how long a limit takes to reset as a duration."""
    assert read_duration(text) == seconds


def test_one_pace_for_one_key_at_one_address() -> None:
    """LMs with the same key share their limits; others do not."""
    one = pace_of("https://a.example/v1", "k")
    assert pace_of("https://a.example/v1", "k") is one
    assert pace_of("https://a.example/v1", "other") is not one


async def test_limits_are_learned_from_the_servers_headers(openai_server: OpenAIServer) -> None:
    """What the server says is left is kept to, without the caller's saying anything."""
    headers = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-reset-requests": "1s",
    }
    openai_server.enqueue(Answer(text="hi", headers=headers))
    async with LM("gpt-4o-mini", base_url=openai_server.base_url, api_key="sk-rates") as lm:
        await lm.respond_async("Hi")
        requests = pace_of(openai_server.base_url, "sk-rates").requests
        assert requests.per_minute == 100
        assert requests.wait_for(8) > 0


@pytest.mark.parametrize("option", ["requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_senseless_limits_are_refused(option: str, value: Any) -> None:
    """A limit that lets nothing through is an error that names it."""
    with pytest.raises(OptionError, match=option):
        LM("m", base_url="http://127.0.0.1:9/v1", **{option: value})
