"""Running totals over the calls of an LM and its forks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from synth_ai.response import BaseLMResponse, Usage


@dataclass(frozen=True, slots=True)
class Totals:
    """What the calls of an LM and its forks have used so far: `lm.totals`.

    Attributes:
        calls: how many were answered.
        usage: their tokens; a call whose backend does not report any adds none.
        cost: US dollars of the calls whose price is known; None if there is none yet.
        unpriced: how many calls are not in `cost`, because their model has no price here.
    """

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    unpriced: int = 0


class UsageTotals:
    """A counter of responses. Safe to use from any thread."""

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
            before = self._totals
            usage = before.usage
            if response.usage is not None:
                usage = _add_usage(usage, response.usage)

            self._totals = Totals(
                calls=before.calls + 1,
                usage=usage,
                cost=_add_cost(before.cost, response.cost),
                unpriced=before.unpriced + (response.cost is None),
            )


def _add_cost(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _add_usage(one: Usage, other: Usage) -> Usage:
    # Every call comes by here: model_construct saves checking sums of checked numbers.
    return Usage.model_construct(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )
