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


async def send_lists(api: str, server: OpenAIServer, count: int, rng: random.Random) -> None:
    """Send so many malformed lists."""
    async with make_lm(api, server) as lm:
        for _ in range(count):
            messages = [make_message(rng) for _ in range(rng.randint(1, 3))]
            try:
                await try_messages(lm, server, messages)
            except Exception:
                sys.stdout.write(f"{api}: {messages!r}\n")
                raise


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
    for api in APIS:
        start = time.monotonic()
        lists = -(-arguments.lists // len(APIS))
        asyncio.run(send_lists(api, server, lists, rng))

        imports = -(-arguments.imports // len(APIS))
        with tempfile.TemporaryDirectory() as directory:
            taken = sum(try_import(api, server, Path(directory), rng) for _ in range(imports))
        sys.stdout.write(
            f"{api}: {lists} lists and {imports} exports ({taken} imported) raised only errors of "
            f"this library ({time.monotonic() - start:.0f} s)\n"
        )
        sys.stdout.flush()
    server.stop()


if __name__ == "__main__":
    main()
