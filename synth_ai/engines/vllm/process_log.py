"""What vLLM's processes say on stdout and stderr, kept for the error if one dies.

vLLM tells why it failed in its log alone. Its process, and the workers of that, go on writing
there, and what they write goes into a file as well, which nobody else has open.
"""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOBase
from typing import TextIO, cast

# Names the file to the process that is started.
_VARIABLE = "SYNTH_AI_ENGINE_LOG"

# Where vLLM logs to, as it reads it itself: ext://sys.stdout or ext://sys.stderr.
_STREAM_VARIABLE = "VLLM_LOGGING_STREAM"

# The file begins anew from this size on. What is read of it is its end.
_MAX_BYTES = 1_000_000
_READ_BYTES = 4_000
_READ_LINES = 15


def log_stream() -> str:
    """Name the stream that vLLM logs to: `stdout`, unless the user's environment says otherwise."""
    stream = os.environ.get(_STREAM_VARIABLE, "ext://sys.stdout")
    return stream.removeprefix("ext://").removeprefix("sys.")


class ProcessLog:
    """The parent's side: what the processes that are started meanwhile say."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Have the processes that are started meanwhile copy what they say."""
        descriptor, path = tempfile.mkstemp(prefix="synth-ai-engine-", suffix=".log")
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

        os.environ[_VARIABLE] = path
        try:
            yield
        finally:
            del os.environ[_VARIABLE]
            # The processes have opened it, and nobody else needs its name.
            os.unlink(path)

    def read_end(self) -> str:
        """Read the last lines; an empty string if there are none."""
        if self._descriptor is None:
            return ""

        size = os.fstat(self._descriptor).st_size
        data = os.pread(self._descriptor, _READ_BYTES, max(size - _READ_BYTES, 0))
        lines = data.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_READ_LINES:])


def copy_streams() -> None:
    """Copy what this process says on stdout and stderr into the file that its parent has named."""
    path = os.environ.get(_VARIABLE)
    if path is None:
        return

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    except OSError:
        # It has no name any more: vLLM has started this process after it had loaded the model.
        return

    log = open(descriptor, "a", encoding="utf-8", errors="replace")  # noqa: SIM115 # never closed
    # vLLM's log goes to either, and tracebacks to stderr.
    sys.stdout = cast("TextIO", _CopiedStream(sys.stdout, log))
    sys.stderr = cast("TextIO", _CopiedStream(sys.stderr, log))


class _CopiedStream(TextIOBase):
    """A stream whose text goes into a log as well."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        # A full disk must not end the engine.
        with suppress(OSError, ValueError):
            if self._log.tell() > _MAX_BYTES:
                self._log.truncate(0)
            self._log.write(text)
            self._log.flush()

        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True
