"""What went into a response, as a page of a list. Pure.

https://platform.openai.com/docs/api-reference/responses/input-items
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth_ai.content import Item, is_call_output, is_message, local_item_id
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.output_items import OutputItem, complete_item
from synth_ai.openai_api.refusals import invalid_field


class Page(BaseModel):
    """Which part of a list is asked for."""

    model_config = ConfigDict(extra="ignore")

    after: str | None = None
    limit: int = Field(default=20, ge=1, le=100)
    order: str = Field(default="desc", pattern="^(asc|desc)$")


def read_page(query: Mapping[str, str]) -> Page:
    """Read which part of a list a request asks for.

    Raises:
        RefusedRequestError: a value does not fit.
    """
    try:
        return Page.model_validate(query)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise invalid_field(str(first["loc"][0]), f"{first['msg']}.") from error


def make_input_list(items: Sequence[Item], response_id: str, page: Page) -> JSONObject:
    """Make a page of the items that went into a response.

    Args:
        items: all of them, oldest first.
        response_id: the response.
        page: which of them are asked for.

    Raises:
        RefusedRequestError: `after` is the id of none of them.
    """
    complete = _complete_inputs(items, response_id)
    if page.order == "desc":
        complete.reverse()

    start = _find_start(complete, page.after)
    end = start + page.limit
    shown = complete[start:end]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else "",
        "last_id": shown[-1]["id"] if shown else "",
        "has_more": end < len(complete),
    }


def _find_start(items: Sequence[OutputItem], after: str | None) -> int:
    if after is None:
        return 0
    for index, item in enumerate(items):
        if item["id"] == after:
            return index + 1
    raise invalid_field("after", f"it must be the id of an item of this list, not {after!r:.100}.")


def _complete_inputs(items: Sequence[Item], response_id: str) -> list[OutputItem]:
    """Complete the items, each with an id of its own: one may have gone in twice."""
    # The output of the response has items of the same types and places.
    input_id = f"{response_id}_in"
    complete: list[OutputItem] = []
    ids: set[str] = set()
    for index, item in enumerate(items):
        made = _complete_input(item, input_id, index)
        if made["id"] in ids:
            made["id"] = local_item_id(made["type"], input_id, index)
        ids.add(made["id"])
        complete.append(made)
    return complete


def _complete_input(item: Item, input_id: str, index: int) -> OutputItem:
    made = complete_item(item, input_id, index)
    if is_message(item) and item["role"] != "assistant":
        made["role"] = item["role"]
        made["content"] = _complete_input_parts(item["content"])
    elif is_call_output(item) and not isinstance(item["output"], str):
        made["output"] = [dict(part) for part in item["output"]]
    return made


def _complete_input_parts(content: str | Sequence[JSONFields]) -> list[JSONObject]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]

    parts = []
    for part in content:
        complete = dict(part)
        if complete.get("type") == "input_image":
            complete.setdefault("detail", "auto")
        parts.append(complete)
    return parts
