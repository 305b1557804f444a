"""The one way to a server: raw JSON over the openai SDK's HTTP client.

The SDK brings connection pools, headers, errors and server-sent events. Its typed models are left aside, as building
them costs more than the rest of a call; so are its options, which are copied and checked for every request, and its
retries, because one policy of ours owns them.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypedDict
from weakref import WeakKeyDictionary

from synth_ai import errors
from synth_ai.sdk.pace import pace_of
from synth_ai.sdk.secrets import Secrets, mask_logs
from synth_ai.sdk.timeouts import Timeout
from synth_ai.sdk.translation import decoded, decoded_event, translated, unreached

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: The HTTP libraries that the SDK can stand on: its own, and aiohttp, which costs less CPU.
TRANSPORTS = ("httpx", "aiohttp")


_PATIENT = Timeout()

#: The last event of a stream on Chat Completions.
_DONE = "[DONE]"

#: Seconds that a server gets to end its answer after that.
_PARTING = 0.1


class SendOptions(TypedDict, total=False):
    """What may go along with a body: more headers, a query, more of the body, and how long to wait."""

    headers: Mapping[str, str]
    params: Mapping[str, Any]
    extra_json: Mapping[str, Any]
    timeout: Timeout


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded body and the server's id of the request."""

    data: dict[str, Any]
    request_id: str | None


class SDKClient:
    """Calls to one server with one key, from any event loop, at the pace that the server allows.

    A pool of connections belongs to the loop it was made on, so each loop gets a client of its own when it first
    calls; the sync methods of LM all share the one loop behind them.

    Args:
        base_url: the server's address.
        api_key: sent as a bearer token.
        transport: the HTTP library, one of `TRANSPORTS`.
        openai_account: send the organization and project of the environment along, which are OpenAI's.

    Raises:
        OptionError: there is no such transport.
        MissingExtraError: the transport is not installed.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        transport: str = "httpx",
        openai_account: bool = False,
    ) -> None:
        if transport not in TRANSPORTS:
            raise errors.OptionError(
                f"transport={transport!r} is unknown; it takes {' or '.join(TRANSPORTS)}."
                f"{errors.did_you_mean(transport, TRANSPORTS)}"
            )
        if transport == "aiohttp" and find_spec("aiohttp") is None:
            raise errors.MissingExtraError(
                "transport='aiohttp' needs aiohttp: pip install \"synth-ai[aiohttp]\", or leave the option out."
            )
        self.base_url = base_url
        self.pace = pace_of(base_url, api_key)
        self._api_key = api_key
        self._secrets = Secrets([api_key])
        self._transport = transport
        self._openai_account = openai_account
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._making: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[_Line]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url})"

    async def post(self, path: str, body: Mapping[str, Any], options: SendOptions | None = None) -> Answer:
        """POST a JSON body and return the decoded answer.

        Raises:
            ServerError: see `translated`; also an error body that came with status 200.
        """
        reserved = await self.pace.turn(body)
        secrets = self._secrets_of(options)
        with translated(secrets):
            response = await (await self._line()).send("POST", path, body, options)
            self.pace.learn(response.headers)
            answer = _answer(response, secrets)
        self.pace.settle(reserved, (answer.data.get("usage") or {}).get("total_tokens"))
        return answer

    async def stream(
        self, path: str, body: Mapping[str, Any], options: SendOptions | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """POST a JSON body and yield the decoded server-sent events of the answer; closing ends the connection.

        An empty event is `[DONE]`, the mark at the end of a stream on some APIs.

        Raises:
            ServerError: see `translated`.
        """
        await self.pace.turn(body)
        secrets = self._secrets_of(options)
        with translated(secrets):
            line = await self._line()
            response = await line.send("POST", path, body, options, stream=True)
            try:
                self.pace.learn(response.headers)
                if "json" in response.headers.get("content-type", ""):
                    decoded(secrets.masked(await response.aread()))
                    raise errors.MalformedAnswerError("The server answered a streamed call in one piece.")
                async for event in line.events(response):
                    yield {} if event == _DONE else decoded_event(secrets.masked(event))
            finally:
                await response.aclose()

    async def get(self, path: str) -> Answer:
        """GET a path and return the decoded answer."""
        with translated(self._secrets):
            return _answer(await (await self._line()).send("GET", path), self._secrets)

    async def delete(self, path: str) -> None:
        """DELETE a path."""
        with translated(self._secrets):
            await (await self._line()).send("DELETE", path)

    async def aclose(self) -> None:
        """Close the connections. Those of other loops are closed there, as soon as these get to it."""
        with self._lock:
            lines, self._lines = self._lines, WeakKeyDictionary()
        here = lines.pop(asyncio.get_running_loop(), None)
        for loop, line in lines.items():
            # Not waited for: that loop may be waiting for this one.
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(line.sdk.close(), loop)
        if here is not None:
            await here.sdk.close()

    async def _line(self) -> _Line:
        """This loop's line. Importing the SDK takes a second, so the first one is made on a thread."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            making = self._making.get(loop)
            if making is None:
                making = self._making[loop] = asyncio.ensure_future(asyncio.to_thread(self._make_line))
            try:
                line = self._lines[loop] = await asyncio.shield(making)
            finally:
                if making.done():
                    self._making.pop(loop, None)
        return line

    def _secrets_of(self, options: SendOptions | None) -> Secrets:
        return self._secrets.and_of((options or {}).get("headers"))

    def _make_line(self) -> _Line:
        import openai

        mask_logs()
        http = openai.DefaultAioHttpClient if self._transport == "aiohttp" else openai.DefaultAsyncHttpxClient
        sdk = openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self.base_url,
            # The SDK's own wrapper tries to close itself when collected, on whatever loop then runs.
            http_client=http(),
        )
        if not self._openai_account:
            # Read from the environment by the SDK, and no business of another server.
            sdk.organization = sdk.project = None
        return _Line.over(sdk, self._api_key)


@dataclass(frozen=True, slots=True)
class _Line:
    """One event loop's way to the server.

    Attributes:
        sdk: the SDK's client.
        http: the client of the SDK's HTTP library (httpx in 2.x, httpx2 in 3.x) under it.
        headers: what every request carries, the key included.
    """

    sdk: AsyncOpenAI
    http: Any
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def over(cls, sdk: AsyncOpenAI, api_key: str) -> _Line:
        # What is not to be sent is marked there by something that is no text.
        headers = {name: value for name, value in sdk.default_headers.items() if isinstance(value, str)}
        return cls(sdk, sdk._client, headers | {"Authorization": f"Bearer {api_key}"})

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        options: SendOptions | None = None,
        *,
        stream: bool = False,
    ) -> Any:
        """The HTTP library's response, read to its end unless `stream` is set.

        Raises:
            ServerError: the server could not be reached.
            openai.APIStatusError: it answered with another status than success.
        """
        options = options or {}
        request = self.http.build_request(
            method,
            f"{self.sdk.base_url}{path.removeprefix('/')}",
            content=None if body is None else encoded({**body, **options.get("extra_json", {})}),
            headers=self._headers(options.get("headers")),
            params=options.get("params"),
            timeout=options.get("timeout", _PATIENT).phases,
        )
        try:
            response = await self.http.send(request, stream=stream)
        except Exception as error:
            raise unreached(error, request.url.host) from error
        if not response.is_success:
            try:
                await response.aread()
            finally:
                await response.aclose()
            raise self.sdk._make_status_error_from_response(response)
        return response

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        if not more:
            return self.headers
        named = {name.lower() for name in more}
        return {name: value for name, value in self.headers.items() if name.lower() not in named} | dict(more)

    async def events(self, response: Any) -> AsyncIterator[str]:
        """The data of the server-sent events of a response that is being streamed; nothing comes after `_DONE`."""
        events = self.sdk._make_sse_decoder().aiter_bytes(response.aiter_bytes())
        async for event in events:
            if event.data.startswith(_DONE):
                yield _DONE
                await _read_rest(events)
                return
            if event.data:
                yield event.data


async def _read_rest(events: AsyncIterator[Any]) -> None:
    """Read what is left, as only a connection that was read to its end serves the next call."""
    # All that was asked for is here, so nothing that goes wrong from now on is worth an error.
    with suppress(Exception):
        async with asyncio.timeout(_PARTING):
            async for _ in events:
                pass


def _answer(response: Any, secrets: Secrets) -> Answer:
    return Answer(decoded(secrets.masked(response.content)), secrets.masked(response.headers.get("x-request-id")))


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as JSON.

    Raises:
        RequestError: it holds what JSON cannot.
    """
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise errors.RequestError(f"The request cannot be written as JSON: {error}.") from error
