"""The long form of the tests of malformed messages and imports: only errors of this library.

python benchmarks/soak/malformed.py [--lists 20000] [--imports 5000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from servers.malformed import make_lm, make_message, try_import, try_messages
from servers.openai_fake import OpenAIServer

APIS = ("chat", "responses", "harmony")


async def send_lists(api: str, server: OpenAIServer, count: int, rng: random.Random) -> list[str]:
    """Send so many malformed lists; return the errors that are not this library's."""
    raw = []
    async with make_lm(api, server) as lm:
        for _ in range(count):
            messages = [make_message(rng) for _ in range(rng.randint(1, 3))]
            try:
                await try_messages(lm, server, messages)
            except Exception as error:
                raw.append(f"{type(error).__name__}: {error!s:.100}: {messages!r:.300}")
    return raw


def import_many(api: str, server: OpenAIServer, count: int, rng: random.Random) -> list[str]:
    """Import so many mutated exports; return the errors that are not this library's."""
    raw = []
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(count):
            try:
                try_import(api, server, Path(directory), rng)
            except Exception as error:
                raw.append(f"import: {type(error).__name__}: {error!s:.300}")
    return raw


def main() -> None:
    """Try all APIs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lists", type=int, default=20_000, help="how many lists of messages")
    parser.add_argument("--imports", type=int, default=5_000, help="how many exports")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    rng = random.Random(arguments.seed)
    server = OpenAIServer()
    server.start()
    failed = False
    for api in APIS:
        start = time.monotonic()
        lists = -(-arguments.lists // len(APIS))
        raw = asyncio.run(send_lists(api, server, lists, rng))
        imports = -(-arguments.imports // len(APIS))
        raw += import_many(api, server, imports, rng)

        failed = failed or bool(raw)
        seconds = time.monotonic() - start
        sys.stdout.write(
            f"{api}: {lists} lists, {imports} exports, {len(raw)} raw errors ({seconds:.0f} s)\n"
        )
        sys.stdout.write("".join(f"  {line}\n" for line in raw[:20]))
        sys.stdout.flush()
    server.stop()
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
