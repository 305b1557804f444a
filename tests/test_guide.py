"""The guide's Python, run block by block against the stand-in for OpenAI's service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from servers.answers import Answer, Raw, call, calls
from servers.delivery import Received
from servers.openai_fake import OpenAIServer, echo

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"```python( no-run)?\n(.*?)```", re.DOTALL)


def answer(received: Received) -> Answer | Raw:
    """A city where one is asked for, a tool call where a user may have one, else what was said."""
    body = received.body
    if body.get("text", {}).get("format"):
        return Answer(text='{"name": "Oslo", "inhabitants": 700000}')
    asked = body["input"] if isinstance(body.get("input"), str) else ""
    return (
        calls(call("get_weather", city="Oslo")) if body.get("tools") and asked else echo(received)
    )


def test_the_guide_s_code_runs(
    openai_server: OpenAIServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a reader would type it, from the top to the end; what needs a GPU is only compiled."""
    openai_server.respond_with(answer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", openai_server.api_key)
    blocks = BLOCK.findall((DOCS / "guide.md").read_text(encoding="utf-8"))
    assert len(blocks) > 9
    names: dict[str, object] = {}
    for skipped, code in blocks:
        compiled = compile(code, "guide.md", "exec")
        if not skipped:
            exec(compiled, names)
    assert "You said: Tell me a story." in capsys.readouterr().out
    assert str(names["city"]) == "name='Oslo' inhabitants=700000"
    assert "Oslo" in names["run"].steps[0].results[0].output  # type: ignore[attr-defined]
    assert (tmp_path / "turns.jsonl").exists()


def test_the_extending_page_s_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A vendor, an engine, a store, an option and an event, added from outside as the page says."""
    blocks = BLOCK.findall((DOCS / "extending.md").read_text(encoding="utf-8"))
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for _, code in blocks:
        exec(compile(code, "extending.md", "exec"), names)
    assert "volume must be a whole number from 0 to 11, not 99." in capsys.readouterr().out
