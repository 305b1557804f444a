"""The connections of one event loop to one server, over whichever transport carries them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from synth_ai.errors import ServerError, SynthAIError
from synth_ai.http.bodies import BoundedBody, read_beginning
from synth_ai.http.error_mapping import error_from_response
from synth_ai.http.event_decoder import EventDecoder
from synth_ai.http.redirects import follow_redirect, is_redirect
from synth_ai.http.requests import Request
from synth_ai.http.transport import HTTPRequest, HTTPResponse, HTTPTransport
from synth_ai.timeout import Timeout, note_phase

DONE = "[DONE]"
"""The data of the last event of a stream on Chat Completions."""

# Bytes of the body of an error. What is more is left out: it is shown to people.
_MAX_ERROR_BYTES = 2**20

# Connections of a pool; as many as the openai SDK has.
_MAX_CONNECTIONS = 1000

# Seconds that a server gets to end its answer after that event.
_END_OF_ANSWER = 0.1

_DEFAULT_TIMEOUT = Timeout()


@dataclass(frozen=True, slots=True)
class Response:
    """A response with a status of success, read to its end.

    Attributes:
        headers: looked up whatever their case.
        content: the body.
    """

    headers: Mapping[str, str]
    content: bytes


class ConnectionPool:
    """One event loop's connections to a server.

    It can be made on any thread, and belongs to the loop that it is opened on.

    Args:
        base_url: the server's address.
        transport: what carries the requests.
        max_response_bytes: the most bytes of an answer, as they are once decompressed.

    Attributes:
        transport: as given.
        max_response_bytes: as given.
        slots: one for each connection that calls of a model may have; such a call waits for a slot
            before it is sent.
        waiting: how many calls wait for a response, or for more of one.
        is_closed: whether its connections are closed.
    """

    def __init__(self, base_url: str, transport: HTTPTransport, max_response_bytes: int) -> None:
        self.transport = transport
        self.max_response_bytes = max_response_bytes
        self.slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self.waiting = 0
        self.is_closed = False
        self._base_url = base_url.rstrip("/")
        self._closing: asyncio.Task[None] | None = None
        # Kept here: a generator that nobody refers to is closed at once by its loop.
        self._closer = _close_with_loop(self)

    async def open(self) -> None:
        """Begin, and let the running event loop close the pool when it ends."""
        await self.transport.open()
        # At its end a loop closes every asynchronous generator that was started on it.
        await anext(self._closer)

    async def aclose(self) -> None:
        """Close the connections. Several may ask for it, the end of the loop among them."""
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.transport.aclose()
        # A socket is closed the next time round the loop.
        await asyncio.sleep(0)
        self.is_closed = True
        # It is running already if the end of the loop closes it.
        with suppress(RuntimeError):
            await self._closer.aclose()

    def abandon(self) -> None:
        """Let go of the connections; their event loop was closed before it could close them."""
        self.transport.abandon()

    async def send(self, request: Request) -> Response:
        """Send a request and read the response to its end.

        Raises:
            RequestError: the body cannot be written as JSON.
            ServerError: the server could not be reached, answered with another status than success,
                redirects elsewhere, or sent more than `max_response_bytes`.
        """
        self.waiting += 1
        try:
            response = await self._open(request)
            try:
                content = await BoundedBody(response, self.max_response_bytes).read()
            finally:
                await response.aclose()
        finally:
            self.waiting -= 1

        return Response(response.headers, content)

    def stream(self, request: Request) -> StreamingResponse:
        """Send a request, for a response that is read in pieces; `async with` sends it."""
        return StreamingResponse(self, request)

    async def _open(self, request: Request) -> HTTPResponse:
        """Send a request, and return a response of success whose body is not read yet."""
        options = request.options
        timeout = options.get("timeout", _DEFAULT_TIMEOUT)
        http_request = HTTPRequest(
            request.method,
            f"{self._base_url}{request.target}",
            _merge_headers(self.transport.headers, options.get("headers")),
            request.encode_body(),
            timeout.phases,
        )

        note_phase("while it waited for the server's answer", is_sent=True)
        response = await self.transport.send(http_request)
        redirects = 0
        while is_redirect(response):
            await response.aclose()
            redirects += 1
            http_request = follow_redirect(http_request, response, redirects)
            response = await self.transport.send(http_request)

        if not 200 <= response.status < 300:
            raise await self._read_error(http_request, response)
        return response

    async def _read_error(self, request: HTTPRequest, response: HTTPResponse) -> ServerError:
        """Read the error out of a response with another status than success."""
        max_bytes = min(_MAX_ERROR_BYTES, self.max_response_bytes)
        try:
            content = await read_beginning(response, max_bytes)
        finally:
            await response.aclose()

        url = urlsplit(request.url)
        return error_from_response(
            response.status,
            content=content,
            headers=response.headers,
            address=f"{url.scheme}://{url.netloc}{url.path}",
        )


class StreamingResponse:
    """A response that is read in pieces: `async with` sends the request and ends the connection.

    Entering it raises what `ConnectionPool.send` raises.
    """

    # A class, no generator: if its loop ends first, a generator is closed in another task than it
    # was started in, which connections do not survive.
    def __init__(self, pool: ConnectionPool, request: Request) -> None:
        self._pool = pool
        self._request = request

    async def __aenter__(self) -> StreamingResponse:
        self._pool.waiting += 1
        try:
            self._response = await self._pool._open(self._request)
        finally:
            self._pool.waiting -= 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._response.aclose()

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, looked up whatever their case."""
        return self._response.headers

    async def read(self) -> bytes:
        """Read the body to its end.

        Raises:
            ResponseTooLargeError: it is longer than the pool takes.
        """
        return await BoundedBody(self._response, self._pool.max_response_bytes).read()

    async def events(self) -> AsyncIterator[str]:
        """Yield the data of each server-sent event; nothing comes after `DONE`.

        Raises:
            ResponseTooLargeError: all events together are longer than the pool takes.
            MalformedAnswerError: they are not UTF-8.
        """
        decoder = EventDecoder()
        body = BoundedBody(self._response, self._pool.max_response_bytes)
        while True:
            piece = await self._read_piece(body)
            if not piece:
                break

            for data in decoder.feed(piece):
                # Told by its beginning, as the SDK does itself.
                if data.startswith(DONE):
                    yield DONE
                    await _read_rest(body)
                    return

                yield data

        decoder.finish()

    async def _read_piece(self, body: BoundedBody) -> bytes:
        self._pool.waiting += 1
        try:
            return await body.read_piece()
        finally:
            self._pool.waiting -= 1


def _merge_headers(own: Mapping[str, str], more: Mapping[str, str] | None) -> Mapping[str, str]:
    """Merge the headers of a call over those of every request, whatever their case."""
    if not more:
        return own

    replaced = {name.lower() for name in more}
    headers = {}
    for name, value in own.items():
        if name.lower() not in replaced:
            headers[name] = value

    return headers | dict(more)


async def _read_rest(body: BoundedBody) -> None:
    """Read what follows `DONE`: only a connection that was read to its end serves another call."""
    # The answer is complete, so nothing that goes wrong from now on is worth an error.
    with suppress(SynthAIError, TimeoutError):
        async with asyncio.timeout(_END_OF_ANSWER):
            await body.read()


async def _close_with_loop(pool: ConnectionPool) -> AsyncGenerator[None, None]:
    """Close the connections once this generator is closed."""
    try:
        yield
    finally:
        if not pool.is_closed:
            await pool.aclose()
