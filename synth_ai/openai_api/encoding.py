"""Bodies and events as bytes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from synth_ai.openai_api.item_events import ServerEvent

DONE = b"data: [DONE]\n\n"
"""The last event of a stream of chat chunks."""


def encode_body(body: Mapping[str, object]) -> bytes:
    """Encode a body as JSON in ASCII, which can hold half of a surrogate pair, too."""
    return json.dumps(body).encode("ascii")


def encode_event(event: ServerEvent) -> bytes:
    r"""Encode an event; one with a type is named after it.

    ::

        {"type": "response.created", ...}  ->  b"event: response.created\ndata: {...}\n\n"
        {"object": "chat.completion.chunk"}  ->  b"data: {...}\n\n"
    """
    data = b"data: " + encode_body(event) + b"\n\n"
    name = event.get("type")
    if name is None:
        return data
    return f"event: {name}\n".encode() + data
