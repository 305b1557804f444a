"""Requests and tokens per minute, shared by every LM that uses one key at one address.

The limits are the caller's, or are learned from the headers with which OpenAI and others say what is left:
https://platform.openai.com/docs/guides/rate-limits
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from synth_ai.errors import OptionError
from synth_ai.sdk.concurrency import Concurrency

#: About how many characters of JSON make a token; an estimate is put right once the usage is known.
_CHARACTERS_PER_TOKEN = 4

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Bucket:
    """An allowance that fills up evenly: full, it holds what one minute gives.

    Attributes:
        per_minute: the limit; None while there is none.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute or 0)
        self._at = clock()

    def wait_for(self, amount: float) -> float:
        """Seconds until `amount` is there; more than a full bucket waits for a full one."""
        if self.per_minute is None:
            return 0.0
        self._fill()
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * 60.0 / self.per_minute)

    def take(self, amount: float) -> None:
        """Take `amount` out, even if that leaves a debt; a negative amount is put back."""
        if self.per_minute is not None:
            self._fill()
            self._level = min(self._level - amount, float(self.per_minute))

    def learn(self, per_minute: int, left: float, full_in: float | None) -> None:
        """What the server says: its limit, what is left of it, and in how many seconds it is full again."""
        first = self.per_minute is None
        self.per_minute = per_minute if first or self.per_minute is None else min(self.per_minute, per_minute)
        self._fill()
        # Calls under way may not be in the server's count yet, so its word only ever lowers ours.
        self._level = left if first else min(self._level, left)
        if full_in is not None and left < 1:
            self._level = min(self._level, self.per_minute - full_in * self.per_minute / 60.0)

    def _fill(self) -> None:
        assert self.per_minute is not None
        now = self._clock()
        self._level = min(float(self.per_minute), self._level + (now - self._at) * self.per_minute / 60.0)
        self._at = now


class Pace:
    """When the next request may be sent. Callers are served in the order they came, from any event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = Bucket(None, clock)
        self.tokens = Bucket(None, clock)
        self._door = Concurrency(1)
        self._lock = threading.Lock()

    def limit(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Set limits of the caller's own; the lower one counts where several callers set some.

        Raises:
            OptionError: a limit lets nothing through.
        """
        for bucket, name, value in (
            (self.requests, "requests_per_minute", requests_per_minute),
            (self.tokens, "tokens_per_minute", tokens_per_minute),
        ):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name}={value!r} lets nothing through; it takes a number from 1.")
            with self._lock:
                bucket.learn(value, value, None)

    async def turn(self, body: Mapping[str, Any]) -> int:
        """Wait until a request with this body may be sent. Returns the tokens set aside for it."""
        if self.requests.per_minute is None and self.tokens.per_minute is None:
            return 0
        tokens = 0 if self.tokens.per_minute is None else estimate_tokens(body)
        async with self._door.slot():
            while (seconds := self._reserve(tokens)) > 0:  # noqa: ASYNC110 - it is time itself that is waited for
                await asyncio.sleep(seconds)
        return tokens

    def settle(self, reserved: int, used: int | None) -> None:
        """Put right what was set aside, once the usage is known."""
        if reserved and used is not None:
            with self._lock:
                self.tokens.take(used - reserved)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take in the server's rate-limit headers, if it sends any."""
        for bucket, kind in ((self.requests, "requests"), (self.tokens, "tokens")):
            limit, left = headers.get(f"x-ratelimit-limit-{kind}"), headers.get(f"x-ratelimit-remaining-{kind}")
            if limit is not None and left is not None and limit.isdecimal() and left.isdecimal() and int(limit):
                with self._lock:
                    bucket.learn(int(limit), float(left), read_duration(headers.get(f"x-ratelimit-reset-{kind}")))

    def _reserve(self, tokens: int) -> float:
        with self._lock:
            seconds = max(self.requests.wait_for(1), self.tokens.wait_for(tokens))
            if seconds <= 0:
                self.requests.take(1)
                self.tokens.take(tokens)
            return seconds


def estimate_tokens(body: Mapping[str, Any]) -> int:
    """About how many tokens a request will use: its text, and all that it may generate."""
    limit = body.get("max_output_tokens") or body.get("max_completion_tokens") or body.get("max_tokens") or 0
    texts = sum(len(str(body.get(part, ""))) for part in ("input", "messages", "instructions", "tools"))
    return texts // _CHARACTERS_PER_TOKEN + int(limit)


def read_duration(text: str | None) -> float | None:
    """Seconds of a duration such as `1s`, `6m0s` or `20ms`; None for anything else."""
    parts = _DURATION.findall(text or "")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None


_paces: WeakValueDictionary[tuple[str, str], Pace] = WeakValueDictionary()
_lock = threading.Lock()


def pace_of(address: str, key: str) -> Pace:
    """The one pace of everybody in this process who uses this key at this address."""
    with _lock:
        pace = _paces.get((address, key))
        if pace is None:
            pace = _paces[address, key] = Pace()
        return pace
