"""What one hosted call costs: CPU per call and calls per second, next to the raw SDK and to peers.

`python benchmarks/client.py [--peers] [--rounds 7]`. Every measurement is a process of its own
against a local server in another; contenders take turns within each round, and the table shows
medians, and ratios to the raw SDK and to a bare POST over aiohttp. Peers are installed by uv into
environments of their own under `.venvs/`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))

from local_server import WORDS  # noqa: E402

ENVIRONMENTS = HERE.parent / ".venvs"

OURS = ("openai", "bare aiohttp", "synth_ai", "synth_ai chained", "synth_ai httpx")
#: Peers and what has to be installed for them.
PEERS = {
    "litellm": "litellm mcp",
    "langchain-openai": "langchain-openai",
    "pydantic-ai": "pydantic-ai-slim[openai]",
    "openai-agents": "openai-agents",
    "dspy": "dspy",
}
#: Contenders for streams of `WORDS` events, by how many there are at once. With a thousand, the raw
#: SDK's time to connect runs out on a busy machine.
STREAMS = {1: ("openai stream", "synth_ai stream"), 1000: ("synth_ai stream",)}
CALLS = {1: 300, 100: 1000, 1000: 3000, 10_000: 10_000}


def peer_python(name: str) -> str:
    """The Python of a peer's environment, made if it is not there yet."""
    python = ENVIRONMENTS / f"peer-{name}" / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        subprocess.run(
            [uv, "venv", "-q", "--python", sys.executable, str(python.parents[1])], check=True
        )
        subprocess.run(
            [uv, "pip", "install", "-q", "--python", str(python), *PEERS[name].split()], check=True
        )
    return str(python)


def run(python: str, name: str, api: str, url: str, in_flight: int) -> dict[str, float]:
    """One measurement in a process of its own."""
    calls = CALLS[in_flight]
    if name.endswith("stream"):
        calls = max(30, in_flight)
    arguments = [name, api, url, str(in_flight), str(calls)]
    command = [python, str(HERE / "client_worker.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{name} failed on {api}:\n{result.stderr[-2000:]}")
    return dict(json.loads(result.stdout.strip().splitlines()[-1]))


def table(api: str, in_flight: int, results: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, with ratios to the raw SDK and to a bare POST."""
    print(f"\n{api}, {in_flight} in flight")
    columns = ("CPU us/call", "x SDK", "x bare", "calls/s", "x SDK", "grew by MB")
    print(f"{'':18} " + " ".join(f"{column:>11}" for column in columns))

    medians = {name: middle(rounds) for name, rounds in results.items()}
    sdk, bare = medians["openai"], medians["bare aiohttp"]
    for name, each in medians.items():
        print(
            f"{name:18} {each['cpu_us']:11.0f} {each['cpu_us'] / sdk['cpu_us']:11.2f} "
            f"{each['cpu_us'] / bare['cpu_us']:11.2f} {each['calls_per_s']:11.0f} "
            f"{each['calls_per_s'] / sdk['calls_per_s']:11.2f} {each['grown_mb']:11.0f}"
        )


def stream_table(api: str, in_flight: int, results: dict[str, list[dict[str, float]]]) -> None:
    """Print medians for an event of a stream, with the ratio to the raw SDK."""
    print(f"\n{api}, {in_flight} streams at once")
    print(f"{'':18} {'CPU us/event':>12} {'x SDK':>6} {'grew by MB':>11}")
    medians = {name: middle(rounds) for name, rounds in results.items()}
    for name, each in medians.items():
        ratio = ""
        if "openai stream" in medians:
            ratio = f"{each['cpu_us'] / medians['openai stream']['cpu_us']:.2f}"
        print(f"{name:18} {each['cpu_us'] / WORDS:12.1f} {ratio:>6} {each['grown_mb']:11.0f}")


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: median(each[key] for each in rounds) for key in rounds[0]}


def measure(
    pythons: dict[str, str], api: str, url: str, in_flight: int, rounds: int
) -> dict[str, list[dict[str, float]]]:
    """All contenders, by turns in each round."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            results[name].append(run(python, name, api, url, in_flight))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", action="store_true", help="measure litellm, langchain-openai and others too"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--in-flight", type=int, nargs="*", default=list(CALLS), choices=list(CALLS)
    )
    options = parser.parse_args()
    pythons = dict.fromkeys(OURS, sys.executable)
    if options.peers:
        pythons |= {name: peer_python(name) for name in PEERS}
    server = subprocess.Popen(
        [sys.executable, str(HERE / "local_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        for api in ("responses", "chat"):
            for in_flight in options.in_flight:
                table(api, in_flight, measure(pythons, api, url, in_flight, options.rounds))
            for in_flight, names in STREAMS.items():
                streams = dict.fromkeys(names, sys.executable)
                results = measure(streams, api, url, in_flight, options.rounds)
                stream_table(api, in_flight, results)
    finally:
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    main()
