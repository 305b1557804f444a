"""The `synth-ai` command, run as users run it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from synth_ai import LM, __version__
from synth_ai.testing import ScriptedVendor

pytest.importorskip("typer")
pytest.importorskip("rich")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`synth-ai ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-c", "from synth_ai.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, str]:
    """A file with a fork in it and one more conversation, and the id of the first response."""

    async def talk() -> str:
        async with LM("m", vendor=ScriptedVendor(["one", "two", "three", "apart"]), response_store=path) as lm:
            first = await lm.respond_async("Hi")
            await lm.respond_async("And?")
            await lm.respond_async("Else?", previous_response_id=first.response_id)
            lm.reset()
            await lm.respond_async("Another")
            return first.response_id or ""

    path = tmp_path / "turns.db"
    return path, asyncio.run(talk())


def test_tree_prints_all_conversations(stored: tuple[Path, str]) -> None:
    """Every turn is drawn with what was asked and answered."""
    shown = run("tree", str(stored[0])).stdout
    assert all(text in shown for text in ("Hi → one", "And? → two", "Else? → three", "Another → apart"))


def test_tree_of_one_response_is_its_conversation_alone(stored: tuple[Path, str]) -> None:
    """An id picks the conversation that it belongs to."""
    shown = run("tree", str(stored[0]), stored[1]).stdout
    assert "Else? → three" in shown
    assert "Another" not in shown


def test_other_forms(stored: tuple[Path, str], tmp_path: Path) -> None:
    """The same tree as JSON, as Mermaid and as a page."""
    path = str(stored[0])
    assert len(json.loads(run("tree", path, "--json").stdout)["turns"]) == 4
    assert run("tree", path, "--mermaid").stdout.startswith(("graph", "flowchart"))
    page = tmp_path / "tree.html"
    assert run("tree", path, "--html", str(page)).returncode == 0
    assert "<html" in page.read_text(encoding="utf-8")


def test_errors_are_one_line(stored: tuple[Path, str], tmp_path: Path) -> None:
    """An unknown id, a missing file and a file that is no store are told without a traceback."""
    other = tmp_path / "notes.txt"
    other.write_text("no store " * 200)
    for arguments in ((str(stored[0]), "resp_nobody"), (str(tmp_path / "none.db"),), (str(other),)):
        result = run("tree", *arguments)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        assert result.stderr.strip()


def test_engine_args_as_a_command_and_as_a_file() -> None:
    """The recommended settings of a card are printed for `vllm serve`, either way."""
    command = run("engine-args", "gpt-oss-120b", "--gpu", "h100").stdout
    assert command.startswith("vllm serve openai/gpt-oss-120b")
    assert "--gpu-memory-utilization 0.95" in command
    assert "--max-num-batched-tokens 1024" in command
    assert "max-num-batched-tokens: 1024" in run("engine-args", "gpt-oss-120b", "--gpu", "h100", "--file").stdout


def test_engine_args_of_an_unknown_card_lists_those_there_are() -> None:
    """A misspelt card is told with the nearest name."""
    result = run("engine-args", "gpt-oss-20b", "--gpu", "h10")
    assert result.returncode != 0
    assert "'h100'" in result.stderr


def test_version() -> None:
    """`--version` prints the package's version."""
    assert run("--version").stdout.strip() == __version__
