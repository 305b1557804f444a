"""What an engine's processes say is kept for its errors, and goes on to their streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synth_ai.engines.vllm.errors import dead_error, start_error
from synth_ai.engines.vllm.process_log import ProcessLog, log_stream

SAYING = """
import os, sys
from synth_ai.engines.vllm.process_log import copy_streams
copy_streams()
for number in range({count}):
    print(f"line {{number}}")
print("Grüße", file=sys.stderr, flush=True)
print(sys.stdout.isatty(), sys.stdout.fileno(), flush=True)
"""


def say(count: int) -> subprocess.CompletedProcess[str]:
    """Run a process that says so many lines."""
    code = SAYING.format(count=count)
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env=environment,
    )


def test_the_end_is_kept_and_all_of_it_is_said() -> None:
    """The streams have every line; the log has the last ones, of both streams."""
    log = ProcessLog()
    assert log.read_end() == ""
    with log.copying():
        result = say(100)

    assert result.stdout.splitlines() == [*(f"line {n}" for n in range(100)), "False 1"]
    assert result.stderr == "Grüße\n"
    lines = log.read_end().splitlines()
    assert lines[-2:] == ["Grüße", "False 1"]
    assert "line 99" in lines
    assert "line 50" not in lines


def test_the_file_has_no_name_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the folder, also by a process that is started too late."""
    log = ProcessLog()
    with log.copying():
        (path,) = [value for name, value in os.environ.items() if name == "SYNTH_AI_ENGINE_LOG"]
        assert Path(path).stat().st_mode & 0o777 == 0o600
    assert not Path(path).exists()
    assert "SYNTH_AI_ENGINE_LOG" not in os.environ

    monkeypatch.setenv("SYNTH_AI_ENGINE_LOG", path)
    assert "line 2" in say(3).stdout
    assert not Path(path).exists()
    assert log.read_end() == ""


def test_a_long_log_begins_anew() -> None:
    """The file has a bound, whatever the process says."""
    log = ProcessLog()
    with log.copying():
        say(200_000)
        size = Path(os.environ["SYNTH_AI_ENGINE_LOG"]).stat().st_size
    assert size < 1_100_000
    assert log.read_end().endswith("False 1")


def test_errors_have_the_lines_and_name_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is the one that vLLM's own variable names."""
    assert log_stream() == "stdout"
    assert "its log on stdout says more" in str(dead_error())
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    message = str(dead_error("one\ntwo"))
    assert "its log on stderr says more" in message
    assert message.endswith("The last lines of its log:\none\ntwo")


def test_a_load_that_failed_for_memory_does_not_advise_to_take_more() -> None:
    """vLLM's own advice is left out, the cause is not."""
    log = (
        "ValueError: No available memory for the cache blocks. Try increasing "
        "`gpu_memory_utilization` when initializing the engine (this flag). See "
        "https://docs.vllm.ai/ for more details.\nnext line"
    )
    failure = RuntimeError("Engine core initialization failed. See root cause above.")
    message = str(start_error(failure, log))
    assert message.endswith("ValueError: No available memory for the cache blocks.\nnext line")
    assert "lower gpu_memory_utilization" in message
    assert "increasing" not in message

    message = str(start_error(ValueError(log.partition("\n")[0])))
    assert "No available memory" in message
    assert "increasing" not in message
