"""Reading the file of a SQLite store without writing to it: to show it, and where one may not."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from synth_ai.errors import StoreCorruptError, StoreFormatError, StoreUnavailableError
from synth_ai.store.files import resolve_path
from synth_ai.store.sqlite import queries
from synth_ai.store.sqlite.connections import LockedConnection, transaction
from synth_ai.store.sqlite.error_mapping import map_errors
from synth_ai.store.sqlite.schema import check_identity, must_migrate
from synth_ai.turn import Turn

# Seconds to wait for a lock.
_TIMEOUT = 60.0

# How often others may open and close the store while it is read.
_ATTEMPTS = 5


def read_turns(where: str | os.PathLike[str]) -> list[Turn]:
    """Read every turn of a store's file, oldest first; other processes may be writing to it.

    The file stays as it is, and so does a `-wal` beside it. The right to read is enough if there is
    no `-wal`, that is, if nobody has the store open; if there is one, its `-shm` must exist or be
    makeable.

    Raises:
        StoreUnavailableError: there is no such file, or it cannot be read.
        StoreFormatError: it is not a store of turns, or one of another version.
        StoreCorruptError: it is damaged.
    """
    path = resolve_path(where).absolute()
    if not os.path.exists(path):
        raise StoreUnavailableError(f"The store {str(path)!r} does not exist.")
    if path.is_dir():
        raise StoreUnavailableError(
            f"{str(path)!r} is a folder; a store is a file, such as turns.db."
        )

    with map_errors(path, _TIMEOUT):
        for _ in range(_ATTEMPTS):
            if _is_in_use(path):
                return _read(path, "mode=ro")

            turns = _read_unused(path)
            if turns is not None:
                return turns

    raise StoreUnavailableError(
        f"The store {str(path)!r} is opened and closed by others all the time; try again."
    )


def _read_unused(path: Path) -> list[Turn] | None:
    """Read a store that nobody has open; None if somebody opened it meanwhile."""
    # With "mode=ro" alone, SQLite would make a -wal and leave it behind. With "immutable=1" it is
    # told that nobody writes: it makes none, and takes no lock either. So what it read, or failed
    # to read, counts only if nobody wrote meanwhile.
    before = _stamp(path)
    try:
        turns = _read(path, "mode=ro&immutable=1")
    except (sqlite3.Error, StoreCorruptError):
        if _is_unchanged(path, before):
            raise
        return None

    return turns if _is_unchanged(path, before) else None


def _read(path: Path, mode: str) -> list[Turn]:
    address = f"{path.as_uri()}?{mode}"
    connect = partial(
        sqlite3.connect,
        address,
        uri=True,
        timeout=_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    with (
        closing(LockedConnection(connect)) as locked,
        locked.use() as connection,
        transaction(connection, "DEFERRED"),
    ):
        connection.execute("PRAGMA temp_store=MEMORY")
        version = check_identity(connection, path)
        if version == 0:
            return []

        if must_migrate(version):
            raise StoreFormatError(
                f"The store {str(path)!r} was written by an older synth_ai, and has to be brought "
                "up to date before it can be read: open it once with SQLiteStore(...)."
            )
        return queries.all_turns(connection)


def _is_in_use(path: Path) -> bool:
    return path.with_name(f"{path.name}-wal").exists()


def _is_unchanged(path: Path, before: tuple[int, int, int]) -> bool:
    return _stamp(path) == before and not _is_in_use(path)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Read what changes when somebody writes to a file or puts another in its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
