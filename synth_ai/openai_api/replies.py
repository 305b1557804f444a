"""What is asked over HTTP and what is answered, without any HTTP library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from synth_ai.errors import SynthAIError
from synth_ai.events import StreamEvent
from synth_ai.lm.lm import LM
from synth_ai.openai_api.error_bodies import find_status, make_error_body, make_error_headers
from synth_ai.openai_api.item_events import ServerEvent
from synth_ai.openai_api.json_types import JSONFields
from synth_ai.openai_api.refusals import RefusedRequestError


@dataclass(frozen=True, slots=True)
class APIRequest:
    """A request.

    Attributes:
        method: such as `POST`.
        path: behind the base URL, such as `/responses/resp_1`, still quoted.
        query: the query, one value a name.
        body: the body.
        headers: by lower-case name; no handler here reads any.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JSONReply:
    """A whole answer.

    Attributes:
        body: its JSON.
        status: the HTTP status.
        headers: what it has beside its type and length.
    """

    body: JSONFields
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class EventWriter(Protocol):
    """Writes the events of one stream in the shape of an API."""

    def begin(self) -> Iterator[ServerEvent]:
        """Yield the events before the first of the model's."""

    def write(self, event: StreamEvent) -> Iterator[ServerEvent]:
        """Yield the events that an event of the LM stands for."""

    def fail(self, error: Mapping[str, object]) -> Iterator[ServerEvent]:
        """Yield what ends a stream that broke off."""


@dataclass(frozen=True, slots=True)
class StreamedReply:
    """An answer in events, not begun yet; `streaming` has the two ways to drive it.

    Attributes:
        lm: the LM to ask.
        arguments: the arguments of the call.
        make_writer: makes the writer, for the id of the response.
        last: what ends the stream, behind the last event.
    """

    lm: LM
    arguments: JSONFields
    make_writer: Callable[[str], EventWriter]
    last: bytes = b""


def make_error_reply(error: SynthAIError | RefusedRequestError) -> JSONReply:
    """Make the reply that an error becomes."""
    return JSONReply(make_error_body(error), find_status(error), make_error_headers(error))
