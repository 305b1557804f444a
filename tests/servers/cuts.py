"""Streams of events that break off at any byte: a recording, a bare server, and the outcomes.

The server is no more than a socket, as a test asks for thousands of cuts.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from servers.answers import Answer, ToolCall
from servers.delivery import reset
from servers.openai_fake import CHAT, RESPONSES, OpenAIServer
from synth_ai import LM, Completed, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.content import without_local_id
from synth_ai.errors import ServerError, SynthAIError
from synth_ai.events import StreamEvent

APIS = ("responses", "chat")

#: How a connection may end too early: by an orderly end of the answer, by closing in the middle of
#: it, by a reset.
ENDS = ("ended", "closed", "reset")

_ANSWER = Answer(text="où 😀", reasoning="né", tool_calls=(ToolCall("find", '{"x":"é"}'),))
_ASKED: dict[str, dict[str, Any]] = {
    RESPONSES: {"input": "Hi", "reasoning": {"summary": "auto"}},
    CHAT: {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream_options": {"include_usage": True},
    },
}
_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def record(server: OpenAIServer, api: str) -> bytes:
    """The stand-in's stream with reasoning, a tool call and a text, in UTF-8."""
    server.enqueue(_ANSWER)
    path = RESPONSES if api == "responses" else CHAT
    body = json.dumps({"model": "gpt-5", "stream": True, **_ASKED[path]}).encode()
    headers = {"authorization": f"Bearer {server.api_key}", "content-type": "application/json"}
    address = server.base_url.removesuffix("/v1") + path
    with urllib.request.urlopen(urllib.request.Request(address, body, headers)) as answer:
        lines = answer.read().decode().splitlines()
    return "\n".join(map(_unescaped, lines)).encode() + b"\n\n"


def _unescaped(line: str) -> str:
    if not line.startswith("data: {"):
        return line
    event = json.loads(line.removeprefix("data: "))
    return "data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":"))


class CutServer:
    """Answers every request with `stream`, in pieces of `piece` bytes; then ends it as `end` says.

    Attributes:
        base_url: the address, ending in `/v1`.
        end: one of `ENDS`.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.stream = b""
        self.piece = 1 << 16
        self.end = "ended"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[CutServer]:
        """Serve while the block runs."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", 0
        )
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self


class _Connection(asyncio.Protocol):
    def __init__(self, server: CutServer) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if blank and length and len(body) == int(length[1]):
            self._received = b""
            self._answer()

    def _answer(self) -> None:
        stream, size = self._server.stream, self._server.piece
        pieces = (stream[at : at + size] for at in range(0, len(stream), size))
        end = b"0\r\n\r\n" if self._server.end == "ended" else b""
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        # In one go: a second write would wait for the first one to be acknowledged.
        self._transport.write(_HEAD + chunks + end)
        if self._server.end == "closed":
            self._transport.close()
        elif self._server.end == "reset":
            reset(self._transport)


@dataclass(frozen=True)
class Outcome:
    """What a caller saw of a stream: the deltas, and the response or the error at its end."""

    deltas: list[StreamEvent]
    response: dict[str, Any] | None
    error: SynthAIError | None


#: What of a response is of the moment in which it came.
TIMES = {"created_at", "latency", "time_to_first_token"}


async def outcome_of(lm: LM) -> Outcome:
    """Ask in a conversation of its own, and read the stream to its end."""
    lm = lm.fork()
    stream = lm.stream_async("Hi")
    deltas: list[StreamEvent] = []
    try:
        async for event in stream:
            if not isinstance(event, Completed):
                deltas.append(event)
    except SynthAIError as error:
        assert lm.head is None
        return Outcome(deltas, None, error)
    response = stream.response.model_dump(exclude=TIMES)
    if lm.api_type == "chat":
        # Chat has no ids, so the response and its items get some of ours.
        del response["response_id"]
        response["output"] = [without_local_id(item) for item in response["output"]]
    return Outcome(deltas, response, None)


def check(cut: Outcome, whole: Outcome) -> None:
    """A cut stream gives a right prefix and then a typed error, or the whole; nothing else."""
    assert cut.deltas == whole.deltas[: len(cut.deltas)]
    if cut.error is None:
        assert cut == whole
    else:
        assert isinstance(cut.error, ServerError), repr(cut.error)


async def cut_at_every_byte(api: str, recorded: bytes, every: Mapping[str, int]) -> dict[str, int]:
    """Cut a recorded stream by each of `ENDS` and check the outcomes; return how many were whole.

    Args:
        every: the step between the offsets, by the way to end.
    """
    finished = dict.fromkeys(every, 0)
    async with (
        CutServer().serving() as server,
        LM("gpt-5", api=api, base_url=server.base_url, retry=False, response_store=False) as lm,
    ):
        server.stream = recorded
        whole = await outcome_of(lm)
        assert whole.error is None
        assert {type(delta) for delta in whole.deltas} == {ReasoningDelta, ToolCallDelta, TextDelta}
        for end, step in every.items():
            server.end = end
            for length in range(0, len(recorded) + 1, step):
                server.stream = recorded[:length]
                cut = await outcome_of(lm)
                check(cut, whole)
                finished[end] += cut.error is None
    return finished
