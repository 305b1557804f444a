"""Every request's way: whose it is, what it may still use, its answer, and the record of it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from synth_ai.backend.callers import Caller, find_caller
from synth_ai.backend.config import BackendConfig
from synth_ai.backend.limits import CallerLimits, LimitsByCaller, make_retry_headers
from synth_ai.backend.metrics import Metrics
from synth_ai.backend.replies import PiecesReply, Service, WholeReply, as_json
from synth_ai.backend.usage import UsageRecord
from synth_ai.errors import SynthAIError
from synth_ai.http.token_estimate import estimate_tokens
from synth_ai.openai_api.error_bodies import find_status, make_error_body, make_error_headers
from synth_ai.openai_api.refusals import RefusedRequestError
from synth_ai.openai_api.replies import APIRequest

logger = logging.getLogger("synth_ai.backend")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Routes by their first segment behind the prefix, for metrics and logs: no id is in them.
_ROUTES = {"responses": "/responses", "chat": "/chat/completions", "models": "/models"}


class ClientGoneError(Exception):
    """The client has closed the connection, so nobody reads the answer."""


class Gateway:
    """An ASGI application over a service.

    Args:
        service: answers the requests.
        options: who may ask, and how much.
    """

    def __init__(self, service: Service, options: BackendConfig) -> None:
        self._service = service
        self._options = options
        self._limits = LimitsByCaller(options.limits)
        self.metrics = Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        self.metrics.in_flight.inc()
        try:
            await self._answer(exchange)
        except ClientGoneError:
            exchange.status = 499  # as nginx logs it
        finally:
            self.metrics.in_flight.dec()
            self._note(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            caller = await find_caller(
                exchange.headers, self._options.keys, needs_key=self._options.needs_key
            )
            exchange.caller_name = caller.name
            content = await exchange.read_body(self._options.limits.max_body_bytes)
            request = exchange.make_request(self._options.prefix, content)
            await self._answer_caller(exchange, request, caller)
        except (SynthAIError, RefusedRequestError) as error:
            await exchange.send_error(error)
        except ClientGoneError:
            raise
        except Exception:
            logger.exception("A request failed: %s", exchange.id)
            message = "The server had an error while processing your request."
            await exchange.send_error(RefusedRequestError(message, status=500))

    async def _answer_caller(self, exchange: Exchange, request: APIRequest, caller: Caller) -> None:
        if request.method != "POST":
            record = UsageRecord(caller=caller.name)
            answer = await self._service.answer(request, caller, record)
            await exchange.send(answer)
            return

        limits = self._limits.of(caller.name)
        estimated = 0
        if limits.counts_tokens:
            estimated = estimate_tokens(_read_lenient(request.body))
        limits.admit(estimated)
        exchange.more_headers = limits.make_headers()

        record = UsageRecord(caller=caller.name)
        exchange.record = record
        try:
            await self._send_new(exchange, request, caller, limits, record)
        finally:
            limits.settle(estimated, record.total_tokens)

    async def _send_new(
        self,
        exchange: Exchange,
        request: APIRequest,
        caller: Caller,
        limits: CallerLimits,
        record: UsageRecord,
    ) -> None:
        """Have a response made, and send it. From here on it is recorded, however it ends."""
        answering = self._service.answer(request, caller, record)
        answer = await exchange.watch(answering)
        if answer.status >= 400:
            # Nothing was made of it.
            exchange.record = None
            await exchange.send(answer)
            return

        if isinstance(answer, WholeReply):
            await exchange.send(answer)
            self._finish(exchange, record)
            return

        try:
            limits.open_stream()
        except RefusedRequestError:
            await answer.aclose()
            raise
        self.metrics.streams.inc()
        try:
            await exchange.send(answer)
        finally:
            self.metrics.streams.dec()
            limits.close_stream()
            self._finish(exchange, record)

    def _finish(self, exchange: Exchange, record: UsageRecord) -> None:
        """Record a response that is over."""
        record.seconds = time.monotonic() - exchange.began_at
        self.metrics.note_response(record)
        if self._options.on_usage is not None:
            self._options.on_usage(record)

    def _note(self, exchange: Exchange) -> None:
        """Log a request that is over: nothing of what was said, and no key."""
        seconds = time.monotonic() - exchange.began_at
        self.metrics.note_request(exchange.route, exchange.status, seconds)
        if not logger.isEnabledFor(logging.INFO):
            return

        record = exchange.record
        entry = {
            "request_id": exchange.id,
            "method": exchange.method,
            "route": exchange.route,
            "status": exchange.status,
            "seconds": round(seconds, 6),
            "caller": exchange.caller_name,
            "response_id": None if record is None else record.response_id,
            "ended": None if record is None else record.status,
        }
        logger.info("%s", json.dumps(entry))


class Exchange:
    """One request and its answer, as ASGI has them.

    Attributes:
        id: of the request, which the answer's headers and the log have.
        method: such as `POST`.
        headers: of the request, by lower-case name.
        route: the route without any id.
        status: of the answer.
        caller_name: who asked, once that is known.
        record: of the response that was made, if one was.
        more_headers: what the answer's headers have beside its own.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = f"req_{uuid.uuid4().hex}"
        self.method: str = scope["method"]
        self.headers = _read_headers(scope["headers"])
        self.path: str = scope["raw_path"].decode("latin-1")
        self.route = "other"
        self.status = 500
        self.caller_name: str | None = None
        self.record: UsageRecord | None = None
        self.more_headers: Mapping[str, str] = {}
        self.began_at = time.monotonic()
        self._query: bytes = scope["query_string"]
        self._receive = receive
        self._send = send
        self._has_begun = False

    async def read_body(self, max_bytes: int) -> bytes:
        """Read the body of the request.

        Raises:
            RefusedRequestError: it is longer than it may be.
            ClientGoneError: it breaks off.
        """
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise _refuse_long(max_bytes)

        pieces = []
        total = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece = message.get("body", b"")
            total += len(piece)
            if total > max_bytes:
                raise _refuse_long(max_bytes)
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)

    def make_request(self, prefix: str, content: bytes) -> APIRequest:
        """Make the request that a service answers."""
        path = self.path.removeprefix(prefix) or "/"
        self.route = _ROUTES.get(path.strip("/").split("/")[0], "other")
        query = dict(parse_qsl(self._query.decode("latin-1"), keep_blank_values=True))
        return APIRequest(self.method, path, query, content, self.headers)

    async def watch(
        self, answering: Awaitable[WholeReply | PiecesReply]
    ) -> WholeReply | PiecesReply:
        """Wait for an answer, but not after the client is gone: that cancels it.

        Raises:
            ClientGoneError: the client is gone.
        """
        answer = asyncio.ensure_future(answering)
        gone = asyncio.ensure_future(self._wait_for_end())
        either: set[asyncio.Future[Any]] = {answer, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise ClientGoneError
        finally:
            await _cancel(gone)
            await _cancel(answer)

    async def send(self, answer: WholeReply | PiecesReply) -> None:
        """Send an answer.

        Raises:
            ClientGoneError: the client is gone.
        """
        if isinstance(answer, WholeReply):
            await self._send_whole(answer)
            return

        gone = asyncio.ensure_future(self._wait_for_end())
        try:
            await self._begin(answer.status, answer.headers)
            while True:
                piece = await self._next_piece(answer, gone)
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                if not piece:
                    break
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            await _cancel(gone)
            await answer.aclose()

    async def send_error(self, error: SynthAIError | RefusedRequestError) -> None:
        """Send an error, unless an answer has begun already."""
        if self._has_begun:
            return
        reply = as_json(make_error_body(error), find_status(error))
        headers = {**reply.headers, **make_error_headers(error)}
        if isinstance(error, RefusedRequestError):
            headers |= make_retry_headers(error)
        await self._send_whole(WholeReply(reply.content, reply.status, headers))

    async def _next_piece(self, answer: PiecesReply, gone: asyncio.Future[None]) -> bytes:
        """Read the next piece of a stream, unless the client leaves first."""
        if gone.done():
            raise ClientGoneError
        reading = asyncio.ensure_future(answer.next())
        either: set[asyncio.Future[Any]] = {reading, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            raise ClientGoneError
        finally:
            await _cancel(reading)

    async def _send_whole(self, answer: WholeReply) -> None:
        headers = {**answer.headers, "content-length": str(len(answer.content))}
        await self._begin(answer.status, headers)
        await self._send({"type": "http.response.body", "body": answer.content})

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._has_begun = True
        self.status = status
        all_headers = {"x-request-id": self.id, **self.more_headers, **headers}
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in all_headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _wait_for_end(self) -> None:
        """Wait until the client closes the connection."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return


async def _cancel(future: asyncio.Future[Any]) -> None:
    """Cancel what is still under way, and wait until it has ended."""
    if future.done():
        return
    future.cancel()
    await asyncio.wait([future])


def _read_headers(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _read_lenient(content: bytes) -> Mapping[str, object]:
    """Read a body for an estimate; what is wrong with it, the service says."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _refuse_long(max_bytes: int) -> RefusedRequestError:
    return RefusedRequestError(
        f"The body of your request is longer than {max_bytes:,} bytes, which is the most here.",
        status=413,
        code="request_too_large",
    )
