"""What goes to the server behind when it does not know the conversation so far. Pure.

Then `input` becomes the whole conversation, and the answer says again which response it continues::

    {"input": "And now?", "previous_response_id": "resp_1"}
    ->  {"input": [..., {"role": "user", "content": "And now?"}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.responses.encode import encode_items
from synth_ai.lm.vendors.responses.history import adapt_history
from synth_ai.turn import Turn

# Two ends of lines behind each other end an event, in any of the three forms that lines may end in.
#   data: {...}\n\n
#   data: {...}\r\n\r\n
_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")

# The id stands in the events that bring the whole response.
_WHOLE = b'"response":'


def expand_request(body: Mapping[str, Any], chain: Sequence[Turn], server: str) -> dict[str, Any]:
    """Make the body of a request that has its whole conversation in it.

    Instructions and tools are those of the branch, unless the request has its own.

    Args:
        body: the request; it has a `previous_response_id`.
        chain: the turns up to that response, oldest first.
        server: the server that the request goes to.
    """
    last = chain[-1]
    model = str(body.get("model"))
    request, _ = adapt_history(LMRequest(model, input=(), history=tuple(chain)), server)

    expanded = dict(body)
    del expanded["previous_response_id"]
    expanded["input"] = [*_list_items(encode_items(request.items())), *_list_items(body["input"])]
    if body.get("instructions") is None and last.instructions is not None:
        expanded["instructions"] = last.instructions
    if body.get("tools") is None and last.tools:
        expanded["tools"] = list(last.tools)
    return expanded


def says_forgotten(content: bytes, parent_id: str) -> bool:
    """Whether an error of a server says that it cannot continue from a response.

    OpenAI has a code for it and names the parameter, vLLM names the id.
    """
    if b"previous_response" in content:
        return True
    return parent_id.encode() in content


def restore_parent(content: bytes, parent_id: str) -> bytes:
    """Write into a response which one it continues; bytes that are not one stay as they are."""
    try:
        body = json.loads(content)
    except ValueError:
        return content
    if not isinstance(body, dict) or body.get("object") != "response":
        return content

    body["previous_response_id"] = parent_id
    return json.dumps(body).encode()


class ParentRestorer:
    """Writes into the events of a stream which response theirs continues.

    Events that do not bring a whole response stay byte for byte what they were.

    Args:
        parent_id: the response that the stream's continues.
    """

    def __init__(self, parent_id: str) -> None:
        self._parent_id = parent_id
        self._waiting = b""

    def feed(self, piece: bytes) -> bytes:
        """Return the events that end in the next bytes, as they are to go out."""
        self._waiting += piece
        return b"".join(self._restore(event) for event in self._take_events())

    def finish(self) -> bytes:
        """Return what is left behind the last event."""
        rest, self._waiting = self._waiting, b""
        return rest

    def _take_events(self) -> Iterator[bytes]:
        start = 0
        for end in _END_OF_EVENT.finditer(self._waiting):
            yield self._waiting[start : end.end()]
            start = end.end()
        self._waiting = self._waiting[start:]

    def _restore(self, event: bytes) -> bytes:
        if _WHOLE not in event:
            return event

        lines = []
        for line in event.splitlines(keepends=True):
            lines.append(self._restore_line(line) if line.startswith(b"data:") else line)
        return b"".join(lines)

    def _restore_line(self, line: bytes) -> bytes:
        text = line.removeprefix(b"data:")
        try:
            data = json.loads(text)
        except ValueError:
            return line  # a part of an event of several lines

        response = data.get("response") if isinstance(data, dict) else None
        if not isinstance(response, dict):
            return line
        response["previous_response_id"] = self._parent_id
        end_of_line = line[len(line.rstrip(b"\r\n")) :]
        return b"data: " + json.dumps(data).encode() + end_of_line


def _list_items(items: object) -> list[Any]:
    """Return the input of a request as a list; a string is a message of the user's."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    if isinstance(items, list):
        return items
    return []


# The events that tell of it begin with the end of another: what came last may have been cut off in
# the middle of a line.
_BROKEN = "The model's server broke off its answer."


def make_broken_event() -> bytes:
    """Make the event that ends a stream of Responses which broke off."""
    event = {
        "type": "error",
        "code": "server_error",
        "message": _BROKEN,
        "param": None,
        "sequence_number": 0,
    }
    return b"\n\nevent: error\ndata: " + json.dumps(event).encode() + b"\n\n"


def make_broken_chunk() -> bytes:
    """Make the chunk that ends a stream of Chat Completions which broke off."""
    error = {"message": _BROKEN, "type": "server_error", "param": None, "code": None}
    return b"\n\ndata: " + json.dumps({"error": error}).encode() + b"\n\n"
