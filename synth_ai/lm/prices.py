"""What a call costs, by a small dated table or by one of the caller's. Nothing is ever fetched."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from synth_ai.errors import OptionError
from synth_ai.response import Usage

#: The month in which `PRICES` was true.
AS_OF = "2026-11"


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars for a million tokens.

    `LM(..., prices={"house-model": Price(0.5, 2)})` sets the price of a model of your own.

    Attributes:
        input: prompt tokens that were not cached.
        output: generated tokens, the reasoning included.
        cached: prompt tokens from the cache; None if they cost as much as others.
    """

    input: float
    output: float
    cached: float | None = None

    def cost_of(self, usage: Usage) -> float:
        """Compute the cost of one call in US dollars; infinite for counts beyond any number."""
        try:
            return self._cost_of(usage)
        except OverflowError:
            # A server may report any number of digits.
            return math.inf

    def _cost_of(self, usage: Usage) -> float:
        cached_price = self.input if self.cached is None else self.cached
        # A server that counts more tokens as cached than there were does not make calls cheaper.
        uncached_tokens = max(0, usage.input_tokens - usage.cached_tokens)

        millionths = (
            uncached_tokens * self.input
            + usage.cached_tokens * cached_price
            + usage.output_tokens * self.output
        )
        return millionths / 1e6


#: OpenAI's list prices for its standard service tier, in US dollars for a million tokens: input,
#: output, cached input. Source: the public price table of litellm 1.106, in `AS_OF`.
PRICES: Mapping[str, Price] = {
    "gpt-6-astra": Price(10, 50, 1),
    "gpt-6-luna": Price(0.1, 0.5, 0.01),
    "gpt-6-sol": Price(2, 10, 0.2),
    "gpt-6.1-sol": Price(2, 10, 0.1),
    "gpt-5.6-luna": Price(0.2, 1.2, 0.02),
    "gpt-5.6-sol": Price(4, 20, 0.4),
    "gpt-5.6-terra": Price(2, 12, 0.2),
    "gpt-5.5": Price(5, 30, 0.5),
    "gpt-5.4": Price(2.5, 15, 0.25),
    "gpt-5.4-mini": Price(0.75, 4.5, 0.075),
    "gpt-5.4-nano": Price(0.2, 1.25, 0.02),
    "gpt-5.2": Price(1.75, 14, 0.175),
    "gpt-5.1": Price(1.25, 10, 0.125),
    "gpt-5": Price(1.25, 10, 0.125),
    "gpt-5-mini": Price(0.25, 2, 0.025),
    "gpt-5-nano": Price(0.05, 0.4, 0.005),
    "gpt-4.1": Price(2, 8, 0.5),
    "gpt-4.1-mini": Price(0.4, 1.6, 0.1),
    "gpt-4.1-nano": Price(0.1, 0.4, 0.025),
    "gpt-4o": Price(2.5, 10, 1.25),
    "gpt-4o-mini": Price(0.15, 0.6, 0.075),
    "o1": Price(15, 60, 7.5),
    "o3": Price(2, 8, 0.5),
    "o3-mini": Price(1.1, 4.4, 0.55),
    "o3-pro": Price(20, 80),
    "o4-mini": Price(1.1, 4.4, 0.275),
}

# The date of a snapshot: gpt-4o-2024-08-06 -> gpt-4o
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def find_price(model: str, prices: Mapping[str, Price]) -> Price | None:
    """Find the price of a model; a dated snapshot costs what its name without the date does."""
    if not prices:
        return None

    return prices.get(model) or prices.get(_DATE.sub("", model))


def read_prices(prices: Mapping[str, Price | Mapping[str, float]]) -> dict[str, Price]:
    """Read a table of prices as a caller may write it: each a `Price`, or a dict of its fields.

    Raises:
        OptionError: an entry is neither, or a price is not a number.
    """
    if not isinstance(prices, Mapping):
        raise OptionError(
            f"prices must be a table such as {{model: Price(input, output)}}, not {prices!r}."
        )

    return {model: _read_price(model, price) for model, price in prices.items()}


def _read_price(model: str, given: Price | Mapping[str, float]) -> Price:
    if isinstance(given, Price):
        price = given
    else:
        try:
            price = Price(**given)
        except TypeError as error:
            raise OptionError(
                f"prices={{{model!r}: {given!r}}}: it takes Price(input, output, cached)."
            ) from error

    for field in fields(Price):
        dollars = getattr(price, field.name)
        if dollars is None and field.name == "cached":
            continue
        if not _is_price(dollars):
            raise OptionError(
                f"prices={{{model!r}: ...}}: {field.name} must be a price in dollars, "
                f"not {dollars!r}."
            )
    return price


def _is_price(value: object) -> bool:
    # True is a number in Python.
    if isinstance(value, bool):
        return False
    # NaN is one too, with which every sum of costs would be NaN.
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def check_has_price(model: str, prices: Mapping[str, Price]) -> None:
    """Check that the calls of a model can be priced, so that a cap on what they cost can be kept.

    A server may report another name than this. Where that one has no price, this one's counts.

    Raises:
        OptionError: the model has no price.
    """
    if find_price(model, prices) is None:
        raise OptionError(
            f"max_cost= needs the price of {model!r}, which is not known here: give "
            f"prices={{{model!r}: Price(input, output)}}, in US dollars for a million tokens."
        )
