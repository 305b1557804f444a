"""What an answer says of itself, read from its bytes as they pass by. Pure.

Both APIs are read, whole and streamed. What cannot be read is passed on as it is: it is the
caller's to judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from synth_ai.backend.usage import UsageRecord
from synth_ai.http.event_decoder import EventDecoder

#: Statuses of a response that will not change any more.
FINAL_STATUSES = frozenset({"completed", "incomplete", "failed", "cancelled"})

# An event of Responses that brings the whole response, and a chunk of Chat that brings the usage or
# the id. In the text of a delta the quotes are escaped, so nothing that a model writes looks so.
_WHOLE = '"response":'
_USAGE = '"usage":'


class AnswerReader:
    """Reads one answer.

    Args:
        record: is filled with what the answer says.

    Attributes:
        response: the body of the response, once all of it is there, or that it is made in the
            background; None for Chat, and before.
    """

    def __init__(self, record: UsageRecord) -> None:
        self.response: Mapping[str, Any] | None = None
        self._record = record
        self._decoder = EventDecoder()
        self._is_readable = True

    def read_body(self, content: bytes) -> None:
        """Read an answer that came in one piece."""
        body = _read_object(content)
        if body is None:
            return
        if body.get("object") == "response":
            self._read_response(body)
            # One that is made in the background is kept, too: it is asked for by its id.
            self._record.status = _read_text(body.get("status")) or self._record.status
            self.response = body
        else:
            self._read_chat(body, is_whole=True)

    def feed(self, piece: bytes) -> None:
        """Read the next piece of a stream."""
        if not self._is_readable:
            return
        try:
            for data in self._decoder.feed(piece):
                self._read_event(data)
        except UnicodeDecodeError:
            self._is_readable = False

    def _read_event(self, data: str) -> None:
        if data == "[DONE]":
            # A stream of Chat that came to its end, with or without its usage.
            if self._record.status == "aborted":
                self._record.status = "completed"
            return
        if _WHOLE not in data and _USAGE not in data and self._record.response_id is not None:
            return

        event = _read_object(data)
        if event is None:
            return
        response = event.get("response")
        if isinstance(response, dict):
            self._read_response(response)
        elif "choices" in event:
            self._read_chat(event, is_whole=False)

    def _read_response(self, response: Mapping[str, Any]) -> None:
        record = self._record
        record.response_id = _read_text(response.get("id")) or record.response_id
        record.model = _read_text(response.get("model")) or record.model

        status = response.get("status")
        if status in FINAL_STATUSES:
            record.status = str(status)
            record.read_usage(response.get("usage"))
            self.response = response

    def _read_chat(self, body: Mapping[str, Any], *, is_whole: bool) -> None:
        record = self._record
        record.response_id = _read_text(body.get("id")) or record.response_id
        record.model = _read_text(body.get("model")) or record.model
        if body.get("usage"):
            record.read_usage(body["usage"])
        if is_whole:
            record.status = "completed"


def _read_object(content: bytes | str) -> dict[str, Any] | None:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _read_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
