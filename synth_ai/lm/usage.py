"""Running totals over the calls of an LM and its forks, and the cap on what they cost."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from synth_ai.errors import OptionError, SpendingCapError
from synth_ai.response import BaseLMResponse, Usage


@dataclass(frozen=True, slots=True)
class Totals:
    """What the calls of an LM and its forks have used so far: `lm.totals`.

    Attributes:
        calls: how many were answered.
        usage: their tokens; a call whose backend does not report any adds none.
        cost: US dollars of the calls whose price is known; None if there is none yet.
        unpriced: how many calls are not in `cost`, because their model has no price here, or their
            server did not say how many tokens they took.
        max_cost: the most that the calls may cost, in US dollars; None for no cap.
        cached: how many answers came from the response cache. They used nothing, so they are in
            none of the others.
    """

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    unpriced: int = 0
    max_cost: float | None = None
    cached: int = 0


class UsageTotals:
    """A counter of responses, which refuses calls beyond a cap. Safe to use from any thread.

    Args:
        max_cost: the most that the calls may cost, in US dollars; None for no cap.
        parent: the totals of which these are a part: it counts the calls too, and may refuse them.
    """

    #: Whose calls are counted, and what helps once they have reached the cap; for the error.
    OWNER = "this LM and its forks"
    WAY_OUT = "A new LM begins to count anew; lm.totals shows what was used."

    def __init__(self, max_cost: float | None = None, parent: UsageTotals | None = None) -> None:
        self._parent = parent
        self._totals = Totals(max_cost=max_cost)
        self._uncounted = 0
        self._lock = threading.Lock()

    @property
    def totals(self) -> Totals:
        """The totals now."""
        return self._totals

    def add(self, response: BaseLMResponse) -> None:
        """Count one answered call."""
        if self._parent is not None:
            self._parent.add(response)
        with self._lock:
            before = self._totals
            if response.cached:
                self._totals = replace(before, cached=before.cached + 1)
                return

            usage = before.usage
            if response.usage is not None:
                usage = add_usage(usage, response.usage)

            self._totals = replace(
                before,
                calls=before.calls + 1,
                usage=usage,
                cost=add_cost(before.cost, response.cost),
                unpriced=before.unpriced + (response.cost is None),
            )
            # Servers charge nothing for an answer that failed, and report no tokens for it.
            if response.cost is None and response.status != "failed":
                self._uncounted += 1

    def check_cap(self) -> None:
        """Refuse a call once the calls before it have cost what they may.

        Raises:
            SpendingCapError: they have, or what they cost is not known.
        """
        if self._parent is not None:
            self._parent.check_cap()
        totals = self._totals
        max_cost = totals.max_cost
        if max_cost is None:
            return

        if self._uncounted:
            raise SpendingCapError(
                f"max_cost={max_cost:g} cannot be kept: for {self._uncounted} call(s) the server "
                "did not say how many tokens they took, so what they cost is not known. This call "
                "was not sent. Use a server that reports usage, or an LM without max_cost=.",
                max_cost=max_cost,
                cost=None,
            )

        cost = totals.cost or 0.0
        if cost >= max_cost:
            raise SpendingCapError(
                f"The calls of {self.OWNER} have cost ${cost:.6g}, and max_cost={max_cost:g} "
                f"allows no more, so this call was not sent. {self.WAY_OUT}",
                max_cost=max_cost,
                cost=cost,
            )


class RunTotals(UsageTotals):
    """A counter of the responses of one run of tools, beside that of its LM."""

    OWNER = "this run"
    WAY_OUT = (
        "The error's run has what was done by then: "
        "lm.respond(tool_outputs=error.run.outputs) goes on."
    )


def read_max_cost(max_cost: object) -> float | None:
    """Read the cap as a caller may write it.

    Raises:
        OptionError: it is not a number of dollars from 0.
    """
    if max_cost is None:
        return None

    if not _is_amount(max_cost):
        raise OptionError(
            f"max_cost must be a number of US dollars from 0, or None for no cap, not {max_cost!r}."
        )
    try:
        return float(max_cost)
    except OverflowError:
        return math.inf


def _is_amount(value: object) -> TypeGuard[float]:
    # True is a number in Python.
    if isinstance(value, bool):
        return False
    # NaN is one that is not from 0 on.
    return isinstance(value, (int, float)) and value >= 0


def add_cost(one: float | None, other: float | None) -> float | None:
    """Add two costs in US dollars; one that is not known adds nothing."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def add_usage(one: Usage, other: Usage) -> Usage:
    """Add the tokens of two calls."""
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )
