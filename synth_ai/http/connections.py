"""The openai SDK's HTTP client, sent over directly: one for each event loop, closed when that ends."""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from synth_ai import errors
from synth_ai.http.error_mapping import unreached
from synth_ai.http.secrets import mask_logs
from synth_ai.timeout import Timeout

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PATIENT = Timeout()

#: The last event of a stream on Chat Completions.
DONE = "[DONE]"

#: Seconds that a server gets to end its answer after that.
_PARTING = 0.1


class SendOptions(TypedDict, total=False):
    """What may go along with a body: more headers, a query, more of the body, and how long to wait."""

    headers: Mapping[str, str]
    params: Mapping[str, Any]
    extra_json: Mapping[str, Any]
    timeout: Timeout


class Lines:
    """The lines to one server. A pool of connections belongs to the event loop it was made on, so each has its own.

    Args:
        make: makes a line; called on a thread, as importing the SDK takes a second.
    """

    def __init__(self, make: Callable[[], Line]) -> None:
        self._make = make
        self._open: dict[asyncio.AbstractEventLoop, Line] = {}
        self._making: dict[asyncio.AbstractEventLoop, asyncio.Future[Line]] = {}
        self._lock = threading.Lock()

    async def here(self) -> Line:
        """The running loop's line."""
        loop = asyncio.get_running_loop()
        line = self._open.get(loop)
        if line is not None:
            return line
        making = self._making.get(loop)
        if making is None:
            making = self._making[loop] = asyncio.ensure_future(self._made(loop))
            making.add_done_callback(lambda _: self._making.pop(loop, None))
        return await asyncio.shield(making)

    async def aclose(self) -> None:
        """Close all lines. Those of other loops are closed there, as soon as these get to it."""
        with self._lock:
            lines, self._open = self._open, {}
        here = lines.pop(asyncio.get_running_loop(), None)
        for loop, line in lines.items():
            # Not waited for: that loop may be waiting for this one.
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(line.aclose(), loop)
        if here is not None:
            await here.aclose()

    async def _made(self, loop: asyncio.AbstractEventLoop) -> Line:
        line = await asyncio.to_thread(self._make)
        await line.open()
        with self._lock:
            # A line refers to its loop, so those of ended loops would stay for ever.
            for ended in [other for other in self._open if other.is_closed()]:
                del self._open[ended]
            self._open[loop] = line
        return line


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Line:
    """One event loop's way to the server.

    Attributes:
        sdk: the SDK's client.
        http: the client of the SDK's HTTP library (httpx in 2.x, httpx2 in 3.x) under it.
        headers: what every request carries, the key included.
        places: as many as there can be connections. The HTTP library goes through all that wait with every answer, so
            calls wait here.
        closing: closes the line when it is closed itself.
    """

    sdk: AsyncOpenAI
    http: Any
    headers: dict[str, str] = field(repr=False)
    places: asyncio.Semaphore = field(repr=False)
    closing: AsyncGenerator[None, None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "closing", _closing(weakref.ref(self)))

    @classmethod
    def to(cls, base_url: str, api_key: str, transport: str, openai_account: bool) -> Line:
        """A line to a server; the arguments are those of `SDKClient`."""
        import openai

        mask_logs()
        http = (
            openai.DefaultAioHttpClient
            if transport == "aiohttp"
            else openai.DefaultAsyncHttpxClient
        )
        # The SDK's own client tries to close itself when collected, on whatever loop then runs.
        client = http()
        sdk = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, http_client=client)
        if not openai_account:
            # Read from the environment by the SDK, and no business of another server.
            sdk.organization = sdk.project = None
        # What is not to be sent is marked there by something that is no text.
        headers = {
            name: value for name, value in sdk.default_headers.items() if isinstance(value, str)
        }
        places = asyncio.Semaphore(openai.DEFAULT_CONNECTION_LIMITS.max_connections or 1000)
        return cls(sdk, client, headers | {"Authorization": f"Bearer {api_key}"}, places)

    async def open(self) -> None:
        """Let the running event loop close the line at its end, as it does with every generator begun on it."""
        await anext(self.closing)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.closing.aclose()

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        options: SendOptions | None = None,
        *,
        stream: bool = False,
    ) -> Any:
        """The HTTP library's response whatever its status, read to its end unless `stream` is set.

        Raises:
            ServerError: the server could not be reached.
        """
        options = options or {}
        request = self.http.build_request(
            method,
            f"{str(self.sdk.base_url).rstrip('/')}{path}",
            content=None if body is None else encoded({**body, **options.get("extra_json", {})}),
            headers=self._headers(options.get("headers")),
            params=options.get("params"),
            timeout=options.get("timeout", _PATIENT).phases,
        )
        try:
            return await self.http.send(request, stream=stream)
        except Exception as error:
            raise unreached(error, request.url.netloc.decode()) from error

    async def check(self, response: Any) -> None:
        """Nothing if the status of a response is success.

        Raises:
            openai.APIStatusError: it is another.
        """
        if response.is_success:
            return
        try:
            await response.aread()
        finally:
            await response.aclose()
        raise self.sdk._make_status_error_from_response(response)

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        if not more:
            return self.headers
        named = {name.lower() for name in more}
        return {
            name: value for name, value in self.headers.items() if name.lower() not in named
        } | dict(more)

    async def events(self, response: Any) -> AsyncIterator[str]:
        """The data of the server-sent events of a response that is being streamed; nothing comes after `DONE`."""
        events = self.sdk._make_sse_decoder().aiter_bytes(response.aiter_bytes())
        async for event in events:
            if event.data.startswith(DONE):
                yield DONE
                await _read_rest(events)
                return
            if event.data:
                yield event.data


class Streamed:
    """The response to a POST while it is read: `async with` waits for a connection and ends it.

    Raises:
        ServerError: the server could not be reached.
    """

    # No generator: at the end of its loop that would be closed in another task, which connections do not survive.
    def __init__(
        self, line: Line, path: str, body: Mapping[str, Any], options: SendOptions | None
    ) -> None:
        self._line = line
        self._what = path, body, options

    async def __aenter__(self) -> Any:
        await self._line.places.acquire()
        try:
            self._response = await self._line.send("POST", *self._what, stream=True)
        except BaseException:
            self._line.places.release()
            raise
        return self._response

    async def __aexit__(self, *why: object) -> None:
        try:
            await self._response.aclose()
        finally:
            self._line.places.release()


async def _closing(line: weakref.ref[Line]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        # A line that nobody holds any more has no call under way; its connections go with it.
        if (left := line()) is not None:
            await left.sdk.close()


async def _read_rest(events: AsyncIterator[Any]) -> None:
    """Read what is left, as only a connection that was read to its end serves the next call."""
    # All that was asked for is here, so nothing that goes wrong from now on is worth an error.
    with suppress(Exception):
        async with asyncio.timeout(_PARTING):
            async for _ in events:
                pass


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as JSON.

    Raises:
        RequestError: it holds what JSON cannot.
    """
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise errors.RequestError(f"The request cannot be written as JSON: {error}.") from error
