"""A SQLite store works until the last line of a program: in atexit, and in threads behind main."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai.store.sqlite.readonly import read_turns

START = """
import atexit, threading, time
PROGRAM_REGISTERS_FIRST
from synth_ai import LM, SQLiteStore
from synth_ai.testing import ScriptedVendor

def make(durability="power-loss"):
    store = SQLiteStore({path!r}, durability=durability)
    return LM("m", vendor=ScriptedVendor(["yes"] * 9), response_store=store)
"""

PROGRAMS = {
    "atexit, used before": "lm = make(); lm.respond('x'); atexit.register(lm.respond, 'y')",
    "atexit, first call": "lm = make(); atexit.register(lm.respond, 'x')",
    "atexit, opened there": "atexit.register(lambda: make().respond('x'))",
    "atexit, in a thread": """
lm = make()
def work():
    thread = threading.Thread(target=lm.respond, args=('x',))
    thread.start()
    thread.join()
atexit.register(work)
""",
    "thread, used before": """
lm = make(); lm.respond('x')
def work():
    for _ in range(3):
        time.sleep(.2)
        lm.respond('y')
threading.Thread(target=work).start()
""",
    "thread, first call": """
lm = make("process-crash")
def work():
    time.sleep(.5)
    lm.respond('x')
    lm.responses.list()
    lm.close()
threading.Thread(target=work).start()
""",
}
CALLS = {"atexit, used before": 2, "thread, used before": 4}


def run_program(code: str, path: Path, first: str = "") -> None:
    script = START.replace("PROGRAM_REGISTERS_FIRST", first).format(path=str(path)) + code
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_store_works_until_the_end_of_the_program(name: str, tmp_path: Path) -> None:
    path = tmp_path / "turns.db"
    run_program(PROGRAMS[name], path)
    assert len(read_turns(path)) == CALLS.get(name, 1)


def test_a_function_that_was_registered_before_the_store_is_called_after_it(
    tmp_path: Path,
) -> None:
    """`atexit` calls the last one first: here the connections were closed for the end already."""
    path = tmp_path / "turns.db"
    first = "atexit.register(lambda: lm.respond('y'))"
    run_program("lm = make(); lm.respond('x')", path, first)
    assert len(read_turns(path)) == 2


HOSTED = """
import atexit, threading, time
from synth_ai import LM
lm = LM("gpt-5", base_url={url!r}, api_key="sk-test")
"""


@pytest.mark.parametrize(
    "code",
    [
        "atexit.register(lambda: print(lm.respond('x').text))",
        "def work():\n  time.sleep(.5)\n  print(lm.respond('x').text)\n"
        "threading.Thread(target=work).start()",
    ],
)
@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_a_first_call_at_the_end_reaches_its_server(
    code: str, transport: str, openai_server: OpenAIServer
) -> None:
    """The library of the transport is loaded, and the host's name looked up, on threads."""
    url = openai_server.base_url.replace("127.0.0.1", "localhost")
    openai_server.enqueue(Answer(text="bye"))
    start = HOSTED.replace('"sk-test"', f'"sk-test", transport={transport!r}')
    done = subprocess.run(
        [sys.executable, "-c", start.format(url=url) + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip() == "bye"
    assert "Traceback" not in done.stderr


def test_the_log_of_writes_goes_into_the_file_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "turns.db"
    run_program("lm = make(); lm.respond('x')", path)
    assert [file.name for file in tmp_path.iterdir()] == ["turns.db"]
