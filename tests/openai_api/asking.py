"""Requests to the routes over an LM, without the SDK."""

from __future__ import annotations

import json
from typing import Any

from synth_ai import LM
from synth_ai.errors import SynthAIError
from synth_ai.openai_api.handles import Handle
from synth_ai.openai_api.replies import APIRequest, JSONReply, make_error_reply
from synth_ai.openai_api.routes import answer
from synth_ai.openai_api.streaming import EncodedStream

USER = [{"role": "user", "content": "Hi"}]


async def ask(
    lm: LM, method: str, path: str, body: Any = None, **query: str
) -> tuple[int, dict[str, Any]]:
    """Send a request, and return the status and the body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await answer(Handle(lm), APIRequest(method, path, query, content))
    assert isinstance(reply, JSONReply)
    # As it would go over the wire.
    return reply.status, json.loads(json.dumps(dict(reply.body), allow_nan=False))


async def ask_response(lm: LM, **body: Any) -> dict[str, Any]:
    """Create a response, and return its body."""
    status, made = await ask(lm, "POST", "/responses", {"input": "Hi", **body})
    assert status == 200, made
    return made


async def ask_completion(lm: LM, **body: Any) -> dict[str, Any]:
    """Create a chat completion, and return its body."""
    status, made = await ask(lm, "POST", "/chat/completions", {"messages": USER, **body})
    assert status == 200, made
    return made


async def stream(lm: LM, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a request for a stream, and return its events."""
    content = json.dumps({**body, "stream": True}).encode()
    reply = await answer(Handle(lm), APIRequest("POST", path, {}, content))
    assert not isinstance(reply, JSONReply), reply.body

    encoded = EncodedStream(reply)
    try:
        await encoded.open()
    except SynthAIError as error:
        raise AssertionError(make_error_reply(error).body) from error

    pieces = []
    while piece := await encoded.next():
        pieces.append(piece)
    return read_events(b"".join(pieces).decode())


async def stream_response(lm: LM, **body: Any) -> list[dict[str, Any]]:
    """Create a response as a stream, and return its events."""
    return await stream(lm, "/responses", {"input": "Hi", **body})


async def stream_completion(lm: LM, **body: Any) -> list[dict[str, Any]]:
    """Create a chat completion as a stream, and return its chunks."""
    chunks = await stream(lm, "/chat/completions", {"messages": USER, **body})
    assert chunks.pop() == {"done": True}
    return chunks


def read_events(encoded: str) -> list[dict[str, Any]]:
    """Read server-sent events, each of which is named after its type."""
    events = []
    for block in encoded.strip().split("\n\n"):
        *names, data = block.split("\n")
        text = data.removeprefix("data: ")
        event = {"done": True} if text == "[DONE]" else json.loads(text)
        assert names == ([f"event: {event['type']}"] if "type" in event else [])
        events.append(event)
    return events
