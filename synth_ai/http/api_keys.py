"""The key of a server: a text, or what is asked for one with every request."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeAlias


class KeySource(Hashable, Protocol):
    """Gives the key for the next request, for keys that expire.

    Two sources that are equal share the limits of the server.
    """

    async def __call__(self) -> str:
        """Return the key, ready to be sent.

        Raises:
            ConfigurationError: there is none.
        """


APIKey: TypeAlias = str | KeySource

#: What stands for the key where there is none: the openai SDK refuses to be made without one, and
#: servers without authentication ignore it.
NO_KEY = "EMPTY"
