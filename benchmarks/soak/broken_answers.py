"""The long form of the tests of broken answers: each is read, or refused by our own error.

python benchmarks/soak/broken_answers.py [--count 20000] [--start 0]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from servers.mutations import BrokenServer, load_answers, take_broken_answer
from synth_ai import LM, MemoryStore


async def run(transport: str, seeds: range) -> tuple[Counter[str], list[str]]:
    """Call once for each seed; count what came of it, and list the errors that are not ours."""
    answers = load_answers()
    outcomes: Counter[str] = Counter()
    raw: list[str] = []
    async with BrokenServer() as server:
        lms = {}
        store = MemoryStore(max_turns=20)
        for api in ("chat", "responses"):
            lms[api] = LM(
                "m",
                api=api,
                base_url=server.base_url,
                api_key="k",
                retry=False,
                transport=transport,  # type: ignore[arg-type]
                response_store=store,
            )
        for seed in seeds:
            try:
                outcomes[await take_broken_answer(lms, server, answers, seed)] += 1
            except Exception as error:
                raw.append(f"seed {seed}: {type(error).__name__}: {error!s:.200}")
        for lm in lms.values():
            await lm.aclose()
    return outcomes, raw


def main() -> None:
    """Run half of the calls on each transport."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="broken answers in all")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()

    failures = []
    half = arguments.count // 2
    for number, transport in enumerate(("httpx", "aiohttp")):
        started = time.monotonic()
        first = arguments.start + number * half
        outcomes, raw = asyncio.run(run(transport, range(first, first + half)))
        failures += raw
        counts = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
        seconds = time.monotonic() - started
        sys.stdout.write(f"{transport}: {counts}; {len(raw)} raw errors ({seconds:.0f} s)\n")
        sys.stdout.flush()

    if failures:
        sys.exit("\n".join(failures[:20]))


if __name__ == "__main__":
    main()
