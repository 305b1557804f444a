"""What a test tells the stand-in for OpenAI's service to answer, and how to deliver it."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def new_id(prefix: str) -> str:
    """An id like the service's own: `resp_`, `msg_`, `rs_`, `fc_` or `call_` and random letters."""
    return f"{prefix}_{secrets.token_hex(12)}"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How an answer goes over the wire.

    Attributes:
        delay: seconds before the first byte.
        hold: wait for this before event number `hold_at` of a stream (0 is before the first byte).
        cut_after: break off after so many events of a stream, or bytes of a `Raw`; a JSON body is
            broken off in the middle.
        reset: break off by resetting the connection; otherwise the answer just ends too early.
        headers: more headers of the answer.
    """

    delay: float = 0.0
    hold: threading.Event | None = None
    hold_at: int = 0
    cut_after: int | None = None
    reset: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ToolCall:
    """A function call; `arguments` is the JSON text, which may be broken on purpose."""

    name: str
    arguments: str
    call_id: str = field(default_factory=lambda: new_id("call"))


@dataclass(frozen=True)
class Answer(Delivery):
    """What the model says, in the order of the fields; for both APIs, streamed or not.

    Attributes:
        text: the final text; None where there is none.
        reasoning: the reasoning; its summary on Responses, the field `reasoning_field` of the
            message on Chat.
        preamble: a commentary message before the tool calls (Responses only).
        tool_calls: function calls, parallel when there are several.
        refusal: a refusal in place of a text.
        incomplete: the reason why the answer stops short: "max_output_tokens" or "content_filter".
        failed: the error code of a response that failed, such as "server_error" (Responses only).
        stream_error: the code of an `error` event that ends the stream after its first output.
        stray_events: events that no SDK knows, sent near the start of a stream.
        reasoning_field: "reasoning" or "reasoning_content", as servers of open models name it.
        cached_tokens: input tokens reported as read from the cache.
    """

    text: str | None = None
    reasoning: str | None = None
    preamble: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    incomplete: str | None = None
    failed: str | None = None
    stream_error: str | None = None
    stray_events: tuple[Mapping[str, Any], ...] = ()
    reasoning_field: str = "reasoning"
    cached_tokens: int = 0


@dataclass(frozen=True)
class Raw(Delivery):
    """An answer given byte for byte, or as a value to send as JSON.

    For errors, and for bodies that no service should send.
    """

    body: Any
    status: int = 200

    def encoded(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def call(name: str, /, **arguments: Any) -> ToolCall:
    """A function call with these arguments."""
    return ToolCall(name, json.dumps(arguments))


def calls(*tool_calls: ToolCall, **fields: Any) -> Answer:
    """An answer that asks for these tools, all at once."""
    return Answer(tool_calls=tool_calls, **fields)


def connection_reset() -> Answer:
    """A connection that breaks before the first byte of an answer."""
    return Answer(text="never sent", cut_after=0, reset=True)


def truncated_json() -> Answer:
    """A complete HTTP answer whose JSON stops in the middle."""
    return Answer(text="half of this is lost", cut_after=0)
