"""How long a call may take, as a whole and in its phases."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, fields
from types import TracebackType
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
        total: for the whole call, from the time when it has its place under `max_concurrency`: its
            retries, what the server's rate limits make it wait, and the store included. The waits
            for limits of your own (`requests_per_minute`) and for a free connection are not, nor
            are the time of a stream's reader, the first import of a library and the loading of an
            engine. Unlimited by default.
        connect: for a connection to the server; 5 by default.
        first_byte: for the server to begin its answer, and between the pieces of it; 600 by
            default, or `total` if that is more.
        queue: for all its waits for a turn together: for its place under `max_concurrency`, for
            rate limits, and for a free connection. Unlimited by default.

    Raises:
        OptionError: a time is not a number above 0.
    """

    total: float | None = None
    connect: float | None = None
    first_byte: float | None = None
    queue: float | None = None

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
        if timeout is None:
            return _NO_LIMITS

        return cls(timeout)  # type: ignore[arg-type] # it checks its values itself

    @property
    def phases(self) -> Phases:
        """The times of one request, with the defaults filled in. `total` is not among them."""
        connect = _CONNECT if self.connect is None else self.connect

        silence = self.first_byte
        if silence is None:
            # A call that may take longer as a whole may also wait longer for its first byte.
            silence = max(_FIRST_BYTE, self.total or 0.0)

        # The wait for a free connection is no phase of the server's: only `queue` bounds it.
        return Phases(connect=connect, read=silence, write=silence, pool=None)


# What nearly every call has, made once.
_NO_LIMITS = Timeout()


def _is_time(value: object) -> bool:
    # True is a number in Python, and NaN is one that is not above 0.
    if isinstance(value, bool):
        return False

    return isinstance(value, (int, float)) and value > 0


class Progress:
    """How far a call under a time limit has come; the error says so if the time is over.

    Attributes:
        phase: what the call is doing, to follow "it was given up": "while it ...".
    """

    def __init__(self) -> None:
        self.phase = "while it was prepared"
        self._was_sent = False
        self._is_sent = False

    @property
    def was_sent(self) -> bool:
        """Whether any try of the call may have reached the backend."""
        return self._was_sent or self._is_sent

    def begin_try(self) -> None:
        """Note that the call goes to the backend now, which may know better how far it comes."""
        self._was_sent = self._was_sent or self._is_sent
        self.note("while it waited for the answer", is_sent=True)

    def note(self, phase: str, *, is_sent: bool) -> None:
        """Note what the call is doing, and whether this try has been sent."""
        self.phase = phase
        self._is_sent = is_sent

    def wait_turn(self, what: str, *, is_own: bool) -> None:
        """Note that this try waits for its turn, before it is sent.

        Args:
            what: what it waits for.
            is_own: whether it waits for other calls of this process, and not for a server.
        """
        self.phase = f"while it waited for {what}"
        self._is_sent = False

    def pause(self) -> None:
        """Stop the clock."""

    def resume(self) -> None:
        """Let the clock go on."""


#: The progress of the call that the code that runs belongs to.
current_progress: ContextVar[Progress | None] = ContextVar("synth_ai_progress", default=None)


def note_phase(phase: str, *, is_sent: bool) -> None:
    """Note what the call that is under way does; nothing if it has no time limit.

    Args:
        phase: such as "while it waited for the server's answer".
        is_sent: whether this try of the call has been sent.
    """
    progress = current_progress.get()
    if progress is not None:
        progress.note(phase, is_sent=is_sent)


def note_turn(what: str, *, is_own: bool) -> None:
    """Note what the call that is under way waits for before it is sent, as `note_phase` does.

    Args:
        what: such as "a free connection".
        is_own: whether it waits for other calls of this process, and not for a server.
    """
    progress = current_progress.get()
    if progress is not None:
        progress.wait_turn(what, is_own=is_own)


class paused_clock:
    """Stops the clock of the call that is under way, for what happens once in a process.

    The first call imports libraries, which may take longer than a call may.
    """

    __slots__ = ("_progress",)

    def __enter__(self) -> None:
        self._progress = current_progress.get()
        if self._progress is not None:
            self._progress.pause()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.resume()
