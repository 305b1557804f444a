"""A real vLLM server (CPU build or GPU) on a loopback port, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 600
STOP_SECONDS = 30

ARGUMENTS = (
    *("--dtype", "float32"),
    "--enforce-eager",
    *("--max-model-len", "4096"),
    *("--kv-cache-memory-bytes", "268435456"),
    "--enable-auto-tool-choice",
    *("--tool-call-parser", "openai"),
)
ENVIRONMENT = {
    "VLLM_ENABLE_RESPONSES_API_STORE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}

# The kernel tells the server when the tests are gone, however they went; then it stops its engine
# and itself.
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass(frozen=True)
class VLLMServer:
    """Where a running server is.

    Attributes:
        base_url: the address for the openai SDK, ending in `/v1`.
        model: the name that the model is served under.
        pid: the server's process, which leads its own process group.
        log: the file with everything it printed.
    """

    base_url: str
    model: str
    pid: int
    log: Path


@contextmanager
def serve(model: Path, log: Path, *extra: str, name: str = "tiny-gpt-oss") -> Iterator[VLLMServer]:
    """Run a server of `model` while the block runs; `extra` are more command line arguments."""
    port = _free_port()
    # `vllm serve` itself asks for the CUDA platform at import and fails in the CPU build; its
    # module does not.
    command = [sys.executable, "-c", DIE_WITH_PARENT, "-m", "vllm.entrypoints.openai.api_server"]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--model",
        str(model),
        "--served-model-name",
        name,
    ]
    command += [*ARGUMENTS, *extra]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        yield VLLMServer(
            base_url=f"http://127.0.0.1:{port}/v1", model=name, pid=process.pid, log=log
        )
    finally:
        stop_group(process)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all it started: ask first, then kill what is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    how = "is not healthy" if process.poll() is None else f"ended with {process.returncode}"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-60:])
    raise RuntimeError(
        f"The vLLM server {how} after at most {START_SECONDS} s. The end of {log}:\n{tail}"
    )
