"""Decode the body of an answer of the Responses API. Pure; `stream` reads what is streamed.

https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from synth_ai.content import Call, Item, Message, is_call, is_message
from synth_ai.lm.vendors.base import ItemPage
from synth_ai.lm.vendors.responses.shapes import ItemList, ResponseBody, ResponseUsage
from synth_ai.lm.vendors.stop_reasons import find_incomplete_reason
from synth_ai.lm.vendors.truncated_calls import drop_truncated_calls
from synth_ai.lm.vendors.wire import (
    CallIds,
    malformed_as,
    read_count,
    require_json,
    require_str,
)
from synth_ai.response import BaseLMResponse, Status, Usage

#: Statuses as some servers spell them.
_STATUSES: Mapping[str, Status] = {"complete": "completed", "canceled": "cancelled"}


def decode_response(body: Mapping[str, object]) -> BaseLMResponse:
    """Decode the body of an answer.

    Raises:
        MalformedAnswerError: the body is not a response.
    """
    with malformed_as("The server's answer is not a response of the Responses API", body):
        return _decode_response(cast("ResponseBody", body))


def _decode_response(body: ResponseBody) -> BaseLMResponse:
    output = decode_output(body["output"])
    warnings: list[str] = []
    if body.get("status") == "incomplete":
        output, warnings = drop_truncated_calls(output)

    response_id = body["id"] or None
    if response_id is not None and not isinstance(response_id, str):
        response_id = None
        warnings.append("The server's id of the response is no string; it has an id made here.")

    error = None
    failure = body.get("error")
    if failure:
        error = f"{failure.get('code')}: {failure.get('message')}"

    # A word that is not known is better than none.
    details = body.get("incomplete_details") or {}
    reason = details.get("reason")
    incomplete_reason = find_incomplete_reason(reason) or reason
    return BaseLMResponse.of_output(
        output,
        response_id=response_id,
        api_type="responses",
        model=body.get("model"),
        status=_decode_status(body.get("status")),
        incomplete_reason=incomplete_reason,
        error=error,
        usage=decode_usage(body.get("usage")),
        logprobs=_collect_logprobs(output),
        warnings=warnings,
    )


def _decode_status(status: str | None) -> str:
    if not status:
        return "completed"
    return _STATUSES.get(status, status)


def decode_output(output: Iterable[Item]) -> list[Item]:
    """Decode the items of an answer: as they came, but for what could not be used or sent back so.

    A call of nothing is a placeholder, and left out. Each other call gets an id of its own, and
    arguments that are a text. A message is the assistant's, whether or not the server says so.
    """
    call_ids = CallIds()
    items: list[Item] = []
    for item in output:
        require_str(item["type"])
        item = _without_odd_id(item)
        if is_message(item):
            items.append(_decode_message(item))
        elif not is_call(item):
            items.append(item)
        elif not is_placeholder(item):
            items.append(_decode_call(item, call_ids.take(item.get("call_id"))))

    return items


def decode_item_page(body: Mapping[str, object]) -> ItemPage:
    """Decode a page of the items that went in on the way to a response.

    Raises:
        MalformedAnswerError: the body is not a list of items.
    """
    page = cast("ItemList", body)
    with malformed_as("The server's answer is not a list of items", body):
        items = []
        for item in page["data"]:
            require_str(item["type"])
            items.append(_without_odd_id(item))

        last_id = page.get("last_id") or (items[-1].get("id") if items else None)
        return ItemPage(items, last_id, has_more=bool(page.get("has_more")))


def _without_odd_id(item: Item) -> Item:
    """Drop an id that is no string, by which nothing can refer to the item."""
    if "id" not in item or isinstance(item["id"], str):
        return item

    bare = item.copy()
    del bare["id"]
    return bare


def _decode_message(item: Message) -> Message:
    content = item["content"]
    if content is not None and not isinstance(content, str):
        for part in content:
            require_str(part.get("type", ""))

    if content is not None and item.get("role") == "assistant":
        return item
    message = item.copy()
    message["content"] = content or []
    message["role"] = "assistant"
    return message


def is_placeholder(call: Mapping[str, object]) -> bool:
    """Whether a call has nothing in it, as some servers send one beside a text."""
    return not (call.get("name") or call.get("arguments") or call.get("input"))


def _decode_call(call: Call, call_id: str) -> Call:
    require_str(call["name"])
    if call["type"] == "custom_tool_call":
        custom = call.copy()
        custom["call_id"] = call_id
        custom["input"] = require_json(call.get("input"))
        return custom

    function = call.copy()
    function["call_id"] = call_id
    function["arguments"] = require_json(call.get("arguments"))
    return function


def decode_usage(usage: ResponseUsage | None) -> Usage | None:
    """Decode token counts; None if the server sent none."""
    if not usage:
        return None

    input_details = usage.get("input_tokens_details") or {}
    output_details = usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=read_count(usage.get("input_tokens")),
        output_tokens=read_count(usage.get("output_tokens")),
        cached_tokens=read_count(input_details.get("cached_tokens")),
        reasoning_tokens=read_count(output_details.get("reasoning_tokens")),
    )


def _collect_logprobs(output: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """Collect the entries of all parts of an answer, one a token; None if there are none."""
    entries: list[Mapping[str, Any]] = []
    for item in output:
        if item.get("type") != "message":
            continue
        for part in item.get("content") or ():
            entries += part.get("logprobs") or ()

    return entries or None
