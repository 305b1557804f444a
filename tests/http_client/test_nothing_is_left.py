"""Calls leave no warning, no open socket, no thread and no task, closed or dropped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import asyncio, gc, os, sys, threading, time
sys.path[:0] = sys.argv[2:]
from servers.sockets import chat_body, reply, serve
from synth_ai import LM

EVENTS = 'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\\n\\n' * 20


def answer(request, connection):
    if request.json.get("stream"):
        reply(connection, EVENTS, content_type="text/event-stream")
    else:
        reply(connection, chat_body())


def make():
    return LM("m", base_url=server.base_url, transport=sys.argv[1], retry=False)


async def many():
    lm = make()
    await asyncio.gather(*(lm.respond_async("x") for _ in range(100)))
    async for _ in lm.stream_async("x"):
        break
    await make().respond_async("x")
    del lm
    gc.collect()
    await asyncio.sleep(0.2)
    assert asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks()


def count_sockets():
    gc.collect()
    time.sleep(0.3)
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(row[2].endswith(port) and row[3] == "01" for row in rows)


with serve(answer) as server:
    port = f":{int(server.base_url.split(':')[2].removesuffix('/v1')):04X}"
    for _ in range(20):
        make().respond("x")
    with make() as lm:
        lm.respond("x")
    for _ in make().stream_sync("x"):
        break
    asyncio.run(many())

    async def ends_at_once():
        await make().respond_async("x")

    for _ in range(5):
        asyncio.run(ends_at_once())

    assert count_sockets() == 0, count_sockets()
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("synth")}
    # The loop of the sync methods and its idle workers stay for the next call.
    left = {name for name in names if not name.startswith("synth-ai-sync-work")}
    assert left <= {"synth-ai-sync"}, names
"""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="counts sockets as Linux shows them")
@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_dropped_lms_close_their_connections(transport: str) -> None:
    """In Python's development mode, where each thing that is left open says so."""
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", _SCRIPT, transport]
    done = subprocess.run(
        [*command, str(tests), str(tests.parent)], capture_output=True, text=True, timeout=90
    )
    # On a busy machine the loops say that a step took long.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing ")]
    assert (done.returncode, lines) == (0, [])
