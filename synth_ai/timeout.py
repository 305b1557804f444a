"""How long a call may take, as a whole and in its phases."""

from __future__ import annotations

from dataclasses import dataclass, fields

from synth_ai.errors import OptionError

#: Seconds, the openai SDK's own.
_CONNECT, _SILENCE = 5.0, 600.0


@dataclass(frozen=True, slots=True)
class Timeout:
    """Seconds to wait for what; None for the default.

    Attributes:
        total: for the whole call, its retries included; unlimited by default.
        connect: for a connection to the server; 5 by default.
        first_byte: for the server to begin its answer, and between the pieces of it; 600, or `total` if that is more.

    Raises:
        OptionError: a time is no number above 0.
    """

    total: float | None = None
    connect: float | None = None
    first_byte: float | None = None

    def __post_init__(self) -> None:
        for named in fields(self):
            seconds = getattr(self, named.name)
            if seconds is not None and not _is_time(seconds):
                where = "timeout" if named.name == "total" else f"timeout=Timeout({named.name}"
                end = "" if named.name == "total" else ")"
                raise OptionError(f"{where}={seconds!r}{end} is no time; it takes seconds above 0.")

    @classmethod
    def of(cls, timeout: object) -> Timeout:
        """What `timeout=` takes: a number is the total."""
        return timeout if isinstance(timeout, Timeout) else cls(timeout)  # type: ignore[arg-type]

    @property
    def phases(self) -> tuple[float, float, float, float | None]:
        """Seconds to connect, to read, to write, and to wait for a free connection, as HTTP libraries take them."""
        silence = self.first_byte or max(_SILENCE, self.total or 0.0)
        return self.connect or _CONNECT, silence, silence, None


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
