"""A program may end with LMs and streams that nobody closed: it says nothing, and ends at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_START = """
import asyncio, atexit, gc, os, sys, threading, time
sys.path[:0] = sys.argv[2:]
from servers.sockets import SocketServer, chat_body, reply
from synth_ai import LM
from synth_ai.errors import RejectedError

EVENTS = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\\n\\n' * 20
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nConnection: close\\r\\n\\r\\n"


def answer(request, connection):
    if b"refuse" in request.body:
        reply(connection, {"error": {"message": "no"}}, status="400 No")
    elif b"stream" in request.body:
        connection.sendall(HEAD + EVENTS)
        time.sleep(60)
    elif b"hang" in request.body:
        time.sleep(60)
    else:
        reply(connection, chat_body())


server = SocketServer(answer)


def make():
    return LM("m", base_url=server.base_url, transport=sys.argv[1], retry=False)


def new_loop():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
"""

PROGRAMS = {
    "an LM that is kept": "lm = make(); lm.respond('x')",
    "LMs that are dropped": "for _ in range(3): make().respond('x')",
    "one that is collected": """
lm = make(); lm.respond('x')
cycle = [lm]; cycle.append(cycle)
del lm, cycle
gc.collect()
""",
    "one that an error had": """
try:
    make().respond('refuse')
except RejectedError as error:
    print(error)
""",
    "a sync stream left half way": """
lm = make()
events = iter(lm.stream_sync('x'))
next(events)
""",
    "one in a cycle": """
lm = make()
events = iter(lm.stream_sync('x'))
next(events)
cycle = [events, lm]; cycle.append(cycle)
del events, lm, cycle
""",
    "asyncio.run": """
lm = make()
async def main():
    await asyncio.gather(*(lm.respond_async('x') for _ in range(5)))
    async for _ in lm.stream_async('x'):
        break
asyncio.run(main())
lm.respond('x')
""",
    "a task under way": """
lm = make()
async def main():
    asyncio.create_task(lm.respond_async('hang'))
    await asyncio.sleep(0.3)
asyncio.run(main())
""",
    "a loop that is never closed, as a notebook's": """
loop = new_loop()
lm = make()
loop.run_until_complete(lm.respond_async('x'))
loop.run_until_complete(make().respond_async('x'))
async def main():
    global events
    events = aiter(lm.stream_async('x'))
    await anext(events)
loop.run_until_complete(main())
""",
    "a loop on a thread": """
loop = new_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
lm = make()
asyncio.run_coroutine_threadsafe(lm.respond_async('x'), loop).result()
""",
    "a thread that is still calling": """
lm = make(); lm.respond('x')
threading.Thread(target=lm.respond, args=('hang',), daemon=True).start()
def read():
    for _ in lm.stream_sync('x'):
        pass
threading.Thread(target=read, daemon=True).start()
time.sleep(0.5)
""",
    "a forked child": """
lm = make(); lm.respond('x')
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
lm.respond('y')
""",
    "calls at the end": """
lm = make()
atexit.register(lambda: lm.respond('x'))
lm.respond('x')
""",
}


def _run(code: str, transport: str, *flags: str) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).parent.parent
    command = [sys.executable, *flags, "-c", _START + code, transport, str(tests)]
    return subprocess.run(
        [*command, str(tests.parent)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_end_of_a_program_is_silent(name: str, transport: str) -> None:
    """In Python's development mode, where each thing that is left open says so."""
    done = _run(PROGRAMS[name], transport, "-X", "dev", "-W", "error")
    # On a busy machine the loops say that a step took long.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing ")]
    assert (done.returncode, lines) == (0, [])


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_a_loop_that_was_closed_under_its_connections(transport: str) -> None:
    """Nobody can close them any more; outside of the development mode nothing is said."""
    code = """
lm = make()
for _ in range(2):
    loop = new_loop()
    loop.run_until_complete(lm.respond_async('x'))
    loop.close()
"""
    done = _run(code, transport)
    assert (done.returncode, done.stderr) == (0, "")
