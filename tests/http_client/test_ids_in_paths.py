"""An id becomes one segment of a path, or an error before anything is sent."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from servers.sockets import SentRequest, SocketServer, reply, response_body, serve
from synth_ai import LM
from synth_ai.errors import RequestError
from synth_ai.testing import ScriptedVendor

TRANSPORTS = ("httpx", "aiohttp")

#: Ids that would lead elsewhere if they were put into an address as they are.
PATHS = (
    "../models/ft:gpt-4o:acme::abc",
    "x/../../../admin/users/1",
    "..%2ffiles%2ffile-1",
    "%2e%2e",
    "abc?purge=all",
    "abc#frag",
    "..;/admin",
    "..\\admin",
    "//evil.example/x",
    "Ünïcode 😀",
)

#: What is no id at all.
NO_IDS: tuple[Any, ...] = ("", "  ", ".", "..", "\ud800", "a\nb", "a\0b", "\x7f", "\x85", 5, None)


def _lm(server: SocketServer, transport: Any) -> LM:
    return LM(
        "m",
        api="responses",
        base_url=server.base_url,
        api_key="sk-0123456789abcdef",
        retry=False,
        transport=transport,
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("id", PATHS)
def test_an_id_stays_one_segment(transport: str, id: str) -> None:
    """Whatever is in it: the path has no more parts, and no query."""
    with serve(lambda _, connection: reply(connection, {"deleted": True})) as server:
        _lm(server, transport).responses.delete(id)

    (request,) = server.requests
    prefix, _, segment = request.path.rpartition("/")
    assert (request.method, prefix) == ("DELETE", "/v1/responses")
    assert unquote(segment) == id
    assert "?" not in segment


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("id", NO_IDS)
def test_what_is_no_id_is_sent_nowhere(transport: str, id: Any) -> None:
    """It is an error of ours."""
    with serve(lambda _, connection: reply(connection, {"deleted": True})) as server:
        lm = _lm(server, transport)
        for method in (lm.responses.delete, lm.responses.retrieve, lm.responses.input_items):
            with pytest.raises(RequestError):
                method(id)
    assert server.requests == []


@pytest.mark.parametrize("transport", TRANSPORTS)
# Half of a character is mended in every answer, so it is none in an id, either.
@pytest.mark.parametrize("id", [*PATHS, *(each for each in NO_IDS if each != "\ud800")])
async def test_a_server_does_not_lead_its_polling_elsewhere(
    transport: str, id: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response in the background is asked for under `/responses` alone."""
    monkeypatch.setattr("synth_ai.lm.vendors.responses.background._FIRST_WAIT", 0.0)

    def answer(request: SentRequest, connection: socket.socket) -> None:
        if request.method == "POST":
            reply(connection, response_body(id=id, status="queued", output=[]))
        else:
            reply(connection, response_body("done"))

    with serve(answer) as server:
        call = _lm(server, transport).respond_async("x", background=True)
        if id in NO_IDS:
            with pytest.raises(RequestError, match="The id that the server gave"):
                await call
        else:
            assert (await call).text == "done"

    for request in server.requests[1:]:
        prefix, _, segment = request.path.rpartition("/")
        assert (prefix, unquote(segment)) == ("/v1/responses", id)
    assert len(server.requests) == (1 if id in NO_IDS else 2)


@pytest.mark.parametrize("store", [None, "turns.db"])
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("id", ["\ud800", 5, 10**5000, "", b"resp_1"], ids=range(5))
def test_an_id_to_continue_from_is_text(
    tmp_path: Path, store: str | None, api: str, id: Any
) -> None:
    """Half a surrogate pair has no UTF-8, so no store can look it up."""
    lm = LM(
        "m",
        vendor=ScriptedVendor(["x"] * 3, api=api),
        response_store=None if store is None else tmp_path / store,
    )
    with pytest.raises(RequestError):
        lm.respond("hi", previous_response_id=id)
    with pytest.raises(RequestError):
        lm.fork(id)
    with pytest.raises(RequestError):
        lm.responses.export(tmp_path / "export.jsonl", [id])


def test_an_error_does_not_repeat_a_long_id() -> None:
    """Ten million characters are no message."""
    lm = LM("m", vendor=ScriptedVendor(["x"], api="chat"))
    with pytest.raises(RequestError) as raised:
        lm.respond("hi", previous_response_id="x" * 10_000_000)
    assert len(str(raised.value)) < 1000
