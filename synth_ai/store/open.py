"""From what people write for `response_store=` to a store."""

from __future__ import annotations

import os
import re

from synth_ai.errors import OptionError
from synth_ai.store.base import ResponseStore
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NoStore

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_store(where: str | os.PathLike[str] | ResponseStore | bool | None = None) -> ResponseStore:
    """The store that `where` names.

    Args:
        where: a path is a SQLite file (made if there is none), a store is itself, None is memory, False is no store.

    Raises:
        OptionError: `where` is none of these, or an address of a server: there is no store for one yet. A class of
            your own that is a `ResponseStore` can be given instead.
        StoreUnavailableError: the file cannot be made or opened.
        StoreFormatError: it is not a store of turns, or a newer version wrote it.
        StoreCorruptError: it is damaged.
    """
    if isinstance(where, ResponseStore):
        return where
    if where is None:
        return MemoryStore()
    if where is False:
        return NoStore()
    if isinstance(where, (str, os.PathLike)) and os.fspath(where):
        return _open_path(os.fspath(where))
    raise OptionError(
        f"response_store={where!r}; it takes a path such as 'turns.db', a store, None (memory) or False (no store)."
    )


def _open_path(path: str) -> ResponseStore:
    if found := _URL.match(path):
        raise OptionError(
            f"response_store={found.group()}...: a server as a store is not supported. Give the path of a file, or an "
            "object of your own class of ResponseStore."
        )
    if path == ":memory:":
        raise OptionError(
            "response_store=':memory:' names no file; leave response_store out to keep turns in memory."
        )
    # Most programs keep turns in memory: they need not load SQLite.
    from synth_ai.store.sqlite.store import SQLiteStore

    return SQLiteStore(path)
