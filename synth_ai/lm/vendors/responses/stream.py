"""Read the events of a stream of the Responses API. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import cast

from synth_ai.content import CALLS
from synth_ai.events import PreambleDelta, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from synth_ai.lm.vendors.responses.shapes import AddedItem, ResponseEvent
from synth_ai.lm.vendors.wire import malformed_as, require_str

_REASONING_DELTAS = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_CALL_DELTAS = (
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
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
        self._preambles: set[int] = set()
        self._complete_items: list[tuple[int, Mapping[str, object]]] = []

    def read(self, event: Mapping[str, object]) -> Iterator[StreamEvent]:
        """Read an event of the server's and yield what it stands for: nothing, or one event.

        Events of unknown types are passed over, as servers add their own.

        Raises:
            MalformedAnswerError: the event has another shape than its type demands.
        """
        with malformed_as("An event of the stream has no shape of the Responses API", event):
            delta = self._translate(cast("ResponseEvent", event))

        if delta is not None:
            yield delta

    def _translate(self, event: ResponseEvent) -> StreamEvent | None:
        event_type = event.get("type")
        output_index = event.get("output_index") or 0

        # Texts are asked for first, as most events are some.
        if event_type == "response.output_text.delta":
            text = require_str(event["delta"])
            if output_index in self._preambles:
                return PreambleDelta(text)
            return TextDelta(text)

        if event_type in _REASONING_DELTAS:
            return ReasoningDelta(require_str(event["delta"]))

        if event_type in _CALL_DELTAS:
            call_index = self._call_indexes.get(output_index, 0)
            return ToolCallDelta(call_index, None, require_str(event["delta"]))

        if event_type == "response.output_item.added":
            return self._on_new_item(output_index, event["item"])

        if event_type == "response.output_item.done":
            self._complete_items.append((output_index, dict(event["item"])))

        if event_type in _LAST_EVENTS:
            self.body = self._complete_body(dict(event["response"]))

        return None

    def _on_new_item(self, output_index: int, item: AddedItem) -> ToolCallDelta | None:
        if item.get("type") in CALLS:
            call_index = len(self._call_indexes)
            self._call_indexes[output_index] = call_index
            text = item.get("arguments") or item.get("input") or ""
            return ToolCallDelta(call_index, item.get("name"), text, item.get("call_id"))

        if item.get("phase") == "commentary":
            self._preambles.add(output_index)
        return None

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
