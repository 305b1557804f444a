"""The page on OpenAI's client: its code runs, and prints what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from servers.answers import Answer, Raw
from servers.delivery import Received
from servers.openai_fake import OpenAIServer, echo
from test_guide import BLOCK, DOCS


def test_the_page_s_code_runs(
    openai_server: OpenAIServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the top to the end, as a reader would type it."""

    def answer(received: Received) -> Answer | Raw:
        if received.body.get("text", {}).get("format"):
            return Answer(text='{"name": "Oslo", "inhabitants": 700000}')
        return echo(received)

    openai_server.respond_with(answer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", openai_server.api_key)

    names: dict[str, Any] = {}
    blocks = BLOCK.findall((DOCS / "openai-clients.md").read_text(encoding="utf-8"))
    assert len(blocks) == 6
    for no_run, code in blocks:
        compiled = compile(code, "openai-clients.md", "exec")
        if not no_run:
            exec(compiled, names)

    printed = capsys.readouterr().out
    assert "You said: What is my name?" in printed
    assert "You said: Count to three." in printed
    assert "name='Oslo' inhabitants=700000" in printed
    assert "unsupported_parameter stop" in printed
    assert printed.rstrip().endswith("response.completed")
    names["lm"].close()
