"""The long form of the test that calls leave nothing: 1,000 on each transport, in development mode.

python benchmarks/soak/nothing_left.py [--calls 1000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"


def main() -> None:
    """Run the program of the test; exit with 1 where anything was left, or said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1000, help="calls on each transport, at least")
    calls = parser.parse_args().calls

    is_clean = True
    for transport in ("httpx", "aiohttp"):
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "servers.many_calls"]
        done = subprocess.run(
            [*command, transport, str(calls)],
            env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
            capture_output=True,
            text=True,
            check=False,
        )
        # On a busy machine the loops say that a step took long.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing ")]
        is_clean = is_clean and done.returncode == 0 and not lines
        sys.stdout.write(f"{transport}: {done.stdout.strip()}, {len(lines)} lines of warnings\n")
        sys.stdout.write("\n".join(lines[:40]))
        sys.stdout.flush()
    raise SystemExit(not is_clean)


if __name__ == "__main__":
    main()
