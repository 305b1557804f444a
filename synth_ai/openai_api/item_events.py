"""The events of one output item of a stream of the Responses API. Pure.

Events here have no `sequence_number` yet: the writer of the stream gives it.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.output_items import OutputItem

ServerEvent: TypeAlias = JSONObject
"""An event as it goes out."""


@dataclass(frozen=True, slots=True)
class PartForm:
    """How the events of a part of an item are called.

    Attributes:
        event: what the part's text is in the names of events.
        part: what the part is in the names of events.
        index: the field that says which part it is.
        text: the field that has the whole text.
        extra: fields that events with text have besides.
    """

    event: str
    part: str = "content_part"
    index: str = "content_index"
    text: str = "text"
    extra: tuple[str, ...] = ()


#: By the type of the part.
PART_FORMS: Mapping[str, PartForm] = {
    "output_text": PartForm("output_text", extra=("logprobs",)),
    "refusal": PartForm("refusal", text="refusal"),
    "reasoning_text": PartForm("reasoning_text"),
    "summary_text": PartForm(
        "reasoning_summary_text", part="reasoning_summary_part", index="summary_index"
    ),
}

#: The event and the field that have the text of a call, by its type.
_CALL_FORMS: Mapping[str, tuple[str, str]] = {
    "function_call": ("function_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
}

#: The lists of parts that an item may have.
_PART_LISTS = ("summary", "content")


@dataclass(frozen=True, slots=True)
class ItemEvents:
    """Makes the events of one item.

    Attributes:
        item_id: its id.
        output_index: its place in the output.
    """

    item_id: str
    output_index: int

    def item_added(self, item: OutputItem) -> ServerEvent:
        """Make the event that announces the item, empty as it is then."""
        return {
            "type": "response.output_item.added",
            "output_index": self.output_index,
            "item": _empty_item(item),
        }

    def item_done(self, item: OutputItem) -> ServerEvent:
        """Make the event that has the whole item."""
        return {
            "type": "response.output_item.done",
            "output_index": self.output_index,
            "item": item,
        }

    def part_added(self, part: JSONFields, index: int) -> ServerEvent:
        """Make the event that announces a part, empty as it is then."""
        form = PART_FORMS[part["type"]]
        empty = {**part, form.text: ""}
        if "logprobs" in empty:
            empty["logprobs"] = []
        if "annotations" in empty:
            empty["annotations"] = []
        return self._make(f"{form.part}.added", **{form.index: index, "part": empty})

    def part_delta(self, part_type: str, text: str, index: int) -> ServerEvent:
        """Make the event of more text of a part."""
        form = PART_FORMS[part_type]
        extra: JSONObject = {name: [] for name in form.extra}
        return self._make(f"{form.event}.delta", **{form.index: index, "delta": text}, **extra)

    def part_done(self, part: JSONFields, index: int) -> Iterator[ServerEvent]:
        """Make the two events that have a whole part: its text, and itself."""
        form = PART_FORMS[part["type"]]
        extra: JSONObject = {name: part.get(name) or [] for name in form.extra}
        fields = {form.index: index, form.text: part[form.text]}
        yield self._make(f"{form.event}.done", **fields, **extra)
        yield self._make(f"{form.part}.done", **{form.index: index, "part": dict(part)})

    def call_delta(self, item: OutputItem, text: str) -> ServerEvent:
        """Make the event of more arguments of a call."""
        event, _ = _CALL_FORMS[item["type"]]
        return self._make(f"{event}.delta", delta=text)

    def call_done(self, item: OutputItem) -> ServerEvent:
        """Make the event that has all arguments of a call."""
        event, field = _CALL_FORMS[item["type"]]
        # The SDK wants the name in some of its versions.
        return self._make(f"{event}.done", **{field: item[field], "name": item["name"]})

    def whole_item(self, item: OutputItem) -> Iterator[ServerEvent]:
        """Make all events of an item that comes in one piece."""
        yield self.item_added(item)

        if item["type"] in _CALL_FORMS:
            _, field = _CALL_FORMS[item["type"]]
            yield self.call_delta(item, item[field])
            yield self.call_done(item)

        for parts in _PART_LISTS:
            for index, part in enumerate(item.get(parts) or ()):
                if part.get("type") in PART_FORMS:
                    yield from self._whole_part(part, index)

        yield self.item_done(item)

    def _whole_part(self, part: JSONFields, index: int) -> Iterator[ServerEvent]:
        form = PART_FORMS[part["type"]]
        yield self.part_added(part, index)
        yield self.part_delta(part["type"], part[form.text], index)
        yield from self.part_done(part, index)

    def _make(self, event_name: str, /, **fields: object) -> ServerEvent:
        return {
            "type": f"response.{event_name}",
            "item_id": self.item_id,
            "output_index": self.output_index,
            **fields,
        }


def _empty_item(item: OutputItem) -> OutputItem:
    """Make an item as it is when it begins.

    A hosted tool's item has no parts that follow, and is announced as it is.
    """
    item_type = item["type"]
    if item_type in _CALL_FORMS:
        _, field = _CALL_FORMS[item_type]
        return {**item, field: "", "status": "in_progress"}
    if item_type == "message":
        return {**item, "content": [], "status": "in_progress"}
    if item_type == "reasoning":
        return {"id": item["id"], "type": "reasoning", "summary": [], "status": "in_progress"}
    return item
