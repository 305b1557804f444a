"""A program that makes calls in every way, closes hardly anything, and looks at what is left.

    python -X dev -W error -m servers.many_calls TRANSPORT COUNT

Run in Python's development mode, each thing that is left open says so. It fails if a connection, a
descriptor, a thread or a task is left.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from servers.sockets import SentRequest, SocketServer, chat_body, reply, response_body
from synth_ai import LM
from synth_ai.errors import RejectedError

_CHAT_EVENT = 'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
_RESPONSES_EVENT = (
    'data: {"type":"response.output_text.delta","item_id":"m","output_index":0,'
    '"content_index":0,"delta":"a"}\n\n'
)
# Tenths of a second until what is left is a leak.
_PATIENCE = 50

_TOOL_CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def look() -> str:
    """Look."""
    return "seen"


def answer(request: SentRequest, connection: socket.socket) -> None:
    """Answer on both APIs; a text with `refuse` in it gets an error."""
    body = request.json
    on_chat = request.path.endswith("/chat/completions")
    if b"refuse" in request.body:
        reply(connection, {"error": {"message": "no"}}, status="400 No")
    elif body.get("stream"):
        # Nobody reads these to their end.
        events = (_CHAT_EVENT if on_chat else _RESPONSES_EVENT) * 20
        reply(connection, events, content_type="text/event-stream")
    elif b'"tools"' in request.body and b'"tool"' not in request.body:
        reply(connection, chat_body(None, tool_calls=[_TOOL_CALL]))
    elif on_chat:
        reply(connection, chat_body())
    else:
        reply(connection, response_body(id=f"resp_{time.monotonic_ns()}"))


class Caller:
    """Makes calls to a server.

    Args:
        base_url: the server's address.
        transport: what carries the calls.
    """

    def __init__(self, base_url: str, transport: Any) -> None:
        self._base_url = base_url
        self._transport = transport

    def make(self, api: str = "chat") -> LM:
        """Make an LM, which nobody closes."""
        return LM(
            "m",
            api=api,
            base_url=self._base_url,
            transport=self._transport,
            retry=False,
            # Hundreds of connections at once are another test's matter.
            max_concurrency=32,
        )

    def call_sync(self, count: int) -> None:
        """Call in each way of the sync methods, so many times."""
        for _ in range(count):
            for api in ("chat", "responses"):
                self.make(api).respond("x")
                for _ in self.make(api).stream_sync("x"):
                    break
            with suppress(RejectedError):
                self.make().respond("refuse")
            self.make().run_tools("x", tools=[look])

        with self.make() as lm:
            lm.respond_batch(["x"] * count)

    async def call_async(self, count: int) -> None:
        """Call in each way of the async methods, so many times, and cancel some."""
        for api in ("chat", "responses"):
            lm = self.make(api)
            await asyncio.gather(*(lm.respond_async("x", auto_store=False) for _ in range(count)))
            for _ in range(count // 10 + 1):
                async for _ in lm.stream_async("x"):
                    break
                await self.make(api).respond_async("x")
                task = asyncio.ensure_future(lm.respond_async("x"))
                await asyncio.sleep(0.001)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        del lm, task

        gc.collect()
        # Connections are closed behind the last call.
        for _ in range(_PATIENCE):
            await asyncio.sleep(0.1)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                return
        raise AssertionError(f"These tasks are left: {left}")


def count_connections(base_url: str) -> int:
    """Count the connections to a server, as Linux has them."""
    port = f":{int(base_url.split(':')[2].removesuffix('/v1')):04X}"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(row[2].endswith(port) and row[3] == "01" for row in rows)


def wait_until_closed(base_url: str) -> int:
    """Wait a little for connections to be closed, and return how many are left."""
    gc.collect()
    for _ in range(_PATIENCE):
        if count_connections(base_url) == 0:
            return 0
        time.sleep(0.1)
    return count_connections(base_url)


def count_descriptors() -> int:
    """Count the open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    """Make the calls twice: what the first ones leave for good is no leak."""
    transport, count = sys.argv[1], int(sys.argv[2])
    server = SocketServer(answer)
    caller = Caller(server.base_url, transport)

    descriptors = 0
    for round_count in (1, count):
        caller.call_sync(max(1, round_count // 20))
        asyncio.run(caller.call_async(max(1, round_count // 4)))
        left = wait_until_closed(server.base_url)
        assert left == 0, f"{left} connections are left"
        descriptors_before, descriptors = descriptors, count_descriptors()
    assert descriptors <= descriptors_before, f"{descriptors_before} -> {descriptors} descriptors"

    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("synth")}
    # The loop of the sync methods and its idle workers stay for the next call.
    others = {name for name in names if not name.startswith("synth-ai-sync")}
    assert not others, others
    sys.stdout.write(f"{len(server.requests)} calls\n")


if __name__ == "__main__":
    main()
