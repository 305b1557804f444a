"""The items of a response while they go out, and how the finished answer fits them. Pure.

An LM's events say what more there is of a text, and not of which item: texts of one kind that
follow each other are one item here, which the finished answer may have as several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from synth_ai.content import CALLS, reasoning_of, refusal_of, text_of
from synth_ai.openai_api.item_events import PART_FORMS, ItemEvents, ServerEvent
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.output_items import OutputItem, make_text_part


@dataclass(slots=True)
class StreamedItem:
    """An item that has begun to go out.

    Attributes:
        item: the item as it is when it begins.
        events: makes its events.
        kind: `answer`, `preamble`, `reasoning`, or the call id of a call.
        part_type: the type of its one part; None for a call.
        server_id: the id that the server behind the LM gives it; None if it gives none.
        pieces: its text so far.
        is_done: whether all its events have gone out.
        unread: what of its text the finished answer has not accounted for.
        place: its place in the output of the finished answer, once that is known.
    """

    item: OutputItem
    events: ItemEvents
    kind: str
    part_type: str | None
    server_id: str | None = None
    pieces: list[str] = field(default_factory=list)
    is_done: bool = False
    unread: str = ""
    place: int | None = None

    @property
    def text(self) -> str:
        """Its text so far."""
        return "".join(self.pieces)

    def takes(self, kind: str, part_type: str, item_id: str | None) -> bool:
        """Whether more text is part of it: of the same item, if the server says of which."""
        if self.is_done or self.kind != kind or self.part_type != part_type:
            return False
        return item_id == self.server_id

    def begin(self) -> Iterator[ServerEvent]:
        """Yield the events that announce it."""
        yield self.events.item_added(self.item)
        if self.part_type is not None:
            yield self.events.part_added(_make_part(self.part_type, ""), 0)

    def add(self, text: str) -> ServerEvent:
        """Add to its text, and return the event that says so."""
        self.pieces.append(text)
        if self.part_type is not None:
            return self.events.part_delta(self.part_type, text, 0)
        return self.events.call_delta(self.item, text)

    def end(self, status: str) -> Iterator[ServerEvent]:
        """Yield the events that have all of it."""
        self.is_done = True
        self.unread = self.text
        whole = self.whole(status)
        if self.part_type is not None:
            yield from self.events.part_done(_make_part(self.part_type, self.text), 0)
        else:
            yield self.events.call_done(whole)
        yield self.events.item_done(whole)

    def whole(self, status: str = "completed") -> OutputItem:
        """Make the item of what has gone out."""
        whole = {**self.item, "status": status}
        if self.part_type is None:
            name = "input" if "input" in whole else "arguments"
            whole[name] = self.text
        elif self.part_type == "summary_text":
            whole["summary"] = [_make_part(self.part_type, self.text)]
        else:
            whole["content"] = [_make_part(self.part_type, self.text)]
        return whole

    def goes_on_with(self, text: str) -> bool:
        """Whether what is not accounted for begins with a text."""
        return text != "" and self._unread_text().startswith(text)

    def account_for(self, text: str) -> None:
        """Take a text off what is not accounted for."""
        if self.goes_on_with(text):
            self.unread = self._unread_text().removeprefix(text)

    def _unread_text(self) -> str:
        # The texts of several messages are parted by line breaks.
        return self.unread.lstrip("\n")


def settle_output(
    streamed: Sequence[StreamedItem], final: Sequence[OutputItem]
) -> list[OutputItem]:
    """Fit the finished answer to what has gone out.

    Args:
        streamed: the items that have gone out.
        final: the items of the finished answer.

    Returns:
        The items of the finished answer, those that have gone out under the ids that they had. What
        went out as one item is one here, too.
    """
    output: list[OutputItem] = []
    ids = {each.item["id"] for each in streamed}
    for item in final:
        text = _read_text(item)
        found = _find_streamed(streamed, find_kind(item), text)
        if found is None:
            output.append(_with_free_id(item, ids))
            continue

        found.account_for(text)
        if found.place is None:
            found.place = len(output)
            output.append({**item, "id": found.item["id"]})
        else:
            output[found.place] = found.whole()
    return output


def find_kind(item: OutputItem) -> str | None:
    """Find what an item of the finished answer was called while it went out; None if it did not."""
    item_type = item["type"]
    if item_type in CALLS:
        return str(item["call_id"])
    if item_type == "reasoning":
        return "reasoning"
    if item_type != "message" or refusal_of([item]) is not None:
        return None
    return "preamble" if item.get("phase") == "commentary" else "answer"


def _find_streamed(
    streamed: Sequence[StreamedItem], kind: str | None, text: str
) -> StreamedItem | None:
    """Find the item that a finished one has gone out in.

    It is the first that goes on with its text; else the first of its kind that is left, as a
    backend may have mended the text meanwhile.
    """
    of_kind = [each for each in streamed if each.kind == kind]
    for each in of_kind:
        if each.goes_on_with(text):
            return each
    for each in of_kind:
        if each.place is None:
            return each
    return None


def _with_free_id(item: OutputItem, ids: set[str]) -> OutputItem:
    """Give an item another id if its own went out for another item; ids are made by place."""
    item_id = item["id"]
    while item_id in ids:
        item_id = f"{item_id}_"
    ids.add(item_id)
    return {**item, "id": item_id}


def _read_text(item: OutputItem) -> str:
    if item["type"] in CALLS:
        return str(item.get("arguments", item.get("input")))
    return reasoning_of(item) if item["type"] == "reasoning" else text_of(item)


def _make_part(part_type: str, text: str) -> JSONObject:
    if part_type == "output_text":
        return make_text_part(text)
    return {"type": part_type, PART_FORMS[part_type].text: text}
