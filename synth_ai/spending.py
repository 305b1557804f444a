"""A check that a call goes through once more when it is sent: whether there is money left for it.

A call may wait for long behind rate limits and for a connection, while others spend what there was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType

_check: ContextVar[Callable[[], None] | None] = ContextVar("synth_ai_spending", default=None)


def check_spending() -> None:
    """Refuse to send the call that is under way if its LM has no money left.

    Raises:
        SpendingCapError: it has none.
    """
    check = _check.get()
    if check is not None:
        check()


class limited_spending:
    """Has a check made by whatever sends a call inside the block.

    Args:
        check: raises SpendingCapError if there is no money left.
    """

    __slots__ = ("_check", "_token")

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def __enter__(self) -> None:
        self._token: Token[Callable[[], None] | None] = _check.set(self._check)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _check.reset(self._token)
