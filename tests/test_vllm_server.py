"""The real vLLM server of the tests: it answers both APIs, and none of its processes stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

import openai
import pytest

from servers import vllm
from servers.vllm import VLLMServer

PARENT_OF_A_SLEEPER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


A_SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
PARENT_OF_A_SERVER = """
import subprocess, sys
server = subprocess.Popen(
    [sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE, start_new_session=True
)
server.stdout.readline()
print(server.pid, flush=True)
server.wait()
"""

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="waits for a process of others, which only Linux can"
)


def ends(pid: int) -> Callable[[], bool]:
    """Return a function that waits for the end of any process, and tells whether it came."""
    handle = os.pidfd_open(pid)

    def wait() -> bool:
        try:
            ended, _, _ = select.select([handle], [], [], 10)
            if not ended:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            return bool(ended)
        finally:
            os.close(handle)

    return wait


@pytest.mark.vllm
def test_the_server_answers_both_apis(vllm_server: VLLMServer) -> None:
    """The tiny model on a real server: Chat, and Responses with a chain in the server's store."""
    with openai.OpenAI(base_url=vllm_server.base_url, api_key="none", timeout=60) as client:
        chat = client.chat.completions.create(
            model=vllm_server.model,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
        )
        first = client.responses.create(
            model=vllm_server.model, input="My name is Ada.", temperature=0
        )
        second = client.responses.create(
            model=vllm_server.model,
            input="What is my name?",
            previous_response_id=first.id,
            temperature=0,
        )
    assert chat.choices[0].message.content == "The capital of France is Paris."
    assert second.output_text == "Your name is Ada."


@linux
def test_stopping_a_server_stops_what_it_started() -> None:
    """An engine process left behind holds memory and a core until somebody notices."""
    server = subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_A_SLEEPER], stdout=subprocess.PIPE, start_new_session=True
    )
    assert server.stdout is not None
    with server.stdout:
        engine_ends = ends(int(server.stdout.readline()))
    vllm.stop_group(server)
    assert server.returncode is not None
    assert engine_ends()


@linux
def test_a_server_does_not_outlive_killed_tests() -> None:
    """When the tests themselves are killed, no teardown runs; the server must go all the same."""
    tests = subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_A_SERVER, "-c", vllm.DIE_WITH_PARENT, "-c", A_SLEEPER],
        stdout=subprocess.PIPE,
    )
    assert tests.stdout is not None
    with tests.stdout:
        server_ends = ends(int(tests.stdout.readline()))
    tests.kill()
    tests.wait()
    assert server_ends()
