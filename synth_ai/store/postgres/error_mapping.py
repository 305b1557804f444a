"""PostgreSQL's errors as ours. Each names the database, never its password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from synth_ai.errors import StoreError, StoreFormatError, StoreUnavailableError

_UNCHANGED = "What it held before is safe; this call changed nothing."


@contextmanager
def map_errors(database: str) -> Iterator[None]:
    """Raise the errors of PostgreSQL in the block as a `StoreError`.

    Args:
        database: its name for errors, without a password.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _map_error(error, database) from error


def is_connection_lost(error: psycopg.Error) -> bool:
    """Whether the connection broke, or the server ended it, so that another one may work."""
    if isinstance(error, (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)):
        return True
    # Without an SQLSTATE the server did not answer at all.
    return isinstance(error, psycopg.OperationalError) and error.sqlstate is None


def _map_error(error: psycopg.Error, database: str) -> StoreError:
    store = f"The store {database}"
    reason = _first_line(error)

    if is_connection_lost(error):
        return StoreUnavailableError(f"{store} cannot be reached: {reason}. Try again.")

    if isinstance(error, (errors.InvalidAuthorizationSpecification, errors.InvalidCatalogName)):
        return StoreUnavailableError(
            f"{store} cannot be opened: {reason}. Look at the user, the password and the name of "
            "the database in its URL."
        )

    if isinstance(error, (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
        return StoreUnavailableError(
            f"{store} cannot be used: {reason}. {_UNCHANGED} It needs a user who may create tables "
            "once, and read and write them later."
        )

    if isinstance(error, (errors.UndefinedTable, errors.UndefinedColumn, errors.DuplicateTable)):
        return StoreFormatError(
            f"{store} has other tables than this version expects: {reason}. Name another database, "
            "or a schema of its own by options=-csearch_path%3DNAME in the URL."
        )

    if isinstance(error, psycopg.OperationalError):
        return StoreUnavailableError(f"{store} failed: {reason}. {_UNCHANGED} Try again.")
    return StoreError(f"{store} failed: {reason}. {_UNCHANGED}")


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0].rstrip(".")
