"""What goes wrong with a connection, as one of our errors, whichever library carries it."""

from __future__ import annotations

from urllib.parse import urlsplit

from synth_ai.errors import ConnectionFailedError, TimedOutError


def find_address(url: str) -> str:
    """Return host and port of an address: `http://localhost:8000/v1` -> `localhost:8000`."""
    return urlsplit(url).netloc


def unreachable_error(url: str, error: BaseException | str) -> ConnectionFailedError:
    """Make the error for a request that got no response.

    Args:
        url: where it went.
        error: the library's, or what to say of it.
    """
    reason = describe_error(error)
    return ConnectionFailedError(f"The server cannot be reached at {find_address(url)}: {reason}")


def broken_error(error: BaseException | str) -> ConnectionFailedError:
    """Make the error for a response that broke off."""
    return ConnectionFailedError(f"The connection broke: {describe_error(error)}")


def connect_timeout_error(url: str, seconds: float) -> TimedOutError:
    """Make the error for a connection that could not be made in time."""
    return TimedOutError(
        f"There was no connection to {find_address(url)} within {seconds:g} s "
        "(Timeout(connect=)). The request was never sent."
    )


def silence_error(url: str, seconds: float) -> TimedOutError:
    """Make the error for a server that sent nothing for too long."""
    return TimedOutError(
        f"The server did not answer in time: nothing came from {find_address(url)} "
        f"within {seconds:g} s (Timeout(first_byte=)). The request may still have run."
    )


def describe_error(error: BaseException | str) -> str:
    """Return the message of an error, or the name of its class if it has none."""
    return str(error) or type(error).__name__
