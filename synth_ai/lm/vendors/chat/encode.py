"""Encode a request as the body of a call of Chat Completions. Pure.

Chat Completions has messages where the Responses API has items, so consecutive items of the model
(reasoning, texts, calls) become one message. A tool message takes text alone, so images and files
in a tool's output follow in a message of the user, which names the call.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from synth_ai.content import (
    CallOutput,
    Item,
    Message,
    Reasoning,
    chat_call,
    is_call,
    is_call_output,
    is_message,
    is_model_item,
    is_reasoning,
    reasoning_of,
    refusal_of,
    text_of,
)
from synth_ai.errors import OptionError, RequestError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.chat.shapes import SentAssistantMessage
from synth_ai.lm.vendors.custom_tools import find_tool_type, nest_tool


@dataclass(frozen=True, slots=True)
class Dialect:
    """What servers of Chat Completions differ in.

    Attributes:
        max_tokens_name: what the server calls the limit of new tokens. OpenAI's newer models refuse
            `max_tokens`; many other servers know nothing else.
        supports_reasoning: whether reasoning may go back with the tool calls it led to. gpt-oss
            needs it; OpenAI's own service has no field for it.
        dropped_prefix: what the names of models begin with elsewhere, and not on the server.
    """

    max_tokens_name: str = "max_tokens"
    supports_reasoning: bool = True
    dropped_prefix: str = ""


#: OpenAI's own service, a Synth backend, and all other servers.
OPENAI = Dialect("max_completion_tokens", supports_reasoning=False)
SYNTH = Dialect(dropped_prefix="openai/")
COMPATIBLE = Dialect()

#: Where reasoning goes of which nobody knows in which field the server has it. vLLM and Groq read
#: this one; several servers refuse `reasoning_content`.
_REASONING_FIELD = "reasoning"

#: The parts of a tool's output that a tool message cannot hold, and those that it can.
_MEDIA_PARTS = ("input_image", "input_file")
_TEXT_PARTS = ("input_text", "output_text", "text")

#: What Chat Completions knows of a file.
_FILE_KEYS = ("file_data", "file_id", "filename")


def encode_request(
    request: LMRequest, dialect: Dialect = COMPATIBLE, *, stream: bool = False
) -> dict[str, object]:
    """Encode a request as the JSON body of a create call.

    Args:
        request: the request.
        dialect: what is particular to the server.
        stream: whether the answer is to come as a stream.

    Raises:
        OptionError: `response_model` and `response_format=` both shape the answer.
        RequestError: an item has no counterpart in Chat Completions.
    """
    messages = encode_messages(
        request.items(), request.instructions, include_reasoning=dialect.supports_reasoning
    )
    model = request.model.removeprefix(dialect.dropped_prefix)
    body: dict[str, object] = {"model": model, "messages": messages}
    if request.tools:
        body["tools"] = [_encode_tool(tool) for tool in request.tools]

    body |= _encode_options(request, dialect)

    if request.response_format is not None:
        if "response_format" in body:
            raise OptionError(
                "response_model= and response_format= both shape the answer; give one of them."
            )
        body["response_format"] = _encode_response_format(request.response_format)

    if stream:
        body["stream"] = True
        body["stream_options"] = _encode_stream_options(request)
    else:
        # An LM may have some for its streams; servers refuse them in other calls.
        body.pop("stream_options", None)

    return body


def encode_messages(
    items: Iterable[Item], instructions: str | None = None, *, include_reasoning: bool = True
) -> list[Mapping[str, object]]:
    """Encode a conversation as messages.

    Args:
        items: the conversation, oldest first.
        instructions: the system message.
        include_reasoning: send reasoning back with the tool calls that it led to. The reasoning of
            finished answers is always left out.

    Raises:
        RequestError: an item has no counterpart in Chat Completions.
    """
    messages: list[Mapping[str, object]] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})

    # Consecutive items of the model are one message. Outputs are encoded together, as no other
    # message may stand between those of parallel calls.
    for author, group in groupby(items, _author_of):
        if author == "model":
            message = _encode_model_items(group, include_reasoning)
            if message is not None:
                messages.append(message)
        elif author == "tool":
            messages += _encode_tool_outputs(item for item in group if is_call_output(item))
        else:
            messages += [_encode_input(item) for item in group]

    return messages


def _author_of(item: Item) -> Literal["model", "tool", "other"]:
    if is_model_item(item):
        return "model"
    if is_call_output(item):
        return "tool"
    return "other"


# --- what the model said ----------------------------------------------------------------------


def _encode_model_items(
    items: Iterable[Item], include_reasoning: bool
) -> SentAssistantMessage | None:
    """Encode consecutive items of the model as one message; None if there was only reasoning."""
    message: SentAssistantMessage = {"role": "assistant", "content": None}
    reasoning: list[Reasoning] = []
    for item in items:
        if is_reasoning(item):
            reasoning.append(item)
        elif is_message(item):
            _add_message(message, item)
        elif is_call(item):
            message.setdefault("tool_calls", []).append(chat_call(item))
        else:
            raise _no_counterpart(item)

    # Servers refuse an assistant's message with nothing in it.
    if message["content"] is None and message.keys().isdisjoint({"tool_calls", "audio"}):
        return None

    if include_reasoning:
        _add_reasoning_details(message, reasoning)
        _add_reasoning(message, reasoning)
    return message


def _add_message(message: SentAssistantMessage, item: Message) -> None:
    # A sound that the server knows stands for its transcript. There is one to a message.
    if "audio" in item and "audio" not in message:
        message["audio"] = {"id": item["audio"]["id"]}
        return

    # A refusal goes back as text, as not every server has a field for it.
    text = text_of(item) or refusal_of([item]) or ""
    before = message["content"]
    message["content"] = before + text if isinstance(before, str) else text

    name = item.get("name")
    if name:
        message.setdefault("name", name)


def _add_reasoning_details(message: SentAssistantMessage, reasoning: Iterable[Reasoning]) -> None:
    """Add the pieces of reasoning that their server wants back as they came, with every answer."""
    details: list[Mapping[str, object]] = []
    for item in reasoning:
        details += item.get("reasoning_details") or ()
    if details:
        message["reasoning_details"] = details


def _add_reasoning(message: SentAssistantMessage, reasoning: Iterable[Reasoning]) -> None:
    """Add reasoning in the field in which it came: servers refuse those of others."""
    # The reasoning of finished answers stays out. gpt-oss's own template leaves it out, too.
    if "tool_calls" not in message:
        return

    texts: dict[str, list[str]] = {}
    for item in reasoning:
        # Encrypted reasoning has no text here.
        text = reasoning_of(item)
        if text:
            texts.setdefault(item.get("chat_field", _REASONING_FIELD), []).append(text)

    for field, several in texts.items():
        text = "\n\n".join(several)
        if field == "reasoning":
            message["reasoning"] = text
        elif field == "reasoning_content":
            message["reasoning_content"] = text
        elif field == "content":
            message["content"] = _content_with_thinking(text, message["content"])
        # The only other field is `reasoning_details`, where it is already.


def _content_with_thinking(thinking: str, content: object) -> list[Mapping[str, object]]:
    """Put thinking before the text of a message, as Mistral's models have it.

    https://docs.mistral.ai/capabilities/reasoning
    """
    parts: list[Mapping[str, object]] = [
        {"type": "thinking", "thinking": [{"type": "text", "text": thinking}]}
    ]
    if content:
        parts.append({"type": "text", "text": content})
    return parts


# --- what tools gave back ---------------------------------------------------------------------


def _encode_tool_outputs(outputs: Iterable[CallOutput]) -> list[Mapping[str, object]]:
    """Encode the outputs of consecutive calls.

    The outputs must stand together, so that the images and files of all of them come behind the
    last, in one message of the user.
    """
    messages: list[Mapping[str, object]] = []
    shown: list[Mapping[str, object]] = []
    for item in outputs:
        text = text_of(item)

        media = _encode_media(item)
        if media:
            shown.append({"type": "text", "text": f"Output of the tool call {item['call_id']}:"})
            shown += media
            text = text or "The next message shows the output."

        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})

    if shown:
        messages.append({"role": "user", "content": shown})
    return messages


def _encode_media(item: CallOutput) -> list[Mapping[str, object]]:
    """Encode the images and files of a tool's output.

    Raises:
        RequestError: it has a part that is neither text, image nor file.
    """
    if isinstance(item["output"], str):
        return []

    media = []
    for part in item["output"]:
        if isinstance(part, str):
            continue

        part_type = part.get("type")
        if part_type in _MEDIA_PARTS:
            media.append(_encode_part(part))
        elif part_type not in _TEXT_PARTS:
            raise RequestError(
                f"A part of type {part_type!r} in a tool's output has no counterpart in Chat "
                "Completions, which takes texts, images and files; use the responses API."
            )

    return media


# --- what users said --------------------------------------------------------------------------


def _encode_input(item: Item) -> Mapping[str, object]:
    """Encode a message of a user, a system or a developer."""
    if not is_message(item):
        raise _no_counterpart(item)

    content: object = item["content"]
    if not isinstance(item["content"], str):
        content = [_encode_part(part) for part in item["content"]]

    message = {"role": item["role"], "content": content}
    if item.get("name"):
        message["name"] = item["name"]
    return message


def _encode_part(part: Mapping[str, object]) -> Mapping[str, object]:
    """Encode a part of a message's content.

    ::

        {"type": "input_text", "text": "see"}  ->  {"type": "text", "text": "see"}

        {"type": "input_image", "image_url": "https://example.com/a.png"}
        ->  {"type": "image_url", "image_url": {"url": "https://example.com/a.png", ...}}

        {"type": "input_file", "file_id": "file_1"}
        ->  {"type": "file", "file": {"file_id": "file_1"}}

    Other parts, such as sound, have the same shape on both APIs.
    """
    part_type = part.get("type")
    if part_type == "input_text":
        return {"type": "text", "text": part["text"]}
    if part_type == "input_image":
        return _encode_image(part)
    if part_type == "input_file":
        return _encode_file(part)
    return part


def _encode_image(part: Mapping[str, object]) -> Mapping[str, object]:
    url = part.get("image_url")
    if not url:
        raise RequestError(
            "An image by file id exists on the Responses API alone; give bytes, a path or a URL."
        )

    detail = part.get("detail", "auto")
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def _encode_file(part: Mapping[str, object]) -> Mapping[str, object]:
    if not part.get("file_data") and not part.get("file_id"):
        raise RequestError("A file by URL exists on the Responses API alone; give its file_data.")

    file = {key: part[key] for key in _FILE_KEYS if part.get(key) is not None}
    return {"type": "file", "file": file}


def _no_counterpart(item: Item) -> RequestError:
    return RequestError(
        f"An item of type {item['type']!r} has no counterpart in Chat Completions; "
        "use the responses API."
    )


# --- options and tools ------------------------------------------------------------------------


def _encode_options(request: LMRequest, dialect: Dialect) -> Mapping[str, object]:
    """Encode what shapes the answer, under the names that the server has for it."""
    options: dict[str, object] = {}
    for name, value in request.options.items():
        if name == "max_tokens":
            options[dialect.max_tokens_name] = value
        else:
            options[name] = value

    if request.stop:
        options["stop"] = list(request.stop)
    choice = request.options.get("tool_choice")
    if choice is not None:
        options["tool_choice"] = _encode_tool_choice(choice, request.tools)
    return options


def _encode_stream_options(request: LMRequest) -> Mapping[str, object]:
    """Encode what a stream brings along: the usage, unless the caller does not want it."""
    given = request.options.get("stream_options") or {}
    return {"include_usage": True, **given}


def _encode_tool(tool: Mapping[str, object]) -> Mapping[str, object]:
    """Encode a tool; one that is built into the API goes as it is."""
    if tool.get("type") == "custom":
        return nest_tool(tool)
    if tool.get("type") != "function":
        return tool

    function = {key: value for key, value in tool.items() if key != "type"}
    return {"type": "function", "function": function}


def _encode_tool_choice(
    choice: str | Mapping[str, object], tools: Iterable[Mapping[str, object]]
) -> object:
    """Encode which tool to call.

    ::

        "auto"                              ->  "auto"
        "add"                               ->  {"type": "function", "function": {"name": "add"}}
        {"type": "function", "name": "add"} ->  {"type": "function", "function": {"name": "add"}}
        {"type": "custom", "name": "sql"}   ->  {"type": "custom", "custom": {"name": "sql"}}

    Other choices have the API's own shape already.
    """
    if isinstance(choice, str):
        if choice in ("none", "auto", "required"):
            return choice
        tool_type = find_tool_type(choice, tools)
        return {"type": tool_type, tool_type: {"name": choice}}

    if choice.get("type") == "custom":
        return nest_tool(choice)
    if choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _encode_response_format(response_format: ResponseFormat) -> Mapping[str, object]:
    schema = {
        "name": response_format.name,
        "schema": dict(response_format.schema),
        "strict": response_format.strict,
    }
    return {"type": "json_schema", "json_schema": schema}
