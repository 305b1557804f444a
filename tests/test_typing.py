"""The public API's types: what users' type checkers infer and refuse, and what editors offer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
API = ROOT / "tests" / "typing" / "api.py"
PAGES = (ROOT / "docs" / "guide.md", ROOT / "docs" / "typed-answers.md")

needs_mypy = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
needs_pyright = pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")

MYPY = ("mypy", "--strict", "--warn-unused-ignores")
PYRIGHT = ("pyright", "--pythonpath", sys.executable)


def check(*command: str) -> None:
    """Run a type checker, which has to find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: page.stem)
def page_code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a page as one file, with what the guide takes from its reader."""
    page: Path = request.param
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path_factory.mktemp("page") / "page_code.py"
    path.write_text("from typing import Any\n\nloaded: Any = ...\n" + "\n".join(blocks))
    return path


@needs_mypy
def test_the_api_under_mypy() -> None:
    """`typing/api.py` is checked under mypy's strict rules, its expected errors included."""
    check(*MYPY, str(API))


@needs_pyright
def test_the_api_under_pyright() -> None:
    """Every line that mypy is told to ignore is an error to pyright too, and nothing else is."""
    check(*PYRIGHT, str(API))


@needs_pyright
def test_pyright_flags_what_mypy_flags(tmp_path: Path) -> None:
    """Without their comments, the expected errors of `typing/api.py` are pyright's as well."""
    lines = API.read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if "# type: ignore" in line}
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(line.partition("# type: ignore")[0] for line in lines))

    command = [sys.executable, "-m", *PYRIGHT, "--outputjson", str(bare)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert {each["range"]["start"]["line"] + 1 for each in found} == expected


@needs_mypy
def test_the_pages_under_mypy(page_code: Path) -> None:
    """What the docs show passes as it is written."""
    check(*MYPY, str(page_code))


@needs_pyright
def test_the_pages_under_pyright(page_code: Path) -> None:
    """Editors underline nothing in it."""
    check(*PYRIGHT, str(page_code))


@needs_pyright
@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('lm.respond("Hi", te', {"temperature"}),
        ('lm.respond("Hi", top', {"top_p", "top_k", "top_logprobs"}),
        ('lm.stream_async("Hi", previous', {"previous_response_id"}),
        ('LM("gpt-5", reason', {"reasoning_effort", "reasoning"}),
    ],
)
def test_editors_complete_options(code: str, names: set[str], tmp_path: Path) -> None:
    """A language server offers arguments and options by name."""
    source = f'from synth_ai import LM\n\nlm = LM("gpt-5")\n{code}'
    assert names <= {label.rstrip("=") for label in completions(tmp_path / "typed.py", source)}


def completions(path: Path, source: str) -> set[str]:
    """What pyright's language server offers at the end of a file."""
    path.write_text(source)
    document = {"uri": path.as_uri(), "languageId": "python", "version": 1, "text": source}
    last = source.splitlines()[-1]
    end = {"line": source.count("\n"), "character": len(last)}
    settings = {"python": {"pythonPath": sys.executable}}

    command = [sys.executable, "-m", "pyright.langserver", "--stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            folder = {"uri": path.parent.as_uri(), "name": "typed"}
            capabilities = {"workspace": {"configuration": True}}
            _send(
                server,
                id=1,
                method="initialize",
                params={
                    "processId": None,
                    "rootUri": path.parent.as_uri(),
                    "workspaceFolders": [folder],
                    "capabilities": capabilities,
                },
            )
            _answer(server, 1, settings)
            _send(server, method="initialized", params={})
            _send(server, method="textDocument/didOpen", params={"textDocument": document})
            _send(
                server,
                id=2,
                method="textDocument/completion",
                params={"textDocument": {"uri": path.as_uri()}, "position": end},
            )
            result = _answer(server, 2, settings)
        finally:
            server.kill()
    return {item["label"] for item in result["items"]}


def _send(server: subprocess.Popen[bytes], **message: Any) -> None:
    """Write a message of the Language Server Protocol."""
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    assert server.stdin is not None
    server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    server.stdin.flush()


def _answer(server: subprocess.Popen[bytes], id: int, settings: dict[str, Any]) -> Any:
    """Read messages up to the answer of a request; what the server asks meanwhile is answered."""
    assert server.stdout is not None
    while True:
        length = 0
        while header := server.stdout.readline().strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server has stopped"
        message = json.loads(server.stdout.read(length))
        if message.get("id") == id and "method" not in message:
            return message["result"]
        if message.get("method") == "workspace/configuration":
            sections = [item.get("section") for item in message["params"]["items"]]
            answer = [settings.get(section, {}) for section in sections]
            _send(server, id=message["id"], result=answer)
        elif "id" in message and "method" in message:
            _send(server, id=message["id"], result=None)
