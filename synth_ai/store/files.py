"""Files that are handed on: private, whole or not there at all, and never in the place of something else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from synth_ai.errors import StoreUnavailableError

_SQLITE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")


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
        pieces: what goes into it.
        is_earlier: whether a file that begins with these 256 bytes is an earlier one of its kind, to be replaced.
        what: what such a file is called in errors.

    Raises:
        StoreUnavailableError: the file cannot be written, or another one is in its place.
    """
    path = Path(where).expanduser()
    part: Path | None = None
    try:
        _refuse_others(path, is_earlier, what)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent
        )
        part = Path(name)
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be written: {error.strerror or error}."
        ) from error
    finally:
        if part is not None:
            with suppress(OSError):
                part.unlink()


def _refuse_others(path: Path, is_earlier: Callable[[bytes], bool], what: str) -> None:
    for suffix in _BESIDE:
        if path.name.endswith(suffix) and path.with_name(path.name.removesuffix(suffix)).is_file():
            raise StoreUnavailableError(
                f"{str(path)!r} would belong to the file beside it; name another file."
            )
    if not path.exists():
        return
    # A store that is in use is not opened to look at it: closing it again would drop this process's locks on it.
    in_use = path.resolve().with_name(f"{path.resolve().name}-wal").exists()
    start = _SQLITE if in_use else _start(path)
    if start.startswith(_SQLITE):
        raise StoreUnavailableError(
            f"{str(path)!r} is a store or another SQLite file; it was left as it is."
        )
    if not is_earlier(start):
        raise StoreUnavailableError(f"{str(path)!r} exists and is no {what}; it was left as it is.")


def _start(path: Path) -> bytes:
    """The first bytes of a file; none of what is no file, such as a pipe, whose reader might wait for ever."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(256)
