"""The long form of the tests of cut streams: every byte offset, by every way a connection ends.

python benchmarks/soak/cut_streams.py [--step 1]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from servers.cuts import APIS, ENDS, cut_at_every_byte, record
from servers.openai_fake import OpenAIServer


def main() -> None:
    """Cut the stream of each API."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--step", type=int, default=1, help="bytes between two cuts")
    step = parser.parse_args().step
    server = OpenAIServer()
    server.start()
    streams = {api: record(server, api) for api in APIS}
    server.stop()
    for api, recorded in streams.items():
        for end in ENDS:
            start = time.monotonic()
            finished = asyncio.run(cut_at_every_byte(api, recorded, {end: step}))
            sys.stdout.write(
                f"{api}, {end} at {len(recorded) // step + 1} offsets: {finished[end]} whole, "
                f"else a right prefix and a typed error ({time.monotonic() - start:.0f} s)\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
