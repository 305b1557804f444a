"""When a failed call is tried again.

The class of an error says whether the same call may succeed later; the policy says how often to
try, and how long to wait.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from synth_ai.errors import (
    ConnectionFailedError,
    MalformedAnswerError,
    OptionError,
    OverloadedError,
    RateLimitError,
    ServerError,
    TimedOutError,
)

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

logger = logging.getLogger("synth_ai")

#: Errors that may pass.
_TRANSIENT = (ConnectionFailedError, RateLimitError, OverloadedError, MalformedAnswerError)

#: OpenAI's codes for quota that is used up: it stays used up, however often one asks.
_FINAL_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_PLAIN_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try a call, and how long to wait in between: `LM(..., retry=RetryPolicy(...))`.

    Attributes:
        attempts: tries in all; 1 never tries again.
        wait_initial: seconds before the second try. The wait doubles with each further try, and up
            to as much again is added at random. If the server asks for a time, the wait is that
            time, and up to `wait_initial` or a tenth of it more at random.
        wait_max: the most seconds between two tries. If a server asks for more, its error is the
            last; if the limits that it reports ask for more, a call is a RateLimitError at once.
        deadline: seconds after the beginning of the call in which a further try may begin; None
            for no such limit.
        retry_timeouts: whether a call that timed out is sent again. The server may have run it.

    Raises:
        OptionError: a number is out of range.
    """

    attempts: int = 3
    wait_initial: float = 0.5
    wait_max: float = 60.0
    deadline: float | None = None
    retry_timeouts: bool = True

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise OptionError(f"attempts={self.attempts} never calls; it takes 1 or more.")

        for name in ("wait_initial", "wait_max", "deadline"):
            seconds = getattr(self, name)
            if seconds is not None and seconds < 0:
                raise OptionError(f"{name} must be 0 seconds or more, not {seconds}.")

    def is_retryable(self, error: BaseException) -> bool:
        """Whether the same call may succeed later."""
        if not isinstance(error, ServerError):
            return False
        if error.code in _FINAL_CODES:
            return False
        retry_after = error.retry_after or 0.0
        if retry_after > self.wait_max:
            return False

        # Before the transient errors: a timeout is a failed connection, too.
        if isinstance(error, TimedOutError):
            return self.retry_timeouts

        return isinstance(error, _TRANSIENT)

    def backoff(self, error: BaseException, tries: int, jitter: float) -> float:
        """Compute how many seconds to wait before the next try.

        Args:
            error: what the last try failed with.
            tries: how many tries there were.
            jitter: a random number from 0 to 1.
        """
        retry_after = error.retry_after if isinstance(error, ServerError) else None
        if retry_after is None:
            wait = self.wait_initial * 2 ** (tries - 1) * (1 + jitter)
            return float(min(self.wait_max, wait))

        # Never less than the server asks for. The rest keeps callers that got the same time from
        # coming back at once.
        spread = max(self.wait_initial, retry_after / 10)
        wait = retry_after + jitter * spread
        return max(retry_after, min(self.wait_max, wait))

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call`, again while its errors may pass, and return its result.

        Raises:
            SynthAIError: the last error, as it was.
        """
        started = time.monotonic()
        try:
            return await call()
        except ServerError as error:
            if self.attempts == 1 or not self.is_retryable(error):
                raise
            return await self._retry(call, error, started)

    async def _retry(
        self, call: Callable[[], Awaitable[T]], first_error: ServerError, started: float
    ) -> T:
        """Run `call` again after its first error.

        tenacity does the counting and the waiting. It is imported only here, so that a call that
        succeeds at once does not pay for it.
        """
        from tenacity import (
            AsyncRetrying,
            retry_if_exception,
            stop_after_attempt,
            stop_any,
            stop_before_delay,
        )

        pending_error: ServerError | None = first_error

        async def attempt() -> T:
            # The first try is over: for tenacity, its error is the result of the first attempt.
            nonlocal pending_error
            if pending_error is not None:
                error = pending_error
                pending_error = None
                raise error
            return await call()

        def wait(state: RetryCallState) -> float:
            return self.backoff(_error_of(state), state.attempt_number, random.random())

        def log(state: RetryCallState) -> None:
            error = _error_of(state)
            what = _describe(error)
            logger.info("try %d of %d failed: %s", state.attempt_number, self.attempts, what)

        seconds_left = math.inf
        if self.deadline is not None:
            seconds_left = started + self.deadline - time.monotonic()

        retrying = AsyncRetrying(
            stop=stop_any(stop_after_attempt(self.attempts), stop_before_delay(seconds_left)),
            wait=wait,
            retry=retry_if_exception(self.is_retryable),
            before_sleep=log,
            reraise=True,
        )
        result: T = await retrying(attempt)
        return result


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if error is not None else RuntimeError("no outcome")


def _describe(error: BaseException) -> str:
    """Describe an error for the log, without its message, which may quote the conversation.

    `OverloadedError 500 server_error (request req_1)`
    """
    words = [type(error).__name__]
    if not isinstance(error, ServerError):
        return words[0]

    if error.status_code is not None:
        words.append(str(error.status_code))
    # Both are the server's to choose, and could be anything.
    if error.code is not None and _PLAIN_CODE.fullmatch(error.code):
        words.append(error.code)
    if error.request_id is not None and _PLAIN_CODE.fullmatch(error.request_id):
        words.append(f"(request {error.request_id})")
    return " ".join(words)


def as_policy(retry: RetryPolicy | int | bool | None) -> RetryPolicy:
    """Make a policy of what `retry=` takes.

    Args:
        retry: a policy, a number of tries, False for a single try, None or True for the default.

    Raises:
        OptionError: it is none of these.
    """
    if isinstance(retry, RetryPolicy):
        return retry
    # Before the numbers: a bool is an int, too.
    if retry is None or retry is True:
        return RetryPolicy()
    if retry is False:
        return RetryPolicy(attempts=1)
    if isinstance(retry, int):
        return RetryPolicy(attempts=retry)

    raise OptionError(f"retry must be a RetryPolicy, a number of tries, or False, not {retry!r}.")
