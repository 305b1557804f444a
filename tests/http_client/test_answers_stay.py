"""An answer is never rewritten, whatever the key or the headers of the call look like."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from servers.sockets import SentRequest, chat_body, reply, response_body, serve
from synth_ai import LM
from synth_ai.errors import RejectedError

TRANSPORTS = ("httpx", "aiohttp")
ADDRESS = "alice.smith@example.com"
ORDER = "order-20261121"
TOOL_CALL = {
    "id": f"call_{ORDER}",
    "type": "function",
    "function": {"name": "mail", "arguments": json.dumps({"to": ADDRESS, "order": ORDER})},
}


def _lm(base_url: str, **options: Any) -> LM:
    given: dict[str, Any] = {"api_key": "x", "retry": False, **options}
    return LM("m", base_url=base_url, **given)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", ["00000000", "12345678", "1700000000", "sk-own-key-0123456789"])
def test_a_key_that_occurs_in_an_answer(transport: str, key: str) -> None:
    """Local servers take any key, which may be a number that the model means."""
    body = chat_body(f"{key} + 1") | {"created": 1_700_000_000, "id": f"chatcmpl-{key}"}
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": key}}]}
    end = {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    def answer(request: SentRequest, connection: socket.socket) -> None:
        if request.json.get("stream"):
            events = "".join(f"data: {json.dumps(each)}\n\n" for each in (chunk, end))
            reply(connection, f"{events}data: [DONE]\n\n", content_type="text/event-stream")
        else:
            reply(connection, body, headers={"x-request-id": f"req_{key}"})

    with serve(answer) as server:
        lm = _lm(server.base_url, api_key=key, transport=transport)
        response = lm.respond("x")
        stream = lm.stream_sync("x")
        events = list(stream)
    assert (response.text, response.request_id) == (f"{key} + 1", f"req_{key}")
    assert stream.text == key
    assert events


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": ORDER},
        {"X-Idempotency-Key": ORDER},
        {"X-Auth-Request-Email": ADDRESS},
        {"X-Auth-Request-User": ADDRESS},
        {"X-Api-Key": ORDER},
        {"Cookie": f"session={ORDER}"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_tools_get_what_the_model_wrote(transport: str, headers: Mapping[str, str]) -> None:
    """Their arguments, and the ids of their calls, are as they came."""
    mailed: list[tuple[str, str]] = []

    def mail(to: str, order: str) -> str:
        """Send a mail."""
        mailed.append((to, order))
        return "sent"

    def answer(request: SentRequest, connection: socket.socket) -> None:
        last = request.json["messages"][-1]
        if last["role"] == "tool":
            reply(connection, chat_body(last["tool_call_id"]))
        else:
            reply(connection, chat_body(None, tool_calls=[TOOL_CALL]))

    with serve(answer) as server:
        lm = _lm(server.base_url, transport=transport, extra_headers=headers)
        run = lm.run_tools("x", tools=[mail])
    assert mailed == [(ADDRESS, ORDER)]
    assert run.text == TOOL_CALL["id"]


def test_ids_that_a_gateway_makes_of_the_idempotency_key() -> None:
    """Two responses stay two."""

    def answer(request: SentRequest, connection: socket.socket) -> None:
        reply(connection, response_body(id=f"resp-{request.headers['idempotency-key']}"))

    with serve(answer) as server:
        lm = _lm(server.base_url, api="responses")
        first = lm.respond("a", extra_headers={"Idempotency-Key": "req-00000001"})
        lm.reset()
        second = lm.respond("b", extra_headers={"Idempotency-Key": "req-00000002"})
    assert first.response_id == "resp-req-00000001"
    assert second.response_id == "resp-req-00000002"
    assert len(lm.tree()) == 2


def test_an_error_names_the_idempotency_key_and_no_credentials() -> None:
    """What tells calls apart is needed to ask for help."""
    headers = {"Idempotency-Key": ORDER, "X-Auth-Request-Access-Token": "tok-0123456789"}
    message = f"{ORDER} was used before, tok-0123456789"

    def answer(_: SentRequest, connection: socket.socket) -> None:
        reply(connection, {"error": {"message": message}}, status="409 Conflict")

    with serve(answer) as server, pytest.raises(RejectedError) as raised:
        _lm(server.base_url).respond("x", extra_headers=headers)
    assert f"{ORDER} was used before, ***" in str(raised.value)
    assert "tok-0123456789" not in repr(vars(raised.value))
