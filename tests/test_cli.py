"""The `synth-ai` command, run as users run it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
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
        async with LM(
            "m", vendor=ScriptedVendor(["one", "two", "three", "apart"]), response_store=path
        ) as lm:
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
    assert all(
        text in shown for text in ("Hi → one", "And? → two", "Else? → three", "Another → apart")
    )


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


def test_a_tree_is_coloured_on_request(stored: tuple[Path, str]) -> None:
    """By rewards, which somebody has given by then; there is no other way."""
    path, first = stored
    lm = LM("m", vendor=ScriptedVendor(), response_store=path)
    lm.responses.annotate(first, reward=1, judge="me")
    lm.close()
    assert "reward 1 · judge=me" in run("tree", str(path)).stdout
    tree = json.loads(run("tree", str(path), "--json", "--color-by", "reward").stdout)
    assert list(tree["colors"]) == [first]
    refused = run("tree", str(path), "--color-by", "mood")
    assert refused.returncode == 1
    assert "color_by must be 'reward' or None, not 'mood'" in refused.stderr


def test_a_page_is_private_and_replaces_only_a_page(
    stored: tuple[Path, str], tmp_path: Path
) -> None:
    """Neither the store, nor what belongs to it, nor a file of the user's is lost by a slip."""
    path, _ = stored
    page, notes, pipe = tmp_path / "tree.html", tmp_path / "notes.html", tmp_path / "pipe"
    for _ in range(2):
        assert run("tree", str(path), "--html", str(page)).returncode == 0
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
    notes.write_text("<!doctype html>precious")
    os.mkfifo(pipe)
    link = tmp_path / "link.html"
    link.symlink_to(path)
    before = path.read_bytes()
    beside = [tmp_path / f"turns.db{suffix}" for suffix in ("-wal", "-shm", "-journal")]
    for target in (
        path,
        link,
        notes,
        pipe,
        *beside,
        tmp_path / "none" / "a.html",
        notes / "a.html",
        tmp_path,
    ):
        result = run("tree", str(path), "--html", str(target))
        assert result.returncode != 0
        assert result.stderr.startswith("Error: ")
        assert target.name in result.stderr
    assert path.read_bytes() == before
    assert notes.read_text() == "<!doctype html>precious"
    assert not any(file.exists() for file in beside)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "link.html",
        "notes.html",
        "pipe",
        "tree.html",
        "turns.db",
    ]


def test_forms_that_contradict_each_other(stored: tuple[Path, str], tmp_path: Path) -> None:
    """None of them is picked in silence, and nothing is written."""
    page = tmp_path / "tree.html"
    result = run("tree", str(stored[0]), "--html", str(page), "--mermaid", "--json")
    assert result.stderr == (
        "Error: --html and --mermaid and --json contradict each other; give one of them.\n"
    )
    assert "--mermaid and --json" in run("tree", str(stored[0]), "--json", "--mermaid").stderr
    assert not page.exists()


def test_looking_changes_nothing(stored: tuple[Path, str]) -> None:
    """The file keeps its bytes and its time, and nothing appears beside it."""
    path, _ = stored
    before = path.stat().st_mtime_ns, path.read_bytes()
    assert "Hi → one" in run("tree", str(path)).stdout
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert [file.name for file in path.parent.iterdir()] == ["turns.db"]


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
    assert (
        "max-num-batched-tokens: 1024"
        in run("engine-args", "gpt-oss-120b", "--gpu", "h100", "--file").stdout
    )


def test_engine_args_of_an_unknown_card_lists_those_there_are() -> None:
    """A misspelt card is told with the nearest name."""
    result = run("engine-args", "gpt-oss-20b", "--gpu", "h10")
    assert result.returncode != 0
    assert "'h100'" in result.stderr


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5.5", "openai/gpt-4o", "claude-opus", "llama"])
def test_engine_args_of_another_model_are_refused(model: str) -> None:
    """Settings for gpt-oss would be wrong for it."""
    result = run("engine-args", model, "--gpu", "h100")
    assert result.returncode != 0
    assert f"{model!r} must be a gpt-oss model" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_engine_args_of_a_fine_tune() -> None:
    """A full name on the hub may be of one, whatever it is called."""
    command = run("engine-args", "acme/support-bot", "--gpu", "h100").stdout
    assert command.startswith("vllm serve acme/support-bot")


def test_version() -> None:
    """`--version` prints the package's version."""
    assert run("--version").stdout.strip() == __version__
