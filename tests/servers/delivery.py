"""How an answer goes over the wire: in one piece, in events, late, broken off, or reset."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from servers.answers import Answer, Delivery, Raw, new_id
from servers.bodies import Body


@dataclass(frozen=True)
class Received:
    """One request as it came in.

    Attributes:
        headers: by lower-case name.
        body: the decoded JSON; None without a body.
        delivered: set when the whole answer was handed to the network.
        abandoned: set when the client went away before that.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    delivered: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)


class Protocol(H11Protocol):
    """Lets the application reach its connection, so that it can break it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


async def receive(request: Request) -> Received:
    """Read a request to its end."""
    content = await request.body()
    return Received(
        method=request.method,
        path=request.url.path,
        query=dict(request.query_params),
        headers=dict(request.headers),
        body=json.loads(content) if content else None,
    )


def _headers() -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-request-id": new_id("req"),
        "openai-processing-ms": "3",
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "199000",
        "x-ratelimit-reset-tokens": "1ms",
    }


def as_json(body: Any) -> Response:
    """A successful answer with the headers of the service."""
    return Response(json.dumps(body), headers=_headers())


def as_raw(answer: Raw) -> Response:
    """A `Raw` answer; its own headers beat those of the service."""
    return Response(answer.encoded(), answer.status, headers={**_headers(), **answer.headers})


async def deliver_raw(answer: Raw, request: Request) -> Response:
    """A `Raw` answer after its delay: whole, broken off, or a reset connection."""
    await _pause(answer, request)
    if answer.cut_after is not None:
        return _broken_off(answer, request)
    if answer.reset:
        reset(request.state.transport)
    return as_raw(answer)


def _broken_off(answer: Raw, request: Request) -> Response:
    async def content() -> AsyncIterator[bytes]:
        yield answer.encoded()[: answer.cut_after]
        if answer.reset:
            reset(request.state.transport)

    return StreamingResponse(content(), answer.status, headers={**_headers(), **answer.headers})


async def deliver(body: Body, answer: Answer, received: Received, request: Request) -> Response:
    """A JSON answer in one piece, or the first half of it."""
    if not await _pause(answer, request):
        received.abandoned.set()
    content = json.dumps(body)
    if answer.cut_after is not None:
        if answer.reset:
            reset(request.state.transport)
        return Response(content[: len(content) // 2], headers={**_headers(), **answer.headers})
    received.delivered.set()
    return Response(content, headers={**_headers(), **answer.headers})


def stream(frames: Iterable[str], answer: Answer, received: Received, request: Request) -> Response:
    """A streamed answer: its server-sent events one by one."""

    async def content() -> AsyncIterator[str]:
        try:
            for number, frame in enumerate(frames):
                if number == answer.cut_after:
                    if answer.reset:
                        reset(request.state.transport)
                    return
                if number == answer.hold_at and not await _pause(answer, request):
                    return
                yield frame
            received.delivered.set()
        finally:
            if not received.delivered.is_set():
                received.abandoned.set()

    return StreamingResponse(
        content(),
        headers={
            **_headers(),
            "content-type": "text/event-stream; charset=utf-8",
            **answer.headers,
        },
    )


async def _pause(answer: Delivery, request: Request) -> bool:
    """Wait as the answer says; False when the client left meanwhile."""
    await asyncio.sleep(answer.delay)
    while answer.hold is not None and not answer.hold.is_set():
        if request.state.transport.is_closing():
            return False
        await asyncio.sleep(0.001)
    return True


def reset(transport: Any) -> None:
    """Break a connection with a reset instead of an orderly end."""
    at_once = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    transport.abort()
