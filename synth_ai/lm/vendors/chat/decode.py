"""Decode the body of an answer of Chat Completions. Pure; `stream` puts one together from chunks.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from synth_ai.content import (
    Call,
    Item,
    Message,
    assistant_message,
    custom_tool_call,
    function_call,
    new_call_id,
    output_text,
    reasoning_item,
    refusal_message,
    spoken_message,
    with_extra,
)
from synth_ai.http.error_mapping import from_body
from synth_ai.lm.vendors.chat.shapes import (
    ChatAnnotation,
    ChatBody,
    ChatChoice,
    ChatMessage,
    ChatPart,
    ChatToolCall,
    ChatUsage,
)
from synth_ai.lm.vendors.truncated_calls import drop_truncated_calls
from synth_ai.lm.vendors.wire import malformed_as, require_str
from synth_ai.response import BaseLMResponse, Status, Usage

#: The finish reasons of answers that stop short, and our word for why.
TRUNCATED = {"length": "max_output_tokens", "content_filter": "content_filter"}

#: The error of an answer that ends with `error` and does not say which. As an error of the server's
#: side it is tried again.
_UNKNOWN_ERROR = {"code": "server_error", "message": "the server does not say why."}


def decode_response(body: Mapping[str, object]) -> BaseLMResponse:
    """Decode the body of an answer.

    Raises:
        MalformedAnswerError: the body is not a chat completion.
        ServerError: it has an error in place of an answer.
    """
    with malformed_as("The server's answer is not a chat completion", body):
        return _decode_body(cast("ChatBody", body))


def _decode_body(body: ChatBody) -> BaseLMResponse:
    # LM asks for one answer: to have several, one asks several times.
    choice = body["choices"][0]
    raise_if_error(choice)

    output = decode_message(choice["message"])
    incomplete_reason = TRUNCATED.get(choice.get("finish_reason", ""))
    status: Status = "completed"
    warnings: list[str] = []
    if incomplete_reason is not None:
        status = "incomplete"
        # Chat Completions has one finish reason for all, and no status for a call.
        output, warnings = drop_truncated_calls(output, has_statuses=False)

    logprobs = choice.get("logprobs") or {}
    return BaseLMResponse.of_output(
        output,
        api_type="chat",
        model=body.get("model"),
        status=status,
        incomplete_reason=incomplete_reason,
        usage=decode_usage(body.get("usage")),
        logprobs=logprobs.get("content"),
        warnings=warnings,
    )


def raise_if_error(choice: ChatChoice) -> None:
    """Raise the error that a choice has in place of an answer.

    Gateways such as OpenRouter report in this way what went wrong on the server behind them.

    Raises:
        ServerError: it has one.
    """
    error = choice.get("error")
    if not error and choice.get("finish_reason") != "error":
        return

    # OpenRouter sends an error body, others a text, some nothing but the finish reason.
    error_body: Mapping[str, object]
    if isinstance(error, Mapping):
        error_body = error
    elif error:
        error_body = {**_UNKNOWN_ERROR, "message": error}
    else:
        error_body = _UNKNOWN_ERROR
    raise from_body(error_body, "The answer ended with an error")


def decode_message(message: ChatMessage) -> list[Item]:
    """Decode an assistant's message into items: reasoning, text, sound, refusal, calls."""
    items: list[Item] = []

    thinking, text = split_content(message.get("content"))
    reasoning = read_reasoning(message) + thinking
    if reasoning:
        items.append(reasoning_item(reasoning))
    if text:
        items.append(_text_message(text, message.get("annotations") or ()))

    audio = message.get("audio")
    if audio:
        items.append(spoken_message(audio))

    refusal = message.get("refusal")
    if refusal:
        items.append(refusal_message(refusal))

    for call in find_tool_calls(message):
        # Some servers send calls of nothing beside the others.
        if call.get("function") or call.get("custom"):
            items.append(_decode_call(call))

    return items


def find_tool_calls(message: ChatMessage) -> Sequence[ChatToolCall]:
    """Find the calls in a message or a delta."""
    calls = message.get("tool_calls")
    if calls:
        return calls

    legacy_call = message.get("function_call")
    if legacy_call:
        return [{"index": 0, "function": legacy_call}]
    return ()


def read_reasoning(message: ChatMessage) -> str:
    """Read the reasoning of a message or a delta, under the name that the server has for it."""
    return require_str(message.get("reasoning") or message.get("reasoning_content") or "")


def split_content(content: str | Sequence[ChatPart] | None) -> tuple[str, str]:
    """Split the content of a message or a delta into thinking and text.

    ::

        "4"    ->  "", "4"
        None   ->  "", ""

        [{"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2"}]},
         {"type": "text", "text": "4"}]
        ->  "2 + 2", "4"
    """
    if content is None:
        return "", ""
    if isinstance(content, str):
        return "", content

    thinking = []
    for part in content:
        if part["type"] == "thinking":
            thinking.append(_join_texts(part["thinking"]))

    return "".join(thinking), _join_texts(content)


def _join_texts(parts: str | Iterable[ChatPart]) -> str:
    if isinstance(parts, str):
        return parts

    # Other parts, such as references to sources, are no text of the answer.
    return "".join(require_str(part["text"]) for part in parts if part["type"] == "text")


def _text_message(text: str, annotations: Iterable[ChatAnnotation]) -> Message:
    """Make a message whose annotations have the shape of Responses, where a citation is flat.

    ::

        {"type": "url_citation", "url_citation": {"url": "https://example.com"}}
        ->  {"type": "url_citation", "url": "https://example.com"}
    """
    flat_annotations = []
    for annotation in annotations:
        flat = {**annotation, **annotation.get("url_citation", {})}
        flat.pop("url_citation", None)
        flat_annotations.append(flat)

    part = output_text(text)
    part["annotations"] = flat_annotations
    message = assistant_message(text)
    message["content"] = [part]
    return message


def _decode_call(call: ChatToolCall) -> Call:
    # Its output will have to name the call, also where the server gave it no id.
    call_id = call.get("id") or new_call_id()

    custom = call.get("custom")
    if custom:
        return custom_tool_call(call_id, require_str(custom["name"]), custom.get("input") or "")

    function = call["function"]
    arguments = function.get("arguments") or ""
    item = function_call(call_id, require_str(function["name"]), arguments)
    return with_extra(item, call)


def decode_usage(usage: ChatUsage | None) -> Usage | None:
    """Decode token counts; None if the server sent none."""
    if not usage:
        return None

    prompt_details = usage.get("prompt_tokens_details") or {}
    completion_details = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=usage.get("prompt_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=prompt_details.get("cached_tokens") or 0,
        reasoning_tokens=completion_details.get("reasoning_tokens") or 0,
    )
