"""Events as the lines of a stream, as both APIs have them. Pure."""

from __future__ import annotations

import json

from synth_ai.openai_api.item_events import ServerEvent

DONE = b"data: [DONE]\n\n"
"""The last event of a stream of chat chunks."""


def encode_event(event: ServerEvent) -> bytes:
    r"""Encode an event; one with a type is named after it.

    ::

        {"type": "response.created", ...}  ->  b"event: response.created\ndata: {...}\n\n"
        {"object": "chat.completion.chunk"}  ->  b"data: {...}\n\n"
    """
    data = f"data: {json.dumps(event)}\n\n".encode()
    name = event.get("type")
    if name is None:
        return data
    return f"event: {name}\n".encode() + data
