"""What a service answers a request with: all of it at once, or piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from synth_ai.backend.callers import Caller
from synth_ai.backend.usage import UsageRecord
from synth_ai.openai_api.replies import APIRequest

JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class WholeReply:
    """An answer in one piece.

    Attributes:
        content: its bytes.
        status: the HTTP status.
        headers: what it has beside its length.
    """

    content: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": JSON_TYPE})


class PiecesReply(Protocol):
    """An answer that comes piece by piece. Its first bytes are there, so it was not refused."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What it has beside its length."""

    async def next(self) -> bytes:
        """Return the next piece; none is empty but the one behind the end."""

    async def aclose(self) -> None:
        """End it early, and whatever makes it. Safe to call twice."""


class Service(Protocol):
    """Answers requests, whoever sent them and whatever they may use."""

    async def answer(
        self, request: APIRequest, caller: Caller, record: UsageRecord
    ) -> WholeReply | PiecesReply:
        """Answer a request.

        Args:
            request: the request; its path is behind the prefix.
            caller: who sent it.
            record: is filled with what the answer says of itself.

        Raises:
            RefusedRequestError: there is no such answer.
            SynthAIError: it cannot be had now.
        """

    async def aopen(self) -> None:
        """Open what it needs, on the loop that it runs on."""

    async def aclose(self) -> None:
        """Close what it opened."""


def as_json(body: Mapping[str, Any], status: int = 200) -> WholeReply:
    """Make the answer of a JSON body."""
    return WholeReply(json.dumps(body).encode(), status)
