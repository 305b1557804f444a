"""The one way to a server: raw JSON over the openai SDK's HTTP client.

The SDK brings connection pools, headers, errors and server-sent events. Its typed models are left aside, as building
them costs more than the rest of a call; so are its options, which are copied and checked for every request, and its
retries, because one policy of ours owns them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from synth_ai import errors
from synth_ai.http.connections import DONE, Line, Lines, SendOptions, Streamed
from synth_ai.http.error_mapping import decoded, decoded_event, translated
from synth_ai.http.rate_limits import pace_of
from synth_ai.http.responses import Answer, EventStream, Head, name, total_tokens
from synth_ai.http.secrets import Secrets

__all__ = ["TRANSPORTS", "SDKClient", "SendOptions"]

#: The HTTP libraries that the SDK can stand on: its own, and aiohttp, which costs less CPU.
TRANSPORTS = ("httpx", "aiohttp")


class SDKClient:
    """Calls to one server with one key, from any event loop, at the pace that the server allows.

    A pool of connections belongs to the loop it was made on, so each loop gets a client of its own when it first
    calls, and closes it when it ends; the sync methods of LM all share the one loop behind them.

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
        # No `partial`, whose repr shows the key.
        self._lines = Lines(lambda: Line.to(base_url, api_key, transport, openai_account))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url})"

    async def post(
        self, path: str, body: Mapping[str, Any], options: SendOptions | None = None
    ) -> Answer:
        """POST a JSON body and return the decoded answer.

        Raises:
            ServerError: see `translated`; also an error body that came with status 200.
        """
        secrets = self._secrets_of(options)
        async with self.pace.turn(body) as turn:
            with translated(secrets):
                line = await self._lines.here()
                async with line.places:
                    response = await line.send("POST", path, body, options)
                    await line.check(response)
                    turn.learn(response.headers)
                answer = _answer(response, secrets)
            turn.used = total_tokens(answer.data)
        return answer

    def stream(
        self, path: str, body: Mapping[str, Any], options: SendOptions | None = None
    ) -> EventStream:
        """POST a JSON body; the decoded server-sent events of the answer come as the stream is read.

        An empty event is `[DONE]`, the mark at the end of a stream on some APIs. Reading raises ServerError: see
        `translated`.
        """
        return EventStream(partial(self._events, path, body, options))

    async def _events(
        self, path: str, body: Mapping[str, Any], options: SendOptions | None, head: Head
    ) -> AsyncGenerator[dict[str, Any], None]:
        secrets = self._secrets_of(options)
        async with self.pace.turn(body) as turn:
            with translated(secrets):
                line = await self._lines.here()
                async with Streamed(line, path, body, options) as response:
                    await line.check(response)
                    turn.learn(response.headers)
                    head.request_id = _request_id(response, secrets)
                    if "json" in response.headers.get("content-type", ""):
                        decoded(secrets.masked(await response.aread()))
                        raise errors.MalformedAnswerError(
                            "The server answered a streamed call in one piece."
                        )
                    async for text in line.events(response):
                        event = {} if text == DONE else decoded_event(secrets.masked(text))
                        turn.used = total_tokens(event) or turn.used
                        yield event

    async def get(self, path: str, options: SendOptions | None = None) -> Answer:
        """GET a path and return the decoded answer."""
        secrets = self._secrets_of(options)
        with translated(secrets):
            return _answer(await self._ask("GET", path, options), secrets)

    async def delete(self, path: str) -> None:
        """DELETE a path."""
        with translated(self._secrets):
            await self._ask("DELETE", path)

    async def aclose(self) -> None:
        """Close the connections. Those of other loops are closed there, as soon as these get to it."""
        await self._lines.aclose()

    async def _ask(self, method: str, path: str, options: SendOptions | None = None) -> Any:
        line = await self._lines.here()
        response = await line.send(method, path, None, options)
        await line.check(response)
        return response

    def _secrets_of(self, options: SendOptions | None) -> Secrets:
        return self._secrets.and_of((options or {}).get("headers"))


def _answer(response: Any, secrets: Secrets) -> Answer:
    request_id = _request_id(response, secrets)
    try:
        return Answer(decoded(secrets.masked(response.content)), request_id)
    except errors.ServerError as error:
        name(error, request_id)
        raise


def _request_id(response: Any, secrets: Secrets) -> str | None:
    request_id: str | None = secrets.masked(response.headers.get("x-request-id"))
    return request_id
