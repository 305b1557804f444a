"""A prompt and its keys go to the server that they were given for, whatever that one answers."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from servers.sockets import SentRequest, chat_body, reply, serve
from synth_ai import LM
from synth_ai.errors import RejectedError

TRANSPORTS = ("httpx", "aiohttp")
STATUSES = (301, 302, 303, 307, 308)
HEADERS = {"api-key": "AZURE-0123456789", "X-Api-Key": "GW-0123456789", "Cookie": "s=0123456789"}


def _lm(base_url: str, transport: Any) -> LM:
    return LM(
        "m",
        base_url=base_url,
        api_key="sk-secret-0123456789",
        retry=False,
        transport=transport,
        extra_headers=HEADERS,
    )


def _call(lm: LM, method: str) -> object:
    if method == "stream":
        return list(lm.stream_sync("my private prompt"))
    return lm.respond("my private prompt")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("method", ["respond", "stream"])
def test_no_redirect_to_another_origin(transport: str, status: int, method: str) -> None:
    """Nothing arrives there, and the error says where it would have gone."""
    with serve(lambda _, connection: reply(connection, chat_body()), host="127.0.0.2") as other:
        target = f"{other.base_url}/chat/completions?key=sk-in-the-query-0123456789"

        def redirect(_: SentRequest, connection: socket.socket) -> None:
            reply(connection, "", status=f"{status} Moved", headers={"Location": target})

        with serve(redirect) as server, pytest.raises(RejectedError) as raised:
            _call(_lm(server.base_url, transport), method)

    assert other.requests == []
    assert raised.value.status_code == status
    assert f"redirects to {other.base_url}/chat/completions, which is another origin" in str(
        raised.value
    )
    assert "sk-in-the-query" not in str(raised.value)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scheme_and_host", ["https://127.0.0.1", "http://localhost"])
def test_another_scheme_or_name_is_another_origin(transport: str, scheme_and_host: str) -> None:
    """Also on the port of the server itself."""

    def redirect(request: SentRequest, connection: socket.socket) -> None:
        port = connection.getsockname()[1]
        location = f"{scheme_and_host}:{port}/v1/elsewhere"
        reply(connection, "", status="307 Moved", headers={"Location": location})

    with serve(redirect) as server, pytest.raises(RejectedError, match="another origin"):
        _lm(server.base_url, transport).respond("x")
    assert len(server.requests) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_on_the_same_server(transport: str, status: int) -> None:
    """It is followed with the whole request, or not at all: never as a GET without the prompt."""

    def redirect(request: SentRequest, connection: socket.socket) -> None:
        if request.path.endswith("/"):
            reply(connection, chat_body("found"))
        else:
            location = f"{request.path}/"
            reply(connection, "", status=f"{status} Moved", headers={"Location": location})

    with serve(redirect) as server:
        lm = _lm(server.base_url, transport)
        if status in (307, 308):
            assert lm.respond("x").text == "found"
        else:
            with pytest.raises(RejectedError, match="would make a GET without a body"):
                lm.respond("x")

    for request in server.requests:
        assert (request.method, request.headers["api-key"]) == ("POST", HEADERS["api-key"])
        assert b'"x"' in request.body


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_redirects_in_a_circle_end(transport: str) -> None:
    """After some of them, with an error that says so."""

    def redirect(request: SentRequest, connection: socket.socket) -> None:
        reply(connection, "", status="307 Moved", headers={"Location": request.path})

    with serve(redirect) as server, pytest.raises(RejectedError, match="round in a circle"):
        _lm(server.base_url, transport).respond("x")
    assert len(server.requests) < 10
