"""Calls leave no warning, no open connection, no thread and no task, closed or dropped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="counts sockets as Linux shows them")
@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_dropped_lms_leave_nothing(transport: str) -> None:
    """In Python's development mode; `benchmarks/soak/nothing_left.py` is the long form."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "servers.many_calls"]
    done = subprocess.run(
        [*command, transport, "100"],
        cwd=TESTS,
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    # On a busy machine the loops say that a step took long.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing ")]
    assert (done.returncode, lines) == (0, [])
