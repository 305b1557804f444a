"""Calls to a server: its errors as ours, attempts that it counts, loops and threads, closing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest

from servers import errors as failures
from servers.answers import Answer, Raw, connection_reset, truncated_json
from servers.connections import count_connections
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, RetryPolicy, Timeout, errors
from synth_ai.errors import ServerError
from synth_ai.http.client import HTTPClient
from synth_ai.http.connection_errors import broken_error, unreachable_error

Hosted = Callable[..., LM]
APIS = ("chat", "responses")
SECRET = "sk-secret-0123456789abcdef"

# --- errors ---------------------------------------------------------------------------------------

HTML = {"content-type": "text/html"}

ERRORS: dict[str, tuple[Answer | Raw, type[ServerError], int | None, str | None, str]] = {
    "wrong key": (
        failures.invalid_api_key(),
        errors.AuthenticationFailedError,
        401,
        "invalid_api_key",
        "Incorrect",
    ),
    "no such model": (
        failures.model_not_found("gpt-9"),
        errors.NotFoundError,
        404,
        "model_not_found",
        "`gpt-9`",
    ),
    "too long": (
        failures.context_length_exceeded(),
        errors.PromptTooLongError,
        400,
        "context_length_exceeded",
        "maximum context length",
    ),
    "forbidden": (
        failures.error(403, "Not here."),
        errors.AuthenticationFailedError,
        403,
        None,
        "Not here.",
    ),
    "conflict": (failures.error(409, "Locked."), errors.RejectedError, 409, None, "Locked."),
    "too large": (failures.error(413, "Too large."), errors.RejectedError, 413, None, "Too large."),
    "unprocessable": (failures.error(422, "No."), errors.RejectedError, 422, None, "No."),
    "request timeout": (failures.error(408, "Late."), errors.TimedOutError, 408, None, "Late."),
    "rate limit": (
        failures.rate_limited(),
        errors.RateLimitError,
        429,
        "rate_limit_exceeded",
        "Rate limit",
    ),
    "quota": (
        failures.insufficient_quota(),
        errors.RateLimitError,
        429,
        "insufficient_quota",
        "quota",
    ),
    "500": (failures.server_error(), errors.OverloadedError, 500, None, "had an error"),
    "503": (failures.server_error(503), errors.OverloadedError, 503, None, "had an error"),
    "a proxy's page": (failures.bad_gateway(), errors.OverloadedError, 502, None, "502"),
    "200 with an error": (
        failures.error_with_status_200(),
        errors.RejectedError,
        400,
        "400",
        "Unexpected token",
    ),
    "reset": (connection_reset(), errors.ConnectionFailedError, None, None, "cannot be reached"),
    "half a body": (truncated_json(), errors.MalformedAnswerError, None, None, "not JSON"),
    "no JSON": (
        Raw("<html>hello</html>", headers=HTML),
        errors.MalformedAnswerError,
        None,
        None,
        "not JSON",
    ),
    "no object": (Raw([1, 2]), errors.MalformedAnswerError, None, None, "not a JSON object"),
    "an empty body": (Raw(b""), errors.MalformedAnswerError, None, None, "not JSON"),
    "no UTF-8": (Raw(b'{"id": "\xff\xfe"'), errors.MalformedAnswerError, None, None, "not JSON"),
    "another object": (
        Raw({"object": "list", "data": []}),
        errors.MalformedAnswerError,
        None,
        None,
        "answer is no",
    ),
    "Ollama's": (
        Raw({"error": "model not found, try pulling it"}, 404),
        errors.NotFoundError,
        404,
        None,
        "pulling it",
    ),
    "FastAPI's": (
        Raw({"detail": "Bad password"}, 401),
        errors.AuthenticationFailedError,
        401,
        None,
        "Bad password",
    ),
    "Gemini's": (
        Raw([{"error": {"message": "Not valid."}}], 400),
        errors.RejectedError,
        400,
        None,
        "400: Not valid",
    ),
    "a proxy's text": (
        Raw(b"upstream\ntimed out", 504),
        errors.OverloadedError,
        504,
        None,
        "504: upstream timed out",
    ),
    "a page with a style": (
        Raw(b"<html><style>h1 {}</style><h1>Bad Gateway</h1></html>", 502),
        errors.OverloadedError,
        502,
        None,
        "502: Bad Gateway",
    ),
    "llama.cpp's": (
        Raw(
            {"error": {"code": 400, "message": "too large", "type": "exceed_context_size_error"}},
            400,
        ),
        errors.PromptTooLongError,
        400,
        "400",
        "too large",
    ),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("answer", "kind", "status", "code", "words"), ERRORS.values(), ids=ERRORS)
async def test_each_failure_is_an_error_of_ours(
    openai_server: OpenAIServer,
    hosted: Hosted,
    api: str,
    answer: Answer | Raw,
    kind: type[ServerError],
    status: int | None,
    code: str | None,
    words: str,
) -> None:
    """With the server's words, its status, code, request id and body."""
    openai_server.enqueue(answer)
    with pytest.raises(ServerError, match=words) as raised:
        async with hosted(api, retry=False) as lm:
            await lm.respond_async("Hi")
    error = raised.value
    assert type(error) is kind
    assert (error.status_code, error.code) == (status, code)
    # Also where the status was a success, and the error is in the body or is the body.
    assert str(error.request_id).startswith("req_") is (kind is not errors.ConnectionFailedError)
    if isinstance(answer, Raw) and answer.status >= 400:
        assert error.body
    assert len(openai_server.requests) == 1


async def test_a_forgotten_v1_is_guessed(openai_server: OpenAIServer) -> None:
    """The most common 404 of a server of one's own says where it looked and what is missing."""
    root = openai_server.base_url.removesuffix("/v1")
    async with LM("house-model", base_url=root, retry=False) as lm:
        with pytest.raises(
            errors.NotFoundError, match=r"at http://127\.0\.0\.1:\d+/chat/completions; .* under /v1"
        ):
            await lm.respond_async("Hi")


async def test_aiohttp_carries_the_calls(
    openai_server: OpenAIServer, hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is asked for: answers, streams, and what goes along with a body."""
    sent = []
    original = aiohttp.ClientSession._request

    async def counted(*arguments: Any, **options: Any) -> Any:
        sent.append(arguments)
        return await original(*arguments, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", counted)
    async with hosted(transport="aiohttp") as lm:
        options = {
            "extra_headers": {"X-Trace": "t1"},
            "extra_query": {"debug": "1"},
            "extra_body": {"user": "me"},
        }
        assert (await lm.respond_async("one", **options)).text == "You said: one"
        assert [event async for event in lm.stream_async("two")]
    assert len(sent) == 2
    first = openai_server.requests[0]
    assert (first.headers["x-trace"], first.query["debug"], first.body["user"]) == ("t1", "1", "me")


@pytest.mark.parametrize("api", APIS)
async def test_what_is_known_of_a_streamed_response(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """The id of the request and the SDK's object, as of a response that comes in one piece."""
    openai_server.enqueue(Answer(text="streamed", headers={"x-request-id": "req_stream"}))
    response = await consume(hosted(api).stream_async("Hi"))
    assert response.request_id == "req_stream"
    whole = await hosted(api).respond_async("Hi")
    assert type(response.raw) is type(whole.raw)
    said = response.raw.choices[0].message.content if api == "chat" else response.raw.output_text
    assert said == "streamed"
    assert response.raw.object == whole.raw.object


EVENTS = {"content-type": "text/event-stream", "x-request-id": "req_broken"}
BROKEN: dict[str, Answer | Raw] = {
    "200 with an error": Raw({"error": {"message": "no"}}, headers={"x-request-id": "req_broken"}),
    "one piece": Raw({"id": "x"}, headers={"x-request-id": "req_broken"}),
    "an error event": Raw(
        'data: {"type": "error", "error": {"message": "no"}}\n\n', headers=EVENTS
    ),
    "a flat error event": Raw('data: {"type": "error", "message": "no"}\n\n', headers=EVENTS),
    "no JSON": Raw("data: {\n\n", headers=EVENTS),
    "no UTF-8": Raw(b"data: \xff\xfe\n\n", headers=EVENTS),
    "no end": Answer(text="half of it", cut_after=3, headers=EVENTS),
    "a reset": Answer(text="half of it", cut_after=3, reset=True, headers=EVENTS),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_errors_of_a_stream_tell_its_request(
    openai_server: OpenAIServer, hosted: Hosted, api: str, answer: Answer | Raw
) -> None:
    """Whoever asks the server's people for help has to quote it."""
    openai_server.enqueue(answer)
    with pytest.raises(ServerError) as raised:
        await consume(hosted(api, retry=False).stream_async("Hi"))
    assert raised.value.request_id == "req_broken"


@pytest.mark.usefixtures("transport")
async def test_a_server_that_is_not_there() -> None:
    """Refused connections name the host."""
    lm = LM("x", base_url="http://127.0.0.1:9/v1", retry=False)
    with pytest.raises(errors.ConnectionFailedError, match=r"127\.0\.0\.1"):
        await lm.respond_async("Hi")


async def test_a_server_that_does_not_answer(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """The call is given up, and the connection freed."""
    lm = hosted(retry=False)
    await lm.respond_async("Hi")
    openai_server.enqueue(Answer(text="late", hold=threading.Event()))
    with pytest.raises(errors.TimedOutError):
        await lm.respond_async("Hi", timeout=0.5)
    assert await asyncio.to_thread(openai_server.requests[1].abandoned.wait, 10)


async def test_a_server_that_begins_too_late(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """The time to the first byte bounds one try; the next may be answered."""
    openai_server.enqueue(Answer(text="late", hold=threading.Event()), Answer(text="in time"))
    async with hosted(timeout=Timeout(first_byte=0.3)) as lm:
        response = await lm.respond_async("Hi")
    assert (response.text, response.attempts) == ("in time", 2)


async def test_a_stream_that_falls_silent(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Silence between the pieces is bounded too, and a call that showed some is not sent again."""
    openai_server.enqueue(Answer(text="a b c d", hold=threading.Event(), hold_at=8))
    shown = []

    async def read() -> None:
        async for event in hosted().stream_async("Hi", timeout=Timeout(first_byte=0.3)):
            shown.append(event)

    with pytest.raises(errors.TimedOutError):
        await read()
    assert shown
    assert len(openai_server.requests) == 1


@pytest.mark.usefixtures("transport")
async def test_a_server_that_takes_no_connection() -> None:
    """A full queue of connections is like a host that drops packets: nothing comes back."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        lm = LM("x", base_url=f"http://127.0.0.1:{server.getsockname()[1]}/v1", retry=False)
        words = r"no connection to 127\.0\.0\.1:\d+ within 0.2 s .* never sent"
        with pytest.raises(errors.TimedOutError, match=words):
            await asyncio.wait_for(lm.respond_async("Hi", timeout=Timeout(connect=0.2)), 4)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"], ids=["nan", "a set", "bytes"])
async def test_a_body_that_is_no_json(
    openai_server: OpenAIServer, hosted: Hosted, value: Any
) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(errors.RequestError, match="cannot be written as JSON"):
        await hosted().respond_async("Hi", extra_body={"new": value})
    assert not openai_server.requests


async def test_half_of_a_surrogate_pair_goes_out(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Text that was cut inside of a character cannot be UTF-8, and need not be."""
    await hosted().respond_async("cut \ud83d")
    assert "cut \ud83d" in str(openai_server.requests[0].body["input"])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-5"}, 0.0),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
        ({}, None),
    ],
)
async def test_how_long_a_server_wants_to_be_left_alone(
    openai_server: OpenAIServer, hosted: Hosted, headers: dict[str, str], seconds: float | None
) -> None:
    """In each form that the header may have."""
    openai_server.enqueue(failures.error(429, "slow", code="rate_limit_exceeded", **headers))
    with pytest.raises(errors.RateLimitError) as raised:
        await hosted(retry=False).respond_async("Hi")
    assert raised.value.retry_after == seconds


async def test_a_date_to_come_back_at(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Is turned into seconds from now."""
    then = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    openai_server.enqueue(failures.error(503, "busy", retry_after=then))
    with pytest.raises(errors.OverloadedError) as raised:
        await hosted(retry=False).respond_async("Hi")
    assert 3500 < (raised.value.retry_after or 0) <= 3600


# --- tries ----------------------------------------------------------------------------------------

PASSING = {
    "429 with a wait": failures.rate_limited(retry_after_ms=1),
    "429": failures.error(429, "slow", code="rate_limit_exceeded"),
    "500": failures.server_error(),
    "503 with a wait": failures.server_error(503, retry_after_ms=1),
    "a proxy's page": failures.bad_gateway(),
    "408": failures.error(408, "late"),
    "reset": connection_reset(),
    "half a body": truncated_json(),
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
async def test_what_passes_is_tried_again(
    openai_server: OpenAIServer, hosted: Hosted, api: str, failure: Answer | Raw
) -> None:
    """By one policy, ours: the server counts exactly its number of tries."""
    openai_server.enqueue(failure, failure)
    response = await hosted(api).respond_async("Hi")
    assert response.raw_response == "You said: Hi"
    assert response.attempts == 3
    assert len(openai_server.requests) == 3


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
async def test_what_does_not_pass_ends_in_its_own_error(
    openai_server: OpenAIServer, hosted: Hosted, failure: Answer | Raw
) -> None:
    """After the policy's number of tries, and no more."""
    openai_server.enqueue(*[failure] * 5)
    with pytest.raises(ServerError):
        await hosted(retry=RetryPolicy(attempts=4, wait_initial=0)).respond_async("Hi")
    assert len(openai_server.requests) == 4


FINAL = {
    "quota": failures.insufficient_quota(),
    "a wait beyond the cap": failures.rate_limited(retry_after="3600"),
    "400": failures.unsupported_parameter("temperature"),
    "401": failures.invalid_api_key(),
    "404": failures.model_not_found("gpt-9"),
    "200 with an error": failures.error_with_status_200(),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("failure", FINAL.values(), ids=FINAL)
async def test_what_cannot_pass_is_not_tried_again(
    openai_server: OpenAIServer, hosted: Hosted, failure: Raw, streamed: bool
) -> None:
    """Counted by the server; streamed or not."""
    openai_server.enqueue(failure)
    lm = hosted()
    with pytest.raises(ServerError):
        await (consume(lm.stream_async("Hi")) if streamed else lm.respond_async("Hi"))
    assert len(openai_server.requests) == 1


async def consume(stream: Any) -> BaseLMResponse:
    """A stream's response, once it has ended."""
    async for _ in stream:
        pass
    response: BaseLMResponse = stream.response
    return response


# --- loops and threads ----------------------------------------------------------------------------


def test_one_lm_in_several_loops_and_threads(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Every call gets its own answer, and none waits for a place that was lost."""
    openai_server.respond_with(lambda request: Answer(text=f"re: {request.body['input']}"))
    lm = hosted(max_concurrency=3, auto_store_responses=False)
    wrong: list[str] = []

    def check(text: str, response: BaseLMResponse) -> None:
        if response.raw_response != f"re: {text}":
            wrong.append(text)

    async def many(name: str) -> None:
        texts = [f"{name}-{number}" for number in range(10)]
        for text, response in zip(
            texts, await asyncio.gather(*map(lm.respond_async, texts)), strict=True
        ):
            check(text, response)

    def sync(name: str) -> None:
        for text in (f"{name}-{number}" for number in range(10)):
            check(text, lm.respond(text))

    threads = [threading.Thread(target=asyncio.run, args=(many(f"loop{n}"),)) for n in range(3)]
    threads += [threading.Thread(target=sync, args=(f"thread{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(openai_server.requests) == 60


async def test_sync_calls_inside_a_running_loop(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """As in a notebook, chained with awaited ones."""
    lm = hosted()
    one = lm.respond("one")
    two = await lm.respond_async("two")
    assert two.previous_response_id == one.response_id
    assert [event async for event in lm.stream_async("three")]
    assert list(lm.stream_sync("four"))


async def test_closing_twice(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Closing frees the connections; a later call is an error that says so."""
    lm = hosted()
    await lm.respond_async("one")
    before = count_connections(openai_server.base_url)
    await lm.aclose()
    # What is closed is let go of by the loop a moment later.
    await asyncio.sleep(0.01)
    assert count_connections(openai_server.base_url) == before - 1
    await lm.aclose()
    with pytest.raises(errors.RequestError, match="This LM was closed"):
        await lm.respond_async("two")


async def test_a_fork_leaves_the_connections_open(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """It is on the same client, which is its LM's to close."""
    lm = hosted()
    one = await lm.respond_async("one")
    async with lm.fork(one.response_id) as branch:
        await branch.respond_async("a")
    assert (await lm.respond_async("two")).raw_response == "You said: two"


async def test_closing_frees_the_connections_of_every_loop(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Those that the sync methods opened on the shared loop too, when async code closes the LM."""
    lm = hosted()
    lm.respond("on the shared loop")
    await lm.respond_async("on this one")
    before = count_connections(openai_server.base_url)
    await lm.aclose()
    async with asyncio.timeout(5):
        # One is closed on another thread, so there is no event of this loop to wait for.
        while count_connections(openai_server.base_url) > before - 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("transport")
async def test_a_client_shows_its_address_alone() -> None:
    """A debugger prints what an object is made of."""
    client = HTTPClient(base_url="http://localhost:1/v1", api_key=SECRET)
    assert SECRET not in repr(client) + repr(await client._pools.for_running_loop())
    await client.aclose()


def test_an_error_without_a_message_shows_its_name() -> None:
    """Those of the connections below often have none."""
    assert str(broken_error(OSError())) == "The connection broke: OSError"
    refused = unreachable_error("http://localhost:1/v1", ConnectionResetError())
    assert str(refused).endswith("cannot be reached at localhost:1: ConnectionResetError")
