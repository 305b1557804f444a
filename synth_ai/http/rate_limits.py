"""Requests and tokens per minute, shared by every LM that uses one key at one address.

There are two kinds of limits. A caller may set some for all that goes out with the key; and a
server reports those of each model in its headers, as OpenAI and others do:
https://platform.openai.com/docs/guides/rate-limits

A call passes both before it is sent (`RateLimiter.reserve`). It takes its tokens as estimated, and
what it really used is reconciled once the server has reported it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

from synth_ai.errors import OptionError, RateLimitError, SynthAIError, TimedOutError
from synth_ai.http.api_keys import APIKey
from synth_ai.http.token_estimate import estimate_tokens
from synth_ai.limiter import ConcurrencyLimiter, is_positive_int, wake
from synth_ai.timeout import note_turn

logger = logging.getLogger("synth_ai")

# A number and its unit, of which a duration has one or more. `ms` stands before `m` and `s`, as the
# first unit that fits is taken:
#   1s      -> (1, s)
#   20ms    -> (20, ms)
#   1h2m3s  -> (1, h), (2, m), (3, s)
#   1.5s    -> (1.5, s)
#   soon    -> nothing
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

# Seconds in which a limit per minute, and one per day, fills up from empty to full.
_MINUTE = 60.0
_DAY = 86_400.0

# A server tells when a limit is full again, so it tells how fast it fills. Rounding makes that some
# percent wrong. What fills in more than ten minutes is a limit of a longer time in any case.
_DAY_TOLERANCE = 0.05
_LONG_RESET = 600.0

# The digits of the longest count that is read; longer ones are garbled, and overflow a float.
_MAX_DIGITS = 15

# The characters of the longest duration that is read.
_MAX_LENGTH = 64

# How much may be missing by rounding alone, of an amount that is waited for.
_ROUNDING = 1e-6


class TokenBucket:
    """An allowance that fills up evenly; when it is full, it has what its period gives.

    The name is the algorithm's: what it allows are requests or tokens.

    Args:
        per_minute: the limit; None for no limit.
        clock: gives the time in seconds.

    Attributes:
        per_minute: the limit, of a minute unless the server has it for another period; None while
            there is none.
        period: seconds from empty to full.
    """

    def __init__(
        self, per_minute: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute = per_minute
        self.period = _MINUTE
        self._clock = clock
        self._level = float(per_minute or 0)
        self._filled_at = clock()
        # When the server will allow the next one, by what it reported last.
        self._reported_until = -math.inf

    def seconds_until(self, amount: float) -> float:
        """Compute the seconds until an amount can be taken; 0 if it can be now.

        An amount of more than a full bucket can be taken from a full one.
        """
        if self.per_minute is None:
            return 0.0

        self._fill(self.per_minute)
        missing = min(amount, self.per_minute) - self._level
        if missing <= _ROUNDING:
            return 0.0

        return missing * self.period / self.per_minute

    def is_exhausted(self, seconds: float) -> bool:
        """Tell whether the server allows nothing for more than so many seconds.

        A limit per minute that calls of this process exceeded by their own count, because they used
        more than was estimated, is not exhausted: the server has not said so.
        """
        if self.per_minute is None:
            return False
        if self.period > _MINUTE:
            return self.seconds_until(1) > seconds

        return self._reported_until - self._clock() > seconds

    def take(self, amount: float) -> None:
        """Take an amount, even if that leaves a debt; a negative amount is put back."""
        if self.per_minute is None:
            return

        self._fill(self.per_minute)
        self._level = min(self._level - amount, float(self.per_minute))

    def cap(self, per_minute: int) -> None:
        """Set a limit, unless there is a lower one already."""
        if self.per_minute is None:
            self.update(per_minute, per_minute, None)
        elif per_minute < self.per_minute:
            self._fill(self.per_minute)
            self.per_minute = per_minute

    def update(
        self,
        per_minute: int,
        remaining: float,
        full_in: float | None,
        period: float = _MINUTE,
    ) -> None:
        """Take over what the server reports.

        Args:
            per_minute: its limit, which replaces the one before.
            remaining: how much of it remains now.
            full_in: seconds until all of it is there again; None if that is not known.
            period: seconds from empty to full.
        """
        if self.per_minute is None:
            self._level = remaining
            self._filled_at = self._clock()
        else:
            self._fill(self.per_minute)
            # Calls in flight may not be in the server's count yet, so it can only lower the level.
            self._level = min(self._level, remaining)

        self.per_minute = per_minute
        self.period = period

        # From empty to full takes one period. What takes longer is in debt.
        if full_in is not None and remaining < 1:
            self._level = min(self._level, per_minute - full_in * per_minute / period)
            first_in = full_in - period + period / per_minute
            self._reported_until = self._clock() + first_in

    def _fill(self, per_minute: int) -> None:
        """Add what has come in since the last time."""
        now = self._clock()
        refilled = self._level + (now - self._filled_at) * per_minute / self.period
        self._level = min(float(per_minute), refilled)
        self._filled_at = now


class RateLimit:
    """A limit of requests and one of tokens per minute, for calls from any event loop.

    Calls pass in the order they came.

    Args:
        clock: gives the time in seconds.
        name: what log lines and errors call it, such as `the server's limit for 'gpt-5'`.

    Attributes:
        name: as given.
        requests: the allowance of requests.
        tokens: the allowance of tokens.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, name: str = "the limit"
    ) -> None:
        self.name = name
        self.requests = TokenBucket(None, clock)
        self.tokens = TokenBucket(None, clock)
        self._lock = threading.Lock()
        # Of the calls that wait, only the first looks at the buckets; the limiter orders the rest.
        self._queue = ConcurrencyLimiter(1)
        self._queue_length = 0
        self._first_waiter: asyncio.Future[None] | None = None

    @property
    def limits_tokens(self) -> bool:
        """Whether there is a limit of tokens."""
        return self.tokens.per_minute is not None

    async def acquire(self, tokens: int, wait_max: float = math.inf) -> int:
        """Wait until a call of so many tokens may be sent, and take them.

        Args:
            tokens: how many.
            wait_max: the most seconds to wait, once the calls before this one are sent.

        Returns:
            The tokens that were taken, to be reconciled later; 0 if tokens are not limited.

        Raises:
            RateLimitError: the server allows nothing for longer.
        """
        if self.requests.per_minute is None and self.tokens.per_minute is None:
            return 0

        if not self._take_or_queue(tokens):
            try:
                async with self._queue.place():
                    await self._wait_and_take(tokens, wait_max)
            finally:
                with self._lock:
                    self._queue_length -= 1

        return tokens if self.limits_tokens else 0

    def reconcile(self, reserved: int, used: int) -> None:
        """Replace the tokens that were taken for a call by those that it used."""
        with self._lock:
            self.tokens.take(used - reserved)
            if used < reserved:
                self._wake_first()

    def cap(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Set limits, unless there are lower ones already; None sets none."""
        with self._lock:
            if requests_per_minute is not None:
                self.requests.cap(requests_per_minute)
            if tokens_per_minute is not None:
                self.tokens.cap(tokens_per_minute)

    def update(self, headers: Mapping[str, str]) -> None:
        """Take over the rate limits in the headers of an answer, if it has any.

        Such headers are, with `tokens` or `requests` at their end:
        `x-ratelimit-limit-tokens: 30000`, `x-ratelimit-remaining-tokens: 29976`,
        `x-ratelimit-reset-tokens: 48ms`.
        """
        self._update_bucket(self.requests, "requests", headers)
        self._update_bucket(self.tokens, "tokens", headers)

    def _update_bucket(self, bucket: TokenBucket, kind: str, headers: Mapping[str, str]) -> None:
        limit = read_count(headers.get(f"x-ratelimit-limit-{kind}"))
        if not limit:
            return
        remaining = read_count(headers.get(f"x-ratelimit-remaining-{kind}"))
        if remaining is None:
            return

        reset = read_duration(headers.get(f"x-ratelimit-reset-{kind}"))
        period = _find_period(limit, remaining, reset)
        full_in = reset if remaining == 0 else None

        with self._lock:
            is_raised = limit / period > (bucket.per_minute or 0) / bucket.period
            bucket.update(limit, float(remaining), full_in, period)
            # A call that waits for less than the server now asks for need not wait in vain.
            if is_raised or full_in is not None:
                self._wake_first()

    def _take_or_queue(self, tokens: int) -> bool:
        """Take a request and its tokens if they are there, else count the call as waiting."""
        with self._lock:
            # A call that comes late does not overtake, even if there is enough for it.
            if self._queue_length == 0 and self._try_take(tokens) <= 0:
                return True

            self._queue_length += 1
            return False

    async def _wait_and_take(self, tokens: int, wait_max: float) -> None:
        """Wait as the first in the queue, and take a request and its tokens."""
        loop = asyncio.get_running_loop()
        is_logged = False
        while True:
            with self._lock:
                seconds = self._try_take(tokens)
                if seconds <= 0:
                    return
                if self._is_exhausted(wait_max):
                    raise self._wait_error(seconds, wait_max)

                if not is_logged:
                    logger.info("a call waits %.1f s for %s", seconds, self.name)
                    is_logged = True
                waiter = loop.create_future()
                self._first_waiter = waiter

            # Woken by the clock, or before that because there is more to take than was foreseen.
            timer = loop.call_later(seconds, wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                with self._lock:
                    self._first_waiter = None

    def _is_exhausted(self, wait_max: float) -> bool:
        return self.requests.is_exhausted(wait_max) or self.tokens.is_exhausted(wait_max)

    def _wait_error(self, seconds: float, wait_max: float) -> RateLimitError:
        return RateLimitError(
            f"The next call has to wait {math.ceil(seconds)} s for {self.name}, as the server "
            f"reports it, and no call waits longer than {wait_max:g} s: RetryPolicy(wait_max=...) "
            "says how long. Nothing was sent.",
            retry_after=seconds,
        )

    def _try_take(self, tokens: int) -> float:
        """Take a request and its tokens if both are there.

        Returns:
            Seconds until they are there; 0 if they were taken.
        """
        seconds = max(self.requests.seconds_until(1), self.tokens.seconds_until(tokens))
        if seconds <= 0:
            self.requests.take(1)
            self.tokens.take(tokens)

        return seconds

    def _wake_first(self) -> None:
        """Let the first in the queue look again, as there is more now than when it last did."""
        if self._first_waiter is not None:
            wake(self._first_waiter)


class Reservation:
    """The tokens that are set aside for one call: `async with` waits until they may be used.

    Args:
        model_limit: the limit that the server reports for the call's model.
        overall_limit: the limit that callers set for all models together.
        body: what is going to be sent.
        wait_max: the most seconds to wait for the server's limit. One that callers set is waited
            for however long it takes.

    Attributes:
        used_tokens: how many tokens the call used, to be set once the server reports it. The
            estimate stands until then.
    """

    __slots__ = (
        "_estimate",
        "_has_answer",
        "_model_limit",
        "_overall_limit",
        "_taken",
        "_wait_max",
        "used_tokens",
    )

    def __init__(
        self,
        model_limit: RateLimit,
        overall_limit: RateLimit,
        body: Mapping[str, object],
        wait_max: float = math.inf,
    ) -> None:
        self.used_tokens: int | None = None
        self._model_limit = model_limit
        self._overall_limit = overall_limit
        self._wait_max = wait_max
        self._taken: list[tuple[RateLimit, int]] = []
        self._has_answer = False

        # An estimate goes through the whole prompt, so it is made only if there is a use for it.
        is_limited = model_limit.limits_tokens or overall_limit.limits_tokens
        # None uses no token at all, so that nothing passes where nothing remains.
        self._estimate = max(1, estimate_tokens(body)) if is_limited else 0

    async def __aenter__(self) -> Reservation:
        # In this order: a call that waits for its model has taken nothing yet of what the calls to
        # all models share.
        try:
            note_turn("the rate limits of the server", is_own=False)
            await self._acquire(self._model_limit, self._wait_max)
            note_turn(self._overall_limit.name, is_own=True)
            await self._acquire(self._overall_limit, math.inf)
        except BaseException:
            self._reconcile(0)
            raise

        return self

    async def _acquire(self, limit: RateLimit, wait_max: float) -> None:
        tokens = await limit.acquire(self._estimate, wait_max)
        if tokens:
            self._taken.append((limit, tokens))

    async def __aexit__(
        self, exc_type: object, error: BaseException | None, traceback: object
    ) -> None:
        if self._used_nothing(error):
            self.used_tokens = 0

        if self.used_tokens is not None:
            self._reconcile(self.used_tokens)

    def read_headers(self, headers: Mapping[str, str]) -> None:
        """Note that the server has begun to answer, and take over the rate limits it reports."""
        self._has_answer = True
        self._model_limit.update(headers)

    def _used_nothing(self, error: BaseException | None) -> bool:
        """Tell whether a call failed so that it has certainly used no tokens."""
        # It may have generated some before the answer broke off.
        if self._has_answer:
            return False

        # It may still run on the server, as one that was cancelled: that is no SynthAIError.
        if isinstance(error, TimedOutError):
            return False

        return isinstance(error, SynthAIError)

    def _reconcile(self, used: int) -> None:
        for limit, tokens in self._taken:
            limit.reconcile(tokens, used)


class RateLimiter:
    """When the next request with one key at one address may be sent.

    Attributes:
        overall: the limit that callers set, for all models together.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.overall = RateLimit(clock, "requests_per_minute= or tokens_per_minute=")
        self._clock = clock
        self._models: dict[str, RateLimit] = {}

    def cap(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Set limits for all models together. The lowest counts if several callers set some.

        Raises:
            OptionError: a limit is not a whole number from 1.
        """
        limits = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
        }
        for name, value in limits.items():
            if value is not None and not is_positive_int(value):
                raise OptionError(f"{name}={value!r} must be a whole number from 1, or None.")

        self.overall.cap(requests_per_minute, tokens_per_minute)

    def for_model(self, name: str) -> RateLimit:
        """Return the limit that the server reports for a model."""
        limit = self._models.get(name)
        if limit is not None:
            return limit

        # Another thread may make one at the same time; `setdefault` keeps one of the two for both.
        limit = RateLimit(self._clock, f"the server's limit for {name!r:.100}")
        return self._models.setdefault(name, limit)

    def reserve(self, body: Mapping[str, object], wait_max: float = math.inf) -> Reservation:
        """Make the reservation for a request with this body; `async with` waits for it.

        Args:
            body: what is going to be sent.
            wait_max: the most seconds to wait for what the server allows; entering raises a
                RateLimitError if it takes longer.
        """
        model = str(body.get("model", ""))
        return Reservation(self.for_model(model), self.overall, body, wait_max)


_rate_limiters: WeakValueDictionary[tuple[str, APIKey], RateLimiter] = WeakValueDictionary()
_lock = threading.Lock()


def rate_limiter_for(address: str, key: APIKey) -> RateLimiter:
    """Return the one rate limiter of all that use a key at an address in this process."""
    with _lock:
        limiter = _rate_limiters.get((address, key))
        if limiter is None:
            limiter = RateLimiter()
            _rate_limiters[address, key] = limiter

        return limiter


def _find_period(limit: int, remaining: int, reset: float | None) -> float:
    """Find the seconds in which a limit fills up from empty to full, from when it is full again.

    - limit 30000, remaining 29976, reset in 48 ms -> 60: a limit per minute
    - limit 10000, remaining 9999, reset in 8.64 s -> 86400: a limit per day
    - limit 200, remaining 0, reset in 23 h 59 min -> 86340
    - limit 200, remaining 0, reset in 90 s -> 60: a minute's, in debt
    """
    missing = limit - remaining
    if reset is None or missing <= 0:
        return _MINUTE

    period = reset * limit / missing
    if abs(period - _DAY) <= _DAY * _DAY_TOLERANCE or reset > _LONG_RESET:
        return period

    return _MINUTE


def read_count(text: str | None) -> int | None:
    """Read the number in a header; None if there is none, or it is not a plain whole number."""
    if text is None:
        return None
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        return None

    return int(text)


def read_duration(text: str | None) -> float | None:
    """Read a duration in seconds, wherever it stands in a text.

    - `1s` -> 1.0
    - `6m0s` -> 360.0
    - `20ms` -> 0.02
    - `soon`, and None -> None
    """
    # Longer ones are garbled, and searched in vain from each of their digits.
    if text is None or len(text) > _MAX_LENGTH:
        return None

    parts = _DURATION.findall(text)
    if not parts:
        return None

    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
