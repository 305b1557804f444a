"""The long form of the fault tests: calls in both APIs, to a service that fails one in five.

    python benchmarks/soak/faults.py [--calls 10000] [--in-flight 200] [--seed 1]

Many calls are in flight. Every one must end in the answer to its own question, or in the typed
error of its last fault, after exactly the number of tries that the retry policy gives it, as
counted by the server; no connection and no task may be left over.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from servers.faults import FAULTS, Run
from servers.openai_fake import OpenAIServer


def table(run: Run) -> str:
    """What the tries met and what became of the calls."""
    rows = [f"  {'fault':<28}{'tries that met it':>18}{'calls answered after it':>26}"]
    rows += [f"  {name:<28}{run.met[name]:>18}{run.answered[name]:>26}" for name in FAULTS]
    rows.append(f"  {'none':<28}{'':>18}{run.answered['none']:>26}")
    rows += [f"  {name:<28}{count:>18} calls" for name, count in run.failed.most_common()]
    return "\n".join(rows)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Make the calls; exit with 1 where something was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument(
        "--patience", type=float, default=20.0, help="seconds until an answer is too late"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    start = time.monotonic()

    def progress(over: int) -> None:
        if over % 1000 == 0:
            say(f"{over} of {given.calls} calls ({time.monotonic() - start:.0f} s)")

    run = Run(given.calls, given.in_flight, given.patience, given.seed, progress)
    server = OpenAIServer()
    server.start()
    asyncio.run(run.against(server))
    server.stop()
    say(table(run))
    for problem in run.problems:
        say(f"wrong: {problem}")
    say(
        f"{given.calls} calls, {run.met.total()} faults, {len(run.problems)} wrong "
        f"({time.monotonic() - start:.0f} s)"
    )
    raise SystemExit(bool(run.problems))


if __name__ == "__main__":
    main()
