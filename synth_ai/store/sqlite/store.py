"""Turns in one SQLite file: they survive the process, and many processes share them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

from synth_ai.errors import OptionError, StoreCorruptError, StoreError, StoreUnavailableError
from synth_ai.store.base import ResponseStore
from synth_ai.store.files import resolve_path
from synth_ai.store.rows import encode_row
from synth_ai.store.sqlite import queries
from synth_ai.store.sqlite.connections import Durability, transaction
from synth_ai.store.sqlite.registry import SharedFile, acquire, release
from synth_ai.store.sqlite.schema import create_or_migrate
from synth_ai.store.sqlite.threads import Work
from synth_ai.store.tags import Annotation, Tags
from synth_ai.store.workers import run_on_thread
from synth_ai.turn import Turn

DEFAULT_TIMEOUT = 60.0


class SQLiteStore(ResponseStore):
    """Turns in one file, shared by any number of tasks, threads and processes of one machine.

    A `put` that returned is on disk. With `durability="power-loss"` it survives a loss of power:
    each commit waits for an fsync, which callers at the same moment share. With `"process-crash"`
    it survives the end of the process, `kill -9` included, but the last turns may be gone after a
    loss of power. Neither can damage the file.

    Waiting for a disk, and for other processes, is done on a thread. With `"process-crash"` there
    is mostly nothing to wait for, and a turn of up to 64 KiB goes to the system's memory on the
    caller's own thread, in about 50 us.

    The file is in WAL mode, readable by its owner alone (0600) when this makes it, and has `-wal`
    and `-shm` files beside it while it is open. It must lie on a disk of this machine, not on a
    network folder. Deleted text is overwritten with zeros. A file of an older version is brought up
    to date when it is opened; then an older version can no longer open it.

    Args:
        path: the file; it is made if there is none, its folder is not.
        durability: what a `put` that returned survives.
        timeout: seconds to wait for other processes that write.
        create: whether to make the file when there is none.

    Raises:
        OptionError: `durability` is none of the two.
        StoreUnavailableError: the file cannot be made or opened.
        StoreFormatError: it is not a store of turns, or a newer version wrote it.
        StoreCorruptError: it is damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "power-loss",
        timeout: float = DEFAULT_TIMEOUT,
        create: bool = True,
    ) -> None:
        if durability not in ("power-loss", "process-crash"):
            raise OptionError(
                f"durability must be 'power-loss' or 'process-crash', not {durability!r}."
            )

        self.path = resolve_path(path).absolute()
        self.durability: Durability = durability
        self._timeout = timeout
        if not create and not os.path.exists(self.path):
            raise StoreUnavailableError(f"The store {str(self.path)!r} does not exist.")

        create_or_migrate(self.path, timeout=timeout)
        self._file: SharedFile | None = acquire(self.path, durability, timeout)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r}, durability={self.durability!r})"

    async def put(self, turn: Turn) -> None:
        # Before anything is queued: a turn that JSON cannot hold fails here, for its caller alone.
        row = encode_row(turn)
        writer = self._require_open().writer
        await writer.run(lambda connection: queries.put(connection, row), size=row.size)

    async def get(self, id: str) -> Turn | None:
        readers = self._require_open().readers
        return await readers.run(lambda connection: queries.get(connection, id))

    async def chain(self, id: str) -> list[Turn] | None:
        readers = self._require_open().readers
        return await readers.run(lambda connection: queries.chain(connection, id))

    async def descendants(self, id: str) -> list[Turn]:
        readers = self._require_open().readers
        return await readers.run(lambda connection: queries.descendants(connection, id))

    async def find_all(self, fingerprint: str, limit: int) -> Sequence[Turn]:
        readers = self._require_open().readers
        return await readers.run(
            lambda connection: queries.find_all(connection, fingerprint, limit)
        )

    async def find_answer(self, request_key: str) -> Turn | None:
        readers = self._require_open().readers
        return await readers.run(lambda connection: queries.find_answer(connection, request_key))

    async def search(self, tags: Tags) -> Sequence[Turn]:
        readers = self._require_open().readers
        return await readers.run(lambda connection: queries.search(connection, tags))

    async def annotate(self, id: str, annotation: Annotation) -> bool:
        writer = self._require_open().writer
        return await writer.run(lambda connection: queries.annotate(connection, id, annotation))

    async def list(self) -> list[Turn]:
        readers = self._require_open().readers
        return await readers.run(queries.all_turns)

    async def add(self, turns: Sequence[Turn]) -> int:
        def add_all(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                return queries.add(connection, turns)

        return await self._require_open().writer.run(add_all, alone=True)

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        return await self._erase(
            lambda connection: queries.delete(connection, id, descendants=descendants)
        )

    async def redact(self, id: str) -> bool:
        return await self._erase(lambda connection: queries.redact(connection, id))

    async def compact(self) -> None:
        """Rewrite the file without the room that deleted turns left.

        It takes as long as copying the file.

        Raises:
            StoreUnavailableError: other processes are using the file, or the disk is full.
        """
        path = str(self.path)

        def rewrite(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                queries.delete_blank_bodies(connection)
            connection.execute("VACUUM")
            _empty_wal(connection, path)

        await self._require_open().writer.run(rewrite, alone=True)

    async def check(self) -> None:
        """Read the whole file and compare it with its indexes.

        Raises:
            StoreCorruptError: it is damaged; the message says how.
        """
        damage = await self._require_open().readers.run(queries.find_damage)
        if damage is not None:
            raise StoreCorruptError(f"The store {str(self.path)!r} is damaged: {damage}.")

    def explain_missing(self, id: str) -> str:
        return f"{id!r:.100} is not in the store {str(self.path)!r}."

    async def aclose(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            await run_on_thread(release, file)

    async def _erase(self, erase: Work[bool]) -> bool:
        """Delete or replace text, and leave no copy of it in the WAL."""
        path = str(self.path)

        def erase_everywhere(connection: sqlite3.Connection) -> bool:
            with transaction(connection):
                found = erase(connection)
            _empty_wal(connection, path)
            return found

        return await self._require_open().writer.run(erase_everywhere, alone=True)

    def _require_open(self) -> SharedFile:
        """Return the open file; in a forked child, open it there."""
        file = self._file
        if file is None:
            raise StoreError(
                f"The store {str(self.path)!r} is closed; open it again with SQLiteStore(...)."
            )

        if not file.is_ours:
            file = acquire(self.path, self.durability, self._timeout)
            self._file = file
        return file


def _empty_wal(connection: sqlite3.Connection, path: str) -> None:
    """Cut the WAL to nothing: until then it holds the pages as they were before."""
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise StoreUnavailableError(
            f"The text is deleted, but another process reads the store {path!r} all the time, so "
            f"the file {path}-wal may still hold it. It goes when the last process closes the "
            "store, or with the next delete."
        )
