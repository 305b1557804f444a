"""Running totals over the calls of an LM and its forks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from synth_ai.response import BaseLMResponse, Usage


@dataclass(frozen=True, slots=True)
class Totals:
    """What calls have used up so far.

    Attributes:
        calls: how many were answered.
        usage: their tokens; a backend that does not say adds nothing.
        cost: US dollars of the calls whose price is known.
        unpriced: how many calls are not in `cost`, because the model has no price here.
    """

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    unpriced: int = 0


class UsageTotals:
    """Adds responses up, from any thread."""

    def __init__(self) -> None:
        self._totals = Totals()
        self._lock = threading.Lock()

    @property
    def totals(self) -> Totals:
        """The totals now."""
        return self._totals

    def add(self, response: BaseLMResponse) -> None:
        """Count one answered call."""
        with self._lock:
            so_far = self._totals
            self._totals = Totals(
                calls=so_far.calls + 1,
                usage=_sum(so_far.usage, response.usage),
                cost=so_far.cost + (response.cost or 0.0),
                unpriced=so_far.unpriced + (response.cost is None),
            )


def _sum(one: Usage, other: Usage | None) -> Usage:
    if other is None:
        return one
    return Usage.model_construct(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )
