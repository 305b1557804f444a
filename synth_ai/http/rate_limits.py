"""Requests and tokens per minute, shared by every LM that uses one key at one address.

The limits are the caller's, for all that goes out with the key, or those that a server tells in its headers, as
OpenAI and others do, for each model: https://platform.openai.com/docs/guides/rate-limits
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from synth_ai.errors import OptionError, SynthAIError, TimedOutError
from synth_ai.http.token_estimate import estimate_tokens
from synth_ai.limiter import ConcurrencyLimiter, wake

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

#: What rounding may leave out of an amount.
_NOTHING = 1e-6


class Bucket:
    """An allowance that fills up evenly: full, it holds what one minute gives.

    Attributes:
        per_minute: the limit; None while there is none.
    """

    def __init__(
        self, per_minute: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute or 0)
        self._at = clock()

    def wait_for(self, amount: float) -> float:
        """Seconds until `amount` is there; more than a full bucket waits for a full one."""
        if self.per_minute is None:
            return 0.0
        self._fill(self.per_minute)
        missing = min(amount, self.per_minute) - self._level
        return missing * 60.0 / self.per_minute if missing > _NOTHING else 0.0

    def take(self, amount: float) -> None:
        """Take `amount` out, even if that leaves a debt; a negative amount is put back."""
        if self.per_minute is not None:
            self._fill(self.per_minute)
            self._level = min(self._level - amount, float(self.per_minute))

    def cap(self, per_minute: int) -> None:
        """Set a limit; where there is one already, the lower one holds."""
        if self.per_minute is None:
            self.learn(per_minute, per_minute, None)
        elif per_minute < self.per_minute:
            self._fill(self.per_minute)
            self.per_minute = per_minute

    def learn(self, per_minute: int, left: float, full_in: float | None) -> None:
        """What the server says now: its limit, what is left of it, and in how many seconds it is full again."""
        if self.per_minute is None:
            self._level, self._at = left, self._clock()
        else:
            self._fill(self.per_minute)
            # Calls under way may not be in the server's count yet, so its word only ever lowers what is left.
            self._level = min(self._level, left)
        self.per_minute = per_minute
        if full_in is not None and left < 1:
            self._level = min(self._level, per_minute - full_in * per_minute / 60.0)

    def _fill(self, per_minute: int) -> None:
        now = self._clock()
        self._level = min(float(per_minute), self._level + (now - self._at) * per_minute / 60.0)
        self._at = now


class Gate:
    """Lets calls through as fast as requests and tokens allow, in the order they came, from any event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = Bucket(None, clock)
        self.tokens = Bucket(None, clock)
        self._queue = ConcurrencyLimiter(1)
        self._queued = 0
        self._first: asyncio.Future[None] | None = None
        self._lock = threading.Lock()

    async def enter(self, tokens: int) -> int:
        """Wait until a call of so many tokens may be sent. Returns how many are set aside for it."""
        if self.requests.per_minute is None and self.tokens.per_minute is None:
            return 0
        with self._lock:
            at_once = not self._queued and self._take(tokens) <= 0
            self._queued += not at_once
        if not at_once:
            try:
                async with self._queue:
                    await self._wait_for(tokens)
            finally:
                with self._lock:
                    self._queued -= 1
        return 0 if self.tokens.per_minute is None else tokens

    def put_right(self, reserved: int, used: int) -> None:
        """What was set aside for a call turned out to be another amount."""
        with self._lock:
            self.tokens.take(used - reserved)
            if used < reserved:
                self._call_first()

    def cap(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Set limits; the lower one holds where there is one already."""
        with self._lock:
            for bucket, limit in (
                (self.requests, requests_per_minute),
                (self.tokens, tokens_per_minute),
            ):
                if limit is not None:
                    bucket.cap(limit)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take in the rate-limit headers of an answer, if it has any. The newest limit holds."""
        for bucket, kind in ((self.requests, "requests"), (self.tokens, "tokens")):
            limit, left = (
                headers.get(f"x-ratelimit-limit-{kind}"),
                headers.get(f"x-ratelimit-remaining-{kind}"),
            )
            if (
                limit is None
                or left is None
                or not limit.isdecimal()
                or not left.isdecimal()
                or not int(limit)
            ):
                continue
            full_in = None if int(left) else read_duration(headers.get(f"x-ratelimit-reset-{kind}"))
            with self._lock:
                rises = int(limit) > (bucket.per_minute or 0)
                bucket.learn(int(limit), float(left), full_in)
                if rises:
                    self._call_first()

    async def _wait_for(self, tokens: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                seconds = self._take(tokens)
                if seconds <= 0:
                    return
                self._first = first = loop.create_future()
            alarm = loop.call_later(seconds, wake, first)
            try:
                await first
            finally:
                alarm.cancel()
                with self._lock:
                    self._first = None

    def _take(self, tokens: int) -> float:
        seconds = max(self.requests.wait_for(1), self.tokens.wait_for(tokens))
        if seconds <= 0:
            self.requests.take(1)
            self.tokens.take(tokens)
        return seconds

    def _call_first(self) -> None:
        """Let the first in the queue look again, as there is more for it than it waits for."""
        if self._first is not None:
            wake(self._first)


class Turn:
    """One call's turn: `async with` waits for it, sets tokens aside, and puts them right afterwards.

    Attributes:
        used: the tokens that the call used, to be set once the server tells; until then the estimate stands.
    """

    __slots__ = ("_answered", "_gates", "_model", "_passed", "_tokens", "used")

    def __init__(self, model: Gate, own: Gate, body: Mapping[str, Any]) -> None:
        self.used: int | None = None
        self._model = model
        # Who waits for a model takes nothing yet of what the calls to all models share.
        self._gates = (model, own)
        limited = model.tokens.per_minute is not None or own.tokens.per_minute is not None
        self._tokens = estimate_tokens(body) if limited else 0
        self._passed: list[tuple[Gate, int]] = []
        self._answered = False

    async def __aenter__(self) -> Turn:
        try:
            for gate in self._gates:
                if reserved := await gate.enter(self._tokens):
                    self._passed.append((gate, reserved))
        except BaseException:
            self._put_right(0)
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # What timed out or was cancelled may still run there; any other failure before the answer cost no tokens.
        if (
            not self._answered
            and isinstance(error, SynthAIError)
            and not isinstance(error, TimedOutError)
        ):
            self.used = 0
        if self.used is not None:
            self._put_right(self.used)

    def learn(self, headers: Mapping[str, str]) -> None:
        """The server has begun to answer, and these are its headers."""
        self._answered = True
        self._model.learn(headers)

    def _put_right(self, used: int) -> None:
        for gate, reserved in self._passed:
            gate.put_right(reserved, used)


class Pace:
    """When the next request with one key at one address may be sent.

    Attributes:
        own: the gate with the caller's own limits, which hold for all models together.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.own = Gate(clock)
        self._clock = clock
        self._models: dict[str, Gate] = {}

    def limit(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Set limits of the caller's own; the lower one counts where several callers set some.

        Raises:
            OptionError: a limit lets nothing through.
        """
        for name, value in (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
        ):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise OptionError(
                    f"{name}={value!r} lets nothing through; it takes a number from 1."
                )
        self.own.cap(requests_per_minute, tokens_per_minute)

    def model(self, name: str) -> Gate:
        """The gate with the limits that the server tells for a model."""
        gate = self._models.get(name)
        return gate if gate is not None else self._models.setdefault(name, Gate(self._clock))

    def turn(self, body: Mapping[str, Any]) -> Turn:
        """The turn of a request with this body."""
        return Turn(self.model(str(body.get("model", ""))), self.own, body)


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
