"""Chat Completions' answers: JSON to responses, a message to its items. Pure; `chat_stream` reads what is streamed.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synth_ai import content as item_shapes
from synth_ai.content import Item
from synth_ai.http.error_mapping import error_from_body
from synth_ai.lm.vendors.truncated_calls import without_cut_calls
from synth_ai.lm.vendors.wire import expecting, text
from synth_ai.response import BaseLMResponse, Usage

#: How answers end that stop short, by finish reason.
STOPPED = {
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}

#: What is known of an answer that ends with `error` and does not say which.
_UNTOLD = {"code": "server_error", "message": "the server does not say why."}


def read_response(data: Mapping[str, Any]) -> BaseLMResponse:
    """The response in a decoded body.

    Raises:
        MalformedAnswerError: the body is no chat completion.
        ServerError: it holds an error in place of an answer.
    """
    with expecting("The server's answer is no chat completion", data):
        return _read(data)


def _read(data: Mapping[str, Any]) -> BaseLMResponse:
    choice = data["choices"][0]
    check_choice(choice)
    status, reason = STOPPED.get(choice.get("finish_reason"), ("completed", None))
    output = output_items(choice["message"])
    warnings: list[str] = []
    if status == "incomplete":
        output, warnings = without_cut_calls(output, is_cut_at_end=True)
    return BaseLMResponse.of_output(
        output,
        api_type="chat",
        model=data.get("model"),
        status=status,
        incomplete_reason=reason,
        usage=read_usage(data.get("usage")),
        logprobs=(choice.get("logprobs") or {}).get("content"),
        warnings=warnings,
    )


def check_choice(choice: Mapping[str, Any]) -> None:
    """Nothing if a choice is an answer. Gateways tell the error of the server behind them in its place.

    Raises:
        ServerError: it is an error.
    """
    error = choice.get("error")
    if error or choice.get("finish_reason") == "error":
        body = (
            error
            if isinstance(error, Mapping)
            else {**_UNTOLD, "message": error}
            if error
            else _UNTOLD
        )
        raise error_from_body(body, "The answer ended with an error")


def output_items(message: Mapping[str, Any]) -> list[Item]:
    """The items of an assistant's message."""
    found: list[Item] = []
    thinking, content = texts_of(message.get("content"))
    if reasoning := reasoning_of(message) + thinking:
        found.append(item_shapes.reasoning_item(reasoning))
    if content:
        found.append(_message(content, message.get("annotations") or ()))
    if audio := message.get("audio"):
        found.append(item_shapes.spoken_message(audio))
    if refusal := message.get("refusal"):
        found.append(item_shapes.refusal_message(refusal))
    found += [
        _call_item(call) for call in calls_of(message) if call.get("function") or call.get("custom")
    ]
    return found


def _message(content: str, annotations: Iterable[Mapping[str, Any]]) -> Item:
    """A message whose annotations are in the shape of Responses, where the citation of a page is flat."""
    part = item_shapes.output_text(content)
    part["annotations"] = [{**each, **each.get("url_citation", {})} for each in annotations]
    for each in part["annotations"]:
        each.pop("url_citation", None)
    return item_shapes.assistant_message(content) | {"content": [part]}


def calls_of(message: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The calls in a message or a delta. Older servers make one at most, as `function_call`."""
    legacy = message.get("function_call")
    return message.get("tool_calls") or ([{"index": 0, "function": legacy}] if legacy else [])


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The reasoning in a message or a delta. vLLM renamed `reasoning_content` to `reasoning`; others kept the name."""
    return text(message.get("reasoning") or message.get("reasoning_content") or "")


def texts_of(content: Any) -> tuple[str, str]:
    """The thinking and the text in the content of a message or a delta: a string, or parts as Mistral has them."""
    if content is None or isinstance(content, str):
        return "", content or ""
    thinking = (part["thinking"] for part in content if part["type"] == "thinking")
    return "".join(map(_joined, thinking)), _joined(content)


def _joined(parts: str | Iterable[Mapping[str, Any]]) -> str:
    return (
        parts
        if isinstance(parts, str)
        else "".join(text(part["text"]) for part in parts if part["type"] == "text")
    )


def _call_item(call: Mapping[str, Any]) -> Item:
    call_id = call.get("id") or item_shapes.new_call_id()
    if custom := call.get("custom"):
        return item_shapes.custom_tool_call(
            call_id, text(custom["name"]), custom.get("input") or ""
        )
    function = call["function"]
    item = item_shapes.function_call(
        call_id, text(function["name"]), function.get("arguments") or ""
    )
    return item_shapes.with_extra(item, call)


def read_usage(usage: Mapping[str, Any] | None) -> Usage | None:
    """Token counts in our shape."""
    if not usage:
        return None
    return Usage(
        input_tokens=usage.get("prompt_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        or 0,
    )
