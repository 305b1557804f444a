"""A call to a server before it is sent: where it goes, what is in it, and how it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict
from urllib.parse import urlencode

from synth_ai.errors import RequestError
from synth_ai.timeout import Timeout

# Its default, ASCII, has also half of a surrogate pair, which UTF-8 has not. Made once, as every
# call needs it.
_write_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

QueryValue: TypeAlias = str | int | float | bool | None


class SendOptions(TypedDict, total=False):
    """What a call may have besides its path and its body."""

    headers: Mapping[str, str]
    """More headers. They replace those that the client sends with every request."""

    params: Mapping[str, QueryValue | Sequence[QueryValue]]
    """The query of the address."""

    extra_json: Mapping[str, object]
    """More of the body. It replaces what the body has under the same names."""

    timeout: Timeout
    """How long to wait. Its total counts for the whole call, so it is not used for a request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a server.

    Attributes:
        method: the HTTP method.
        path: where it goes, under the server's address, such as `/responses`.
        body: what is sent as JSON; None for a request without a body.
        options: what else is sent, and how long to wait.
    """

    method: str
    path: str
    body: Mapping[str, object] | None
    options: SendOptions

    @property
    def target(self) -> str:
        """The path with the query behind it."""
        params = self.options.get("params")
        if not params:
            return self.path

        pairs = []
        for name, value in params.items():
            for each in _list_values(value):
                pairs.append((name, _write_query_value(each)))
        return f"{self.path}?{urlencode(pairs)}"

    def encode_body(self) -> bytes | None:
        """Encode the body, with `extra_json`, as JSON.

        Raises:
            RequestError: it contains a value that JSON does not have.
        """
        if self.body is None:
            return None

        body = {**self.body, **self.options.get("extra_json", {})}
        try:
            return _write_json(body).encode()
        except (TypeError, ValueError) as error:
            raise RequestError(f"The request cannot be written as JSON: {error}.") from error


def _list_values(value: QueryValue | Sequence[QueryValue]) -> Sequence[QueryValue]:
    """Return the values of one name of a query, which stands in it once for each."""
    if isinstance(value, (list, tuple)):
        return value

    return (value,)  # type: ignore[return-value] # a string is a sequence of strings too


def _write_query_value(value: QueryValue) -> str:
    """Write a value as JSON has it, a text without quotes: `true`, `1.5`; None is empty."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return ""

    return str(value)
