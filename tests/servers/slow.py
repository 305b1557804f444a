"""A server in a process of its own that answers each call after a while, and many calls to it.

    python -m servers.slow SECONDS

Prints its port, and serves until its standard input is closed. What it answers fits both APIs'
shapes of a body and of a stream.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers.sockets import chat_body, response_body
from synth_ai import LM

_TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def serve_slowly(seconds: float) -> Iterator[str]:
    """Run the server, and give its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "servers.slow", str(seconds)],
        cwd=_TESTS,
        env={"PYTHONPATH": f"{_TESTS}:{_TESTS.parent}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        assert process.stdin is not None
        process.stdin.close()


async def call_many(
    base_url: str, count: int, *, api: str, streamed: bool, **options: Any
) -> Counter[str]:
    """Make so many calls at once, and count what became of them: `answered`, or an error.

    Args:
        base_url: the server's address.
        count: how many calls.
        api: the API.
        streamed: whether they are streams.
        **options: options of the LM.
    """
    async with LM("m", api=api, base_url=base_url, auto_store_responses=False, **options) as lm:

        async def call() -> str:
            if not streamed:
                return (await lm.respond_async("x")).text
            async with lm.stream_async("x") as stream:
                async for _ in stream:
                    pass
            return stream.response.text

        answers = await asyncio.gather(*(call() for _ in range(count)), return_exceptions=True)
    return Counter("answered" if each == "hi" else repr(each)[:200] for each in answers)


async def _serve(seconds: float) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _answer_all(reader, writer, seconds), "127.0.0.1", 0, backlog=2048
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


async def _answer_all(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    number = 0
    while head := await _read_head(reader):
        number += 1
        length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        await asyncio.sleep(seconds)

        content, content_type = _make_answer("messages" in body, bool(body.get("stream")))
        start = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}"
        writer.write(f"{start}\r\n\r\n".encode() + content)
        await writer.drain()
    writer.close()


async def _read_head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""


_numbers = iter(range(10**9))


def _make_answer(on_chat: bool, streamed: bool) -> tuple[bytes, str]:
    if not streamed:
        id = f"resp_{next(_numbers)}"
        body = chat_body() if on_chat else response_body(id=id)
        return json.dumps(body).encode(), "application/json"

    events: list[dict[str, Any]]
    if on_chat:
        choice = {"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}
        events = [{"id": "x", "object": "chat.completion.chunk", "choices": [choice]}]
    else:
        response = response_body(id=f"resp_{next(_numbers)}")
        events = [{"type": "response.completed", "sequence_number": 0, "response": response}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream"


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
