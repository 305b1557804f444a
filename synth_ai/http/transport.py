"""What a transport is: it sends one request over some HTTP library, and brings the response back.

There is one for each library (aiohttp_transport.py, sdk_transport.py; registry.py has their names).
All that they share is in connections.py: redirects, bounds, and what a status says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from synth_ai.timeout import Phases


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A request as it goes out.

    Attributes:
        method: the HTTP method.
        url: the whole address, query included.
        headers: all that are sent, but for those that an HTTP library adds itself.
        content: the body; None for a request without one.
        phases: how long each phase may take.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    phases: Phases


class HTTPResponse(ABC):
    """A response whose head has come; its body is read in pieces.

    Attributes:
        status: the HTTP status.
        headers: looked up whatever their case.
    """

    __slots__ = ("headers", "status")

    status: int
    headers: Mapping[str, str]

    @abstractmethod
    async def read_piece(self) -> bytes:
        """Read the next bytes of the body, decompressed; none at its end.

        Raises:
            ConnectionFailedError: the connection broke, or nothing came in time.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End the response; a connection that was read to its end serves the next request."""


class HTTPTransport(ABC):
    """Sends requests to one server from one event loop.

    It can be made on any thread, and belongs to the loop that it is opened on.

    Attributes:
        headers: what is sent with every request.
    """

    headers: Mapping[str, str]

    @abstractmethod
    async def open(self) -> None:
        """Begin, on the running event loop."""

    @abstractmethod
    async def send(self, request: HTTPRequest) -> HTTPResponse:
        """Send a request, and return the response once its head has come, whatever its status.

        Redirects are not followed.

        Raises:
            ConnectionFailedError: there is no response; a TimedOutError if none came in time.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of the connections; their event loop was closed before it could close them."""
