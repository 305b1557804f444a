"""Reading the file of a SQLite store without writing to it: for who may not, or only wants to look."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from synth_ai.errors import StoreCorruptError, StoreFormatError, StoreUnavailableError
from synth_ai.store.sqlite import queries
from synth_ai.store.sqlite.connections import Held
from synth_ai.store.sqlite.schema import MIGRATIONS, check_identity, transaction, translated
from synth_ai.turn import Turn

_TIMEOUT = 60.0
_ATTEMPTS = 5


def read_turns(where: str | os.PathLike[str]) -> list[Turn]:
    """Every turn of a store's file, oldest first; other processes may be writing to it.

    The file stays as it is, and so does a `-wal` beside it. The right to read is enough where there is no `-wal`,
    which is when nobody has the store open; where there is one, its `-shm` must be there or be makeable.

    Raises:
        StoreUnavailableError: there is no such file, or it cannot be read.
        StoreFormatError: it is not a store of turns, or one of another version.
        StoreCorruptError: it is damaged.
    """
    path = Path(where).expanduser().absolute()
    if not path.exists():
        raise StoreUnavailableError(f"There is no store {str(path)!r}.")
    if path.is_dir():
        raise StoreUnavailableError(
            f"{str(path)!r} is a folder; a store is a file, such as turns.db."
        )
    wal = path.with_name(f"{path.name}-wal")
    with translated(path, _TIMEOUT):
        for _ in range(_ATTEMPTS):
            if wal.exists():
                return _read(path, "mode=ro")
            # Opened as above, SQLite would make a -wal and leave it behind. Told that nobody writes, it makes none,
            # and takes no lock either: somebody who did begin to write is noticed afterwards.
            before = _stamp(path)
            try:
                turns = _read(path, "mode=ro&immutable=1")
            except (sqlite3.Error, StoreCorruptError):
                if _stamp(path) == before and not wal.exists():
                    raise
            else:
                if _stamp(path) == before and not wal.exists():
                    return turns
    raise StoreUnavailableError(
        f"The store {str(path)!r} is opened and closed by others all the time; try again."
    )


def _read(path: Path, mode: str) -> list[Turn]:
    def connect() -> sqlite3.Connection:
        address = f"{path.as_uri()}?{mode}"
        return sqlite3.connect(
            address, uri=True, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
        )

    with (
        closing(Held(connect)) as held,
        held.use() as connection,
        transaction(connection, "DEFERRED"),
    ):
        connection.execute("PRAGMA temp_store=MEMORY")
        version = check_identity(connection, path)
        if version == 0:
            return []
        if any(MIGRATIONS[version:]):
            raise StoreFormatError(
                f"The store {str(path)!r} was written by an older synth_ai, and has to be brought up to date before it "
                "can be read: open it once with SQLiteStore(...)."
            )
        return queries.every(connection)


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
