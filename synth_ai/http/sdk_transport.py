"""Requests over the HTTP client of the openai SDK, which is httpx or its successor httpx2.

All that is known of the SDK and its HTTP library is here, their errors and loggers included.

The SDK brings connections and headers. Its typed models are not used, as building them costs more
than the rest of a call; nor are its options, which are copied and checked for every request; nor
its decoder of events, in which a stream of short lines takes many times its bytes; nor its retries,
because LM has one retry policy for all APIs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from synth_ai.errors import ConnectionFailedError, MissingExtraError, SettingError
from synth_ai.http.connection_errors import (
    broken_error,
    connect_timeout_error,
    silence_error,
    unreachable_error,
)
from synth_ai.http.secrets import mask_logs
from synth_ai.http.transport import HTTPRequest, HTTPResponse, HTTPTransport

if TYPE_CHECKING:
    # What openai 3.x stands on. In openai 2.x it is httpx, whose classes have the same names.
    import httpx2

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


class SDKTransport(HTTPTransport):
    """Sends over the SDK's HTTP client. Making one imports the SDK, which takes a second.

    Args:
        base_url: the server's address.
        api_key: sent as a bearer token.
        openai_account: send the organization and project of the environment too; they are OpenAI's.

    Raises:
        MissingExtraError: a SOCKS proxy needs another package.
        SettingError: a proxy or certificates of the environment cannot be used.
    """

    def __init__(self, base_url: str, api_key: str, *, openai_account: bool) -> None:
        import openai

        mask_logs(_LOGGERS)
        # The client that the SDK would make tries to close itself when it is collected, on
        # whatever loop runs then.
        self._client = _make_client()
        self._sdk = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, http_client=self._client)
        if not openai_account:
            # The SDK reads both from the environment, and no other server may see them.
            self._sdk.organization = None
            self._sdk.project = None

        headers = {}
        for name, value in self._sdk.default_headers.items():
            # A header that is not to be sent has a marker for a value.
            if isinstance(value, str):
                headers[name] = value
        headers["Authorization"] = f"Bearer {api_key}"
        self.headers = headers

    async def open(self) -> None:
        """Begin, which needs nothing here: a connection belongs to the loop that opens it."""

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        http_request = self._client.build_request(
            request.method,
            request.url,
            content=request.content,
            headers=dict(request.headers),
            timeout=request.phases,
        )
        try:
            response = await self._client.send(http_request, stream=True, follow_redirects=False)
        except Exception as error:
            timeout = _timeout_error(request, error)
            raise timeout or unreachable_error(request.url, error) from error

        return _SDKResponse(request, response)

    async def aclose(self) -> None:
        await self._sdk.close()

    def abandon(self) -> None:
        # httpx says nothing of what was not closed.
        return


class _SDKResponse(HTTPResponse):
    """A response of httpx."""

    __slots__ = ("_pieces", "_request", "_response")

    def __init__(self, request: HTTPRequest, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._request = request
        self._response = response
        self._pieces: AsyncIterator[bytes] = response.aiter_bytes()

    async def read_piece(self) -> bytes:
        try:
            return await anext(self._pieces, b"")
        except Exception as error:
            timeout = _timeout_error(self._request, error)
            raise timeout or broken_error(error) from error

    async def aclose(self) -> None:
        await self._response.aclose()


def _make_client() -> httpx2.AsyncClient:
    """Make the SDK's HTTP client, which reads proxies and certificates from the environment."""
    import openai

    try:
        return openai.DefaultAsyncHttpxClient()
    except ImportError as error:
        raise MissingExtraError(f"The proxy of the environment cannot be used: {error}") from error
    except (OSError, ValueError) as error:
        raise SettingError(
            "The proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) or the certificates (SSL_CERT_FILE, "
            f"SSL_CERT_DIR) of the environment cannot be used: {error}"
        ) from error


def _timeout_error(request: HTTPRequest, error: Exception) -> ConnectionFailedError | None:
    """Make our error for one of the library's that says a time is over; None for another.

    The library's classes are told by their names, because whether it is httpx or httpx2 depends on
    the version of the SDK.
    """
    names = {base.__name__ for base in type(error).__mro__}
    if "TimeoutException" not in names:
        return None
    if "ConnectTimeout" in names:
        return connect_timeout_error(request.url, request.phases.connect)

    return silence_error(request.url, request.phases.read)
