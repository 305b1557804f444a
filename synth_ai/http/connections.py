"""How a request travels: over the HTTP client of the openai SDK, with one pool for each event loop.

All that is known of the SDK and its HTTP library is here, their errors and loggers included: to
send over another library, replace this module. The others see of it `check_transport`,
`ConnectionPool` with its responses, and `map_errors`.

The SDK brings connections, headers and errors. Its typed models are not used, as building them
costs more than the rest of a call; nor are its options, which are copied and checked for every
request; nor its decoder of events, in which a stream of short lines takes many times its bytes; nor
its retries, because LM has one retry policy for all APIs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from synth_ai import errors
from synth_ai.http.error_mapping import error_from_body, error_from_status
from synth_ai.http.event_decoder import EventDecoder
from synth_ai.http.rate_limits import read_count
from synth_ai.http.requests import Request
from synth_ai.http.secrets import Secrets, mask_logs
from synth_ai.timeout import Timeout, note_phase

if TYPE_CHECKING:
    # What openai 3.x stands on. In openai 2.x it is httpx, whose classes have the same names.
    import httpx2
    import openai

TRANSPORTS = ("httpx", "aiohttp")
"""The HTTP libraries that the SDK can use: its own, and aiohttp, which costs less CPU."""

DONE = "[DONE]"
"""The data of the last event of a stream on Chat Completions."""

# Bytes of the body of an error. What is more is left out: it is shown to people.
_MAX_ERROR_BYTES = 2**20

# Redirects of one request, all of them to the same server.
_MAX_REDIRECTS = 5

# Seconds that a server gets to end its answer after that event.
_END_OF_ANSWER = 0.1

# Connections of a pool, should the SDK set no limit; 1000 is its own.
_MAX_CONNECTIONS = 1000

_DEFAULT_TIMEOUT = Timeout()

# Loggers of the HTTP library and of the one below it, in openai 2.x (httpx) and 3.x (httpx2). They
# write addresses and the headers of answers, which may repeat a key.
_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
)


def check_transport(transport: str) -> None:
    """Check that an HTTP library can be used.

    Raises:
        OptionError: it is not one of `TRANSPORTS`.
        MissingExtraError: it is not installed.
    """
    if transport not in TRANSPORTS:
        raise errors.OptionError(
            f"transport={transport!r} is unknown; it takes {' or '.join(TRANSPORTS)}."
            f"{errors.did_you_mean(transport, TRANSPORTS)}"
        )

    if transport == "aiohttp" and find_spec("aiohttp") is None:
        raise errors.MissingExtraError(
            "transport='aiohttp' needs aiohttp: "
            'pip install ".[aiohttp]" in a clone of synth_ai, or leave the option out.'
        )


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

    Making one imports the SDK, which takes a second. It can be made on any thread, and belongs to
    the loop that it is opened on.

    Args:
        base_url: the server's address.
        api_key: sent as a bearer token.
        transport: the HTTP library, one of `TRANSPORTS`.
        openai_account: send the organization and project of the environment too; they are OpenAI's.
        max_response_bytes: the most bytes of an answer, as they are once decompressed.

    Attributes:
        sdk: the SDK's client.
        slots: one for each connection there can be. A call that uses a model waits for a slot
            before it is sent, because the HTTP library goes through all requests that wait for a
            connection whenever a response ends.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        transport: str,
        openai_account: bool,
        max_response_bytes: int,
    ) -> None:
        import openai

        self.max_response_bytes = max_response_bytes
        mask_logs(_LOGGERS)

        # The client that the SDK would make tries to close itself when it is collected, on
        # whatever loop runs then.
        if transport == "aiohttp":
            self._http = openai.DefaultAioHttpClient()
        else:
            self._http = openai.DefaultAsyncHttpxClient()
        self.sdk = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, http_client=self._http)

        if not openai_account:
            # The SDK reads both from the environment, and no other server may see them.
            self.sdk.organization = None
            self.sdk.project = None

        self._base_url = str(self.sdk.base_url).rstrip("/")
        self._headers = {}
        for name, value in self.sdk.default_headers.items():
            # A header that is not to be sent has a marker for a value.
            if isinstance(value, str):
                self._headers[name] = value
        self._headers["Authorization"] = f"Bearer {api_key}"

        max_connections = openai.DEFAULT_CONNECTION_LIMITS.max_connections or _MAX_CONNECTIONS
        self.slots = asyncio.Semaphore(max_connections)
        # Kept here: a generator that nobody refers to is closed at once by its loop, and with it
        # the connections of a pool that was dropped.
        self._closer = _close_with_loop(self.sdk)

    async def open(self) -> None:
        """Let the running event loop close the pool when it ends."""
        # At its end a loop closes every asynchronous generator that was started on it.
        await anext(self._closer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._closer.aclose()

    async def send(self, request: Request) -> Response:
        """Send a request and read the response to its end.

        Raises:
            RequestError: the body cannot be written as JSON.
            ServerError: the server could not be reached, redirects elsewhere, or answered with more
                than `max_response_bytes`.
            openai.APIStatusError: it answered with another status than success.
        """
        response = await self._open(request)
        try:
            content = await _read(response, self.max_response_bytes)
        except errors.SynthAIError:
            raise
        except Exception as error:
            raise connection_error(error, response.url.netloc.decode()) from error
        finally:
            await response.aclose()

        return Response(response.headers, content)

    def stream(self, request: Request) -> StreamingResponse:
        """Send a request, for a response that is read in pieces; `async with` sends it."""
        return StreamingResponse(self, request)

    async def _open(self, request: Request) -> httpx2.Response:
        """Send a request, and return a response of success whose body is not read yet."""
        options = request.options
        timeout = options.get("timeout", _DEFAULT_TIMEOUT)
        http_request = self._http.build_request(
            request.method,
            f"{self._base_url}{request.path}",
            content=request.encode_body(),
            headers=self._merge_headers(options.get("headers")),
            params=options.get("params"),
            timeout=timeout.phases,
        )

        note_phase("while it waited for the server's answer", is_sent=True)
        response = await self._send_once(http_request)
        redirects = 0
        while response.next_request is not None:
            await response.aclose()
            redirects += 1
            _check_redirect(response, response.next_request, redirects)
            response = await self._send_once(response.next_request)

        if not response.is_success:
            await self._raise_for_status(response)

        return response

    async def _send_once(self, http_request: httpx2.Request) -> httpx2.Response:
        # Redirects are followed here: the library sends the prompt, and all headers but
        # `Authorization`, to any host that the server names.
        try:
            return await self._http.send(http_request, stream=True, follow_redirects=False)
        except Exception as error:
            raise connection_error(error, http_request.url.netloc.decode()) from error

    async def _raise_for_status(self, response: httpx2.Response) -> None:
        max_bytes = min(_MAX_ERROR_BYTES, self.max_response_bytes)
        try:
            content = await _read_beginning(response, max_bytes)
        finally:
            await response.aclose()

        # The SDK reads a response that has its content, which is decompressed by now.
        headers = response.headers.copy()
        headers.pop("content-encoding", None)
        whole_response = type(response)(
            response.status_code, headers=headers, content=content, request=response.request
        )
        try:
            error = self.sdk._make_status_error_from_response(whole_response)
        except Exception:
            # It says that it is in `idna` or `zlib`, and such codecs raise what they like.
            whole_response.encoding = "utf-8"
            error = self.sdk._make_status_error_from_response(whole_response)
        raise error

    def _merge_headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """Merge the headers of a call over those of the pool, whatever their case."""
        if not more:
            return self._headers

        replaced = {name.lower() for name in more}
        headers = {}
        for name, value in self._headers.items():
            if name.lower() not in replaced:
                headers[name] = value

        return headers | dict(more)


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
        self._response = await self._pool._open(self._request)
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
        return await _read(self._response, self._pool.max_response_bytes)

    async def events(self) -> AsyncIterator[str]:
        """Yield the data of each server-sent event; nothing comes after `DONE`.

        Raises:
            ResponseTooLargeError: all events together are longer than the pool takes.
        """
        decoder = EventDecoder()
        pieces = _Pieces(self._response, self._pool.max_response_bytes)
        async for piece in pieces:
            for data in decoder.feed(piece):
                # Told by its beginning, as the SDK does itself.
                if data.startswith(DONE):
                    yield DONE
                    await _read_rest(pieces)
                    return

                yield data

        decoder.finish()


class _Pieces:
    """Iterates over the decompressed pieces of a body, of which there may be so many bytes.

    Raises:
        ResponseTooLargeError: there are more.
    """

    # A class, no generator: what reads a stream may be dropped at any time, and each generator
    # that is not at its end then takes a task to close.
    def __init__(self, response: httpx2.Response, max_bytes: int) -> None:
        length = read_count(response.headers.get("content-length"))
        if length is not None and length > max_bytes:
            raise _too_large(max_bytes)

        self._pieces = response.aiter_bytes()
        self._max_bytes = max_bytes
        self._bytes = 0

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._bytes += len(piece)
        if self._bytes > self._max_bytes:
            raise _too_large(self._max_bytes)

        return piece


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    """Read a body to its end.

    Raises:
        ResponseTooLargeError: it is longer.
    """
    pieces = []
    async for piece in _Pieces(response, max_bytes):
        pieces.append(piece)

    return b"".join(pieces)


async def _read_beginning(response: httpx2.Response, max_bytes: int) -> bytes:
    """Read so many bytes of a body, or all of it if it has less."""
    beginning = bytearray()
    async for piece in response.aiter_bytes():
        beginning += piece
        if len(beginning) >= max_bytes:
            break

    return bytes(beginning[:max_bytes])


def _too_large(max_bytes: int) -> errors.ResponseTooLargeError:
    return errors.ResponseTooLargeError(
        f"The server's answer is larger than max_response_bytes={max_bytes}, so the rest of it "
        "was not read. Give LM(max_response_bytes=...) more if such answers are right."
    )


def _check_redirect(
    response: httpx2.Response, next_request: httpx2.Request, redirects: int
) -> None:
    """Check that a redirect leads to the same server, and leaves the request as it is.

    Raises:
        RejectedError: it does not.
    """
    before = response.request
    target = f"{_origin(next_request.url)}{next_request.url.path}"
    message = f"{response.status_code}: The server at {_origin(before.url)} redirects to {target}, "

    if _origin(next_request.url) != _origin(before.url):
        message += (
            "which is another origin, so nothing was sent there: neither the request nor its "
            "headers. If that is the right server, give its address as base_url=."
        )
    elif next_request.method != before.method:
        message += (
            f"which would make a {next_request.method} without a body of this {before.method}. "
            "Give the address that it names as base_url=."
        )
    elif redirects > _MAX_REDIRECTS:
        message += f"after {_MAX_REDIRECTS} redirects before it. They may go round in a circle."
    else:
        return

    raise errors.RejectedError(message, status_code=response.status_code)


def _origin(url: httpx2.URL) -> str:
    """Return where a server is: its scheme, host and port, without credentials."""
    return f"{url.scheme}://{url.netloc.decode()}"


async def _read_rest(pieces: AsyncIterator[bytes]) -> None:
    """Read what follows `DONE`: only a connection that was read to its end serves another call."""
    # The answer is complete, so nothing that goes wrong from now on is worth an error.
    with suppress(Exception):
        async with asyncio.timeout(_END_OF_ANSWER):
            async for _ in pieces:
                pass


async def _close_with_loop(sdk: openai.AsyncOpenAI) -> AsyncGenerator[None, None]:
    """Close the connections once this generator is closed."""
    try:
        yield
    finally:
        await sdk.close()


# --- errors ---------------------------------------------------------------------------------------


class map_errors:
    """Turn the errors of the SDK and its HTTP library into ours, and mask secrets in all errors.

    Args:
        secrets: what a server may repeat.

    Raises:
        ServerError: TimedOutError, ConnectionFailedError, or the class of the status that came
            back. What was raised in the block is its cause.
    """

    __slots__ = ("_secrets",)

    # A class, no generator: thousands of calls may wait in here, and each would hold a frame more.
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __enter__(self) -> None:
        return

    def __exit__(self, exc_type: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, Exception):
            return

        # Before it is translated: of a message that is cut to length, half a key could remain.
        self._secrets.mask_error(error)
        if isinstance(error, errors.SynthAIError):
            return

        ours = translate(error)
        if ours is None:
            return

        # Again, as the address and the headers of the response have not been masked yet.
        self._secrets.mask_error(ours)
        raise ours from error


def translate(error: Exception) -> errors.ServerError | None:
    """Translate an error of the SDK or its HTTP library into ours; None for any other."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _translate_status(error)

    error_class = _connection_error_class(error)
    if error_class is errors.TimedOutError:
        return errors.TimedOutError(_describe_timeout(error, "the server"))
    if error_class is not None:
        # The SDK's own message says no more than "Connection error."
        cause = error.__cause__ if isinstance(error, openai.APIError) else None
        return error_class(f"The connection broke: {_describe(cause or error)}")

    if isinstance(error, openai.APIError):
        body = error.body if isinstance(error.body, dict) else {"message": error.message}
        return error_from_body(body, "The stream ended with an error")

    # The SDK decodes the bytes of a stream, and lets this error through.
    if isinstance(error, UnicodeDecodeError):
        return errors.MalformedAnswerError(
            "The stream is not UTF-8, or it was cut off in the middle of a character."
        )

    return None


def connection_error(error: Exception, address: str) -> errors.ConnectionFailedError:
    """Make our error for a request that got no response.

    Args:
        error: any error: the HTTP library, its transport and the system each have their own.
        address: host and port of the server.
    """
    if _connection_error_class(error) is errors.TimedOutError:
        return errors.TimedOutError(_describe_timeout(error, address))

    return errors.ConnectionFailedError(
        f"The server cannot be reached at {address}: {_describe(error)}"
    )


def _describe_timeout(error: Exception, address: str) -> str:
    """Say which time was over, how long it was, and what may have become of the request."""
    names = {base.__name__ for base in type(error).__mro__}
    try:
        seconds = error.request.extensions["timeout"]  # type: ignore[attr-defined]
    except (AttributeError, LookupError, RuntimeError):
        seconds = {}

    if "ConnectTimeout" in names:
        within = _within(seconds, "connect")
        return (
            f"There was no connection to {address}{within} (Timeout(connect=)). "
            "The request was never sent."
        )

    within = _within(seconds, "read")
    return (
        f"The server did not answer in time: nothing came from {address}{within} "
        "(Timeout(first_byte=)). The request may still have run."
    )


def _within(seconds: Mapping[str, float], phase: str) -> str:
    limit = seconds.get(phase)
    return "" if limit is None else f" within {limit:g} s"


def _translate_status(error: openai.APIStatusError) -> errors.ServerError:
    response = error.response
    url = response.request.url
    return error_from_status(
        error.status_code,
        body=error.body,
        headers=response.headers,
        address=f"{url.scheme}://{url.netloc.decode()}{url.path}",
        default_message=error.message,
    )


def _connection_error_class(error: Exception) -> type[errors.ConnectionFailedError] | None:
    """Find our class for an error of the connection; None for any other error.

    The library's classes are told by their names, because whether it is httpx or httpx2 depends on
    the version of the SDK. In openai 2.x those of a stream's body are not wrapped in the SDK's.
    """
    names = set()
    for base in type(error).__mro__:
        if _library_of(base) in ("httpx", "httpx2", "openai"):
            names.add(base.__name__)

    # First, because a timeout is a RequestError (APIConnectionError in the SDK) too.
    if not names.isdisjoint({"TimeoutException", "APITimeoutError"}):
        # The SDK's aiohttp transport raises a timeout for a refused connection too.
        cause = error.__cause__
        if _library_of(type(cause)) == "aiohttp" and not isinstance(cause, TimeoutError):
            return errors.ConnectionFailedError
        return errors.TimedOutError

    if not names.isdisjoint({"RequestError", "StreamError", "APIConnectionError"}):
        return errors.ConnectionFailedError

    return None


def _library_of(error_class: type) -> str:
    return error_class.__module__.partition(".")[0]


def _describe(error: BaseException) -> str:
    """Return the message of an error, or the name of its class if it has none."""
    return str(error) or type(error).__name__
