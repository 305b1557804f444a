"""The long form of the test of cancelled tool runs: thousands of moments, as runs and as streams.

python benchmarks/soak/tool_runs.py [--moments 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from cancelled_runs import cancel_at_moments


def main() -> None:
    """Cancel runs of both kinds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=2000, help="how many runs of each kind")
    moments = parser.parse_args().moments
    for way in ("run", "stream"):
        start = time.monotonic()
        left = Counter(asyncio.run(cancel_at_moments(way, range(moments))))
        counts = ", ".join(f"{responses}: {runs}" for responses, runs in sorted(left.items()))
        sys.stdout.write(
            f"{moments} cancelled as a {way}: no turn lost, nothing left behind "
            f"({time.monotonic() - start:.0f} s). Runs by responses: {counts}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
