"""How much each caller may ask for: requests and tokens a minute, and streams at once.

The limits are those of one process; several processes let through several times as much.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from synth_ai.errors import OptionError
from synth_ai.openai_api.refusals import RefusedRequestError

_MINUTE = 60.0

#: 32 MiB: a few pictures and any conversation.
DEFAULT_MAX_BODY_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of each caller; None is no limit.

    Attributes:
        requests_per_minute: how many requests may begin in a minute.
        tokens_per_minute: how many tokens they may take, prompt and answer together.
        streams: how many streams may be open at once.
        max_body_bytes: how long a request's body may be.

    Raises:
        OptionError: one of them is not a whole number from 1.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    streams: int | None = None
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "streams", "max_body_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} must be a whole number from 1, not {value!r}.")


class LimitReachedError(RefusedRequestError):
    """A request that is over a limit; the same one may be made later.

    Attributes:
        retry_after: seconds to wait.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, status=429, code="rate_limit_exceeded")
        self.retry_after = retry_after


class Bucket:
    """So much a minute, refilled evenly: what is not used adds up to one minute's worth.

    Args:
        per_minute: the limit.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._filled_at = time.monotonic()

    @property
    def remaining(self) -> int:
        """How much is left now."""
        self._fill()
        return max(0, math.floor(self._level))

    @property
    def seconds_to_full(self) -> float:
        """Seconds until the whole limit is there again."""
        self._fill()
        return (self.per_minute - self._level) * _MINUTE / self.per_minute

    def seconds_until(self, amount: float) -> float:
        """Seconds until an amount is there; what is over the whole limit waits for all of it."""
        self._fill()
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing) * _MINUTE / self.per_minute

    def take(self, amount: float) -> None:
        """Take an amount, or give one back if it is below 0."""
        self._fill()
        self._level = min(self._level - amount, float(self.per_minute))

    def _fill(self) -> None:
        now = time.monotonic()
        self._level += (now - self._filled_at) * self.per_minute / _MINUTE
        self._level = min(self._level, float(self.per_minute))
        self._filled_at = now


class CallerLimits:
    """What one caller has left.

    Args:
        limits: the limits of each caller.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = _make_bucket(limits.requests_per_minute)
        self._tokens = _make_bucket(limits.tokens_per_minute)
        self._streams = 0

    @property
    def counts_tokens(self) -> bool:
        """Whether a request needs an estimate of its tokens."""
        return self._tokens is not None

    def admit(self, tokens: int) -> None:
        """Count a request that is about to begin.

        Args:
            tokens: how many it may take.

        Raises:
            LimitReachedError: it is over a limit, and was not counted.
        """
        _check(self._requests, 1, "requests")
        _check(self._tokens, tokens, "tokens")
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def settle(self, estimated: int, used: int | None) -> None:
        """Count the tokens that a request has taken, in place of those that were estimated."""
        if self._tokens is not None and used is not None:
            self._tokens.take(used - estimated)

    def open_stream(self) -> None:
        """Count a stream that begins; `close_stream` ends it.

        Raises:
            LimitReachedError: there are as many as there may be.
        """
        limit = self._limits.streams
        if limit is not None and self._streams >= limit:
            raise LimitReachedError(
                f"Rate limit reached: {limit} streams are open, which is the most for one key. "
                "Wait for one of them to end.",
                retry_after=1.0,
            )
        self._streams += 1

    def close_stream(self) -> None:
        """Count a stream that has ended."""
        self._streams -= 1

    def make_headers(self) -> dict[str, str]:
        """Make the headers that OpenAI sends.

        https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
        """
        headers = {}
        for kind, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{kind}"] = str(bucket.remaining)
                headers[f"x-ratelimit-reset-{kind}"] = f"{bucket.seconds_to_full:.3f}s"
        return headers


class LimitsByCaller:
    """The limits of all callers of this process.

    Args:
        limits: the limits of each.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._callers: dict[str, CallerLimits] = {}

    def of(self, name: str) -> CallerLimits:
        """Return what a caller has left."""
        # There are as many as there are keys, so nothing has to leave.
        if name not in self._callers:
            self._callers[name] = CallerLimits(self.limits)
        return self._callers[name]


def make_retry_headers(error: RefusedRequestError) -> Mapping[str, str]:
    """Make the headers that say how long to wait; none if that would not help."""
    if not isinstance(error, LimitReachedError):
        return {}
    return {
        "retry-after": str(math.ceil(error.retry_after)),
        "retry-after-ms": str(math.ceil(error.retry_after * 1000)),
    }


def _make_bucket(per_minute: int | None) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute)


def _check(bucket: Bucket | None, amount: int, kind: str) -> None:
    if bucket is None:
        return

    seconds = bucket.seconds_until(amount)
    if seconds > 0:
        raise LimitReachedError(
            f"Rate limit reached for {kind}: limit {bucket.per_minute} a minute, "
            f"{bucket.remaining} left, {amount} asked for. Try again in {seconds:.1f} s.",
            retry_after=seconds,
        )
