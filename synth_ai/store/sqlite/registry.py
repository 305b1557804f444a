"""The open files: each once in a process, however many stores are made of it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import TypeAlias

from synth_ai.errors import StoreUnavailableError
from synth_ai.store.sqlite.connections import Durability, connect
from synth_ai.store.sqlite.error_mapping import map_errors
from synth_ai.store.sqlite.threads import Readers, Writer

FileKey: TypeAlias = tuple[int, int, Durability]
"""Device and inode, so that two paths to one file share it; and what its commits survive."""


class SharedFile:
    """The threads and connections of one file.

    Attributes:
        key: which file it is.
        writer: the thread that writes.
        readers: the threads that read.
        users: how many stores use it.
    """

    def __init__(self, path: Path, durability: Durability, timeout: float) -> None:
        self.key = _read_key(path, durability)
        guard = partial(_FileGuard, path, timeout, self.key)

        # Callers that write on their own thread must not wait there for another process's lock.
        waiting = partial(connect, path, durability, timeout=timeout)
        not_waiting = partial(connect, path, durability, timeout=0.0)
        inline = not_waiting if durability == "process-crash" else None

        self.writer = Writer(waiting, guard, inline)
        self.readers = Readers(waiting, guard)
        self.users = 0
        self._pid = os.getpid()
        self.close = weakref.finalize(self, _close, self._pid, self.readers, self.writer)
        # At the exit of the interpreter others may still come, see `_rest_at_exit`.
        self.close.atexit = False

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it, not one that it was forked from."""
        return self._pid == os.getpid()


_open_files: weakref.WeakValueDictionary[FileKey, SharedFile] = weakref.WeakValueDictionary()
_lock = threading.Lock()

# What a forked child has of its parent's. It is never closed there: SQLite's connections must not
# be used across a fork.
_inherited: list[SharedFile] = []


def acquire(path: Path, durability: Durability, timeout: float) -> SharedFile:
    """Return the file at this path, opened if it is not open yet. Each call needs a `release`.

    Raises:
        StoreUnavailableError: there is no such file any more.
    """
    key = _read_key(path, durability)
    with _lock:
        file = _open_files.get(key)
        if file is None:
            file = SharedFile(path, durability, timeout)
            _open_files[key] = file
        file.users += 1
        return file


def release(file: SharedFile) -> None:
    """Close the file if nobody else uses it. Blocks until its work is done."""
    with _lock:
        file.users -= 1
        if file.users > 0:
            return
        if _open_files.get(file.key) is file:
            del _open_files[file.key]

    file.close()


def _read_key(path: Path, durability: Durability) -> FileKey:
    try:
        status = path.stat()
    except OSError as error:
        raise StoreUnavailableError(
            f"The store {str(path)!r} is gone: {error.strerror}. It was moved or removed while it "
            "was open."
        ) from error
    return status.st_dev, status.st_ino, durability


class _FileGuard(map_errors):
    """The context that all work runs in: the path still names this file, and errors are mapped.

    Args:
        path: where the file was opened.
        timeout: as for `map_errors`.
        key: which file it was.
    """

    def __init__(self, path: Path, timeout: float, key: FileKey) -> None:
        super().__init__(path, timeout)
        self._key = key

    def __enter__(self) -> None:
        if _read_key(self._path, self._key[2]) != self._key:
            raise StoreUnavailableError(
                f"The store {str(self._path)!r} was replaced by another file while it was open, so "
                "nothing was written. Open the new one with another SQLiteStore(...)."
            )


def _close(pid: int, readers: Readers, writer: Writer) -> None:
    if pid == os.getpid():
        readers.close()
        writer.close()


def _rest_at_exit() -> None:
    """Close the connections, so that the WAL goes back into the file.

    Functions that were given to `atexit` earlier are called later, and may still use a store.
    """
    for file in list(_open_files.values()):
        if file.is_ours:
            file.readers.rest()
            file.writer.rest()


atexit.register(_rest_at_exit)


def _forget_parents_files() -> None:
    global _lock
    # Another thread of the parent may have held the lock.
    _lock = threading.Lock()
    _inherited.extend(_open_files.values())
    _open_files.clear()


os.register_at_fork(after_in_child=_forget_parents_files)
