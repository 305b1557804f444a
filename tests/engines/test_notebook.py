"""A notebook: calls beside the kernel's running loop, a cell that is stopped, a clean end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.vllm

LONGEST = 180.0


class Notebook:
    """A kernel of its own, as Jupyter starts one, and the cells that are run in it."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=LONGEST)
        self._kernel = psutil.Process(self.manager.provisioner.pid)

    def processes(self) -> list[psutil.Process]:
        """The kernel and everything it started."""
        return [self._kernel, *self._kernel.children(recursive=True)]

    def run(
        self, cell: str, *, meanwhile: Callable[[], object] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """The last line that a cell printed, or its error's name, and the data that it showed.

        Args:
            meanwhile: called once the cell has printed something.
        """
        printed, shown = "", {}

        def see(message: dict[str, Any]) -> None:
            nonlocal printed, shown, meanwhile
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed += content["text"]
                if meanwhile is not None:
                    meanwhile()
                    meanwhile = None
            elif message["msg_type"] == "execute_result":
                shown = content["data"]

        reply = self.client.execute_interactive(cell, output_hook=see, timeout=LONGEST)["content"]
        last = (printed.splitlines() or [""])[-1]
        return (last if reply["status"] == "ok" else reply["ename"]), shown

    def end(self) -> None:
        """Shut the kernel down, as closing the notebook does."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()

    def kill(self) -> None:
        """Leave nothing of it behind."""
        with suppress(psutil.NoSuchProcess):
            for process in self.processes():
                process.kill()


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    """A new notebook."""
    notebook = Notebook(tmp_path)
    yield notebook
    notebook.kill()


def test_a_notebook(
    notebook: Notebook,
    tiny_model: Path,
    tiny_engine_args: dict[str, Any],
    until: Callable[..., bool],
) -> None:
    """Sync and async calls work, a stopped cell leaves the engine usable, the end no process."""
    loaded, _ = notebook.run(f"""
from synth_ai import LM
lm = LM({str(tiny_model)!r}, engine={tiny_engine_args!r}, temperature=0)
print(lm.respond("My name is Ada.").status)
""")
    assert loaded == "completed"
    assert (
        notebook.run('print((await lm.respond_async("What is my name?")).text)')[0]
        == "Your name is Ada."
    )
    _, shown = notebook.run("lm.tree()")
    assert "What is my name?" in shown["text/html"]

    endless = """
print("started", flush=True)
while True:
    lm.respond("What is my name?", auto_store=False)
"""
    assert (
        notebook.run(endless, meanwhile=notebook.manager.interrupt_kernel)[0] == "KeyboardInterrupt"
    )
    assert notebook.run('print(lm.respond("What is my name?").text)')[0] == "Your name is Ada."

    processes = notebook.processes()
    assert len(processes) > 1, "the engine is no process of its own, so this test shows nothing"
    notebook.end()
    assert until(lambda: not any(process.is_running() for process in processes), 15)
