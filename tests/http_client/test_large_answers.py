"""An answer takes as much memory as `max_response_bytes` allows, however a server sends it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.sockets import Handler, SentRequest, chat_body, reply, serve
from synth_ai import LM
from synth_ai.errors import OptionError, OverloadedError, ResponseTooLargeError

TRANSPORTS = ("httpx", "aiohttp")
LIMIT = 2**20
PIECE = b" " * 65_536

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def _compressed(megabytes: int) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = [compressor.compress(b" " * 2**20) for _ in range(megabytes)]
    return b"".join([*pieces, compressor.flush()])


def _send(start: bytes, pieces: Iterable[bytes]) -> Handler:
    def answer(_: SentRequest, connection: socket.socket) -> str:
        connection.sendall(start)
        for piece in pieces:
            connection.sendall(piece)
        return "close"

    return answer


def _without_end(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def _length(number: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % number


def answers_too_large() -> dict[str, tuple[bool, Handler]]:
    """The ways to send too much, and whether the call is a stream."""
    packed = _compressed(64)
    gzip = PLAIN + b"Content-Encoding: gzip\r\n" + _length(len(packed))
    gzip_events = EVENTS.removesuffix(b"\r\n") + b"Content-Encoding: gzip\r\n\r\n"
    return {
        "a length": (False, _send(PLAIN + _length(2**30), _without_end(PIECE))),
        "no length": (False, _send(PLAIN + b"Connection: close\r\n\r\n", _without_end(PIECE))),
        "gzip": (False, _send(gzip, [packed])),
        "events without an end": (True, _send(EVENTS, _without_end(b'data: {"id":"x"}\n\n' * 99))),
        "one endless line": (True, _send(EVENTS + b"data: ", _without_end(PIECE))),
        "one endless event": (True, _send(EVENTS, _without_end(b"data: ab\n" * 999))),
        "comments without an end": (True, _send(EVENTS, _without_end(b": wait\n\n" * 999))),
        "gzip of events": (True, _send(gzip_events, [packed])),
        "JSON for a stream": (True, _send(gzip, [packed])),
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", answers_too_large())
def test_a_larger_answer_is_an_error(transport: Any, name: str) -> None:
    """It is not tried again, and the connection is given up."""
    is_stream, answer = answers_too_large()[name]
    with serve(answer) as server:
        lm = LM("m", base_url=server.base_url, max_response_bytes=LIMIT, transport=transport)
        with pytest.raises(ResponseTooLargeError, match=f"max_response_bytes={LIMIT}"):
            list(lm.stream_sync("x")) if is_stream else lm.respond("x")
    assert len(server.requests) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_answer_of_just_the_bound(transport: Any) -> None:
    """It is taken; with one byte more it is not."""
    body = json.dumps(chat_body("x" * 1000))

    def ask(max_response_bytes: int) -> str | None:
        lm = LM(
            "m",
            base_url=server.base_url,
            retry=False,
            transport=transport,
            max_response_bytes=max_response_bytes,
        )
        return lm.respond("x").text

    with serve(lambda _, connection: reply(connection, body)) as server:
        assert ask(len(body)) == "x" * 1000
        with pytest.raises(ResponseTooLargeError):
            ask(len(body) - 1)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("packed", [False, True])
def test_of_an_error_the_beginning_is_read(transport: Any, packed: bool) -> None:
    """It is the server's error, whatever its size."""
    page = b"<p>Out of order.</p>" + b" " * 8 * 2**20
    headers = {}
    if packed:
        compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
        page = compressor.compress(page) + compressor.flush()
        headers["Content-Encoding"] = "gzip"

    def answer(_: SentRequest, connection: socket.socket) -> None:
        reply(connection, page, status="500 Oops", headers=headers, content_type="text/html")

    with serve(answer) as server, pytest.raises(OverloadedError, match="Out of order") as raised:
        LM("m", base_url=server.base_url, retry=False, transport=transport).respond("x")
    assert len(raised.value.body) <= 2**20


@pytest.mark.parametrize("bound", [0, -1, 1.5, True, "1", float("nan")])
def test_the_bound_is_a_whole_number(bound: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(OptionError, match="max_response_bytes"):
        LM("m", base_url="http://localhost:1/v1", max_response_bytes=bound)


_SCRIPT = """
import resource, sys
sys.path[:0] = sys.argv[3:]
from http_client.test_large_answers import LM, answers_too_large, serve
from synth_ai.errors import ResponseTooLargeError
is_stream, answer = answers_too_large()[sys.argv[1]]
def ask(max_response_bytes):
    lm = LM("m", base_url=server.base_url, retry=False, transport=sys.argv[2],
            max_response_bytes=max_response_bytes)
    try:
        list(lm.stream_sync("x")) if is_stream else lm.respond("x")
    except ResponseTooLargeError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with serve(answer) as server:
    before = ask(1)
    print(ask(50 * 2**20) - before)
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["no length", "gzip", "one endless line", "one endless event"])
def test_memory_grows_by_little_more_than_the_bound(transport: str, name: str) -> None:
    """By at most 100 MB more."""
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, name, transport, str(tests), str(tests.parent)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50 + 100
