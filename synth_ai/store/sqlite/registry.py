"""One file opened once in a process, however many stores are made of it, and opened anew in a forked child."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from synth_ai.errors import StoreUnavailableError
from synth_ai.store.sqlite.schema import Durability, connect, translated
from synth_ai.store.sqlite.threads import Guard, Readers, Writer

Key: TypeAlias = tuple[int, int, Durability]


class SharedFile:
    """The threads and connections of one file.

    Attributes:
        writer: the thread that writes.
        readers: the threads that read.
    """

    def __init__(self, path: Path, durability: Durability, timeout: float) -> None:
        self.key = _key(path, durability)
        guard = _guard(path, timeout, self.key)
        patient, hasty = (
            partial(connect, path, durability, timeout=seconds) for seconds in (timeout, 0.0)
        )
        self.writer = Writer(patient, guard, hasty if durability == "process-crash" else None)
        self.readers = Readers(patient, guard)
        self.users = 0
        self._pid = os.getpid()
        # Runs at the exit of the interpreter too, after the last work: then the WAL goes back into the file.
        self.close = weakref.finalize(self, _close, self._pid, self.readers, self.writer)

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it, not one that it was forked from."""
        return self._pid == os.getpid()


_open: weakref.WeakValueDictionary[Key, SharedFile] = weakref.WeakValueDictionary()
_lock = threading.Lock()
# What a forked child has of its parent's, never closed there: SQLite's connections must not be used across a fork.
_inherited: list[SharedFile] = []


def acquire(path: Path, durability: Durability, timeout: float) -> SharedFile:
    """The file at this path, opened now if it is not open yet. Each call needs a `release`."""
    key = _key(path, durability)
    with _lock:
        file = _open.get(key)
        if file is None:
            file = _open[key] = SharedFile(path, durability, timeout)
        file.users += 1
        return file


def release(file: SharedFile) -> None:
    """Close the file if nobody else uses it. Blocks until its work is done."""
    with _lock:
        file.users -= 1
        if file.users:
            return
        if _open.get(file.key) is file:
            del _open[file.key]
    file.close()


def _key(path: Path, durability: Durability) -> Key:
    try:
        status = path.stat()
    except OSError as error:
        raise StoreUnavailableError(
            f"The store {str(path)!r} is gone: {error.strerror}. It was moved or removed while it was open."
        ) from error
    return status.st_dev, status.st_ino, durability


def _guard(path: Path, timeout: float, key: Key) -> Guard:
    """What all work runs in: it checks that the path still names this file, and translates errors."""

    @contextmanager
    def guard() -> Iterator[None]:
        with translated(path, timeout):
            if _key(path, key[2]) != key:
                raise StoreUnavailableError(
                    f"The store {str(path)!r} was replaced by another file while it was open, so nothing was written. "
                    "Open the new one with another SQLiteStore(...)."
                )
            yield

    return guard


def _close(pid: int, readers: Readers, writer: Writer) -> None:
    if pid == os.getpid():
        readers.close()
        writer.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_open.values())
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
