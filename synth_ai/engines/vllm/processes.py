"""The processes that vLLM spawns: what they import as their main module, and when they end.

A spawned process imports the main module of its parent again. vLLM's processes need nothing of it,
and importing it breaks scripts without a main guard and scripts read from standard input.
`EngineProcesses` gives them this module instead, and as their main module it does one more thing:
it ends the process when its parent is gone, however the parent ended. vLLM itself leaves its engine
behind when the program gets SIGTERM or SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import process, spawn
from typing import TYPE_CHECKING

from synth_ai.engines.vllm.process_log import ProcessLog, copy_streams
from synth_ai.errors import EngineStartError

if TYPE_CHECKING:
    import psutil

# From SIGTERM to SIGKILL, for an engine process whose parent is gone.
_GRACE_SECONDS = 5.0

# How often an engine process looks for its parent.
_POLL_SECONDS = 0.2

# One engine starts at a time, because vLLM sets environment variables while it does.
_start_lock = threading.Lock()


def check_can_spawn() -> None:
    """Refuse to start processes from a process that is still being started itself.

    Raises:
        EngineStartError: this is a spawned process, and it is still importing its main module.
    """
    # The flag that multiprocessing itself refuses by, but only once vLLM has been loading a while.
    if getattr(process.current_process(), "_inheriting", False):
        raise EngineStartError(
            "This process was spawned by multiprocessing and is importing your main module again, "
            "and the import uses an engine. Put the code that runs the model under "
            "`if __name__ == '__main__':`."
        )


class EngineProcesses:
    """The processes that one engine spawns.

    Attributes:
        error: why no more may be spawned, once `cancel` was called.
        log: what they say.
    """

    def __init__(self) -> None:
        self.error: EngineStartError | None = None
        self.log = ProcessLog()
        # While it spawns: the names of its processes, and the processes that were there before.
        self._names: set[str] = set()
        self._others: frozenset[process.BaseProcess] = frozenset()
        # Afterwards: its processes themselves.
        self._spawned: frozenset[process.BaseProcess] | None = None

    @contextmanager
    def spawning(self) -> Iterator[None]:
        """Take the processes that this thread spawns meanwhile for this engine's.

        They get this module as their main module, and `cancel` ends them.
        """
        with _start_lock:
            this_thread = threading.get_ident()
            original = spawn.get_preparation_data

            def get_preparation_data(name: str) -> dict[str, object]:
                data: dict[str, object] = original(name)
                # The user's program may spawn processes too, on other threads.
                if threading.get_ident() != this_thread:
                    return data

                if self.error is not None:
                    raise self.error

                self._names.add(name)
                # A main module is named by its path or by its name, and a name comes first.
                data.pop("init_main_from_path", None)
                data["init_main_from_name"] = __name__
                return data

            self._others = frozenset(multiprocessing.active_children())
            spawn.get_preparation_data = get_preparation_data
            try:
                with self.log.copying():
                    yield
            finally:
                spawn.get_preparation_data = original
                self._spawned = frozenset(self._find_running())

    def cancel(self) -> None:
        """Spawn no more, and kill what was spawned; from any thread."""
        # Set first: what would be spawned from here on is refused.
        self.error = EngineStartError("The engine was closed while it was loading.")
        for child in self._find_running():
            child.kill()

    def find_workers(self) -> list[psutil.Process]:
        """Find the processes that the engine's own have started: what they end with."""
        import psutil  # comes with vLLM

        workers: list[psutil.Process] = []
        for child in self._find_running():
            # It may be gone by now.
            with suppress(psutil.NoSuchProcess):
                workers += psutil.Process(child.pid).children(recursive=True)
        return workers

    def wait_for_end(self, workers: list[psutil.Process]) -> None:
        """Wait until all processes are gone, which takes a moment after they were killed.

        Args:
            workers: the processes that these have started.
        """
        import psutil

        deadline = time.monotonic() + _GRACE_SECONDS
        for child in self._find_running():
            child.join(max(deadline - time.monotonic(), 0))

        psutil.wait_procs(workers, timeout=max(deadline - time.monotonic(), 0))

    def _find_running(self) -> list[process.BaseProcess]:
        """Find the processes of this engine that are still running."""
        children = multiprocessing.active_children()
        if self._spawned is not None:
            return [child for child in children if child in self._spawned]

        # While vLLM is still spawning, there are only names to tell them by. Later names would not
        # do, as vLLM gives the processes of all engines the same.
        new = [child for child in children if child not in self._others]
        return [child for child in new if child.name in self._names]


def _end_with_parent(parent_pid: int) -> None:
    """Wait until the parent is gone, then end this process."""
    while os.getppid() == parent_pid and _is_parent_alive():
        time.sleep(_POLL_SECONDS)

    # Politely first, so that vLLM can clean up.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_parent_alive() -> bool:
    """Whether the parent lives, by multiprocessing's own watch on it.

    A parent that died before the first look at its id is found out by this alone.
    """
    parent = multiprocessing.parent_process()
    # It is known only once the process is set up.
    if parent is None:
        return True
    return parent.is_alive()


def _become_engine_process() -> None:
    copy_streams()
    # A process group to itself keeps Ctrl-C for the program: it cancels calls there, and the engine
    # goes on serving.
    os.setpgid(0, 0)
    threading.Thread(
        target=_end_with_parent, args=(os.getppid(),), name="end-with-parent", daemon=True
    ).start()


# The name that multiprocessing gives to the main module of a spawned process.
if __name__ == "__mp_main__":
    _become_engine_process()
