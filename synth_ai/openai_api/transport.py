"""An LM in place of a server, under the client of the openai SDK.

This is the one module here that knows an HTTP library: the one that the SDK stands on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import openai

from synth_ai.errors import SynthAIError
from synth_ai.lm import sync
from synth_ai.lm.streams import run_with_places
from synth_ai.openai_api.encoding import encode_body
from synth_ai.openai_api.handles import Handle
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.replies import APIRequest, JSONReply, make_error_reply
from synth_ai.openai_api.routes import answer
from synth_ai.openai_api.streaming import EncodedStream

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
        await request.aread()
        reply = await _answer(self._handle, request)
        if isinstance(reply, JSONReply):
            return _convert_reply(reply)
        return http.Response(200, headers=_EVENT_STREAM, stream=_AsyncBody(reply, request))


class LMTransport(http.BaseTransport):
    """Answers the requests of an `OpenAI` by an LM.

    Args:
        handle: the LM.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def handle_request(self, request: http.Request) -> http.Response:
        """Answer a request."""
        request.read()
        # A stream that has begun may hold a place of `max_concurrency`.
        reply = run_with_places(_answer(self._handle, request))
        if isinstance(reply, JSONReply):
            return _convert_reply(reply)
        return http.Response(200, headers=_EVENT_STREAM, stream=_SyncBody(reply, request))


async def _answer(handle: Handle, request: http.Request) -> JSONReply | EncodedStream:
    """Answer a request, in the time that the client has for it.

    Raises:
        ReadTimeout: it took longer.
    """
    async with _time_limit(request):
        reply = await answer(handle, _convert_request(request))
        if isinstance(reply, JSONReply):
            return reply

        events = EncodedStream(reply)
        try:
            await events.open()
        except SynthAIError as error:
            return make_error_reply(error)
        return events


async def _read_next(events: EncodedStream, request: http.Request) -> bytes:
    """Read the next piece of a stream, in the time that the client has for it."""
    async with _time_limit(request):
        return await events.next()


class _AsyncBody(http.AsyncByteStream):
    """The body of a streamed answer; closing it aborts the call."""

    def __init__(self, events: EncodedStream, request: http.Request) -> None:
        self._events = events
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await _read_next(self._events, self._request):
            yield piece

    async def aclose(self) -> None:
        await self._events.aclose()


class _SyncBody(http.SyncByteStream):
    """The body of a streamed answer; closing it aborts the call."""

    def __init__(self, events: EncodedStream, request: http.Request) -> None:
        self._events = events
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        while piece := run_with_places(_read_next(self._events, self._request)):
            yield piece

    def close(self) -> None:
        sync.finish(self._events.aclose)


def make_async_client(handle: Handle) -> openai.AsyncOpenAI:
    """Make a client whose server is an LM."""
    http_client = http.AsyncClient(transport=AsyncLMTransport(handle), trust_env=False)
    return openai.AsyncOpenAI(http_client=http_client, **_SETTINGS)


def make_sync_client(handle: Handle) -> openai.OpenAI:
    """Make a client whose server is an LM, for callers that do not await."""
    http_client = http.Client(transport=LMTransport(handle), trust_env=False)
    return openai.OpenAI(http_client=http_client, **_SETTINGS)


#: There is no server to have a key, and the LM has its own policy of tries.
_SETTINGS: JSONObject = {"api_key": "in-process", "base_url": BASE_URL, "max_retries": 0}


def _convert_request(request: http.Request) -> APIRequest:
    path = request.url.raw_path.decode().partition("?")[0]
    return APIRequest(
        method=request.method,
        path=path.removeprefix(_PREFIX),
        query=dict(request.url.params),
        body=request.content,
    )


def _convert_reply(reply: JSONReply) -> http.Response:
    headers = {"content-type": "application/json", **reply.headers}
    return http.Response(reply.status, headers=headers, content=encode_body(reply.body))


@asynccontextmanager
async def _time_limit(request: http.Request) -> AsyncIterator[None]:
    """Limit a step to the time that the client waits for a server's next bytes.

    Raises:
        ReadTimeout: the step took longer.
    """
    timeout = request.extensions.get("timeout") or {}
    seconds = timeout.get("read")
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise http.ReadTimeout(f"There was nothing for {seconds} s.", request=request) from error
