"""The files of examples/backend are what their programs take."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).resolve().parent.parent.parent / "examples" / "backend"


def test_every_option_that_the_files_name_is_one_of_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from synth_ai.cli import main; main()", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "TERM": "dumb", "PYTHONPATH": ":".join(sys.path)},
    ).stdout

    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    command = compose["services"]["backend"]["command"]
    unit = (FOLDER / "synth-backend.service").read_text()
    options = set(re.findall(r"--[a-z-]+", " ".join(command) + unit))

    assert command[0] == "serve"
    assert len(options) >= 6
    for option in options:
        assert option in shown


def test_the_services_wait_for_each_other_and_only_the_backend_is_reached() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert set(services["backend"]["depends_on"]) == {"vllm", "postgres"}
    assert all("healthcheck" in services[name] for name in services["backend"]["depends_on"])
    assert [name for name, service in services.items() if "ports" in service] == ["backend"]


def test_the_unit_has_all_its_parts() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(FOLDER / "synth-backend.service")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert unit["Service"]["ExecStart"].split()[1] == "serve"
