"""The one way to a server: raw JSON over the openai SDK's client.

The SDK brings connection pools, authentication and server-sent events. Its typed models are left aside, as building
them costs more than the rest of a call; so are its retries, because one policy of ours owns them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints
from weakref import WeakKeyDictionary

from synth_ai import errors
from synth_ai.sdk.pace import pace_of
from synth_ai.sdk.translation import decoded, translated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: The SDK's own RequestOptions, which cannot be imported without importing the SDK.
SDKOptions: TypeAlias = Any

#: The HTTP libraries that the SDK can stand on: its own, and aiohttp, which costs less CPU.
TRANSPORTS = ("httpx", "aiohttp")


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded body and the headers that came with it."""

    data: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str | None:
        """The server's id of the request."""
        return self.headers.get("x-request-id")


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
        self._transport = transport
        self._openai_account = openai_account
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()
        self._making: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[AsyncOpenAI]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url})"

    async def post(self, path: str, body: Mapping[str, Any], options: SDKOptions | None = None) -> Answer:
        """POST a JSON body and return the decoded answer.

        Raises:
            ServerError: see `translated`; also an error body that came with status 200.
        """
        reserved = await self.pace.turn(body)
        with translated(self._api_key):
            response = await (await self._client()).post(
                path, cast_to=_response_class(), body=body, options=options or {}
            )
            self.pace.learn(response.headers)
            data = decoded(response.content)
        self.pace.settle(reserved, (data.get("usage") or {}).get("total_tokens"))
        return Answer(data, response.headers)

    async def stream(
        self, path: str, body: Mapping[str, Any], options: SDKOptions | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """POST a JSON body and yield the decoded server-sent events of the answer; closing ends the connection.

        Raises:
            ServerError: see `translated`.
        """
        from openai import AsyncStream

        await self.pace.turn(body)
        with translated(self._api_key):
            events = await (await self._client()).post(
                path,
                cast_to=object,
                body=body,
                options=options or {},
                stream=True,
                stream_cls=AsyncStream[object],
            )
            self.pace.learn(events.response.headers)
            try:
                if "json" in events.response.headers.get("content-type", ""):
                    decoded(await events.response.aread())
                    raise errors.MalformedAnswerError("The server answered a streamed call in one piece.")
                async for event in events:
                    if isinstance(event, dict):
                        yield event
            finally:
                await events.close()

    async def get(self, path: str) -> Answer:
        """GET a path and return the decoded answer."""
        with translated(self._api_key):
            response = await (await self._client()).get(path, cast_to=_response_class())
            return Answer(decoded(response.content), response.headers)

    async def delete(self, path: str) -> None:
        """DELETE a path."""
        with translated(self._api_key):
            await (await self._client()).delete(path, cast_to=_response_class())

    async def aclose(self) -> None:
        """Close the connections. Those of other loops are closed there, as soon as these get to it."""
        with self._lock:
            clients, self._clients = self._clients, WeakKeyDictionary()
        here = clients.pop(asyncio.get_running_loop(), None)
        for loop, client in clients.items():
            # Not waited for: that loop may be waiting for this one.
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(client.close(), loop)
        if here is not None:
            await here.close()

    async def _client(self) -> AsyncOpenAI:
        """This loop's client. Importing the SDK takes a second, so the first client is made on a thread."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            making = self._making.get(loop)
            if making is None:
                making = self._making[loop] = asyncio.ensure_future(asyncio.to_thread(self._make_client))
            try:
                client = self._clients[loop] = await asyncio.shield(making)
            finally:
                if making.done():
                    self._making.pop(loop, None)
        return client

    def _make_client(self) -> AsyncOpenAI:
        import openai

        http = openai.DefaultAioHttpClient if self._transport == "aiohttp" else openai.DefaultAsyncHttpxClient
        client = openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self.base_url,
            max_retries=0,
            # The SDK's own wrapper tries to close itself when collected, on whatever loop then runs.
            http_client=http(),
        )
        if not self._openai_account:
            # Read from the environment by the SDK, and no business of another server.
            client.organization = client.project = None
        return client


@cache
def _response_class() -> Any:
    """The HTTP response class of the SDK's own HTTP library (httpx in 2.x, httpx2 in 3.x), asked for as the result.

    The SDK hands it over as it came, which costs less than any parsing of its own, and keeps the headers.
    """
    from openai import APIStatusError

    return get_type_hints(APIStatusError.__init__)["response"]
