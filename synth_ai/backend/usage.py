"""What was used, for whoever sends the bill: one record for each response that began."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from synth_ai.errors import SettingError

logger = logging.getLogger("synth_ai.backend")

ABORTED = "aborted"
"""The status of a response that its caller did not wait for, or that broke off."""


@dataclass(slots=True)
class UsageRecord:
    """One response, finished or not. It is recorded once, when all of it is over.

    Attributes:
        id: of the record itself.
        caller: whose key asked.
        api: the API that was asked on.
        model: the model that answered, or else the one that was asked for.
        response_id: its id; None if it broke off before it had one.
        status: `completed`, `incomplete`, `failed` or `aborted`.
        is_stream: whether it was streamed.
        input_tokens: tokens of the prompt, the cached ones included; None if nobody said, as for a
            stream that was left.
        output_tokens: tokens that were generated, the reasoning included.
        cached_tokens: prompt tokens that came from a cache.
        reasoning_tokens: generated tokens that were reasoning.
        created_at: when the request came, in seconds since the epoch.
        seconds: until the last byte of the answer.
    """

    caller: str
    api: str | None = None
    model: str | None = None
    response_id: str | None = None
    status: str = ABORTED
    is_stream: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    created_at: float = field(default_factory=time.time)
    seconds: float = 0.0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def total_tokens(self) -> int | None:
        """Prompt and answer together; None if nobody said."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens

    def read_usage(self, usage: Mapping[str, Any] | None) -> None:
        """Read the token counts of an answer, of either API."""
        if not isinstance(usage, Mapping):
            return

        self.input_tokens = _read_count(usage, "input_tokens", "prompt_tokens")
        self.output_tokens = _read_count(usage, "output_tokens", "completion_tokens")
        of_input = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
        of_output = (
            usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
        )
        self.cached_tokens = _read_count(of_input, "cached_tokens")
        self.reasoning_tokens = _read_count(of_output, "reasoning_tokens")


_FIELDS = tuple(each.name for each in fields(UsageRecord))

OnUsage: TypeAlias = Callable[[UsageRecord], object]
"""Takes each record, on the server's own thread: it must not wait for anything."""


class UsageFile:
    """A file of records, one JSON object a line, to which several processes may append.

    Args:
        path: the file.

    Raises:
        SettingError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            # A line in one write to a file that is opened so is never mixed with another's.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._handle = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise SettingError(
                f"The usage file {str(self.path)!r} cannot be opened: {error.strerror}."
            ) from error

    def __call__(self, record: UsageRecord) -> None:
        """Append a record.

        It goes to the system's memory, which takes some microseconds; a thread would cost more.
        """
        line = json.dumps({name: getattr(record, name) for name in _FIELDS}) + "\n"
        try:
            os.write(self._handle, line.encode())
        except OSError:
            # Whoever reads the logs can still make up the bill.
            logger.exception("A usage record was not written: %s", line.strip())

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _read_count(counts: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        count = counts.get(name)
        if isinstance(count, int) and not isinstance(count, bool):
            return count
    return None
