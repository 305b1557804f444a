"""The one way to a server: raw JSON over the openai SDK's client, with its errors translated once.

The SDK brings connection pools, authentication and server-sent events. Its typed models are left aside, as building
them costs more than the rest of a call; so are its retries, because one policy of ours owns them.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints
from weakref import WeakKeyDictionary

from synth_ai import errors
from synth_ai.lm.rates import pace_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from synth_ai.lm.request import LMRequest

#: The SDK's own RequestOptions, which cannot be imported without importing the SDK.
SDKOptions: TypeAlias = Any

#: The HTTP libraries that the SDK can stand on: its own, and aiohttp, which costs less CPU.
TRANSPORTS = ("httpx", "aiohttp")

_BY_STATUS: Mapping[int, type[errors.ServerError]] = {
    401: errors.AuthenticationFailedError,
    403: errors.AuthenticationFailedError,
    404: errors.NotFoundError,
    408: errors.TimedOutError,
    429: errors.RateLimitError,
}

#: What the code, or else the type, of an error body says where there is no status to go by.
_BY_WORD: Mapping[str, type[errors.ServerError]] = {
    "server_error": errors.OverloadedError,
    "internal_error": errors.OverloadedError,
    "InternalServerError": errors.OverloadedError,
    "rate_limit_exceeded": errors.RateLimitError,
    "insufficient_quota": errors.RateLimitError,
}


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
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        transport: str = "httpx",
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
            data = _decoded(response.content)
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
                    _decoded(await events.response.aread())
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
            return Answer(_decoded(response.content), response.headers)

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
        return openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self.base_url,
            max_retries=0,
            # The SDK's own wrapper tries to close itself when collected, on whatever loop then runs.
            http_client=http(),
        )


def split_options(request: LMRequest) -> tuple[LMRequest, SDKOptions]:
    """A request without the options that are the SDK's rather than the API's, and those in the SDK's own terms."""
    given = request.options
    named = {
        "headers": given.get("extra_headers"),
        "params": given.get("extra_query"),
        "extra_json": given.get("extra_body"),
        "timeout": request.timeout,
    }
    if not any(value is not None for value in named.values()):
        return request, {}
    body = {key: value for key, value in given.items() if not key.startswith("extra_")}
    return replace(request, options=body), {key: value for key, value in named.items() if value is not None}


@cache
def _response_class() -> Any:
    """The HTTP response class of the SDK's own HTTP library (httpx in 2.x, httpx2 in 3.x), asked for as the result.

    The SDK hands it over as it came, which costs less than any parsing of its own, and keeps the headers.
    """
    from openai import APIStatusError

    return get_type_hints(APIStatusError.__init__)["response"]


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except ValueError as error:
        text = content.decode("utf-8", "replace")
        raise errors.MalformedAnswerError(f"The server's answer is not JSON: {text[:200]!r}", body=text) from error
    if not isinstance(data, dict):
        raise errors.MalformedAnswerError(f"The server's answer is no JSON object: {data!r:.200}", body=data)
    # Some servers, vLLM among them, send errors of their own with status 200.
    inner = data.get("error")
    if isinstance(inner, dict) and data.get("object") in (None, "error"):
        raise from_body(inner, "The server answered 200 with an error inside")
    return data


def from_body(error: Mapping[str, Any], what: str) -> errors.ServerError:
    """Our error for an error body that came without a status of its own; `what` says where it was."""
    code = error.get("code")
    status = code if isinstance(code, int) else None
    if status is not None:
        kind = _class_of(status)
    else:
        said = (_BY_WORD.get(str(error.get(name))) for name in ("code", "type"))
        kind = next((kind for kind in said if kind is not None), errors.RejectedError)
    return kind(f"{what}: {error.get('message')}", status_code=status, code=_text(code), body=dict(error))


def _class_of(status: int) -> type[errors.ServerError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return errors.OverloadedError if status >= 500 else errors.RejectedError


@contextmanager
def translated(key: str = "") -> Iterator[None]:
    """Turn the SDK's errors into ours, keeping the cause, and mask the key where a server repeats it.

    Raises:
        ServerError: TimedOutError, ConnectionFailedError, or the class of the status that came back.
    """
    try:
        yield
    except errors.SynthAIError as error:
        _mask(error, key)
        raise
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        _mask(error, key)
        _mask(ours, key)
        raise ours from error


def _mask(error: BaseException, key: str) -> None:
    """Take the key out of an error's text and attributes, and of what caused it."""
    # What is this short is no secret, and letters of it would be found in every sentence.
    if len(key) < 8:
        return
    error.args = tuple(_without(key, value) for value in error.args)
    for name, value in vars(error).items():
        if isinstance(value, (str, Mapping, list)):
            setattr(error, name, _without(key, value))
    if error.__cause__ is not None:
        _mask(error.__cause__, key)


def _without(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(key, "***")
    if isinstance(value, Mapping):
        return {_without(key, name): _without(key, inner) for name, inner in value.items()}
    return [_without(key, inner) for inner in value] if isinstance(value, list) else value


def translate(error: Exception) -> errors.ServerError | None:
    """Our error for one of the SDK's; None for an error that is not the SDK's."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return errors.TimedOutError("The server did not answer in time; the request may still have run.")
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        return errors.ConnectionFailedError(
            f"The server cannot be reached at {error.request.url.host}: {cause or error}"
        )
    if isinstance(error, openai.APIStatusError):
        return _from_status(error)
    if isinstance(error, openai.APIError):
        body = error.body if isinstance(error.body, dict) else {"message": error.message}
        return from_body(body, "The stream ended with an error")
    if isinstance(error, json.JSONDecodeError):
        return errors.MalformedAnswerError(f"An event of the stream is not JSON: {error.doc[:200]!r}", body=error.doc)
    return None


def _from_status(error: Any) -> errors.ServerError:
    status = error.status_code
    headers = error.response.headers
    message = f"{status}: {_message(error.body) or error.message}"
    if error.request_id:
        message += f" (request {error.request_id})"
    return _class_of(status)(
        message,
        status_code=status,
        request_id=error.request_id,
        code=_text(error.code),
        body=error.body,
        retry_after=_retry_after(headers),
    )


def _message(body: Any) -> str | None:
    if isinstance(body, dict):
        inner = body.get("error")
        return _text(body.get("message")) or (_message(inner) if isinstance(inner, dict) else None)
    return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name, "")) / scale
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        then = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, TypeError, ValueError):
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
