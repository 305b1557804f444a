"""The events of an LM's stream as those of the Responses API. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synth_ai.content import local_item_id
from synth_ai.events import (
    Completed,
    PreambleDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)
from synth_ai.openai_api.custom_tools import find_custom_tools
from synth_ai.openai_api.held_calls import HeldCalls
from synth_ai.openai_api.item_events import ItemEvents, ServerEvent
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.output_items import OutputItem, complete_output
from synth_ai.openai_api.responses_body import make_draft, make_response_body
from synth_ai.openai_api.streamed_items import StreamedItem, settle_output
from synth_ai.response import BaseLMResponse

#: The last event of a stream, by the status of the response.
_LAST_EVENTS: Mapping[str, str] = {
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}


class ResponseEventWriter:
    """Writes the events of one stream.

    Args:
        response_id: the id of the response.
        request: the request, which the response repeats in part.
        model: the model to name.
        created_at: when the response was made, in seconds since the epoch.
        holds_calls: hold every call back until it is whole, see `HeldCalls`.
    """

    def __init__(
        self,
        response_id: str,
        request: Mapping[str, object],
        *,
        model: str,
        created_at: float,
        holds_calls: bool = True,
    ) -> None:
        self._response_id = response_id
        self._request = request
        self._model = model
        self._created_at = created_at
        self._sequence_number = 0
        self._streamed: list[StreamedItem] = []
        self._calls: dict[int, StreamedItem] = {}
        self._item_ids: list[str] = []
        self._held_calls = HeldCalls(holds_all=holds_calls)
        self._custom_tools = find_custom_tools(request)

    def begin(self) -> Iterator[ServerEvent]:
        """Yield the events before the first of the model's."""
        for name in ("response.created", "response.in_progress"):
            yield self._number({"type": name, "response": self._make_draft()})

    def write(self, event: StreamEvent) -> Iterator[ServerEvent]:
        """Yield the events that an event of the LM stands for.

        Events that OpenAI has no counterpart of stand for none.
        """
        for ready in self._held_calls.feed(event):
            for written in self._translate(ready):
                yield self._number(written)

    def fail(self, error: Mapping[str, object]) -> Iterator[ServerEvent]:
        """Yield the event that ends a stream which broke off.

        Args:
            error: the error, as `describe_error` makes it. The SDK raises what stands in `error`,
                and its type has the fields beside it.
        """
        yield self._number({**error, "type": "error", "error": dict(error)})

    def _translate(self, event: StreamEvent) -> Iterator[ServerEvent]:
        if isinstance(event, TextDelta):
            yield from self._write_text("answer", "output_text", event)
        elif isinstance(event, ReasoningDelta):
            part_type = "summary_text" if event.is_summary else "reasoning_text"
            yield from self._write_text("reasoning", part_type, event)
        elif isinstance(event, PreambleDelta):
            yield from self._write_text("preamble", "output_text", event)
        elif isinstance(event, ToolCallDelta):
            yield from self._write_call(event)
        elif isinstance(event, Completed):
            yield from self._complete(event.response)

    # --- while the model writes -------------------------------------------------------------------

    def _write_text(
        self, kind: str, part_type: str, delta: TextDelta | ReasoningDelta | PreambleDelta
    ) -> Iterator[ServerEvent]:
        current = self._streamed[-1] if self._streamed else None
        if current is None or not current.takes(kind, part_type, delta.item_id):
            yield from self._end_open_items()
            current = self._add_item(_begin_item(kind), kind, part_type, delta.item_id)
            yield from current.begin()

        yield current.add(delta.text)

    def _write_call(self, delta: ToolCallDelta) -> Iterator[ServerEvent]:
        # The first delta of a call has its id, see `HeldCalls`.
        if delta.call_id is not None:
            # Servers may mix the deltas of parallel calls, so these stay open together.
            yield from self._end_open_items(but_calls=True)
            item = self._begin_call(delta.call_id, delta.name or "")
            call = self._add_item(item, delta.call_id, None, delta.item_id)
            self._calls[delta.index] = call
            yield from call.begin()

        if delta.arguments:
            yield self._calls[delta.index].add(delta.arguments)

    def _begin_call(self, call_id: str, name: str) -> OutputItem:
        call: OutputItem = {"call_id": call_id, "name": name, "status": "in_progress"}
        if name in self._custom_tools:
            return {"type": "custom_tool_call", **call, "input": ""}
        return {"type": "function_call", **call, "arguments": ""}

    def _add_item(
        self, item: OutputItem, kind: str, part_type: str | None, server_id: str | None
    ) -> StreamedItem:
        index = len(self._item_ids)
        item_id = server_id
        if item_id is None or item_id in self._item_ids:
            item_id = local_item_id(item["type"], self._response_id, index)
        self._item_ids.append(item_id)

        events = ItemEvents(item_id, index)
        streamed = StreamedItem({"id": item_id, **item}, events, kind, part_type, server_id)
        self._streamed.append(streamed)
        return streamed

    def _write_whole(self, item: OutputItem) -> Iterator[ServerEvent]:
        """Yield the events of an item of which nothing has gone out."""
        events = ItemEvents(item["id"], len(self._item_ids))
        self._item_ids.append(item["id"])
        yield from events.whole_item(item)

    def _end_open_items(
        self, status: str = "completed", *, but_calls: bool = False
    ) -> Iterator[ServerEvent]:
        for streamed in self._streamed:
            is_call = streamed.part_type is None
            if not streamed.is_done and not (is_call and but_calls):
                yield from streamed.end(status)

    # --- the end ----------------------------------------------------------------------------------

    def _complete(self, answer: BaseLMResponse) -> Iterator[ServerEvent]:
        """Yield what has not gone out yet, and the whole response."""
        final = complete_output(answer)
        was_cut_off = answer.status == "incomplete"
        yield from self._end_open_items("incomplete" if was_cut_off else "completed")

        output = settle_output(self._streamed, final)
        for item in output:
            if item["id"] not in self._item_ids:
                yield from self._write_whole(item)

        body = make_response_body(
            answer,
            self._request,
            model=self._model,
            created_at=self._created_at,
            output=output,
        )
        body["id"] = self._response_id
        name = _LAST_EVENTS.get(answer.status, "response.completed")
        yield {"type": name, "response": body}

    def _make_draft(self) -> JSONObject:
        return make_draft(self._response_id, self._request, model=self._model, at=self._created_at)

    def _number(self, event: ServerEvent) -> ServerEvent:
        numbered = {**event, "sequence_number": self._sequence_number}
        self._sequence_number += 1
        return numbered


def _begin_item(kind: str) -> OutputItem:
    if kind == "reasoning":
        return {"type": "reasoning", "summary": [], "status": "in_progress"}

    message: OutputItem = {
        "type": "message",
        "role": "assistant",
        "content": [],
        "status": "in_progress",
    }
    if kind == "preamble":
        message["phase"] = "commentary"
    return message
