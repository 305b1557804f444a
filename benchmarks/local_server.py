"""A server that answers at once with a fixed body, so that a benchmark measures the client alone.

Run as a process of its own: it prints its address and serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count
from typing import ClassVar

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello there.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
RESPONSE = {
    "id": "respXXXXXXXX_00000000",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "model": "bench",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello there.", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    },
    "metadata": {},
}


def reply(body: dict[str, object]) -> bytes:
    """The bytes of an HTTP answer."""
    content = json.dumps(body).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


#: Of each stream: how many words it has, an event each, how many come at a time, and the seconds
#: between.
WORDS = 200
AT_ONCE = 10
PAUSE = 0.005


def chat_events() -> list[dict[str, object]]:
    """A streamed chat completion, an event a word."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    deltas: list[dict[str, object]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f"word{number} "} for number in range(WORDS)]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    return [{**chunk, "choices": [choice]} for choice in choices]


def response_events() -> list[dict[str, object]]:
    """A streamed response, an event a word."""
    words = [f"word{number} " for number in range(WORDS)]
    part = {"type": "output_text", "text": "".join(words), "annotations": []}
    message = {**RESPONSE["output"][0], "content": [part]}  # type: ignore[index]
    begun = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    whole = {**RESPONSE, "output": [message]}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}

    events: list[dict[str, object]] = [{"type": "response.created", "response": begun}]
    item = {**message, "status": "in_progress", "content": []}
    events.append({"type": "response.output_item.added", "output_index": 0, "item": item})
    for word in words:
        events.append({"type": "response.output_text.delta", "delta": word, **place})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": message})
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def in_pieces(events: list[dict[str, object]], end: str = "") -> list[bytes]:
    """The pieces of a streamed answer, as they go out one after another."""
    frames = [f"data: {json.dumps(event)}\n\n" for event in events]
    if end:
        frames.append(f"data: {end}\n\n")

    pieces = []
    for start in range(0, len(frames), AT_ONCE):
        text = "".join(frames[start : start + AT_ONCE]).encode()
        pieces.append(b"%x\r\n%s\r\n" % (len(text), text))
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return [head, *pieces, b"0\r\n\r\n"]


CONNECTIONS = count()


class Server(asyncio.Protocol):
    """Reads requests by their content-length, and answers each with the body of its path."""

    replies: ClassVar = {b"/responses": reply(RESPONSE), b"/chat/completions": reply(CHAT)}
    streams: ClassVar = {
        b"/responses": in_pieces(response_events()),
        b"/chat/completions": in_pieces(chat_events(), "[DONE]"),
    }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""
        self.prefix = b"resp%08d" % next(CONNECTIONS)
        self.number = 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            lowered = head.lower()
            at = lowered.find(b"content-length:")
            length = int(lowered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            # No two responses have one id: a client may keep them by it.
            self.number += 1
            path = head.split(b" ", 2)[1]
            ending = next(ending for ending in self.replies if path.endswith(ending))
            if b'"stream":true' in body.replace(b" ", b""):
                self.send_pieces(self.streams[ending], 0, self.number)
            else:
                self.send(self.replies[ending], self.number)

    def send_pieces(self, pieces: list[bytes], index: int, number: int) -> None:
        """Send a piece of a stream, and the others later."""
        self.send(pieces[index], number)
        if index + 1 < len(pieces):
            asyncio.get_running_loop().call_later(
                PAUSE, self.send_pieces, pieces, index + 1, number
            )

    def send(self, content: bytes, number: int) -> None:
        """Send bytes with the id of this very response in them."""
        id = b"%s_%08d" % (self.prefix, number)
        self.transport.write(content.replace(b"respXXXXXXXX_00000000", id))  # type: ignore[attr-defined]


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
