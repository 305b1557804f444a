"""How long a call may take, as a whole and in its phases."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from synth_ai.errors import OptionError

# Seconds. Both are the defaults of the openai SDK.
_CONNECT = 5.0
_FIRST_BYTE = 600.0


class Phases(NamedTuple):
    """Seconds for each phase of one request, in the order in which httpx takes them.

    Attributes:
        connect: to connect to the server.
        read: until the next bytes of the answer.
        write: until the next bytes of the request are taken.
        pool: to wait for a free connection; None waits for ever.
    """

    connect: float
    read: float
    write: float
    pool: None


@dataclass(frozen=True, slots=True)
class Timeout:
    """How many seconds to wait for what; None for the default.

    Attributes:
        total: for the whole call, its retries included; unlimited by default.
        connect: for a connection to the server; 5 by default.
        first_byte: for the server to begin its answer, and between the pieces of it; 600 by
            default, or `total` if that is more.

    Raises:
        OptionError: a time is not a number above 0.
    """

    total: float | None = None
    connect: float | None = None
    first_byte: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if seconds is None or _is_time(seconds):
                continue

            # `total` is mostly given as a plain number, so the error shows it as one.
            if field.name == "total":
                given = f"timeout={seconds!r}"
            else:
                given = f"timeout=Timeout({field.name}={seconds!r})"
            raise OptionError(f"{given} must be a number of seconds above 0.")

    @classmethod
    def of(cls, timeout: object) -> Timeout:
        """Make a timeout of what `timeout=` takes; a number is the total.

        Raises:
            OptionError: it is not a number above 0.
        """
        if isinstance(timeout, Timeout):
            return timeout

        return cls(timeout)  # type: ignore[arg-type] # it checks its values itself

    @property
    def phases(self) -> Phases:
        """The times of one request, with the defaults filled in. `total` is not among them."""
        connect = _CONNECT if self.connect is None else self.connect

        silence = self.first_byte
        if silence is None:
            # A call that may take longer as a whole may also wait longer for its first byte.
            silence = max(_FIRST_BYTE, self.total or 0.0)

        # The wait for a free connection is no phase of the server's: only `total` bounds it.
        return Phases(connect=connect, read=silence, write=silence, pool=None)


def _is_time(value: object) -> bool:
    # True is a number in Python, and NaN is one that is not above 0.
    if isinstance(value, bool):
        return False

    return isinstance(value, (int, float)) and value > 0
