"""Requests over aiohttp, which costs a fraction of what other HTTP libraries do."""

from __future__ import annotations

import asyncio
import math
import os
import platform
from functools import lru_cache
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from synth_ai._version import __version__
from synth_ai.errors import ConnectionFailedError
from synth_ai.http.connection_errors import (
    broken_error,
    connect_timeout_error,
    describe_error,
    silence_error,
    unreachable_error,
)
from synth_ai.http.proxies import Proxy
from synth_ai.http.secrets import mask_logs
from synth_ai.http.tls import make_ssl_context
from synth_ai.http.transport import HTTPRequest, HTTPResponse, HTTPTransport
from synth_ai.timeout import Phases

# They write the addresses and reasons of failures, which may repeat a key.
_LOGGERS = ("aiohttp.client", "aiohttp.internal")

# Seconds for which a connection is kept for the next request. Some servers close theirs as soon.
_KEEPALIVE = 5.0

# Seconds for which no request was sent, after which the loop is given time to see which servers
# have closed their connections.
_PAUSE = 0.1

# Bytes of the head of a response, and of one line in it; what other libraries take.
_MAX_HEAD = 100 * 1024

# Headers of a response: as many as fit into that.
_MAX_HEADERS = 10_000

# Bytes of a body that is written at once. A larger one goes out in pieces of so many.
_PIECE = 2**16


class AiohttpTransport(HTTPTransport):
    """Sends over aiohttp.

    Args:
        base_url: the server's address.
        api_key: sent as a bearer token.
        openai_account: send what the environment says of OpenAI's account too: its organization,
            its project, and other headers.
        proxy: what stands between, and is reached over HTTP or HTTPS.

    Raises:
        SettingError: the certificates that the environment names cannot be read.
    """

    def __init__(
        self, base_url: str, api_key: str, *, openai_account: bool, proxy: Proxy | None
    ) -> None:
        mask_logs(_LOGGERS)
        headers = _account_headers() if openai_account else {}
        headers |= _make_headers(api_key)

        scheme = urlsplit(base_url).scheme
        schemes = [scheme]
        self._proxy: str | None = None
        self._proxy_headers: dict[str, str] = {}
        if proxy is not None:
            schemes.append(proxy.scheme)
            self._proxy = proxy.url
            # It is told when a tunnel through it is made; without one, with each request.
            if scheme == "https":
                self._proxy_headers = proxy.headers
            else:
                headers |= proxy.headers
        self.headers = headers

        # Reading certificates takes long, so nobody waits for those that are not needed.
        self._ssl = make_ssl_context() if "https" in schemes else True
        self._last_sent_at = 0.0

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # The slots of the pool are the limit.
                limit=0,
                keepalive_timeout=_KEEPALIVE,
                ssl=self._ssl,
                # The system's own way to look up a name, on a thread, whatever is installed.
                resolver=aiohttp.ThreadedResolver(),
            ),
            # Load balancers set cookies, also where a server has no name.
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            max_line_size=_MAX_HEAD,
            max_field_size=_MAX_HEAD,
            max_headers=_MAX_HEADERS,
        )

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        await self._notice_closed_connections()
        try:
            response = await self._session.request(
                request.method,
                # It is encoded already, and an id with %2F in it must stay so.
                URL(request.url, encoded=True),
                data=_make_body(request),
                headers=request.headers,
                allow_redirects=False,
                timeout=_make_timeout(request.phases),
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
            )
        except Exception as error:
            timeout = _timeout_error(request, error)
            raise timeout or unreachable_error(request.url, _describe(error)) from error

        return _AiohttpResponse(request, response)

    async def aclose(self) -> None:
        await self._session.close()

    def abandon(self) -> None:
        connector = self._session.connector
        if connector is None:
            return

        # Both would say that they were not closed. With its loop gone, closing awaits nothing.
        self._session.detach()
        for _ in connector.close().__await__():
            return

    async def _notice_closed_connections(self) -> None:
        """Let the event loop see which idle connections their servers have closed.

        A loop that was held up, by code that does not await, has not seen it yet, and a request
        that goes out on such a connection is lost.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._last_sent_at > _PAUSE:
            # The first time round the loop looks at the sockets, the second time it acts on it.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self._last_sent_at = now


class _AiohttpResponse(HTTPResponse):
    """A response of aiohttp."""

    __slots__ = ("_request", "_response")

    def __init__(self, request: HTTPRequest, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._request = request
        self._response = response

    async def read_piece(self) -> bytes:
        try:
            return await self._response.content.readany()
        except Exception as error:
            timeout = _timeout_error(self._request, error)
            raise timeout or broken_error(error) from error

    async def aclose(self) -> None:
        # A response that was read to its end has given its connection back by itself.
        self._response.close()


class _LargeBody(aiohttp.Payload):
    """A body that is sent in pieces, each of which the server has to take in time.

    Args:
        content: the body.
        seconds: how long a piece may take.
    """

    def __init__(self, content: bytes, seconds: float) -> None:
        super().__init__(content)
        self._content = content
        self._seconds = seconds

    @property
    def size(self) -> int:
        return len(self._content)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._content.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        view = memoryview(self._content)
        for start in range(0, len(view), _PIECE):
            async with asyncio.timeout(self._seconds):
                await writer.write(view[start : start + _PIECE])


def _make_body(request: HTTPRequest) -> bytes | aiohttp.Payload | None:
    content = request.content
    if content is None or len(content) <= _PIECE:
        return content

    return _LargeBody(content, request.phases.write)


@lru_cache(maxsize=64)
def _make_timeout(phases: Phases) -> aiohttp.ClientTimeout:
    """Make aiohttp's timeout, in which an endless one is None."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=None if math.isinf(phases.connect) else phases.connect,
        sock_read=None if math.isinf(phases.read) else phases.read,
    )


def _make_headers(api_key: str) -> dict[str, str]:
    return {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"synth-ai/{__version__} Python/{platform.python_version()}",
        "Authorization": f"Bearer {api_key}",
    }


def _account_headers() -> dict[str, str]:
    """Read the headers of OpenAI's account from the environment, by the openai SDK's names."""
    headers = {}
    # Lines such as `X-Team: search`.
    for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()

    organization = os.environ.get("OPENAI_ORG_ID")
    if organization:
        headers["OpenAI-Organization"] = organization
    project = os.environ.get("OPENAI_PROJECT_ID")
    if project:
        headers["OpenAI-Project"] = project

    return headers


def _timeout_error(request: HTTPRequest, error: Exception) -> ConnectionFailedError | None:
    """Make our error for one that says a time is over; None for another."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return connect_timeout_error(request.url, request.phases.connect)
    if isinstance(error, TimeoutError):
        return silence_error(request.url, request.phases.read)

    return None


def _describe(error: Exception) -> Exception | str:
    """Say what went wrong with a request; its headers, which hold the key, are forgotten."""
    if isinstance(error, aiohttp.ClientResponseError):
        # It came from a proxy that makes no tunnel, or from a server that does not speak HTTP.
        info = error.request_info
        no_headers = CIMultiDictProxy(CIMultiDict[str]())
        error.request_info = aiohttp.RequestInfo(info.url, info.method, no_headers, info.real_url)
        error.args = (error.request_info, ())
        return f"{error.status} {error.message}"

    if isinstance(error, aiohttp.ClientProxyConnectionError):
        reason = describe_error(error.os_error)
        return f"the proxy cannot be reached at {error.host}:{error.port}: {reason}"
    if isinstance(error, aiohttp.ClientConnectorError):
        # Its own message is about aiohttp's settings.
        return error.os_error

    return error
