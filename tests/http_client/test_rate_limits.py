"""The pace of requests: buckets on a clock of the test's own, and the real server's headers."""

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
from synth_ai.http.rate_limits import Bucket, Gate, Pace, pace_of, read_duration
from synth_ai.http.token_estimate import PAYLOAD_TOKENS, estimate_tokens

Hosted = Callable[..., LM]


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The running loop's clock, which goes on at once to the next moment that somebody waits for."""
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
    """What a server says of its limit for requests or tokens."""
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(left),
        f"x-ratelimit-reset-{kind}": reset,
    }


async def pass_gate(pace: Pace, **body: Any) -> None:
    """A call that is answered, and says nothing of what it used."""
    async with pace.turn(body) as turn:
        turn.learn({})


async def last_of(lm: LM) -> Any:
    """The last event of a stream that may have used 90,000 tokens."""
    return [event async for event in lm.stream_async("Hi", max_tokens=90_000)][-1]


# --- buckets --------------------------------------------------------------------------------------------------------


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


def test_the_newest_limit_of_the_server_holds() -> None:
    """One that was lower for a while, or another account's, is not kept for ever."""
    clock = Clock()
    bucket = Bucket(None, clock)
    for limit in (10_000, 60, 6_000):
        bucket.learn(limit, limit, None)
        assert bucket.per_minute == limit
    clock.now = 60.0
    assert bucket.wait_for(6_000) == 0.0
    assert bucket.wait_for(5_999) == 0.0


def test_the_lowest_limit_of_the_callers_holds() -> None:
    """LMs of one key share what each of them may be asked to keep to."""
    bucket = Bucket(None, Clock())
    for limit, holds in ((100, 100), (50, 50), (80, 50)):
        bucket.cap(limit)
        assert bucket.per_minute == holds
    assert bucket.wait_for(50) == 0.0
    bucket.take(1)
    assert bucket.wait_for(50) > 0


# --- waiting --------------------------------------------------------------------------------------------------------


async def test_requests_wait_for_their_turn_in_order(clock: Clock) -> None:
    """Beyond the limit requests are spread over time, first come first served."""
    pace = Pace(clock)
    pace.limit(60, None)
    done: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await pass_gate(pace)
        done.append((number, clock.now))

    await asyncio.gather(*(one(number) for number in range(70)))
    assert [number for number, _ in done] == list(range(70))
    assert done[59][1] == 0.0
    assert done[69][1] == pytest.approx(10.0)


async def test_ten_thousand_waiting_calls_are_served_fairly(clock: Clock) -> None:
    """A long queue is served in the order of arrival, small calls not before large ones, and quickly."""
    pace = Pace(clock)
    pace.limit(None, 600)
    order: list[int] = []

    async def one(number: int) -> None:
        await pass_gate(pace, max_tokens=1 + number % 97)
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
    pace = Pace(clock)
    pace.limit(None, 600)
    order: list[str] = []

    async def one(name: str, tokens: int) -> None:
        await pass_gate(pace, max_tokens=tokens)
        order.append(name)

    await one("first", 500)
    large = asyncio.create_task(one("large", 600))
    await asyncio.sleep(1)
    await asyncio.gather(large, one("small", 1))
    assert order == ["first", "large", "small"]


async def test_a_cancelled_wait_lets_the_next_one_through(clock: Clock) -> None:
    """Giving up in the queue does not block those behind, and takes nothing."""
    pace = Pace(clock)
    pace.limit(1, None)
    await pass_gate(pace)
    first, second = (asyncio.create_task(pass_gate(pace)) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    await second
    assert first.cancelled()
    assert clock.now == pytest.approx(60.0)


async def test_tokens_are_set_aside_and_put_right(clock: Clock) -> None:
    """The estimate is taken first; what was not used comes back."""
    pace = Pace(clock)
    pace.limit(None, 1000)
    async with pace.turn({"input": "x" * 400, "max_output_tokens": 800}) as turn:
        assert pace.own.tokens.wait_for(100) == 0.0
        assert pace.own.tokens.wait_for(101) > 0
        turn.used = 100
    assert pace.own.tokens.wait_for(900) == 0.0
    assert pace.own.tokens.wait_for(901) > 0


async def test_what_comes_back_wakes_who_waits_for_it(clock: Clock) -> None:
    """A call that used less than was set aside lets the next one go at once, not after a wait reckoned without it."""
    pace = Pace(clock)
    pace.limit(None, 600)
    async with pace.turn({"max_tokens": 600}) as turn:
        waiting = asyncio.create_task(pass_gate(pace, max_tokens=590))
        await asyncio.sleep(1)
        assert not waiting.done()
        turn.used = 5
    await waiting
    assert clock.now == pytest.approx(1.0)


async def test_a_limit_that_is_raised_wakes_who_waits(clock: Clock) -> None:
    """The wait was reckoned with the old one."""
    gate = Gate(clock)
    gate.learn(headers_of("requests", 1, 0, "60s"))
    waiting = asyncio.create_task(gate.enter(0))
    await asyncio.sleep(1)
    gate.learn(headers_of("requests", 6000, 5999))
    await waiting
    assert clock.now < 2


async def test_one_model_does_not_wait_for_another(clock: Clock) -> None:
    """A queue for one model holds nothing of what the calls to another need."""
    pace = Pace(clock)
    pace.limit(6000, None)
    pace.model("slow").learn(headers_of("requests", 1, 0, "60s"))
    pace.model("fast").learn(headers_of("requests", 10_000, 9999))
    waiting = [asyncio.create_task(pass_gate(pace, model="slow")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(*(pass_gate(pace, model="fast") for _ in range(100)))
    assert clock.now == 0.0
    await asyncio.gather(*waiting)
    assert clock.now == pytest.approx(300.0)


async def test_models_share_the_limit_of_the_caller(clock: Clock) -> None:
    """It holds for all that goes out with the key."""
    pace = Pace(clock)
    pace.limit(60, None)
    await asyncio.gather(*(pass_gate(pace, model=f"m{number % 2}") for number in range(61)))
    assert clock.now == pytest.approx(1.0)


async def test_giving_up_between_two_gates_gives_back(clock: Clock) -> None:
    """What was set aside for the model comes back when the call is cancelled in the queue of the key."""
    pace = Pace(clock)
    pace.limit(1, None)
    pace.model("m").learn(headers_of("tokens", 1000, 1000))
    await pass_gate(pace)
    waiting = asyncio.create_task(pass_gate(pace, model="m", max_tokens=1000))
    await asyncio.sleep(0.1)
    assert pace.model("m").tokens.wait_for(1000) > 0
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert pace.model("m").tokens.wait_for(1000) == 0.0


# --- estimates ------------------------------------------------------------------------------------------------------

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


# --- headers and answers --------------------------------------------------------------------------------------------


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


def test_one_pace_for_one_key_at_one_address() -> None:
    """LMs with the same key share their limits; others do not."""
    one = pace_of("https://a.example/v1", "k")
    assert pace_of("https://a.example/v1", "k") is one
    assert pace_of("https://a.example/v1", "other") is not one


async def test_limits_are_learned_from_the_servers_headers(openai_server: OpenAIServer) -> None:
    """What the server says is left is kept to, without the caller's saying anything."""
    openai_server.enqueue(Answer(text="hi", headers=headers_of("requests", 100, 7)))
    async with LM("gpt-4o-mini", base_url=openai_server.base_url, api_key="sk-rates") as lm:
        await lm.respond_async("Hi")
        requests = pace_of(openai_server.base_url, "sk-rates").model("gpt-4o-mini").requests
        assert requests.per_minute == 100
        assert requests.wait_for(8) > 0


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
        pace = pace_of(openai_server.base_url, "sk-models")
        assert pace.model("gpt-5").requests.per_minute == 10_000
        assert pace.model("o1-pro").requests.per_minute == 60
        assert pace.own.requests.per_minute is None


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_tokens_come_back_at_the_end_of_a_stream(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """Where its usage is told."""
    async with hosted(api, api_key=f"sk-{api}-streams", tokens_per_minute=100_000) as lm:
        for _ in range(3):
            await last_of(lm)
        assert (
            pace_of(openai_server.base_url, f"sk-{api}-streams").own.tokens.wait_for(99_000) == 0.0
        )


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
    """Where it was refused before an answer; one that broke off later may have used what was set aside."""
    openai_server.enqueue(failure)
    key = new_id("sk")
    async with hosted(api_key=key, tokens_per_minute=100_000, retry=False) as lm:
        with pytest.raises(errors.ServerError):
            await (last_of(lm) if streamed else lm.respond_async("Hi", max_tokens=90_000))
        assert (
            pace_of(openai_server.base_url, key).own.tokens.wait_for(99_000) == 0.0
        ) is comes_back


async def test_tokens_of_a_call_that_timed_out_stay_set_aside(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """As the server may have run it."""
    openai_server.enqueue(Answer(text="late", delay=5))
    async with hosted(api_key="sk-late", tokens_per_minute=100_000, retry=False) as lm:
        with pytest.raises(errors.TimedOutError):
            await lm.respond_async("Hi", max_tokens=90_000, timeout=0.3)
        assert pace_of(openai_server.base_url, "sk-late").own.tokens.wait_for(99_000) > 0


@pytest.mark.parametrize("option", ["requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_senseless_limits_are_refused(option: str, value: Any) -> None:
    """A limit that lets nothing through is an error that names it."""
    with pytest.raises(OptionError, match=option):
        LM("m", base_url="http://127.0.0.1:9/v1", **{option: value})
