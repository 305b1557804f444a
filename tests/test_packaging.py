"""The package as users get it: light to import, whole in the wheel, of the changelog's version."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

import synth_ai

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("openai", "vllm", "torch", "transformers", "openai_harmony", "tiktoken")


@pytest.mark.parametrize(
    "use", ["import synth_ai", "import synth_ai; synth_ai.LM", "from synth_ai import VLLMEngine"]
)
def test_importing_brings_in_nothing_heavy(use: str) -> None:
    """Nobody pays for an SDK or an engine before the first call that needs it."""
    script = f"import sys\n{use}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_public_names_are_complete() -> None:
    """`__all__` lists every class that the front door hands out, and nothing that it does not."""
    listed = set(synth_ai.__all__)
    assert len(listed) == len(synth_ai.__all__)
    assert set(synth_ai._HOMES) <= listed <= {*synth_ai._HOMES, *synth_ai._MODULES, "__version__"}


def test_the_wheel_is_whole_and_holds_nothing_else(tmp_path: Path) -> None:
    """Type checkers need `py.typed`, Harmony its vocabulary; examples and tests stay at home."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = builders.WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "synth_ai/py.typed" in names
    assert "synth_ai/harmony/vocabulary/o200k_base.tiktoken" in names
    assert {name.split("/")[0] for name in names} == {
        "synth_ai",
        f"synth_ai-{synth_ai.__version__}.dist-info",
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "synth_ai").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}


def test_hosted_use_needs_few_packages() -> None:
    """`pip install synth-ai` stays small; all else is behind an extra."""
    required = [
        line
        for line in metadata("synth-ai").get_all("Requires-Dist") or []
        if "extra ==" not in line
    ]
    assert {re.split(r"[<>=!~ ;]", line)[0] for line in required} == {
        "aiohttp",
        "jsonschema",
        "openai",
        "pydantic",
        "tenacity",
        "typing-extensions",
    }


def test_the_changelog_knows_this_version() -> None:
    """A release without an entry leaves its users guessing."""
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings
    assert released[:1] in ([], [synth_ai.__version__])
