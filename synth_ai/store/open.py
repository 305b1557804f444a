"""From what people write for `response_store=` to a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from synth_ai.errors import MissingExtraError, OptionError
from synth_ai.store.base import ResponseStore
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore
from synth_ai.store.urls import find_scheme, is_scheme, mask_secrets

StoreFactory: TypeAlias = Callable[[str], ResponseStore]
"""Makes a store from its whole URL, such as `redis://localhost/0`."""

# Schemes for what needs no URL, and what to write in its place.
_RESERVED = {
    "file": "give the path of the file itself, such as 'turns.db'",
    "sqlite": "give the path of the file itself, such as 'turns.db'",
    "memory": "leave response_store out to keep turns in memory",
}


def _open_postgresql(url: str) -> ResponseStore:
    # Imported here, as few programs have a database.
    try:
        from synth_ai.store.postgres.store import PostgreSQLStore
    except ImportError as error:
        raise MissingExtraError(
            f"response_store={mask_secrets(url)!r} needs psycopg: "
            'pip install ".[postgres]" in a clone of synth_ai.'
        ) from error

    return PostgreSQLStore(url)


# Both are names of libpq's.
_factories: dict[str, StoreFactory] = {
    "postgresql": _open_postgresql,
    "postgres": _open_postgresql,
}


def register_store(scheme: str, factory: StoreFactory) -> None:
    """Have `response_store="scheme://..."` open a store of your own class.

    ::

        register_store("redis", RedisStore.from_url)
        lm = LM("gpt-5.5", response_store="redis://localhost/0")

    Args:
        scheme: what stands before `://`, in letters of either case. One that is registered
            already is replaced.
        factory: is called with the whole URL for each LM that names it, and returns the store. The
            LM closes it.

    Raises:
        OptionError: `scheme` does not look like one, is for a built-in store or for paths, or
            `factory` cannot be called.
    """
    if not isinstance(scheme, str) or not is_scheme(scheme):
        raise OptionError(
            "scheme must be two or more letters, digits, '+', '-' or '.', with a letter first, "
            f"such as 'redis', not {scheme!r}: it is what stands before '://' in a URL."
        )
    if scheme.lower() in _RESERVED:
        raise OptionError(
            f"scheme must not be {scheme!r}, which is built in; use one of your own, such as "
            f"'my-{scheme.lower()}'. Reserved are: {', '.join(_RESERVED)}."
        )
    if not callable(factory):
        raise OptionError(
            "factory must be a function that takes a URL and returns a ResponseStore, "
            f"not {factory!r:.100}."
        )

    _factories[scheme.lower()] = factory


def open_store(where: str | os.PathLike[str] | ResponseStore | bool | None = None) -> ResponseStore:
    """Open the store that `where` names.

    Args:
        where: a path is a SQLite file (made if there is none), `postgresql://...` is a database,
            another URL is a store of a class that was registered for its scheme (see
            `register_store`), a store is itself, None is memory, False is no store.

    Raises:
        OptionError: `where` is none of these, or no store is registered for the scheme.
        StoreUnavailableError: the file cannot be made or opened.
        StoreFormatError: it is not a store of turns, or a newer version wrote it.
        StoreCorruptError: it is damaged.
    """
    if isinstance(where, ResponseStore):
        return where
    if where is None:
        return MemoryStore()
    if where is False:
        return NullStore()
    if not isinstance(where, (str, os.PathLike)) or not os.fspath(where):
        raise OptionError(
            "response_store must be a path such as 'turns.db', the URL of a registered store, a "
            f"ResponseStore, None (memory) or False (no store), not {mask_secrets(repr(where))}."
        )

    path = os.fspath(where)
    scheme = find_scheme(path)
    if scheme is not None:
        return _open_url(path, scheme)
    return _open_file(path)


def _open_url(url: str, scheme: str) -> ResponseStore:
    masked = mask_secrets(url)
    instead = _RESERVED.get(scheme.lower())
    if instead is not None:
        raise OptionError(f"response_store must not be {masked!r}: {instead}.")

    factory = _factories.get(scheme.lower())
    if factory is None:
        registered = ", ".join(sorted(_factories))
        raise OptionError(
            f"response_store is {masked!r}, and no store is registered for {scheme!r} (registered: "
            f"{registered}). Call synth_ai.register_store({scheme!r}, factory) first, or give the "
            "path of a file or an object of your own class of ResponseStore."
        )

    store = factory(url)
    if not isinstance(store, ResponseStore):
        raise OptionError(
            f"The factory that is registered for {scheme!r} must return a ResponseStore, "
            f"not an object of type {type(store).__name__!r}."
        )
    return store


def _open_file(path: str) -> ResponseStore:
    if path == ":memory:":
        raise OptionError(
            "response_store must not be ':memory:', which names no file; "
            "leave response_store out to keep turns in memory."
        )

    # Imported here, as most programs keep turns in memory and need not load SQLite.
    from synth_ai.store.sqlite.store import SQLiteStore

    return SQLiteStore(path)
