"""The types of the public API: what users' type checkers infer, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_the_api_types_as_written() -> None:
    """`typing/api.py` is checked under mypy's strict rules, its expected errors included."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--warn-unused-ignores",
        str(HERE / "typing" / "api.py"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=HERE.parent, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
