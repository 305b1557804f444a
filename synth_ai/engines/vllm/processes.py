"""The processes that vLLM spawns: what they import as their main module, and when they end.

A spawned process imports the main module of its parent again. vLLM's processes need nothing of it, and importing it
breaks scripts without a main guard and scripts read from standard input. `EngineProcesses` gives them this module
instead, and as their main module it does one more thing: it ends the process when its parent is gone, however the
parent ended. vLLM itself leaves its engine behind when the program gets SIGTERM or SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import process, spawn
from typing import Any

from synth_ai.errors import EngineStartError

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.2
_starting = threading.Lock()


def check_can_spawn() -> None:
    """Refuse to start processes from a process that is itself still being started.

    Raises:
        EngineStartError: this is a spawned process, and it is still importing its main module.
    """
    if getattr(process.current_process(), "_inheriting", False):
        raise EngineStartError(
            "This process was spawned by multiprocessing and is importing your main module again, and the import uses "
            "an engine. Put the code that runs the model under `if __name__ == '__main__':`."
        )


class EngineProcesses:
    """The processes that one engine spawns.

    Attributes:
        error: why no more may be spawned, once `cancel` was called.
    """

    def __init__(self) -> None:
        self.error: EngineStartError | None = None
        self._names: set[str] = set()
        self._others: frozenset[process.BaseProcess] = frozenset()

    @contextmanager
    def spawning(self) -> Iterator[None]:
        """While it lasts, processes that this thread spawns are this engine's and get this module as their main module.

        One engine starts at a time, because vLLM sets environment variables while it does.
        """
        with _starting:
            thread = threading.get_ident()
            original = spawn.get_preparation_data

            def preparation_data(name: str) -> dict[str, Any]:
                data = original(name)
                if threading.get_ident() != thread:
                    return data
                if self.error:
                    raise self.error
                self._names.add(name)
                data.pop("init_main_from_path", None)
                return data | {"init_main_from_name": __name__}

            self._others = frozenset(multiprocessing.active_children())
            spawn.get_preparation_data = preparation_data
            try:
                yield
            finally:
                spawn.get_preparation_data = original

    def cancel(self) -> None:
        """Spawn no more, and kill what was spawned; from any thread."""
        self.error = EngineStartError("The engine was closed while it was loading.")
        for child in multiprocessing.active_children():
            if child.name in self._names and child not in self._others:
                child.kill()


def _end_with_parent(parent: int) -> None:
    """Wait until the parent is gone, then end this process: politely first, so that vLLM can clean up."""
    while os.getppid() == parent and _sentinel_says_alive():
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _sentinel_says_alive() -> bool:
    # Known only once the process is set up; it notices a parent that died before the first look at its id.
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def _become_engine_process() -> None:
    # A group of its own keeps Ctrl-C for the program: it cancels calls there, and the engine goes on serving.
    os.setpgid(0, 0)
    threading.Thread(
        target=_end_with_parent, args=(os.getppid(),), name="end-with-parent", daemon=True
    ).start()


if __name__ == "__mp_main__":
    _become_engine_process()
