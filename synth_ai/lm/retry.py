"""When a failed call is tried again. The error gives the verdict, the policy the number of tries and the waits."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from synth_ai import errors

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

logger = logging.getLogger("synth_ai")

#: Quota that is used up stays used up, however often one asks.
_FINAL_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try, and how long to wait in between.

    Attributes:
        attempts: tries in all; 1 never tries again.
        first_wait: seconds before the second try; doubled for each further one, with up to as much again at random.
            Where the server asks for a time, that, and up to `first_wait` or a tenth of it more at random.
        longest_wait: the most seconds between two tries; a server that asks for longer gets no further try.
        deadline: seconds after which no further try begins; None for no such limit.
        retry_timeouts: whether a call that timed out is sent again, though the server may have run it.
    """

    attempts: int = 3
    first_wait: float = 0.5
    longest_wait: float = 60.0
    deadline: float | None = None
    retry_timeouts: bool = True

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise errors.OptionError(f"attempts={self.attempts} never calls; it takes 1 or more.")
        for name in ("first_wait", "longest_wait", "deadline"):
            seconds = getattr(self, name)
            if seconds is not None and seconds < 0:
                raise errors.OptionError(
                    f"{name}={seconds} is no time to wait; it takes 0 seconds or more."
                )

    def worth_another_try(self, error: BaseException) -> bool:
        """Whether the same call may succeed later."""
        if not isinstance(error, errors.ServerError) or error.code in _FINAL_CODES:
            return False
        if error.retry_after is not None and error.retry_after > self.longest_wait:
            return False
        if isinstance(error, errors.TimedOutError):
            return self.retry_timeouts
        return isinstance(
            error,
            (
                errors.ConnectionFailedError,
                errors.RateLimitError,
                errors.OverloadedError,
                errors.MalformedAnswerError,
            ),
        )

    def seconds_to_wait(self, error: BaseException, tries: int, jitter: float) -> float:
        """How long to wait after `tries` tries: what the server asks for, or a doubling time. `jitter`: 0 to 1."""
        asked = error.retry_after if isinstance(error, errors.ServerError) else None
        if asked is None:
            return float(min(self.longest_wait, self.first_wait * 2 ** (tries - 1) * (1 + jitter)))
        # Never less than asked. What is more keeps those who were told the same time from coming back at once.
        return max(asked, min(self.longest_wait, asked + jitter * max(self.first_wait, asked / 10)))

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call()`, which is called again while its errors may pass.

        Raises:
            SynthAIError: the last error, as it was.
        """
        began = time.monotonic()
        try:
            return await call()
        except errors.ServerError as error:
            if self.attempts == 1 or not self.worth_another_try(error):
                raise
            return await self._again(call, error, began)

    async def _again(
        self, call: Callable[[], Awaitable[T]], first: errors.ServerError, began: float
    ) -> T:
        """The tries after the first, by tenacity: it costs a call that succeeds at once nothing."""
        from tenacity import (
            AsyncRetrying,
            retry_if_exception,
            stop_after_attempt,
            stop_any,
            stop_before_delay,
        )

        pending: errors.ServerError | None = first

        async def attempt() -> T:
            nonlocal pending
            if pending is not None:
                error, pending = pending, None
                raise error
            return await call()

        def wait(state: RetryCallState) -> float:
            return self.seconds_to_wait(_error_of(state), state.attempt_number, random.random())

        def note(state: RetryCallState) -> None:
            logger.info(
                "try %d of %d failed: %s", state.attempt_number, self.attempts, _error_of(state)
            )

        retrying = AsyncRetrying(
            stop=stop_any(
                stop_after_attempt(self.attempts),
                stop_before_delay(
                    math.inf if self.deadline is None else began + self.deadline - time.monotonic()
                ),
            ),
            wait=wait,
            retry=retry_if_exception(self.worth_another_try),
            before_sleep=note,
            reraise=True,
        )
        result: T = await retrying(attempt)
        return result


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if error is not None else RuntimeError("no outcome")


def policy(retry: RetryPolicy | int | bool | None) -> RetryPolicy:
    """A policy from what `retry=` takes: a policy, a number of tries, False for a single try, None for the default.

    Raises:
        OptionError: it is none of these.
    """
    if isinstance(retry, RetryPolicy):
        return retry
    if retry is None or retry is True:
        return RetryPolicy()
    if retry is False:
        return RetryPolicy(attempts=1)
    if isinstance(retry, int):
        return RetryPolicy(attempts=retry)
    raise errors.OptionError(
        f"retry={retry!r} is no policy; it takes a RetryPolicy, a number of tries, or False."
    )
