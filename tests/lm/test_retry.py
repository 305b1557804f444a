"""When a failed call is tried again: the error's verdict, the waits, the number of tries."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from synth_ai import errors
from synth_ai.errors import OptionError
from synth_ai.lm.retry import RetryPolicy, as_policy

NO_WAIT = RetryPolicy(attempts=3, wait_initial=0)


class Service:
    """Fails with these errors, then answers; counts the calls."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def call(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


TRANSIENT = (
    errors.ConnectionFailedError("reset"),
    errors.TimedOutError("late"),
    errors.RateLimitError("429", retry_after=0.0),
    errors.OverloadedError("500"),
    errors.MalformedAnswerError("cut"),
)
FINAL = (
    errors.RejectedError("400"),
    errors.AuthenticationFailedError("401"),
    errors.NotFoundError("404"),
    errors.ForgottenResponseError("gone"),
    errors.RateLimitError("no credit", code="insufficient_quota"),
    errors.RateLimitError("no credit", code="billing_hard_limit_reached"),
    errors.RateLimitError("much later", retry_after=61.0),
    errors.RequestError("bad"),
    errors.OptionError("bad"),
    errors.EngineDeadError("dead"),
    KeyError("a bug"),
)


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
async def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """Up to the number of tries."""
    service = Service(error, error)
    assert await NO_WAIT.run(service.call) == "answer"
    assert service.calls == 3


@pytest.mark.parametrize("error", FINAL, ids=str)
async def test_what_cannot_pass_is_raised_at_once(error: Exception) -> None:
    """Asking again would cost and change nothing."""
    service = Service(error)
    with pytest.raises(type(error)) as raised:
        await NO_WAIT.run(service.call)
    assert raised.value is error
    assert service.calls == 1


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_the_last_error_is_raised_as_it_is(attempts: int) -> None:
    """After the last try the caller gets its error, not tenacity's."""
    failures = [errors.OverloadedError(str(number)) for number in range(1, 9)]
    service = Service(*failures)
    with pytest.raises(errors.OverloadedError, match=str(attempts)) as raised:
        await RetryPolicy(attempts=attempts, wait_initial=0).run(service.call)
    assert raised.value is failures[attempts - 1]
    assert service.calls == attempts


async def test_a_final_error_ends_the_tries() -> None:
    """A transient failure first does not make the next one transient."""
    service = Service(errors.OverloadedError("500"), errors.RejectedError("400"))
    with pytest.raises(errors.RejectedError):
        await NO_WAIT.run(service.call)
    assert service.calls == 2


async def test_timeouts_may_be_left_alone() -> None:
    """A call that timed out may have run; who minds can say so."""
    service = Service(errors.TimedOutError("late"))
    with pytest.raises(errors.TimedOutError):
        await RetryPolicy(wait_initial=0, retry_timeouts=False).run(service.call)
    assert service.calls == 1


async def test_a_deadline_allows_no_further_try() -> None:
    """With no time left, the first error is the last."""
    service = Service(errors.OverloadedError("500"))
    with pytest.raises(errors.OverloadedError):
        await RetryPolicy(attempts=9, wait_initial=0, deadline=0).run(service.call)
    assert service.calls == 1


async def test_the_deadline_counts_the_first_try() -> None:
    """It runs from the beginning of the call, however long the first try took to fail."""
    service = Service(errors.OverloadedError("500"))

    async def slow() -> str:
        await asyncio.sleep(0.02)
        return await service.call()

    with pytest.raises(errors.OverloadedError):
        await RetryPolicy(attempts=9, wait_initial=0, deadline=0.01).run(slow)
    assert service.calls == 1


def test_waits_double_up_to_the_longest() -> None:
    """With up to as much again at random, so that many callers do not come back at once."""
    tries = RetryPolicy(wait_initial=0.5, wait_max=3)
    error = errors.OverloadedError("500")
    assert [tries.backoff(error, number, 0) for number in range(1, 6)] == [0.5, 1, 2, 3, 3]
    assert tries.backoff(error, 1, 1) == 1
    assert tries.backoff(error, 1, 0.5) == 0.75


def test_the_server_s_wish_is_honoured() -> None:
    """It is waited for as long as it asks, up to the cap; beyond that there is no further try."""
    tries = RetryPolicy(wait_initial=0.5, wait_max=10)
    assert tries.backoff(errors.RateLimitError("429", retry_after=7), 1, 0) == 7
    assert tries.is_retryable(errors.RateLimitError("429", retry_after=10))
    assert not tries.is_retryable(errors.RateLimitError("429", retry_after=11))


@pytest.mark.parametrize(
    ("asked", "latest"), [(0, 0.5), (2, 2.5), (7, 7.7), (9.9, 10), (10, 10), (11, 11)]
)
def test_those_who_are_told_the_same_time_do_not_come_back_at_once(
    asked: float, latest: float
) -> None:
    """The wait that a server asks for is spread: never below it, and never beyond the cap."""
    tries = RetryPolicy(wait_initial=0.5, wait_max=10)
    error = errors.RateLimitError("429", retry_after=asked)
    waits = [tries.backoff(error, 1, jitter / 100) for jitter in range(101)]
    assert (waits[0], waits[-1]) == (asked, pytest.approx(latest))
    assert waits == sorted(waits)
    assert asked >= 10 or len(set(waits)) > 10


async def test_failed_tries_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Waiting without a word would look like a hang."""
    with caplog.at_level(logging.INFO, logger="synth_ai"):
        await NO_WAIT.run(Service(errors.OverloadedError("500: busy")).call)
    assert [record.message for record in caplog.records] == ["try 1 of 3 failed: OverloadedError"]


@pytest.mark.parametrize(
    ("given", "attempts"),
    [(None, 3), (True, 3), (False, 1), (1, 1), (7, 7), (RetryPolicy(attempts=4), 4)],
)
def test_what_retry_takes(given: Any, attempts: int) -> None:
    """A policy, a number of tries, or a plain yes or no."""
    assert as_policy(given).attempts == attempts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: as_policy(0), "attempts=0 never calls; it takes 1 or more"),
        (lambda: as_policy(-1), "attempts=-1"),
        (
            lambda: as_policy("3"),
            "retry must be a RetryPolicy, a number of tries, or False, not '3'",
        ),  # type: ignore[arg-type]
        (lambda: as_policy(1.5), "retry must be .*, not 1.5"),  # type: ignore[arg-type]
        (lambda: RetryPolicy(wait_initial=-1), "wait_initial must be 0 seconds or more, not -1"),
        (lambda: RetryPolicy(wait_max=-1), "wait_max must be 0 seconds or more, not -1"),
        (lambda: RetryPolicy(deadline=-1), "deadline must be 0 seconds or more, not -1"),
    ],
)
def test_what_is_no_policy(make: Any, message: str) -> None:
    """Told when the LM is made, not at the first failure."""
    with pytest.raises(OptionError, match=message):
        make()
