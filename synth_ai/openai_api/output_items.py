"""The items of an answer, with all that OpenAI's types demand of them. Pure.

Items here may lack what only a server gives: ids, statuses, lists that are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from synth_ai.content import Item, local_item_id
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.logprobs import find_logprobs, make_part_logprobs
from synth_ai.response import BaseLMResponse

OutputItem: TypeAlias = JSONObject
"""An item as it goes out."""


def complete_output(answer: BaseLMResponse) -> list[OutputItem]:
    """Complete the output items of an answer, with the log probabilities in its text."""
    items = []
    for index, item in enumerate(answer.output):
        items.append(complete_item(item, answer.response_id, index))

    if answer.logprobs:
        _add_logprobs(items, answer.logprobs)
    return items


def complete_item(item: Item, response_id: str, index: int) -> OutputItem:
    """Complete one item that a model wrote."""
    complete: OutputItem = dict(item)
    item_type = complete.setdefault("type", "message")
    complete["id"] = complete.get("id") or local_item_id(item_type, response_id, index)
    complete["status"] = complete.get("status") or "completed"

    if item_type == "message":
        complete["role"] = "assistant"
        complete["content"] = complete_parts(complete.get("content"))
    elif item_type == "reasoning":
        complete["summary"] = list(complete.get("summary") or ())
    return complete


def complete_parts(content: str | Sequence[JSONFields] | None) -> list[JSONObject]:
    """Complete the parts of an assistant's message."""
    if isinstance(content, str):
        return [make_text_part(content)]

    parts = []
    for part in content or ():
        complete = dict(part)
        if complete.get("type") == "output_text":
            complete["annotations"] = list(complete.get("annotations") or ())
            complete["logprobs"] = make_part_logprobs(complete.get("logprobs") or ())
        parts.append(complete)
    return parts


def make_text_part(text: str) -> JSONObject:
    """Make a text part of an assistant's message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _add_logprobs(items: Sequence[OutputItem], logprobs: Sequence[JSONFields]) -> None:
    """Add an answer's log probabilities to the texts that have none yet."""
    for item in items:
        if item["type"] != "message":
            continue
        for part in item["content"]:
            if part["type"] == "output_text" and not part["logprobs"]:
                part["logprobs"] = make_part_logprobs(find_logprobs(logprobs, part["text"]))
