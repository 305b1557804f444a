"""The tables of the SQLite store: how its file is made, recognized and brought up to date."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

from synth_ai.errors import StoreFormatError, StoreUnavailableError
from synth_ai.store.sqlite.connections import connect, setup_lock, transaction
from synth_ai.store.sqlite.error_mapping import map_errors, primary_code
from synth_ai.store.sqlite.migrations import rename_facts_of_turns

APPLICATION_ID = 0x53594E54  # "SYNT": tells our files from those of other programs

# The rule of `bodies`: it holds every text, and it only grows. A deleted body is overwritten in
# place with zeros of the same length, and its row stays. Where rows go or change their length,
# SQLite moves their neighbours to other pages and leaves copies behind in the gaps, which
# `secure_delete` does not reach. Deleting rows of the other tables is safe: they hold ids, hashes
# and numbers alone.
_TABLES = (
    "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, text TEXT NOT NULL, token_ids BLOB)",
    # Instructions and tools, which the turns of a branch repeat: each once, found by the hash of
    # its text.
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

# Tags are a text, so they have a body of their own. Log probabilities are numbers; beside the
# content they would often take a page more for each turn, as rows of several pages do not share
# their last one. Blank bodies keep theirs as zeros, too. Of both hashes few turns may have one, and
# an index costs each put of a turn that has it a page.
_TAGS_AND_HASHES = (
    "CREATE TABLE logprobs (body INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "ALTER TABLE turns ADD COLUMN fingerprint BLOB",
    "ALTER TABLE turns ADD COLUMN request_key BLOB",
    "ALTER TABLE turns ADD COLUMN reward REAL",
    "ALTER TABLE turns ADD COLUMN tags INTEGER",
    "CREATE INDEX turns_fingerprint ON turns (fingerprint) WHERE fingerprint IS NOT NULL",
    "CREATE INDEX turns_request_key ON turns (request_key) WHERE request_key IS NOT NULL",
)

Step: TypeAlias = str | Callable[[sqlite3.Connection], None]
"""A part of a migration: SQL, or a function of the connection."""

# A file of version N is brought up to date by the entries from N on. A new field of `Turn` needs an
# entry too, an empty one, so that an older synth_ai says that it is too old for the file.
MIGRATIONS: tuple[tuple[Step, ...], ...] = (
    _TABLES,
    (),  # 2: turns say why they are incomplete, failed, replayed or redacted
    (rename_facts_of_turns,),  # 3: `origin` is `server`, `kept` is `stored_on_server`
    _TAGS_AND_HASHES,  # 4: tags, rewards, times, log probabilities, what finds a turn by a hash
)

# Seconds between two attempts to switch to WAL.
_SWITCH_PAUSE = 0.005


def create_or_migrate(path: Path, *, timeout: float) -> None:
    """Make the file if there is none, readable by its owner alone, and bring it up to date.

    Args:
        path: the file.
        timeout: seconds to wait for other processes that write.

    Raises:
        StoreUnavailableError: it cannot be made or opened.
        StoreFormatError: it is not a store of turns, or a newer version wrote it.
        StoreCorruptError: it is damaged.
    """
    # While one thread makes the file, no other may open it: closing any handle of a file drops all
    # locks that this process holds on it.
    with setup_lock, map_errors(path, timeout):
        _create_empty(path)
        with closing(connect(path, "power-loss", timeout=timeout)) as connection:
            check_identity(connection, path)
            _switch_to_wal(connection, path, timeout)
            _migrate(connection, path)


def check_identity(connection: sqlite3.Connection, path: Path) -> int:
    """Check that the file is ours, and not newer than this version.

    Returns:
        The version of its schema; 0 for a file that is still empty.

    Raises:
        StoreFormatError: it is another program's, or a newer version wrote it.
    """
    version = _read_pragma(connection, "user_version")
    if _read_pragma(connection, "application_id") == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise StoreFormatError(
                f"The store {str(path)!r} was written by a newer synth_ai (schema {version}; this "
                f"one reads up to {len(MIGRATIONS)}). It was left as it is: upgrade synth-ai, or "
                "name another file."
            )
        return version

    if version != 0 or _has_tables(connection):
        raise StoreFormatError(
            f"{str(path)!r} is another program's SQLite file, not a store of turns; it was left as "
            "it is. Name another file."
        )
    return 0


def must_migrate(version: int) -> bool:
    """Whether a file of this version cannot be read before it is brought up to date."""
    return any(MIGRATIONS[version:])


def _create_empty(path: Path) -> None:
    """Make an empty file, unless there is one."""
    try:
        # SQLite gives -wal and -shm the mode of the file, so all three are private from their
        # first moment.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        _check_existing(path)
        return
    except FileNotFoundError as error:
        raise StoreUnavailableError(
            f"The store {str(path)!r} cannot be made: its folder does not exist."
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"The store {str(path)!r} cannot be made: {error.strerror or error}."
        ) from error

    _sync_folder(path.parent)


def _check_existing(path: Path) -> None:
    """Refuse what is no file, and make a file private that is still empty."""
    try:
        status = path.stat()
    except OSError:
        return  # whoever opens it says what is wrong

    if stat.S_ISDIR(status.st_mode):
        raise StoreUnavailableError(
            f"{str(path)!r} is a folder; a store is a file, such as turns.db."
        )
    # Opening a pipe would wait for who may never write.
    if not stat.S_ISREG(status.st_mode):
        raise StoreUnavailableError(f"{str(path)!r} must be a regular file to be a store.")

    # A file with turns in it keeps the rights that somebody gave it.
    is_open_to_others = stat.S_IMODE(status.st_mode) & 0o077 != 0
    if status.st_size == 0 and is_open_to_others:
        with suppress(OSError):
            path.chmod(0o600)


def _sync_folder(folder: Path) -> None:
    """Have the folder's new entry on disk, if the system can do that."""
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
    """Switch the file to WAL mode.

    Then readers and the writer do not wait for each other, and a commit is one append and one
    fsync.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # Another process is switching too; SQLite does not wait here by itself.
            is_busy = primary_code(error) == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_PAUSE)

    if mode != "wal":
        raise StoreUnavailableError(
            f"The store {str(path)!r} cannot be used by several processes on this file system "
            "(no WAL; a network folder?). Put it on a disk of this machine."
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if check_identity(connection, path) == len(MIGRATIONS):
        return

    with transaction(connection):
        # Read again under the lock: another process may have done it in between.
        version = check_identity(connection, path)
        for migration in MIGRATIONS[version:]:
            for step in migration:
                _run_step(connection, step)

        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


def _run_step(connection: sqlite3.Connection, step: Step) -> None:
    if isinstance(step, str):
        connection.execute(step)
    else:
        step(connection)


def _has_tables(connection: sqlite3.Connection) -> bool:
    count = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return bool(count)


def _read_pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
