"""`synth-ai serve` and `synth-ai keys`, run as users run them."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from servers.openai_fake import OpenAIServer

http = pytest.importorskip("httpx2" if openai.__version__ >= "3" else "httpx")

SYNTH_AI = [sys.executable, "-c", "from synth_ai.cli import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SYNTH_AI, *arguments], capture_output=True, text=True, check=False)


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = run("keys", "add", "ada", "--file", str(file)).stdout.strip()

    assert re.fullmatch(r"sk-synth-[\w-]{43}", key)
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("keys", "list", "--file", str(file)).stdout.split()[-1] == "ada"

    again = run("keys", "add", "ada", "--file", str(file))
    assert again.returncode == 1
    assert "revoke it first" in again.stderr
    assert run("keys", "revoke", "ada", "--file", str(file)).returncode == 0
    assert "there are: none" in run("keys", "revoke", "ada", "--file", str(file)).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--upstream", "http://h/v1", "--host", "0.0.0.0"], "callers need keys"),
        ([], "Give one of --upstream URL"),
        (["--upstream", "http://h/v1", "--model", "m"], "Give one of --upstream URL"),
        (["--upstream", "http://h/v1", "--keys", "nowhere"], "cannot be read"),
        (["--upstream", "http://h/v1", "--upstream-key-env", "NO_KEY"], "'NO_KEY' is not set"),
        (["--model", "gpt-oss-20b", "--engine-args", "[]"], "must be a JSON object"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    done = run("serve", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_answers_logs_and_ends_when_told(openai_server: OpenAIServer, tmp_path: Path) -> None:
    keys, usage = tmp_path / "keys", tmp_path / "usage.jsonl"
    key = run("keys", "add", "ada", "--file", str(keys)).stdout.strip()
    environment = {**os.environ, "MODEL_KEY": "sk-test"}
    port = find_port()
    options = ["--upstream", openai_server.base_url, "--upstream-key-env", "MODEL_KEY"]
    options += ["--keys", str(keys), "--usage", str(usage), "--port", str(port)]
    options += ["--store", str(tmp_path / "turns.db")]
    server = subprocess.Popen(
        [*SYNTH_AI, "serve", *options], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_server(url)
        body = {"model": "gpt-oss-20b", "input": "A secret of mine."}
        headers = {"authorization": f"Bearer {key}"}
        answer = http.post(f"{url}/api/v1/responses", json=body, headers=headers)
        run("keys", "revoke", "ada", "--file", str(keys))
    finally:
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=60)

    assert answer.status_code == 200
    assert openai_server.requests[-1].headers["authorization"] == "Bearer sk-test"
    [record] = [json.loads(line) for line in usage.read_text().splitlines()]
    assert (record["caller"], record["status"]) == ("ada", "completed")
    assert "secret" not in log
    assert key not in log
    entry = json.loads(next(line for line in log.splitlines() if '"route": "/responses"' in line))
    assert (entry["caller"], entry["status"]) == ("ada", 200)


def find_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_server(url: str) -> None:
    import time

    for _ in range(300):
        try:
            http.get(f"{url}/health")
        except Exception:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server did not start")
