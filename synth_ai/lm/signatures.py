"""One signature for several methods, so that it is written once and editors show it everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def takes_the_same_as(
    other: Callable[P, object],
) -> Callable[[Callable[..., Result]], Callable[P, Result]]:
    """Make a decorator that gives a method the parameters of another.

    Type checkers and `help()` see them. The method keeps its result type.
    """

    def decorate(method: Callable[..., Result]) -> Callable[P, Result]:
        parameters = inspect.signature(other)
        result_type = inspect.signature(method).return_annotation
        signature = parameters.replace(return_annotation=result_type)
        method.__signature__ = signature  # type: ignore[attr-defined]
        return method

    return decorate
