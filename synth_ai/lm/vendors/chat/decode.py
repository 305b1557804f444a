"""Decode the body of an answer of Chat Completions. Pure; `stream` puts one together from chunks.

https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

from synth_ai.content import (
    Call,
    Item,
    Message,
    Reasoning,
    assistant_message,
    custom_tool_call,
    function_call,
    mark_cut_off,
    output_text,
    reasoning_item,
    refusal_message,
    spoken_message,
    with_extra,
)
from synth_ai.http.error_mapping import error_from_body
from synth_ai.lm.vendors.chat.shapes import (
    ChatAnnotation,
    ChatAudio,
    ChatBody,
    ChatCalled,
    ChatChoice,
    ChatMessage,
    ChatPart,
    ChatToolCall,
    ChatUsage,
    ReasoningDetail,
)
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

#: Where servers put the reasoning of a message, in the order in which they are looked at.
_REASONING_FIELDS: tuple[Literal["reasoning", "reasoning_content"], ...] = (
    "reasoning",
    "reasoning_content",
)

#: The names of the text in a piece of reasoning.
_DETAIL_TEXTS: tuple[Literal["text", "summary"], ...] = ("text", "summary")

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
    incomplete_reason = find_incomplete_reason(choice.get("finish_reason"))
    status: Status = "completed"
    warnings: list[str] = []
    if incomplete_reason is not None:
        status = "incomplete"
        # Chat Completions has one finish reason for all, and no status for a call.
        output, warnings = drop_truncated_calls(output, has_statuses=False)
        output = mark_cut_off(output)

    logprobs = choice.get("logprobs") or {}
    return BaseLMResponse.of_output(
        output,
        api_type="chat",
        model=body.get("model"),
        status=status,
        incomplete_reason=incomplete_reason,
        usage=decode_usage(find_usage(body)),
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
    raise error_from_body(error_body, "The answer ended with an error")


def decode_message(message: ChatMessage) -> list[Item]:
    """Decode an assistant's message into items: reasoning, text, sound, refusal, calls."""
    items: list[Item] = []

    thinking, text = split_content(message.get("content"))
    reasoning, field = read_reasoning(message, thinking)
    details = message.get("reasoning_details") or ()
    if reasoning or details:
        items.append(_reasoning_item(reasoning, field, details))
    if text:
        items.append(_text_message(text, message.get("annotations") or ()))

    audio = message.get("audio")
    if audio and has_sound(audio):
        items.append(spoken_message(audio))

    refusal = message.get("refusal")
    if refusal:
        items.append(refusal_message(refusal))

    call_ids = CallIds()
    for call in find_tool_calls(message):
        called = find_called(call)
        if is_placeholder(called):
            continue
        items.append(_decode_call(call, called, call_ids.take(call.get("id"))))

    return items


def _reasoning_item(text: str, field: str | None, details: Iterable[ReasoningDetail]) -> Reasoning:
    """Make an item of reasoning that knows how it goes back to the server that sent it."""
    item = reasoning_item(text)
    if field is not None:
        item["chat_field"] = field

    kept = [{**detail} for detail in details]
    if kept:
        item["reasoning_details"] = kept
    return item


def find_tool_calls(message: ChatMessage) -> Sequence[ChatToolCall]:
    """Find the calls in a message or a delta."""
    calls = message.get("tool_calls")
    if calls:
        return calls

    legacy_call = message.get("function_call")
    if legacy_call:
        return [{"index": 0, "function": legacy_call}]
    return ()


def find_called(call: ChatToolCall) -> ChatCalled:
    """Find what a call calls, or adds to; the other of the two may be a placeholder."""
    custom = call.get("custom")
    if custom and not is_placeholder(custom):
        return custom
    return call.get("function") or custom or {}


def is_placeholder(called: ChatCalled) -> bool:
    """Whether a call has nothing in it, as some servers send one beside a text.

    ::

        {"name": "", "arguments": ""}      ->  yes
        {"name": "now", "arguments": ""}   ->  no
    """
    return not (called.get("name") or called.get("arguments") or called.get("input"))


def has_sound(audio: ChatAudio) -> bool:
    """Whether something was spoken, or a server only has a field for it."""
    return bool(audio.get("id") or audio.get("data") or audio.get("transcript"))


def read_reasoning(message: ChatMessage, thinking: str = "") -> tuple[str, str | None]:
    """Read the reasoning of a message or a delta.

    Args:
        message: the message.
        thinking: what its content has of it.

    Returns:
        The reasoning, and the field in which it came, as the server takes it back in no other; None
        if there is none.
    """
    for field in _REASONING_FIELDS:
        text = message.get(field)
        if text:
            return require_str(text) + thinking, field
    if thinking:
        return thinking, "content"

    # A summary is one of several pieces. A piece that is encrypted has no text.
    texts = []
    for detail in message.get("reasoning_details") or ():
        texts += [require_str(detail[name]) for name in _DETAIL_TEXTS if detail.get(name)]
    if texts:
        return "".join(texts), "reasoning_details"
    return "", None


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


def _decode_call(call: ChatToolCall, called: ChatCalled, call_id: str) -> Call:
    name = require_str(called["name"])
    if called is call.get("custom"):
        return custom_tool_call(call_id, name, require_json(called.get("input")))

    item = function_call(call_id, name, require_json(called.get("arguments")))
    return with_extra(item, call)


def find_usage(body: ChatBody) -> ChatUsage | None:
    """Find the token counts of an answer or of a chunk. Groq has those of a stream elsewhere."""
    usage = body.get("usage")
    if usage:
        return usage

    groq = body.get("x_groq") or {}
    return groq.get("usage")


def decode_usage(usage: ChatUsage | None) -> Usage | None:
    """Decode token counts; None if the server sent none."""
    if not usage:
        return None

    prompt_details = usage.get("prompt_tokens_details") or {}
    completion_details = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=read_count(usage.get("prompt_tokens")),
        output_tokens=read_count(usage.get("completion_tokens")),
        cached_tokens=read_count(prompt_details.get("cached_tokens")),
        reasoning_tokens=read_count(completion_details.get("reasoning_tokens")),
    )
