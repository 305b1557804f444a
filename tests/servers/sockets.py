"""A server on a plain socket, for answers that no HTTP library would send."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SentRequest:
    """A request as it came in; the names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


Handler = Callable[[SentRequest, socket.socket], object]


class SocketServer:
    """Calls a handler with every request and its socket; what it returns as "close" ends that.

    Args:
        handler: answers the requests.
        host: the address to serve at.
        context: for a server that speaks TLS.

    Attributes:
        base_url: the address, ending in `/v1`.
        requests: every request so far.
    """

    def __init__(
        self, handler: Handler, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[SentRequest] = []
        self._handler = handler
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=2048)
        scheme = "http" if context is None else "https"
        name = f"[{host}]" if ":" in host else host
        self.base_url = f"{scheme}://{name}:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that has gone away, or does not trust us, is no failure of the server's.
        with suppress(OSError), connection:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                while request := _read_request(stream):
                    self.requests.append(request)
                    if self._handler(request, connection) == "close":
                        return


def _read_request(stream: Any) -> SentRequest | None:
    line = stream.readline()
    if not line:
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)

    headers: dict[str, str] = {}
    while (header := stream.readline()) not in (b"\r\n", b""):
        name, value = header.decode("latin-1").split(":", 1)
        headers[name.lower()] = value.strip()

    body = stream.read(int(headers.get("content-length", 0)))
    return SentRequest(method, path, headers, body)


@contextmanager
def serve(
    handler: Handler, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> Iterator[SocketServer]:
    """Serve with a handler until the end of the block."""
    server = SocketServer(handler, host, context)
    try:
        yield server
    finally:
        server.close()


def reply(
    connection: socket.socket,
    body: object,
    status: str = "200 OK",
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> None:
    """Send an answer of bytes, of text, or of what is written as JSON."""
    if isinstance(body, str):
        content = body.encode()
    else:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\n{more}\r\n"
    )
    connection.sendall(head.encode() + content)


def chat_body(text: str | None = "hi", **message: object) -> dict[str, Any]:
    """A chat completion."""
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text, **message},
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def response_body(text: str = "hi", id: str = "resp_1", **fields: object) -> dict[str, Any]:
    """A response of the Responses API."""
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    return {
        "id": id,
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": [message],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        **fields,
    }
