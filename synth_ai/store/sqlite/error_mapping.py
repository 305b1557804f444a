"""SQLite's errors as ours. Each names the file and says what is safe."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType

from synth_ai.errors import StoreCorruptError, StoreError, StoreFormatError, StoreUnavailableError

_UNCHANGED = "What it held before is safe; this call changed nothing."


class map_errors:
    """Raise the errors of SQLite in the block as a `StoreError`.

    Args:
        path: the file, to be named in errors.
        timeout: how many seconds the block's connections wait for a lock.
    """

    # A class and not a generator under `contextmanager`: every put enters one, and a generator
    # costs three times as much.
    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise _map_error(error, self._path, self._timeout) from error


def primary_code(error: sqlite3.Error) -> int:
    """Read the code of an error, such as `sqlite3.SQLITE_BUSY`, without its details."""
    # The details are in the upper bits: https://www.sqlite.org/rescode.html
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _map_error(error: sqlite3.Error, path: Path, timeout: float) -> StoreError:
    code = primary_code(error)
    store = f"The store {str(path)!r}"

    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailableError(
            f"{store} is locked by another process for over {timeout:g} s. {_UNCHANGED} Try again."
        )

    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailableError(
            f"{store} cannot grow: the disk is full. {_UNCHANGED} Make room and try again."
        )

    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreUnavailableError(f"{store} cannot be written: {error}. {_UNCHANGED}")

    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreUnavailableError(
            f"{store} cannot be opened: {error}. Look at its path and the rights on its folder."
        )

    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailableError(
            f"{store} met an error of the disk: {error}. What it held before is safe; this call "
            "may not be stored."
        )

    if code == sqlite3.SQLITE_NOTADB:
        return StoreFormatError(
            f"{str(path)!r} is not a store of turns (no SQLite file); it was left as it is."
        )

    if code == sqlite3.SQLITE_CORRUPT:
        return StoreCorruptError(
            f"{store} is damaged: {error}. Stop writing to it and copy it together with "
            f"{path.name}-wal; then `sqlite3 {path.name} .recover` saves what is left, into a new "
            "file."
        )

    return StoreError(f"{store} failed: {error}.")
