"""What a call costs, by a small dated table or by one of the caller's. Nothing is ever fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from synth_ai.errors import OptionError
from synth_ai.response import Usage

#: The month in which `PRICES` was true.
AS_OF = "2026-11"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        input: prompt tokens that were not cached.
        output: generated tokens, the reasoning included.
        cached: prompt tokens from the cache; None where they cost as much as others.
    """

    input: float
    output: float
    cached: float | None = None

    def of(self, usage: Usage) -> float:
        """The cost of one call in US dollars."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.input_tokens - usage.cached_tokens
        return (
            fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output
        ) / 1e6


#: OpenAI's list prices for its standard service tier, as litellm 1.106's public price table had them in `AS_OF`.
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

_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def find_price(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model; a dated snapshot (`gpt-4o-2024-08-06`) costs what its name without the date does."""
    return prices.get(model) or prices.get(_DATE.sub("", model))


def read_prices(prices: Mapping[str, Price | Mapping[str, float]]) -> dict[str, Price]:
    """A table of prices as a caller may write it: each a `Price`, or a dict of its fields.

    Raises:
        OptionError: an entry is neither, or a price is no number.
    """
    if not isinstance(prices, Mapping):
        raise OptionError(
            f"prices={prices!r} is no table; it takes {{model: Price(input, output)}}."
        )
    return {model: _read_price(model, price) for model, price in prices.items()}


def _read_price(model: str, price: Any) -> Price:
    try:
        read = price if isinstance(price, Price) else Price(**price)
    except TypeError as error:
        raise OptionError(
            f"prices={{{model!r}: {price!r}}}: it takes Price(input, output, cached)."
        ) from error
    for field in fields(Price):
        value = getattr(read, field.name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number and not (value is None and field.name == "cached"):
            raise OptionError(
                f"prices={{{model!r}: ...}}: {field.name}={value!r} is no price in dollars."
            )
    return read
