"""Read the events of a stream of the Responses API. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import cast

from synth_ai.content import CALLS
from synth_ai.events import (
    PreambleDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    VendorEvent,
)
from synth_ai.lm.vendors.responses.decode import is_placeholder
from synth_ai.lm.vendors.responses.shapes import AddedItem, ResponseEvent
from synth_ai.lm.vendors.wire import (
    CallIds,
    HalfCharacters,
    malformed_as,
    require_json,
    require_str,
)
from synth_ai.surrogates import mend_object

_REASONING_DELTAS = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_CALL_DELTAS = (
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
)

# The event behind the last delta of a part repeats all of it. Some servers, such as LM Studio, send
# it without any delta before.
_TEXT_DONE = "response.output_text.done"
_REASONING_DONE = ("response.reasoning_text.done", "response.reasoning_summary_text.done")
_CALL_DONE = (
    "response.function_call_arguments.done",
    "response.custom_tool_call_input.done",
)
_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")


class EventReader:
    """The server-sent events of one stream, read one after the other.

    Attributes:
        body: the final response; None before the stream has brought it.
    """

    def __init__(self) -> None:
        self.body: Mapping[str, object] | None = None

        # What is known of items, by their places in the output: which call of the turn one is,
        # whether one is a preamble, and those that are complete.
        self._call_indexes: dict[int, int] = {}
        self._call_ids = CallIds()
        self._preambles: set[int] = set()

        # The parts of which deltas have come: by item, and by their places in it.
        self._begun: set[tuple[str, int, int]] = set()
        self._complete_items: list[tuple[int, Mapping[str, object]]] = []
        self._halves = HalfCharacters()

    def read(self, event: Mapping[str, object]) -> Iterator[VendorEvent]:
        """Read an event of the server's and yield what it stands for: nothing, or one event.

        Events of unknown types are passed over, as servers add their own.

        Raises:
            MalformedAnswerError: the event has another shape than its type demands.
        """
        with malformed_as("An event of the stream has no shape of the Responses API", event):
            delta = self._translate(cast("ResponseEvent", event))

        if delta is not None:
            yield delta

    def _translate(self, event: ResponseEvent) -> VendorEvent | None:
        event_type = event.get("type")
        output_index = event.get("output_index") or 0

        # Texts are asked for first, as most events are some.
        if event_type == "response.output_text.delta":
            text = self._next_text(("text", output_index, event.get("content_index") or 0), event)
            return self._text_delta(event, text)

        if event_type in _REASONING_DELTAS:
            return _reasoning_delta(event, self._next_text(_reasoning_part(event), event))

        if event_type in _CALL_DELTAS:
            text = self._next_text(("call", output_index, 0), event)
            return ToolCallDelta(self._call_indexes.get(output_index, 0), None, text)

        if event_type == "response.output_item.added":
            return self._on_new_item(output_index, event["item"])

        if event_type == "response.output_item.done":
            self._complete_items.append((output_index, dict(event["item"])))
            return self._on_complete_item(output_index, event["item"])

        if event_type == "response.created":
            return _read_start(event)

        if event_type in _LAST_EVENTS:
            body = self._complete_body(dict(event["response"]))
            # The deltas have been mended, and they add up to the text.
            self.body = mend_object(body) if self._halves.found else body
            return None

        return self._on_complete_part(event)

    def _next_text(self, part: tuple[str, int, int], event: ResponseEvent) -> str:
        """Note that a delta of a part has come, and return its text, or the JSON of its object."""
        self._begun.add(part)
        delta = event["delta"]
        text = require_json(delta) if part[0] == "call" else require_str(delta)
        return self._halves.join(part, text)

    def _text_delta(self, event: ResponseEvent, text: str) -> StreamEvent:
        item_id = _read_id(event.get("item_id"))
        output_index = event.get("output_index") or 0
        if output_index in self._preambles:
            return PreambleDelta(require_str(text), item_id)
        return TextDelta(require_str(text), item_id)

    def _on_new_item(self, output_index: int, item: AddedItem) -> ToolCallDelta | None:
        if item.get("type") in CALLS:
            call_index = len(self._call_indexes)
            self._call_indexes[output_index] = call_index
            part = ("call", output_index, 0)
            text = require_json(item.get("arguments") or item.get("input") or None)
            if text:
                self._begun.add(part)
                text = self._halves.join(part, text)
            call_id = self._call_ids.take(item.get("call_id"))
            item_id = _read_id(item.get("id"))
            return ToolCallDelta(call_index, item.get("name"), text, call_id, item_id)

        if item.get("phase") == "commentary":
            self._preambles.add(output_index)
        return None

    def _on_complete_item(self, output_index: int, item: AddedItem) -> ToolCallDelta | None:
        """Make the delta of a call of which no delta has come."""
        if item.get("type") not in CALLS:
            return None
        if output_index not in self._call_indexes:
            return None if is_placeholder(item) else self._on_new_item(output_index, item)
        return self._whole_call(output_index, item.get("arguments") or item.get("input"))

    def _on_complete_part(self, event: ResponseEvent) -> StreamEvent | None:
        """Make the delta of a part of which no delta has come."""
        event_type = event.get("type")
        output_index = event.get("output_index") or 0
        if event_type in _CALL_DONE:
            return self._whole_call(output_index, event.get("arguments") or event.get("input"))

        if event_type == _TEXT_DONE:
            text = event.get("text")
            if text and self._begin(("text", output_index, event.get("content_index") or 0)):
                return self._text_delta(event, text)

        if event_type in _REASONING_DONE:
            text = event.get("text")
            if text and self._begin(_reasoning_part(event)):
                return _reasoning_delta(event, text)

        return None

    def _whole_call(self, output_index: int, value: object) -> ToolCallDelta | None:
        if not value or not self._begin(("call", output_index, 0)):
            return None
        call_index = self._call_indexes.get(output_index, 0)
        return ToolCallDelta(call_index, None, require_json(value))

    def _begin(self, part: tuple[str, int, int]) -> bool:
        """Note that a part is known, and tell whether it was not before."""
        if part in self._begun:
            return False
        self._begun.add(part)
        return True

    def _complete_body(self, body: dict[str, object]) -> Mapping[str, object]:
        """Fill in the output of the final response.

        Some proxies leave it empty, as the events before have brought the items.
        """
        if body.get("output"):
            return body
        if not self._complete_items:
            return body

        in_order = sorted(self._complete_items, key=itemgetter(0))
        return {**body, "output": [item for _, item in in_order]}


def _read_start(event: ResponseEvent) -> Started | None:
    """Read the id of the response from the first event; some servers give it none there."""
    response_id = event.get("response", {}).get("id")
    if not isinstance(response_id, str) or not response_id:
        return None
    return Started(response_id)


def _reasoning_delta(event: ResponseEvent, text: str) -> ReasoningDelta:
    is_summary = "summary" in str(event.get("type"))
    return ReasoningDelta(require_str(text), _read_id(event.get("item_id")), is_summary)


def _read_id(item_id: object) -> str | None:
    """Read the id of an item; None if the server gives none that could be one."""
    return item_id if isinstance(item_id, str) and item_id else None


def _reasoning_part(event: ResponseEvent) -> tuple[str, int, int]:
    """Name the part of an item that an event of reasoning is about."""
    kind = "summary" if "summary" in str(event.get("type")) else "reasoning"
    part_index = event.get("summary_index") or event.get("content_index") or 0
    return kind, event.get("output_index") or 0, part_index
