"""One signature for several methods, so that it is written once and editors show it everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def takes_the_same_as(
    other: Callable[P, Any],
) -> Callable[[Callable[..., Result]], Callable[P, Result]]:
    """Give a method the parameters of another, for type checkers and for `help()`; the result type stays its own."""

    def give(method: Callable[..., Result]) -> Callable[P, Result]:
        theirs = inspect.signature(other)
        returns = inspect.signature(method).return_annotation
        method.__signature__ = theirs.replace(return_annotation=returns)  # type: ignore[attr-defined]
        return method

    return give
