"""Rate limits: on a clock that the test moves, and from the headers of a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from servers import errors as failures
from servers.answers import Answer, Raw, connection_reset, new_id, truncated_json
from servers.openai_fake import OpenAIServer
from synth_ai import LM, errors
from synth_ai.errors import OptionError
from synth_ai.http.rate_limits import (
    RateLimit,
    RateLimiter,
    TokenBucket,
    rate_limiter_for,
    read_count,
    read_duration,
)
from synth_ai.http.token_estimate import PAYLOAD_TOKENS, estimate_tokens

Hosted = Callable[..., LM]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The running loop's clock, which jumps to the next moment that somebody waits for."""
    clock = Clock()
    loop: Any = asyncio.get_running_loop()
    select = loop._selector.select

    def skip(timeout: float | None) -> Any:
        clock.now += timeout or 0.0
        return select(timeout and 0.0)

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop._selector, "select", skip)
    return clock


def headers_of(kind: str, limit: int, left: int, reset: str = "1s") -> dict[str, str]:
    """The headers in which a server reports its limit for requests or tokens."""
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(left),
        f"x-ratelimit-reset-{kind}": reset,
    }


async def make_call(limiter: RateLimiter, **body: Any) -> None:
    """A call that is answered, without a report of what it used."""
    async with limiter.reserve(body) as reservation:
        reservation.read_headers({})


async def last_of(lm: LM) -> Any:
    """The last event of a stream that may have used 90,000 tokens."""
    return [event async for event in lm.stream_async("Hi", max_tokens=90_000)][-1]


# --- buckets --------------------------------------------------------------------------------------


def test_bucket_refills_evenly() -> None:
    """What was taken comes back at the rate of the limit."""
    clock = Clock()
    bucket = TokenBucket(60, clock)
    bucket.take(60)
    assert bucket.seconds_until(1) == pytest.approx(1.0)
    clock.now = 30.0
    assert bucket.seconds_until(30) == 0.0
    assert bucket.seconds_until(31) == pytest.approx(1.0)


def test_bucket_lets_a_request_larger_than_itself_through_once_full() -> None:
    """A request for more tokens than a minute gives waits for a full bucket, not for ever."""
    bucket = TokenBucket(100, Clock())
    assert bucket.seconds_until(1000) == 0.0


def test_a_report_lowers_the_level_and_never_raises_it() -> None:
    """Calls in flight are not in its count yet, so more left than we count is not believed."""
    clock = Clock()
    bucket = TokenBucket(100, clock)
    bucket.take(90)
    bucket.update(100, 99, None)
    assert bucket.seconds_until(11) > 0
    bucket.update(100, 0, 30.0)
    assert bucket.seconds_until(1) == pytest.approx(0.6)


def test_the_newest_limit_of_the_server_holds() -> None:
    """One that was lower for a while, or another account's, is not kept for ever."""
    clock = Clock()
    bucket = TokenBucket(None, clock)
    for limit in (10_000, 60, 6_000):
        bucket.update(limit, limit, None)
        assert bucket.per_minute == limit
    clock.now = 60.0
    assert bucket.seconds_until(6_000) == 0.0
    assert bucket.seconds_until(5_999) == 0.0


def test_the_lowest_limit_of_the_callers_holds() -> None:
    """LMs of one key share what each of them may be asked to keep to."""
    bucket = TokenBucket(None, Clock())
    for limit, holds in ((100, 100), (50, 50), (80, 50)):
        bucket.cap(limit)
        assert bucket.per_minute == holds
    assert bucket.seconds_until(50) == 0.0
    bucket.take(1)
    assert bucket.seconds_until(50) > 0


# --- waiting --------------------------------------------------------------------------------------


async def test_requests_wait_for_their_turn_in_order(clock: Clock) -> None:
    """Beyond the limit requests are spread over time, first come first served."""
    limiter = RateLimiter(clock)
    limiter.cap(60, None)
    done: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await make_call(limiter)
        done.append((number, clock.now))

    await asyncio.gather(*(one(number) for number in range(70)))
    assert [number for number, _ in done] == list(range(70))
    assert done[59][1] == 0.0
    assert done[69][1] == pytest.approx(10.0)


async def test_ten_thousand_waiting_calls_are_served_fairly(clock: Clock) -> None:
    """A long queue is served quickly and in order, small calls not before large ones."""
    limiter = RateLimiter(clock)
    limiter.cap(None, 600)
    order: list[int] = []

    async def one(number: int) -> None:
        await make_call(limiter, max_tokens=1 + number % 97)
        order.append(number)

    began = time.thread_time()
    await asyncio.gather(*(one(number) for number in range(10_000)))
    assert order == list(range(10_000))
    # Nearly all of them waited: at ten tokens a second, so many take most of a day.
    assert clock.now == pytest.approx(
        (sum(1 + number % 97 for number in range(10_000)) - 600) / 10, rel=0.01
    )
    assert time.thread_time() - began < 20


async def test_who_comes_late_does_not_overtake(clock: Clock) -> None:
    """Not even if there is enough for it, as the first in the queue is still waiting for more."""
    limiter = RateLimiter(clock)
    limiter.cap(None, 600)
    order: list[str] = []

    async def one(name: str, tokens: int) -> None:
        await make_call(limiter, max_tokens=tokens)
        order.append(name)

    await one("first", 500)
    large = asyncio.create_task(one("large", 600))
    await asyncio.sleep(1)
    await asyncio.gather(large, one("small", 1))
    assert order == ["first", "large", "small"]


async def test_a_cancelled_wait_lets_the_next_one_through(clock: Clock) -> None:
    """Giving up in the queue does not block those behind, and takes nothing."""
    limiter = RateLimiter(clock)
    limiter.cap(1, None)
    await make_call(limiter)
    first, second = (asyncio.create_task(make_call(limiter)) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    await second
    assert first.cancelled()
    assert clock.now == pytest.approx(60.0)


async def test_tokens_are_reserved_and_reconciled(clock: Clock) -> None:
    """The estimate is taken first; what was not used comes back."""
    limiter = RateLimiter(clock)
    limiter.cap(None, 1000)
    async with limiter.reserve({"input": "x" * 400, "max_output_tokens": 800}) as reservation:
        assert limiter.overall.tokens.seconds_until(100) == 0.0
        assert limiter.overall.tokens.seconds_until(101) > 0
        reservation.used_tokens = 100
    assert limiter.overall.tokens.seconds_until(900) == 0.0
    assert limiter.overall.tokens.seconds_until(901) > 0


async def test_what_comes_back_wakes_who_waits_for_it(clock: Clock) -> None:
    """A call that used less than was reserved lets the next one go before its time."""
    limiter = RateLimiter(clock)
    limiter.cap(None, 600)
    async with limiter.reserve({"max_tokens": 600}) as reservation:
        waiting = asyncio.create_task(make_call(limiter, max_tokens=590))
        await asyncio.sleep(1)
        assert not waiting.done()
        reservation.used_tokens = 5
    await waiting
    assert clock.now == pytest.approx(1.0)


async def test_a_limit_that_is_raised_wakes_who_waits(clock: Clock) -> None:
    """Its wait was computed with the old one."""
    limit = RateLimit(clock)
    limit.update(headers_of("requests", 1, 0, "60s"))
    waiting = asyncio.create_task(limit.acquire(0))
    await asyncio.sleep(1)
    limit.update(headers_of("requests", 6000, 5999))
    await waiting
    assert clock.now < 2


async def test_one_model_does_not_wait_for_another(clock: Clock) -> None:
    """A queue for one model holds nothing of what the calls to another need."""
    limiter = RateLimiter(clock)
    limiter.cap(6000, None)
    limiter.for_model("slow").update(headers_of("requests", 1, 0, "60s"))
    limiter.for_model("fast").update(headers_of("requests", 10_000, 9999))
    waiting = [asyncio.create_task(make_call(limiter, model="slow")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(*(make_call(limiter, model="fast") for _ in range(100)))
    assert clock.now == 0.0
    await asyncio.gather(*waiting)
    assert clock.now == pytest.approx(300.0)


async def test_models_share_the_limit_of_the_caller(clock: Clock) -> None:
    """It holds for all that goes out with the key."""
    limiter = RateLimiter(clock)
    limiter.cap(60, None)
    await asyncio.gather(*(make_call(limiter, model=f"m{number % 2}") for number in range(61)))
    assert clock.now == pytest.approx(1.0)


async def test_giving_up_between_two_limits_gives_back(clock: Clock) -> None:
    """A call that is cancelled in the queue of the key gives back what it took of the model."""
    limiter = RateLimiter(clock)
    limiter.cap(1, None)
    limiter.for_model("m").update(headers_of("tokens", 1000, 1000))
    await make_call(limiter)
    waiting = asyncio.create_task(make_call(limiter, model="m", max_tokens=1000))
    await asyncio.sleep(0.1)
    assert limiter.for_model("m").tokens.seconds_until(1000) > 0
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert limiter.for_model("m").tokens.seconds_until(1000) == 0.0


# --- estimates ------------------------------------------------------------------------------------

PICTURE = "data:image/png;base64," + "A" * 1_400_000
PAYLOADS: dict[str, dict[str, Any]] = {
    "a picture on chat": {
        "messages": [{"content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]
    },
    "a picture on responses": {
        "input": [{"content": [{"type": "input_image", "image_url": PICTURE}]}]
    },
    "a screenshot": {"input": [{"type": "computer_call_output", "output": {"image_url": PICTURE}}]},
    "a generated picture": {
        "input": [{"type": "image_generation_call", "result": "A" * 1_000_000}]
    },
    "a sound": {
        "messages": [
            {"content": [{"type": "input_audio", "input_audio": {"data": "A" * 1_000_000}}]}
        ]
    },
    "a file": {"input": [{"content": [{"type": "input_file", "file_data": "A" * 1_000_000}]}]},
}


def test_estimate_counts_text_and_what_may_be_generated() -> None:
    """Four characters are about a token, and the limit of new tokens counts in full."""
    assert estimate_tokens({"messages": "x" * 40, "max_tokens": 5}) == 15


@pytest.mark.parametrize("body", PAYLOADS.values(), ids=PAYLOADS)
def test_estimate_counts_no_payload_as_text(body: dict[str, Any]) -> None:
    """What is sent as base64 costs by its content, not by its bytes."""
    assert PAYLOAD_TOKENS <= estimate_tokens(body) <= PAYLOAD_TOKENS + 20


def test_estimate_counts_the_text_next_to_a_payload() -> None:
    """And the names and texts of tools."""
    part = {"type": "input_text", "text": "x" * 4000}
    picture = {"type": "input_image", "image_url": PICTURE}
    tools = [{"name": "find", "parameters": {"properties": {"city" * 100: {}}}}]
    body = {"input": [{"content": [part, picture]}], "tools": tools}
    assert estimate_tokens(body) == pytest.approx(2100, abs=50)


async def test_pictures_do_not_stall_calls(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Two of a megabyte each go out at once under an everyday limit."""
    picture = b"\x89PNG\r\n\x1a\n" + bytes(1_000_000)
    async with hosted(api_key="sk-pictures", tokens_per_minute=200_000, timeout=20) as lm:
        await asyncio.gather(
            *(lm.respond_async("look", images=[picture], auto_store=False) for _ in range(2))
        )
    assert len(openai_server.requests) == 2


# --- headers and answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3s", 3723.0),
        ("soon", None),
        (None, None),
    ],
)
def test_durations_of_the_headers(text: str | None, seconds: float | None) -> None:
    """OpenAI writes how long a limit takes to reset as a duration."""
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("30000", 30_000), ("-1", None), ("1.5", None), ("", None), (None, None)],
)
def test_counts_of_the_headers(text: str | None, count: int | None) -> None:
    """Anything but a plain whole number is left alone."""
    assert read_count(text) == count


@pytest.mark.parametrize("kind", ["requests", "tokens"])
@pytest.mark.parametrize("digits", [16, 400, 5000])
def test_a_count_without_end_is_left_alone(kind: str, digits: int) -> None:
    """A header that would overflow a float must not fail a call that has its answer."""
    limit = RateLimit(Clock())
    headers = headers_of(kind, 100, 7)
    for part in ("limit", "remaining"):
        limit.update({**headers, f"x-ratelimit-{part}-{kind}": "9" * digits})
    assert limit.requests.per_minute is None
    assert limit.tokens.per_minute is None


def test_one_limiter_for_one_key_at_one_address() -> None:
    """LMs with the same key share their limits; others do not."""
    one = rate_limiter_for("https://a.example/v1", "k")
    assert rate_limiter_for("https://a.example/v1", "k") is one
    assert rate_limiter_for("https://a.example/v1", "other") is not one


async def test_limits_are_learned_from_the_servers_headers(openai_server: OpenAIServer) -> None:
    """What the server says is left is kept to, without the caller's saying anything."""
    openai_server.enqueue(Answer(text="hi", headers=headers_of("requests", 100, 7)))
    async with LM("gpt-4o-mini", base_url=openai_server.base_url, api_key="sk-rates") as lm:
        await lm.respond_async("Hi")
        limiter = rate_limiter_for(openai_server.base_url, "sk-rates")
        requests = limiter.for_model("gpt-4o-mini").requests
        assert requests.per_minute == 100
        assert requests.seconds_until(8) > 0


async def test_limits_are_learned_for_each_model(openai_server: OpenAIServer) -> None:
    """A model that may be called less often does not slow down the others of the key."""
    openai_server.enqueue(
        Answer(text="a", headers=headers_of("requests", 10_000, 9999)),
        Answer(text="b", headers=headers_of("requests", 60, 59)),
    )
    where: dict[str, Any] = {
        "api": "responses",
        "base_url": openai_server.base_url,
        "api_key": "sk-models",
    }
    async with LM("gpt-5", **where) as fast, LM("o1-pro", **where) as slow:
        await fast.respond_async("Hi")
        await slow.respond_async("Hi")
        limiter = rate_limiter_for(openai_server.base_url, "sk-models")
        assert limiter.for_model("gpt-5").requests.per_minute == 10_000
        assert limiter.for_model("o1-pro").requests.per_minute == 60
        assert limiter.overall.requests.per_minute is None


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_tokens_come_back_at_the_end_of_a_stream(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """Where its usage is told."""
    async with hosted(api, api_key=f"sk-{api}-streams", tokens_per_minute=100_000) as lm:
        for _ in range(3):
            await last_of(lm)
        limiter = rate_limiter_for(openai_server.base_url, f"sk-{api}-streams")
        assert limiter.overall.tokens.seconds_until(99_000) == 0.0


FAILED: dict[str, tuple[Answer | Raw, bool, bool]] = {
    "500": (failures.server_error(), False, True),
    "400": (failures.unsupported_parameter("temperature"), False, True),
    "no credit": (failures.insufficient_quota(), False, True),
    "500 of a stream": (failures.server_error(), True, True),
    "no answer": (connection_reset(), False, True),
    "half an answer": (truncated_json(), False, False),
    "a stream that breaks off": (connection_reset(), True, False),
}


@pytest.mark.parametrize(("failure", "streamed", "comes_back"), FAILED.values(), ids=FAILED)
async def test_tokens_of_a_call_that_failed_come_back(
    openai_server: OpenAIServer,
    hosted: Hosted,
    failure: Answer | Raw,
    streamed: bool,
    comes_back: bool,
) -> None:
    """If it was refused before an answer; one that broke off later may have used them."""
    openai_server.enqueue(failure)
    key = new_id("sk")
    async with hosted(api_key=key, tokens_per_minute=100_000, retry=False) as lm:
        with pytest.raises(errors.ServerError):
            await (last_of(lm) if streamed else lm.respond_async("Hi", max_tokens=90_000))
        tokens = rate_limiter_for(openai_server.base_url, key).overall.tokens
        assert (tokens.seconds_until(99_000) == 0.0) is comes_back


async def test_tokens_of_a_call_that_timed_out_stay_reserved(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """As the server may have run it."""
    openai_server.enqueue(Answer(text="late", delay=5))
    async with hosted(api_key="sk-late", tokens_per_minute=100_000, retry=False) as lm:
        with pytest.raises(errors.TimedOutError):
            await lm.respond_async("Hi", max_tokens=90_000, timeout=0.3)
        limiter = rate_limiter_for(openai_server.base_url, "sk-late")
        assert limiter.overall.tokens.seconds_until(99_000) > 0


@pytest.mark.parametrize("option", ["requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_senseless_limits_are_refused(option: str, value: Any) -> None:
    """A limit that lets nothing through is an error that names it."""
    with pytest.raises(OptionError, match=option):
        LM("m", base_url="http://127.0.0.1:9/v1", **{option: value})
