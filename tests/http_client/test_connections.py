"""How requests travel, on both transports: connections kept, bounds of heads, bodies both ways."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from servers.connections import count_connections
from servers.openai_fake import OpenAIServer
from servers.sockets import SentRequest, chat_body, reply, serve
from synth_ai import LM, Timeout
from synth_ai.errors import ConnectionFailedError, ServerError, TimedOutError

pytestmark = pytest.mark.usefixtures("transport")
counts_sockets = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them"
)

CHUNK = {"id": "x", "object": "chat.completion.chunk", "model": "m"}
EVENTS = "".join(
    f"data: {json.dumps({**CHUNK, 'choices': [choice]})}\n\n"
    for choice in (
        {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    )
)


def make_lm(base_url: str, **options: Any) -> LM:
    """An LM that tries once."""
    return LM("m", base_url=base_url, api_key="sk-0123456789abcdef", retry=False, **options)


# --- connections ----------------------------------------------------------------------------------


@counts_sockets
async def test_calls_one_after_another_share_a_connection(openai_server: OpenAIServer) -> None:
    """Streams that were read to their end too."""
    async with make_lm(openai_server.base_url, api="chat") as lm:
        before = count_connections(openai_server.base_url)
        for _ in range(3):
            await lm.respond_async("Hi")
            assert [event async for event in lm.stream_async("Hi")]
            assert count_connections(openai_server.base_url) == before + 1


async def test_a_connection_that_its_server_closed_is_not_used(transport: str) -> None:
    """Although the event loop had no time to see that it was closed."""
    closed = threading.Event()

    def answer(_: SentRequest, connection: socket.socket) -> str:
        reply(connection, chat_body())
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()
        return "close"

    with serve(answer) as server:
        async with make_lm(server.base_url) as lm:
            for _ in range(3):
                assert (await lm.respond_async("Hi")).text == "hi"
                closed.wait(5)
                closed.clear()
                # Code of the user's that does not await.
                time.sleep(0.3)
    assert len(server.requests) == 3


@counts_sockets
async def test_there_are_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other calls wait for one of them."""
    monkeypatch.setattr("synth_ai.http.connections._MAX_CONNECTIONS", 3)
    most = 0

    def answer(_: SentRequest, connection: socket.socket) -> None:
        nonlocal most
        time.sleep(0.02)
        most = max(most, count_connections(server.base_url))
        reply(connection, chat_body())

    with serve(answer) as server:
        async with make_lm(server.base_url, max_concurrency=None) as lm:
            answers = await asyncio.gather(*(lm.respond_async("Hi") for _ in range(20)))
    assert [answer.text for answer in answers] == ["hi"] * 20
    assert 1 < most <= 3


def test_cookies_come_back() -> None:
    """A load balancer knows by them where the calls before went."""

    def answer(_: SentRequest, connection: socket.socket) -> None:
        reply(connection, chat_body(), headers={"Set-Cookie": "node=7; Path=/"})

    with serve(answer) as server, make_lm(server.base_url) as lm:
        lm.respond("Hi")
        lm.respond("Hi")
    assert [request.headers.get("cookie") for request in server.requests] == [None, "node=7"]


# --- requests -------------------------------------------------------------------------------------


def test_what_goes_along_with_a_request() -> None:
    """Headers of the call come first, whatever their case; a query is written as JSON is."""
    query = {"a": True, "b": None, "c": 1.5, "d": ["x y", "ü&="], "e": "/?"}
    with (
        serve(lambda _, connection: reply(connection, chat_body())) as server,
        make_lm(server.base_url) as lm,
    ):
        lm.respond("Hi", extra_query=query, extra_headers={"USER-AGENT": "mine", "X-Trace": "t"})
        lm.respond("Hi")
    first, second = server.requests
    assert first.path == ("/v1/chat/completions?a=true&b=&c=1.5&d=x+y&d=%C3%BC%26%3D&e=%2F%3F")
    assert (first.headers["user-agent"], first.headers["x-trace"]) == ("mine", "t")
    assert second.path == "/v1/chat/completions"
    for request in server.requests:
        assert request.headers["content-type"] == "application/json"
        assert request.headers["accept"] == "application/json"
        assert request.headers["authorization"] == "Bearer sk-0123456789abcdef"


@pytest.mark.parametrize("vendor", ["openai", "another"])
def test_the_account_of_the_environment_is_openais(
    monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    """No other server sees it."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with serve(lambda _, connection: reply(connection, chat_body())) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
        if vendor == "openai":
            lm = LM("gpt-5", api="chat", retry=False)
        else:
            lm = make_lm(server.base_url)
        with lm:
            lm.respond("Hi")
    headers = server.requests[0].headers
    sent = (headers.get("openai-organization"), headers.get("openai-project"))
    assert sent == (("org-1", "proj-1") if vendor == "openai" else (None, None))


@pytest.mark.parametrize("megabytes", [1, 20])
def test_a_large_prompt_arrives_whole(megabytes: int) -> None:
    """Without a warning."""
    prompt = "".join(f"{number:>9}\n" for number in range(megabytes * 100_000))
    with (
        serve(lambda _, connection: reply(connection, chat_body())) as server,
        make_lm(server.base_url) as lm,
    ):
        assert lm.respond(prompt).text == "hi"
    assert server.requests[0].json["messages"][0]["content"] == prompt


def test_a_server_that_does_not_take_the_request() -> None:
    """It gets as long for each piece of it as for the pieces of the answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with make_lm(base_url) as lm, pytest.raises(TimedOutError, match=r"within 0\.3 s"):
            lm.respond("x" * 30_000_000, timeout=Timeout(first_byte=0.3))


# --- responses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_packed_answers(encoding: str, pack: Callable[[bytes], bytes], stream: bool) -> None:
    """They are asked for, and unpacked."""

    def answer(request: SentRequest, connection: socket.socket) -> None:
        assert encoding in request.headers["accept-encoding"]
        content = f"{EVENTS}data: [DONE]\n\n" if stream else json.dumps(chat_body())
        kind = "text/event-stream" if stream else "application/json"
        packed = pack(content.encode())
        reply(connection, packed, headers={"Content-Encoding": encoding}, content_type=kind)

    with serve(answer) as server, make_lm(server.base_url) as lm:
        if not stream:
            assert lm.respond("Hi").text == "hi"
            return
        events = lm.stream_sync("Hi")
        assert list(events)
        assert events.response.text == "hi"


def test_a_head_of_many_headers() -> None:
    """Gateways add some, and long ones."""
    headers = {f"X-Header-{number}": "v" * 100 for number in range(300)}
    headers["X-Long"] = "v" * 30_000
    with (
        serve(lambda _, connection: reply(connection, chat_body(), headers=headers)) as server,
        make_lm(server.base_url) as lm,
    ):
        assert lm.respond("Hi").text == "hi"


@pytest.mark.parametrize("line", [b"X-Endless: " + b"v" * 500_000, b"no status line at all"])
def test_a_head_that_is_none(line: bytes) -> None:
    """It is an error of the connection."""

    def answer(_: SentRequest, connection: socket.socket) -> str:
        start = b"HTTP/1.1 200 OK\r\n" if b":" in line else b""
        connection.sendall(start + line + b"\r\n\r\n")
        return "close"

    with (
        serve(answer) as server,
        make_lm(server.base_url) as lm,
        pytest.raises(ConnectionFailedError, match="cannot be reached at 127") as raised,
    ):
        lm.respond("Hi")
    error: BaseException | None = raised.value
    while error is not None:
        assert "sk-0123456789abcdef" not in f"{error} {error!r} {error.args!r} {vars(error)!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_that_breaks_off(stream: bool) -> None:
    """Before the length that was announced."""
    kind = "text/event-stream" if stream else "application/json"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 9999\r\n\r\n"

    def answer(_: SentRequest, connection: socket.socket) -> str:
        connection.sendall((head + EVENTS).encode())
        return "close"

    with (
        serve(answer) as server,
        make_lm(server.base_url) as lm,
        pytest.raises(ServerError, match="The connection broke"),
    ):
        list(lm.stream_sync("Hi")) if stream else lm.respond("Hi")


# --- what is imported -----------------------------------------------------------------------------

_IMPORTS = """
import sys
from synth_ai import LM
lm = LM("m", base_url=sys.argv[1], api_key=sys.argv[2], api=sys.argv[3])
lm.respond("Hi")
list(lm.stream_sync("Hi"))
lm.close()
loaded = {"openai", "httpx", "httpx2", "httpcore2"} & sys.modules.keys()
assert not loaded, loaded
"""


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("transport", ["aiohttp"])
def test_calls_over_aiohttp_do_without_the_sdk(openai_server: OpenAIServer, api: str) -> None:
    """Its import takes longer than many calls."""
    arguments = [openai_server.base_url, openai_server.api_key, api]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _IMPORTS, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
