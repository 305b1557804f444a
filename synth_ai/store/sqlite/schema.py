"""The file of the SQLite store: how it is made, opened and brought up to date, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from synth_ai.errors import StoreCorruptError, StoreError, StoreFormatError, StoreUnavailableError
from synth_ai.store.sqlite.connections import making

Durability = Literal["power-loss", "process-crash"]

APPLICATION_ID = 0x53594E54  # "SYNT": tells our files from those of other programs

# Every text lies in `bodies`, which only grows: a deleted body is overwritten in place with zeros of the same length
# and its row stays. Where rows go, SQLite moves their neighbours to other pages and leaves copies behind in the gaps,
# which `secure_delete` does not reach. Deleting rows of the other tables is safe: they hold ids and hashes alone.
_VERSION_1 = (
    "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, text TEXT NOT NULL, token_ids BLOB)",
    # Instructions and tools, which the turns of a branch repeat: each once, found by the hash of its text.
    "CREATE TABLE texts (body INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE)",
    """CREATE TABLE turns (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        parent_id TEXT,
        created_at REAL NOT NULL,
        content INTEGER NOT NULL,
        instructions INTEGER,
        tools INTEGER
    )""",
    "CREATE INDEX turns_parent ON turns (parent_id) WHERE parent_id IS NOT NULL",
)

# One entry per schema version: a file of version N is brought up to date by the entries from N on. A new field of
# `Turn` needs an entry too, an empty one, so that an older synth_ai says that it is too old for the file.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _VERSION_1,
    (),  # turns say why they are incomplete, failed, replayed or redacted
)

_SYNCHRONOUS: dict[Durability, str] = {"power-loss": "FULL", "process-crash": "NORMAL"}

_PRAGMAS = (
    "fullfsync=ON",  # macOS: fsync alone leaves the data in the drive's cache
    "checkpoint_fullfsync=ON",
    "secure_delete=ON",  # what is deleted is overwritten with zeros
    "temp_store=MEMORY",  # no text spills into a temporary file
    "cache_size=-8000",  # KiB: the upper levels of the indexes of a large file
    "journal_size_limit=16777216",  # bytes that the WAL keeps on disk after a checkpoint
    # SQLite's own checkpoints run beside writers of other connections, which up to SQLite 3.51.2 can, rarely, lose
    # what these wrote (sqlite.org/wal.html#walresetbug). Ours run while the write lock is held.
    "wal_autocheckpoint=0",
)


def prepare(path: Path, *, timeout: float) -> None:
    """Make the file if there is none, readable by its owner alone, and bring its schema up to date.

    Raises:
        StoreUnavailableError: it cannot be made or opened.
        StoreFormatError: it is not a store of turns, or a newer version wrote it.
        StoreCorruptError: it is damaged.
    """
    # While one thread makes the file, none may open it: closing any handle of a file drops this process's locks on it.
    with making, translated(path, timeout):
        _make(path)
        connection = connect(path, "power-loss", timeout=timeout)
        try:
            _switch_to_wal(connection, path, timeout)
            _migrate(connection, path)
        finally:
            connection.close()


def connect(path: Path, durability: Durability, *, timeout: float) -> sqlite3.Connection:
    """A connection with our settings; transactions are written out (`BEGIN`, `COMMIT`) by who uses it."""
    # An URI with mode=rw never makes a file: a store that was moved away must not come back empty.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[durability]}")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    try:
        # SQLite gives -wal and -shm the mode of the file, so all three are private from their first moment.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise StoreUnavailableError(
                f"{str(path)!r} is a folder; a store is a file, such as turns.db."
            ) from None
        return
    except FileNotFoundError as error:
        raise StoreUnavailableError(
            f"The store {str(path)!r} cannot be made: there is no such folder."
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"The store {str(path)!r} cannot be made: {error.strerror or error}."
        ) from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the folder's new entry on disk, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES, errno.EBADF):
            raise StoreUnavailableError(
                f"The folder {str(folder)!r} cannot be written: {error.strerror}."
            ) from error
    finally:
        os.close(handle)


def _switch_to_wal(connection: sqlite3.Connection, path: Path, timeout: float) -> None:
    """WAL: readers and the writer do not wait for each other, and a commit is one append and one fsync."""
    check_identity(connection, path)
    deadline = time.monotonic() + timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # Another process is switching too; SQLite does not wait here by itself.
            if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    if mode != "wal":
        raise StoreUnavailableError(
            f"The store {str(path)!r} cannot be used by several processes where it lies (no WAL; a network folder?). "
            "Put it on a disk of this machine."
        )


def check_identity(connection: sqlite3.Connection, path: Path) -> int:
    """The file's schema version, if the file is ours and not newer than us; 0 of a file that is empty yet.

    Raises:
        StoreFormatError: it is another program's, or a newer version wrote it.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        if version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreFormatError(
                f"{str(path)!r} is another program's SQLite file, not a store of turns; it was left as it is. "
                "Name another file."
            )
    elif version > len(MIGRATIONS):
        raise StoreFormatError(
            f"The store {str(path)!r} was written by a newer synth_ai (schema {version}; this one reads up to "
            f"{len(MIGRATIONS)}). It was left as it is: upgrade synth-ai, or name another file."
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if check_identity(connection, path) == len(MIGRATIONS):
        return
    with transaction(connection):
        # Read again under the lock: another process may have done it in between.
        version = check_identity(connection, path)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of the block, or none of it."""
    try:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk or a failing one makes SQLite roll back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path, timeout: float) -> Iterator[None]:
    """SQLite's errors as ours, each naming the file and what is safe."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path, timeout) from error


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _translate(error: sqlite3.Error, path: Path, timeout: float) -> StoreError:
    code = _primary(error)
    file = f"The store {str(path)!r}"
    untouched = "What it held before is safe; this call changed nothing."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailableError(
            f"{file} is locked by another process for over {timeout:g} s. {untouched} Try again."
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailableError(
            f"{file} cannot grow: the disk is full. {untouched} Make room and try again."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreUnavailableError(f"{file} cannot be written: {error}. {untouched}")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreUnavailableError(
            f"{file} cannot be opened: {error}. Look at its path and the rights on its folder."
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailableError(
            f"{file} met an error of the disk: {error}. What it held before is safe; this call may not be stored."
        )
    if code == sqlite3.SQLITE_NOTADB:
        return StoreFormatError(
            f"{str(path)!r} is not a store of turns (no SQLite file); it was left as it is."
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreCorruptError(
            f"{file} is damaged: {error}. Stop writing to it and copy it together with {path.name}-wal; then "
            f"`sqlite3 {path.name} .recover` saves what is left, into a new file."
        )
    return StoreError(f"{file} failed: {error}.")
