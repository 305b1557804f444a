"""`api_key=` as a function, for keys that expire: asked with every request, and never shown."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

import pytest

from servers import errors as failures
from servers.answers import Answer, Raw
from servers.openai_fake import OpenAIServer
from servers.sockets import SentRequest, reply, serve
from synth_ai import LM, RetryPolicy
from synth_ai.errors import (
    AuthenticationFailedError,
    MissingKeyError,
    OptionError,
    TimedOutError,
)
from synth_ai.testing import ScriptedVendor

TRANSPORTS = ("httpx", "aiohttp")

SECRET = "sk-expiring-0123456789"


class Keys:
    """Gives another key each time, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def next(self) -> str:
        self.asked += 1
        return f" {SECRET}-{self.asked}\n"

    async def next_async(self) -> str:
        await asyncio.sleep(0)
        return self.next()


def lm_on(server: OpenAIServer, transport: Any, api_key: Any, **options: Any) -> LM:
    given = {"api": "responses", "retry": RetryPolicy(wait_initial=0), **options}
    return LM("gpt-5", base_url=server.base_url, transport=transport, api_key=api_key, **given)


def sent_keys(server: OpenAIServer) -> list[str]:
    return [request.headers["authorization"] for request in server.requests]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["next", "next_async"])
async def test_every_request_has_the_key_of_now(
    openai_server: OpenAIServer, transport: str, kind: str
) -> None:
    """Calls, streams, tries, lists and deletions; on both APIs."""
    keys = Keys()
    openai_server.enqueue(failures.rate_limited(), Answer(text="Hello."))
    async with lm_on(openai_server, transport, getattr(keys, kind)) as lm:
        response = await lm.respond_async("Hi")
        async for _ in lm.stream_async("Hi"):
            pass
        await lm.models_async()
        await lm.responses.delete_async(response.response_id, descendants=True)
    async with lm_on(openai_server, transport, getattr(keys, kind), api="chat") as lm:
        await lm.respond_async("Hi")

    expected = [f"Bearer {SECRET}-{number}" for number in range(1, keys.asked + 1)]
    assert sorted(sent_keys(openai_server)) == sorted(expected)
    assert keys.asked == 7


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sync_callers_have_it_too(openai_server: OpenAIServer, transport: str) -> None:
    """Also with an async function."""
    keys = Keys()
    with lm_on(openai_server, transport, keys.next_async) as lm:
        assert lm.respond("Hi").text == "You said: Hi"
        with lm.stream_sync("Hi") as stream:
            assert list(stream)
    assert sent_keys(openai_server) == [f"Bearer {SECRET}-1", f"Bearer {SECRET}-2"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_key_is_shown(
    openai_server: OpenAIServer, transport: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """In errors of the server that repeat it, in logs, and in what describes the LM."""
    caplog.set_level(logging.DEBUG)
    body = {"error": {"message": f"Bad key {SECRET}-1.", "type": "auth", "code": SECRET + "-1"}}
    openai_server.enqueue(Raw(body, status=401))
    lm = lm_on(openai_server, transport, Keys().next)
    call = lm.stream_async("Hi").__aenter__() if stream else lm.respond_async("Hi")
    with pytest.raises(AuthenticationFailedError) as caught:
        await call

    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert SECRET not in caplog.text + repr(lm) + repr(vars(lm._config.vendor))
    await lm.aclose()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_event_that_repeats_it(openai_server: OpenAIServer, transport: str) -> None:
    """Errors in the middle of a stream are masked as well."""
    error = {"type": "error", "message": f"Key {SECRET}-1 has expired.", "code": "expired"}
    text = f'data: {{"type": "response.created", "response": {{"id": "resp_1"}}}}\n\ndata: {error}'
    body = text.replace("'", '"').encode() + b"\n\n"
    openai_server.enqueue(Raw(body, headers={"content-type": "text/event-stream"}))
    async with lm_on(openai_server, transport, Keys().next, retry=False) as lm:
        with pytest.raises(Exception, match="has expired") as caught:
            async for _ in lm.stream_async("Hi"):
                pass
    assert SECRET not in str(caught.value)


def test_lms_with_one_function_share_the_limits(openai_server: OpenAIServer) -> None:
    """Whatever the key is by now; another function is another key."""
    keys, others = Keys(), Keys()
    one, two, three = (
        lm_on(openai_server, None, ask)._config.vendor._client.rate_limiter  # type: ignore[attr-defined]
        for ask in (keys.next, keys.next, others.next)
    )
    assert one is two
    assert one is not three


async def test_a_header_of_the_caller_s_own_comes_first(openai_server: OpenAIServer) -> None:
    """Then nobody is asked."""
    keys = Keys()
    lm = lm_on(openai_server, None, keys.next, extra_headers={"authorization": "Bearer mine"})
    await lm.respond_async("Hi")
    assert sent_keys(openai_server) == ["Bearer mine"]
    assert keys.asked == 0
    await lm.aclose()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: None, "of the class NoneType"),
        (lambda: "  ", "is empty"),
        (lambda: b"sk", "of the class bytes"),
        (lambda: 1 / 0, "raised ZeroDivisionError"),
        (lambda: "sk-ä", "cannot be sent"),
        (lambda: "sk\nx-evil: 1", "cannot be sent"),
    ],
)
async def test_a_function_that_gives_no_key(
    openai_server: OpenAIServer, given: Any, says: str
) -> None:
    """A typed error that says so; nothing is sent, and nothing tried again."""
    lm = lm_on(openai_server, None, given)
    with pytest.raises((MissingKeyError, OptionError), match=says):
        await lm.respond_async("Hi")
    with pytest.raises((MissingKeyError, OptionError), match=says):
        async with lm.stream_async("Hi"):
            pass
    assert openai_server.requests == []
    await lm.aclose()


@pytest.mark.parametrize("given", [5, ["sk"], object(), str, True])
def test_what_is_neither_a_key_nor_a_function(given: Any) -> None:
    """An error when the LM is made, which does not show the value."""
    with pytest.raises(OptionError, match="api_key must be a string, or a function") as caught:
        LM("gpt-5", api_key=given)
    assert "sk" not in str(caught.value).replace("asked", "")


def test_a_vendor_object_has_its_own_key() -> None:
    """As with a key that is text."""
    with pytest.raises(OptionError, match="leave out api_key"):
        LM("x", vendor=ScriptedVendor(), api_key=Keys().next)


async def test_a_slow_function_blocks_nobody(openai_server: OpenAIServer) -> None:
    """It runs on a thread, its wait counts, and the error says what the call waited for."""
    release = threading.Event()

    def wait() -> str:
        release.wait(30)
        return SECRET

    lm = lm_on(openai_server, None, wait)
    with pytest.raises(TimedOutError, match="while it waited for the function given as api_key="):
        await lm.respond_async("Hi", timeout=0.2)
    release.set()
    assert openai_server.requests == []
    assert (await lm.respond_async("Hi")).text == "You said: Hi"
    await lm.aclose()


def test_engines_on_a_server_take_one_too() -> None:
    """Harmony over HTTP asks for the key as well."""

    def answer(request: SentRequest, connection: socket.socket) -> None:
        reply(connection, {"error": {"message": "No."}}, status="401 Unauthorized")

    with serve(answer) as server:
        lm = LM("gpt-oss-20b", api="harmony", base_url=server.base_url, api_key=Keys().next)
        with pytest.raises(AuthenticationFailedError):
            lm.respond("Hi")
        lm.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}-1"
