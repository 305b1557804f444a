"""API keys that expire: a function of the caller's that gives the one of now."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

from synth_ai.errors import ConfigurationError, MissingKeyError, OptionError
from synth_ai.lm import sync
from synth_ai.store.workers import run_on_thread

AskKey: TypeAlias = Callable[[], str | Awaitable[str]]
"""Gives the key of now. It is asked with every request, so it keeps a key for as long as it holds.
"""


class AskedKey:
    """A key that a function of the caller's gives, with every request anew.

    Args:
        ask: the function. A sync one runs on a thread, as it may block.
    """

    def __init__(self, ask: AskKey) -> None:
        self._ask = ask

    def __eq__(self, other: object) -> bool:
        # LMs with one function have one key, whatever it is by now, and share its limits.
        return isinstance(other, AskedKey) and self._ask == other._ask

    def __hash__(self) -> int:
        try:
            return hash(self._ask)
        except TypeError:
            # An object of a class that can be called, but not hashed.
            return hash(type(self._ask))

    async def __call__(self) -> str:
        try:
            key = await self._get()
        except ConfigurationError:
            raise
        except Exception as error:
            # What it says may be about the key, so it is not repeated.
            raise MissingKeyError(
                f"The function given as api_key= raised {type(error).__name__}, which is the cause "
                "of this error; it must return the key."
            ) from error
        return clean_key(key, "The key that the function given as api_key= returned")

    async def _get(self) -> object:
        if inspect.iscoroutinefunction(self._ask):
            # It is called on the loop that runs it, where it may make futures.
            return await sync.run_user_code(self._ask)

        key = await run_on_thread(self._ask)
        if not inspect.isawaitable(key):
            return key

        async def wait() -> object:
            return await key

        return await sync.run_user_code(wait)


def read_key(given: object) -> str | AskedKey | None:
    """Read what a caller gave as `api_key=`.

    Raises:
        OptionError: it is neither a string nor a function.
    """
    if given is None or isinstance(given, str):
        return given

    is_function = callable(given) and not isinstance(given, type)
    if not is_function:
        # The value is not shown: it may hold the key.
        raise OptionError(
            "api_key must be a string, or a function that returns one, not an object of the class "
            f"{type(given).__name__}."
        )
    return AskedKey(cast("AskKey", given))


def clean_key(key: object, what: str) -> str:
    """Take off the blanks and line breaks that files and shells leave around a key.

    Args:
        key: the key.
        what: what it is, for errors.

    Raises:
        MissingKeyError: it is no string, or an empty one.
        OptionError: it cannot be sent.
    """
    if not isinstance(key, str) or not key.strip():
        kind = "empty" if isinstance(key, str) else f"of the class {type(key).__name__}"
        raise MissingKeyError(f"{what} must be a string with a key in it; it is {kind}.")

    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise OptionError(
            f"{what} has a character that cannot be sent in an HTTP header: a line break, or a "
            "letter outside ASCII. Copy it again."
        )
    return key
