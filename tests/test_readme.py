"""The README's first snippet, run as people run it: as a script without a guard, and piped in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture(scope="module")
def snippet() -> str:
    """The first block of Python in the README."""
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def tiny_snippet(snippet: str, tiny_model: Path) -> str:
    """The same with the tiny model in place of the real one."""
    arguments = (
        "dtype='float32', enforce_eager=True, max_model_len=4096, kv_cache_memory_bytes=2**28"
    )
    engine = f'LM("tiny", engine=VLLMEngine({str(tiny_model)!r}, {arguments}), temperature=0)'
    return "from synth_ai import VLLMEngine\n" + snippet.replace('LM("gpt-oss-20b")', engine, 1)


def run(
    code: str, folder: Path, *, piped: bool, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `code` from a file, or through standard input."""
    script = folder / "snippet.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-"] if piped else [sys.executable, str(script)]
    return subprocess.run(
        command,
        input=code if piped else None,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=timeout,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.parametrize("piped", [False, True], ids=["script", "stdin"])
def test_without_a_gpu_it_ends_in_one_of_our_errors(
    snippet: str, tmp_path: Path, piped: bool
) -> None:
    """No hang and no bare traceback of vLLM's: the last line is our error, naming the ways out."""
    result = run(snippet, tmp_path, piped=piped, timeout=120)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(
        ("synth_ai.errors.EngineStartError", "synth_ai.errors.MissingExtraError")
    )
    assert "base_url=" in last
    assert "site-packages/vllm/" not in result.stderr


@pytest.mark.vllm
def test_with_an_engine_it_works_without_a_main_guard(tiny_snippet: str, tmp_path: Path) -> None:
    """vLLM spawns processes, which by default would run an unguarded script again; ours do not.

    As a script; the same through standard input is among the engine's own tests.
    """
    result = run(tiny_snippet, tmp_path, piped=False, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "What is my name? → " in result.stdout
