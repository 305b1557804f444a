"""`timeout=` begins with a call's place and covers the store; errors say what was waited for."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from servers.slow import call_many, serve_slowly
from servers.sockets import chat_body
from synth_ai import LM, LMRequest, SQLiteStore, Timeout
from synth_ai.errors import NotFoundError, OptionError, RateLimitError, TimedOutError
from synth_ai.http.rate_limits import rate_limiter_for
from synth_ai.lm import sync
from synth_ai.testing import ScriptedVendor

HEAD = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
DELTA = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
STOP = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
END = STOP + b"data: [DONE]\n\n"
CHAT = json.dumps(chat_body()).encode()
TRANSPORTS = ["httpx", "aiohttp"]


class RawServer:
    """Answers every request with the same bytes after a while; None never answers."""

    def __init__(
        self, answer: bytes | None, *, status: bytes = b"200 OK", kind: bytes = b"json"
    ) -> None:
        self.seen = 0
        self._answer = None
        if answer is not None:
            self._answer = HEAD % (status, kind, len(answer)) + answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for connection in [self._socket, *self._open]:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            connection.recv(65536)
            self.seen += 1
            if self._answer is not None:
                connection.sendall(self._answer)
                connection.close()


@pytest.fixture
def silent() -> Iterator[RawServer]:
    with closing(RawServer(None)) as server:
        yield server


def lm_at(server: RawServer, **options: object) -> LM:
    return LM("m", base_url=server.url, api_key="k", retry=False, **options)  # type: ignore[arg-type]


def read_stream(lm: LM, text: str) -> None:
    list(lm.stream_sync(text))


async def answer_in_50_ms(request: LMRequest) -> str:
    await asyncio.sleep(0.05)
    return "ok"


async def test_no_call_times_out_in_the_queue() -> None:
    """Its time begins when it has its place, however long it stood in the queue."""
    vendor = ScriptedVendor([answer_in_50_ms] * 2000)
    lm = LM("m", vendor=vendor, max_concurrency=64, timeout=1)
    answers = await lm.respond_batch_async([f"row {n}" for n in range(2000)])
    assert len(answers) == 2000


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("api", "streamed"), [("chat", False), ("responses", True)])
async def test_no_call_to_a_server_times_out_in_the_queue(
    api: str, streamed: bool, transport: str
) -> None:
    """The last one waits for longer than a call may take; benchmarks/soak has the long form."""
    with serve_slowly(0.05) as base_url:
        outcomes = await call_many(
            base_url,
            300,
            api=api,
            streamed=streamed,
            transport=transport,
            max_concurrency=4,
            timeout=2,
        )
    assert outcomes == {"answered": 300}


def test_the_wait_for_the_store_counts(tmp_path: Path) -> None:
    """A file that another process has locked; the answer is on the error."""
    path = tmp_path / "turns.db"
    store = SQLiteStore(path, timeout=3)
    lm = LM("m", vendor=ScriptedVendor(["one", "two", "three"]), response_store=store, timeout=0.3)
    lm.respond("x")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        with pytest.raises(TimedOutError, match=r"\(0.3 s\), while the answer was be") as late:
            lm.respond("y")
        with pytest.raises(TimedOutError, match="while the answer was being stored"):
            list(lm.stream_sync("y"))
        assert time.monotonic() - begun < 2
    assert late.value.response.text == "two"
    sync.run(store.aclose())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_readers_own_time_does_not_count(transport: str) -> None:
    """A stream that has come whole is read at leisure."""
    with closing(RawServer(DELTA * 4 + END, kind=b"text/event-stream")) as server:
        lm = lm_at(server, timeout=0.5, transport=transport)
        count = 0
        for _ in lm.stream_sync("x"):
            count += 1
            time.sleep(0.2)
    assert count == 5


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_late_call_waited_for(transport: str, streamed: bool, silent: RawServer) -> None:
    """The phase, the seconds, and that the server has the request."""
    for timeout, message in (
        (0.3, r"has passed \(0.3 s\), while it waited for the server's answer. It may still"),
        (Timeout(first_byte=0.3), r"nothing came from .* within 0.3 s \(Timeout\(first_byte=\)\)"),
    ):
        lm = lm_at(silent, timeout=timeout, transport=transport)
        call = read_stream if streamed else LM.respond
        with pytest.raises(TimedOutError, match=message):
            call(lm, "x")
    assert silent.seen == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_that_was_never_sent_says_so(transport: str, silent: RawServer) -> None:
    """Held up by a rate limit of the caller's own, whose wait has a time of its own."""
    timeout = Timeout(total=0.3, queue=0.2)
    lm = lm_at(silent, requests_per_minute=1, timeout=timeout, transport=transport)
    with pytest.raises(TimedOutError, match="It may still have run"):
        await lm.respond_async("x")
    message = r"after 0.2 s \(Timeout\(queue=\)\), while .* requests_per_minute=.* never sent"
    with pytest.raises(TimedOutError, match=message):
        await lm.respond_async("x")
    with pytest.raises(TimedOutError, match=message):
        async with lm.stream_async("x"):
            pytest.fail("it was entered")
    assert silent.seen == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_limits_of_the_callers_own_are_no_part_of_the_time(transport: str) -> None:
    """However long the queue before them is; those of the server are."""
    with closing(RawServer(CHAT)) as server:
        lm = lm_at(server, requests_per_minute=600, timeout=0.3, transport=transport)
        rate_limiter = rate_limiter_for(server.url, "k")
        rate_limiter.overall.requests.take(600)
        answers = await lm.respond_batch_async(["x"] * 6)
        assert [answer.text for answer in answers] == ["hi"] * 6

        rate_limiter.for_model("m").requests.update(1, 0, 60.0)
        message = r"\(0.3 s\), while it waited for the rate limits of the server. It was never sent"
        with pytest.raises(TimedOutError, match=message):
            await lm.respond_async("x")
        message = r"0.1 s \(Timeout\(queue=\)\), while it waited for the rate limits of the server"
        with pytest.raises(TimedOutError, match=message):
            await lm.respond_async("x", timeout=Timeout(queue=0.1))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_wait_for_a_connection_is_a_queue(
    transport: str, streamed: bool, silent: RawServer
) -> None:
    """It has no end but that of `queue=`, and is no part of the time of a call."""
    lm = lm_at(silent, transport=transport)
    call = read_stream_async if streamed else LM.respond_async
    pool = await lm._config.vendor._client._pools.for_running_loop()  # type: ignore[attr-defined]
    for _ in range(pool.slots._value):
        await pool.slots.acquire()

    message = r"0.1 s \(Timeout\(queue=.*free connection.*never sent"
    with pytest.raises(TimedOutError, match=message):
        await call(lm, "x", timeout=Timeout(total=0.05, queue=0.1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(lm, "x", timeout=0.05), 0.3)
    assert silent.seen == 0


async def read_stream_async(lm: LM, text: str, **options: Any) -> None:
    async for _ in lm.stream_async(text, **options):
        pass


async def test_the_waits_of_a_call_share_the_time_of_the_queue(silent: RawServer) -> None:
    """A place after a while leaves less for the limits behind it."""
    timeout = Timeout(queue=0.4)
    lm = lm_at(silent, max_concurrency=1, requests_per_minute=1, timeout=timeout)
    first = asyncio.ensure_future(lm.respond_async("x"))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(lm.respond_async("x"))
    await asyncio.sleep(0.25)
    first.cancel()
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimedOutError, match=r"after 0.4 s .* requests_per_minute="):
        await second
    assert asyncio.get_running_loop().time() - began < 0.35


# --- streams -------------------------------------------------------------------------------------


def test_options_of_a_stream_are_checked_when_it_is_made() -> None:
    """Before a web service has begun to answer with it."""
    lm = LM("m", vendor=ScriptedVendor())
    with pytest.raises(OptionError, match="temprature"):
        lm.stream_async("x", temprature=1)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="temprature"):
        lm.stream_sync("x", temprature=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("status", "error"),
    [(b"404 Not Found", NotFoundError), (b"429 Too Many Requests", RateLimitError)],
)
async def test_entering_a_stream_has_the_servers_answer(
    transport: str, status: bytes, error: type[Exception]
) -> None:
    """The block is not entered, and the place is free again."""
    body = b'{"error": {"message": "no"}}'
    with closing(RawServer(body, status=status)) as server:
        lm = lm_at(server, transport=transport, max_concurrency=1)
        for _ in range(2):
            with pytest.raises(error):
                async with lm.stream_async("x"):
                    pytest.fail("it was entered")
        with pytest.raises(error), lm.stream_sync("x"):
            pytest.fail("it was entered")
        assert server.seen == 3


async def test_an_entered_stream_loses_no_event() -> None:
    """The first event, which was waited for, comes first; an unread stream may be left."""
    lm = LM("m", vendor=ScriptedVendor(["a b", "a b", "c"]), max_concurrency=1)
    async with lm.stream_async("x") as stream:
        assert stream.text == ""
        assert len([event async for event in stream]) == 3
    async with lm.stream_async("x"):
        pass
    assert (await lm.respond_async("x")).text == "c"
