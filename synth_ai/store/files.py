"""Writing files to hand on: private, whole or not there at all, and never over another file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from synth_ai.errors import StoreUnavailableError

_SQLITE_MAGIC = b"SQLite format 3\0"

# The files that SQLite makes beside a database.
_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")

# Enough to tell an earlier file by its start; a page has its mark within its first few lines.
_START_BYTES = 256

# A name may have 255 bytes, of which a character takes up to 4; the random piece needs some too.
_MAX_PREFIX = 50


def resolve_path(where: str | os.PathLike[str]) -> Path:
    """Return the path that a caller wrote.

    Raises:
        StoreUnavailableError: no file can have such a name.
    """
    try:
        path = Path(where).expanduser()
        is_possible = b"\0" not in os.fsencode(path)
    except (TypeError, ValueError, RuntimeError) as error:
        # Not a path, half a surrogate pair, or the home of nobody.
        raise StoreUnavailableError(f"{where!r:.200} cannot name a file: {error}.") from error

    if not is_possible:
        raise StoreUnavailableError(f"{where!r:.200} cannot name a file: it has a null character.")
    return path


def replace_file(
    where: str | os.PathLike[str],
    pieces: Iterable[str],
    *,
    is_earlier: Callable[[bytes], bool],
    what: str,
) -> None:
    """Write a text file that only its owner can read.

    Args:
        where: the file.
        pieces: its content.
        is_earlier: whether a file that starts with these 256 bytes is an earlier one of its kind,
            which may be replaced.
        what: what such a file is called in errors.

    Raises:
        StoreUnavailableError: the file cannot be written, or there is another one of its name.
    """
    path = resolve_path(where)
    try:
        _check_replaceable(path, is_earlier, what)
        _write_whole(path, pieces)
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be written: {error.strerror or error}."
        ) from error


def _write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Write a part beside the file, and give it the file's name once it is on disk."""
    # mkstemp makes files that only their owner can read.
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name[:_MAX_PREFIX]}.", suffix=".part", dir=path.parent
    )
    part = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _check_replaceable(path: Path, is_earlier: Callable[[bytes], bool], what: str) -> None:
    """Raise StoreUnavailableError if writing this file would harm another one."""
    for suffix in _SQLITE_SUFFIXES:
        if not path.name.endswith(suffix):
            continue
        database = path.with_name(path.name.removesuffix(suffix))
        if database.is_file():
            raise StoreUnavailableError(
                f"{str(path)!r} would belong to the file beside it; name another file."
            )

    if not path.exists():
        return

    # A store that is in use must not be opened here: closing any handle of a file drops all locks
    # that this process holds on it.
    resolved = path.resolve()
    in_use = resolved.with_name(f"{resolved.name}-wal").exists()
    start = _SQLITE_MAGIC if in_use else _read_start(path)
    if start.startswith(_SQLITE_MAGIC):
        raise StoreUnavailableError(
            f"{str(path)!r} is a store or another SQLite file; it was left as it is."
        )
    if not is_earlier(start):
        raise StoreUnavailableError(
            f"{str(path)!r} exists and is not an earlier {what}; it was left as it is."
        )


def _read_start(path: Path) -> bytes:
    """Read the first bytes of a regular file; of anything else, none."""
    # Opening a pipe could wait for a writer for ever.
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_START_BYTES)
