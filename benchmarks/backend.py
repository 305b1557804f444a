"""What a request costs more through the backend, beside the server behind it called directly.

`python benchmarks/backend.py [--rounds 7]`. Client, backend and server are processes of their own;
the backend has keys, metrics, a usage file and a SQLite store with the weaker durability. Direct
and passed-on requests take turns; the table shows medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import aiohttp
import psutil

from synth_ai.backend import KeyFile

HERE = Path(__file__).resolve().parent

#: Requests of one round, by how many are in flight.
REQUESTS = {1: 300, 100: 2000}
STREAMS = 1000

SERVE = """
import sys, uvicorn
from synth_ai.backend import BackendConfig, KeyFile, UsageFile, make_app
from synth_ai.store.sqlite.store import SQLiteStore
upstream, folder, port = sys.argv[1:]
app = make_app(BackendConfig(
    upstream=upstream, upstream_key="none", keys=KeyFile(f"{folder}/keys"),
    store=SQLiteStore(f"{folder}/turns.db", durability="process-crash"),
    on_usage=UsageFile(f"{folder}/usage.jsonl"), models=("bench",),
))
uvicorn.run(app, port=int(port), log_level="error", access_log=False, ws="none")
"""

BODY = {"model": "bench", "input": "Tell me about rivers. " * 80}


@contextmanager
def start_server() -> Iterator[str]:
    """Start the server behind, and give its address."""
    command = [sys.executable, str(HERE / "local_server.py")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdin is not None
    yield server.stdout.readline().strip()
    server.stdin.close()
    server.wait(10)


@contextmanager
def start_backend(upstream: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start a backend, and give its address and its process."""
    port = find_port()
    command = [sys.executable, "-c", SERVE, upstream, str(folder), str(port)]
    backend = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    asyncio.run(wait_for(url))
    yield f"{url}/api/v1", psutil.Process(backend.pid)
    backend.terminate()
    backend.wait(60)


def find_port() -> int:
    """Find a port that nobody listens on."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def wait_for(url: str) -> None:
    """Wait until a backend answers."""
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(f"{url}/health"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    raise SystemExit("the backend did not start")


async def measure(session: aiohttp.ClientSession, url: str, in_flight: int) -> list[float]:
    """Make one round of requests, and return the seconds of each."""
    seconds: list[float] = []
    slots = asyncio.Semaphore(in_flight)

    async def ask() -> None:
        async with slots:
            before = time.perf_counter()
            async with session.post(f"{url}/responses", json=BODY) as answer:
                await answer.read()
                assert answer.status == 200, await answer.text()
            seconds.append(time.perf_counter() - before)

    await asyncio.gather(*(ask() for _ in range(REQUESTS[in_flight])))
    return seconds


async def compare(direct: str, passed: str, backend: psutil.Process, key: str, rounds: int) -> None:
    """Print how long requests take both ways, and the CPU of the backend for each."""
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        for in_flight in REQUESTS:
            await measure(session, passed, in_flight)
            straight, through, cpu = [], [], []
            for _ in range(rounds):
                straight.append(median(await measure(session, direct, in_flight)))
                before = sum(backend.cpu_times()[:2])
                through.append(median(await measure(session, passed, in_flight)))
                used = sum(backend.cpu_times()[:2]) - before
                cpu.append(used / REQUESTS[in_flight])
            added = (median(through) - median(straight)) * 1e3
            print(
                f"{in_flight:4} in flight: {median(straight) * 1e3:.2f} ms direct, "
                f"{median(through) * 1e3:.2f} ms through, {added:.2f} ms added, "
                f"{median(cpu) * 1e3:.2f} ms CPU a request",
                flush=True,
            )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = KeyFile(folder / "keys").add("bench")
        with start_server() as direct, start_backend(direct, folder) as (passed, backend):
            asyncio.run(compare(direct, passed, backend, key, arguments.rounds))
        lines = (folder / "usage.jsonl").read_text().splitlines()
        statuses = {json.loads(line)["status"] for line in lines}
        print(f"{len(lines):,} usage records, all {', '.join(statuses)}")


if __name__ == "__main__":
    main()
