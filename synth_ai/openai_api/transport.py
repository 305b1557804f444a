"""An LM in place of a server, under the client of the openai SDK.

This is the one module here that knows an HTTP library: the one that the SDK stands on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import openai

from synth_ai.errors import SynthAIError
from synth_ai.lm import sync
from synth_ai.openai_api.handles import Handle
from synth_ai.openai_api.replies import (
    APIRequest,
    JSONReply,
    StreamedReply,
    make_error_reply,
)
from synth_ai.openai_api.routes import answer
from synth_ai.openai_api.streaming import AsyncEvents, SyncEvents

if TYPE_CHECKING:
    import httpx2 as http
else:
    # openai 2.x stands on httpx, whose classes have the same names.
    _MAJOR_VERSION = int(openai.__version__.partition(".")[0])
    http = import_module("httpx2" if _MAJOR_VERSION >= 3 else "httpx")

BASE_URL = "http://in-process.invalid/v1"
"""The address of every LM. It is never looked up."""

_PREFIX = "/v1"
_EVENT_STREAM = {"content-type": "text/event-stream"}


class AsyncLMTransport(http.AsyncBaseTransport):
    """Answers the requests of an `AsyncOpenAI` by an LM.

    Args:
        handle: the LM.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def handle_async_request(self, request: http.Request) -> http.Response:
        """Answer a request."""
        body = await request.aread()
        seconds = _read_timeout(request)
        try:
            async with asyncio.timeout(seconds):
                reply = await answer(self._handle, _convert_request(request, body))
                if isinstance(reply, JSONReply):
                    return _convert_reply(reply)
                return await self._open(reply, seconds)
        except TimeoutError as error:
            raise _timeout_error(request, seconds) from error

    async def _open(self, reply: StreamedReply, seconds: float | None) -> http.Response:
        events = AsyncEvents(reply)
        try:
            await events.open()
        except SynthAIError as error:
            return _convert_reply(make_error_reply(error))
        return http.Response(200, headers=_EVENT_STREAM, stream=_AsyncBody(events, seconds))


class LMTransport(http.BaseTransport):
    """Answers the requests of an `OpenAI` by an LM.

    Args:
        handle: the LM.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def handle_request(self, request: http.Request) -> http.Response:
        """Answer a request."""
        body = request.read()
        reply = sync.run(self._answer(request, body))
        if isinstance(reply, JSONReply):
            return _convert_reply(reply)

        events = SyncEvents(reply)
        try:
            events.open()
        except SynthAIError as error:
            return _convert_reply(make_error_reply(error))
        return http.Response(200, headers=_EVENT_STREAM, stream=_SyncBody(events))

    async def _answer(self, request: http.Request, body: bytes) -> JSONReply | StreamedReply:
        seconds = _read_timeout(request)
        try:
            async with asyncio.timeout(seconds):
                return await answer(self._handle, _convert_request(request, body))
        except TimeoutError as error:
            raise _timeout_error(request, seconds) from error


class _AsyncBody(http.AsyncByteStream):
    """The body of a streamed answer; closing it aborts the call."""

    def __init__(self, events: AsyncEvents, seconds: float | None) -> None:
        self._events = events
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._events:
            yield piece

    async def aclose(self) -> None:
        await self._events.aclose()


class _SyncBody(http.SyncByteStream):
    """The body of a streamed answer; closing it aborts the call."""

    def __init__(self, events: SyncEvents) -> None:
        self._events = events

    def __iter__(self) -> Iterator[bytes]:
        yield from self._events

    def close(self) -> None:
        self._events.close()


def make_async_client(handle: Handle) -> openai.AsyncOpenAI:
    """Make a client whose server is an LM."""
    http_client = http.AsyncClient(transport=AsyncLMTransport(handle), trust_env=False)
    return openai.AsyncOpenAI(http_client=http_client, **_SETTINGS)


def make_sync_client(handle: Handle) -> openai.OpenAI:
    """Make a client whose server is an LM, for callers that do not await."""
    http_client = http.Client(transport=LMTransport(handle), trust_env=False)
    return openai.OpenAI(http_client=http_client, **_SETTINGS)


#: There is no server to have a key, and the LM has its own policy of tries.
_SETTINGS: dict[str, Any] = {"api_key": "in-process", "base_url": BASE_URL, "max_retries": 0}


def _convert_request(request: http.Request, body: bytes) -> APIRequest:
    path = request.url.raw_path.decode().partition("?")[0]
    return APIRequest(
        method=request.method,
        path=path.removeprefix(_PREFIX),
        query=dict(request.url.params),
        body=body,
    )


def _convert_reply(reply: JSONReply) -> http.Response:
    return http.Response(reply.status, headers=reply.headers, json=reply.body)


def _read_timeout(request: http.Request) -> float | None:
    """Read how many seconds the client waits for an answer; None for as long as it takes."""
    timeout = request.extensions.get("timeout") or {}
    seconds = timeout.get("read")
    return None if seconds is None else float(seconds)


def _timeout_error(request: http.Request, seconds: float | None) -> http.ReadTimeout:
    return http.ReadTimeout(f"The answer took longer than {seconds:g} s.", request=request)
