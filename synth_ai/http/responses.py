"""What a server answers: a decoded body or a stream of events, and the id that the server gave the request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from synth_ai.errors import ServerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded body and the server's id of the request."""

    data: Mapping[str, Any]
    request_id: str | None

    def read(self, reader: Callable[[Mapping[str, Any]], T]) -> T:
        """What `reader` makes of the body. Its errors get the id of the request."""
        try:
            return reader(self.data)
        except ServerError as error:
            name(error, self.request_id)
            raise


@dataclass(slots=True)
class Head:
    """What is known of an answer before its events, once it has begun."""

    request_id: str | None = None


class EventStream:
    """The decoded server-sent events of an answer, to be read with `async for`; closing ends the connection.

    `async with` closes it at the end of the block, whose errors get the id of the request.

    Args:
        read: makes the events, and fills in the head that it is given.
    """

    def __init__(self, read: Callable[[Head], AsyncGenerator[dict[str, Any], None]]) -> None:
        # The events know the head alone: a stream that is dropped would else stay until the next collection.
        self._head = Head()
        self._events = read(self._head)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request; None until the first event."""
        return self._head.request_id

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self._events

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        name(error, self.request_id)
        await self.aclose()

    async def aclose(self) -> None:
        """End the connection."""
        await self._events.aclose()


def name(error: BaseException | None, request_id: str | None) -> None:
    """Give an error of the server's the id of its request, unless it has one."""
    if isinstance(error, ServerError) and error.request_id is None:
        error.request_id = request_id


def total_tokens(data: Mapping[str, Any]) -> int | None:
    """The tokens that a call used, from its answer or an event of it; None where it does not tell."""
    usage = data.get("usage")
    if usage is None and isinstance(response := data.get("response"), Mapping):
        usage = response.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    return total if isinstance(total, int) else None
