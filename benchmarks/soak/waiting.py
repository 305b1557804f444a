"""The long form of the test that no call times out while it waits for its place.

    python benchmarks/soak/waiting.py [--calls 10000] [--places 64] [--timeout 1]

A server in a process of its own answers after 50 ms. All calls are made at once.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from servers.slow import call_many, serve_slowly


def main() -> None:
    """Call on both transports and APIs; exit with 1 if any call failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=1.0)
    given = parser.parse_args()

    failed = 0
    with serve_slowly(0.05) as base_url:
        for transport in ("aiohttp", "httpx"):
            for api, streamed in (("chat", False), ("responses", False), ("chat", True)):
                start = time.monotonic()
                outcomes = asyncio.run(
                    call_many(
                        base_url,
                        given.calls,
                        api=api,
                        streamed=streamed,
                        transport=transport,
                        max_concurrency=given.places,
                        timeout=given.timeout,
                    )
                )
                failed += given.calls - outcomes["answered"]
                kind = f"{api}, streams" if streamed else api
                seconds = time.monotonic() - start
                sys.stdout.write(f"{transport}, {kind}: {dict(outcomes)} ({seconds:.0f} s)\n")
                sys.stdout.flush()
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
