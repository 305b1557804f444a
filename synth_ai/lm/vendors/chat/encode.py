"""Chat Completions' requests as JSON. Pure; `chat_answer` reads what comes back.

Chat has messages where the Responses API has items, so consecutive items of the assistant (reasoning, text, calls)
become one message, and one message becomes several items. A tool message takes text alone, so pictures and files in a
tool's output follow in a message of the user's, which names the call:
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from synth_ai import content as item_shapes
from synth_ai.content import Item
from synth_ai.errors import OptionError, RequestError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors import custom_tools
from synth_ai.options import COMMON_OPTIONS

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server wants said its own way.

    Attributes:
        max_tokens_name: what it calls the limit of new tokens: OpenAI's newer models refuse `max_tokens`.
        takes_reasoning: whether reasoning may go back with the tool calls it led to. gpt-oss needs it; OpenAI's own
            service has no field for it.
    """

    max_tokens_name: str = "max_tokens"
    takes_reasoning: bool = True


OPENAI = Dialect("max_completion_tokens", takes_reasoning=False)
COMPATIBLE = Dialect()

#: The parts of a tool's output that follow it, and what is known of a file.
_SHOWN = ("input_image", "input_file")
_FILE = ("file_data", "file_id", "filename")


def request_body(request: LMRequest, dialect: Dialect = COMPATIBLE) -> dict[str, Any]:
    """The JSON body of a create call.

    Raises:
        OptionError: `response_model` and `response_format=` both say how the answer is shaped.
        RequestError: an item has no counterpart in Chat Completions.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages(
            request.items(), request.instructions, reasoning=dialect.takes_reasoning
        ),
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.options.get("temperature") is not None:
        body["temperature"] = request.options.get("temperature")
    if request.options.get("max_tokens") is not None:
        body[dialect.max_tokens_name] = request.options.get("max_tokens")
    if request.options.get("reasoning_effort") is not None:
        body["reasoning_effort"] = request.options.get("reasoning_effort")
    if request.stop:
        body["stop"] = list(request.stop)
    if request.options.get("tool_choice") is not None:
        body["tool_choice"] = _tool_choice(request.options.get("tool_choice"), request.tools)
    body |= {k: v for k, v in request.options.items() if k not in COMMON_OPTIONS}
    if request.response_format is not None:
        if "response_format" in request.options:
            raise OptionError(
                "response_model= and response_format= both shape the answer; give one of them."
            )
        body["response_format"] = _response_format(request.response_format)
    return body


def messages(
    items: Iterable[Item], instructions: str | None = None, *, reasoning: bool = True
) -> list[Message]:
    """The messages of a conversation.

    With `reasoning`, it goes back with the tool calls it led to, under both names that servers know it by; the
    reasoning of finished answers is left out.

    Raises:
        RequestError: an item has no counterpart in Chat Completions.
    """
    result: list[Message] = (
        [{"role": "system", "content": instructions}] if instructions is not None else []
    )
    for kind, group in groupby(items, _speaker):
        if kind == "model":
            result += _turn(group, reasoning)
        elif kind == "tool":
            result += _tool_messages(group)
        else:
            result += [_input_message(item) for item in group]
    return result


def _speaker(item: Item) -> str:
    if item_shapes.is_model_item(item):
        return "model"
    return "tool" if item.get("type") in item_shapes.CALL_OUTPUTS else "other"


def _turn(items: Iterable[Item], reasoning: bool) -> list[Message]:
    """The one message of consecutive items of the model; none where it only thought."""
    turn: Message = {"role": "assistant", "content": None}
    for item in items:
        _add_to(turn, item)
    text = turn.pop("reasoning", None)
    if reasoning and text and turn.get("tool_calls"):
        turn["reasoning"] = turn["reasoning_content"] = text
    return [turn] if turn["content"] is not None or turn.keys() & {"tool_calls", "audio"} else []


def _add_to(turn: Message, item: Item) -> None:
    kind = item.get("type", "message")
    if kind == "reasoning":
        text = item_shapes.reasoning_of(item)
        turn["reasoning"] = f"{turn['reasoning']}\n\n{text}" if turn.get("reasoning") else text
    elif kind == "message" and "audio" in item and "audio" not in turn:
        turn["audio"] = {"id": item["audio"]["id"]}
    elif kind == "message":
        text = item_shapes.text_of(item) or item_shapes.refusal_of([item]) or ""
        turn["content"] = (turn["content"] or "") + text
        if name := item.get("name"):
            turn.setdefault("name", name)
    elif kind in item_shapes.CALLS:
        turn.setdefault("tool_calls", []).append(item_shapes.chat_call(item))
    else:
        raise RequestError(
            f"An item of type {kind!r} has no counterpart in Chat Completions; use the responses API."
        )


def _tool_messages(outputs: Iterable[Item]) -> list[Message]:
    """The outputs of consecutive calls, and behind all of them a message with the pictures and files in them."""
    said: list[Message] = []
    shown: list[dict[str, Any]] = []
    for item in outputs:
        pictures = [_content_part(part) for part in _tool_parts(item) if part.get("type") in _SHOWN]
        if pictures:
            shown += [
                {"type": "text", "text": f"Output of the tool call {item['call_id']}:"},
                *pictures,
            ]
        text = item_shapes.text_of(item) or (
            "The next message shows the output." if pictures else ""
        )
        said.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})
    return [*said, {"role": "user", "content": shown}] if shown else said


def _tool_parts(item: Item) -> Iterable[Mapping[str, Any]]:
    parts = (
        []
        if isinstance(item["output"], str)
        else [part for part in item["output"] if not isinstance(part, str)]
    )
    for part in parts:
        if part.get("type") not in ("input_text", "output_text", "text", *_SHOWN):
            raise RequestError(
                f"A part of type {part.get('type')!r} in a tool's output has no counterpart in Chat Completions, "
                "which takes texts, pictures and files; use the responses API."
            )
    return parts


def _input_message(item: Item) -> Message:
    kind = item.get("type", "message")
    if kind != "message":
        raise RequestError(
            f"An item of type {kind!r} has no counterpart in Chat Completions; use the responses API."
        )
    content = item["content"]
    if not isinstance(content, str):
        content = [_content_part(part) for part in content]
    message = {"role": item["role"], "content": content}
    return message | {"name": item["name"]} if item.get("name") else message


def _content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "input_text":
        return {"type": "text", "text": part["text"]}
    if kind == "input_image":
        if not part.get("image_url"):
            raise RequestError(
                "A picture by file id exists on the Responses API alone; give bytes, a path or a URL."
            )
        return {
            "type": "image_url",
            "image_url": {"url": part["image_url"], "detail": part.get("detail", "auto")},
        }
    if kind == "input_file":
        if not part.get("file_data") and not part.get("file_id"):
            raise RequestError(
                "A file by URL exists on the Responses API alone; give its file_data."
            )
        return {
            "type": "file",
            "file": {key: part[key] for key in _FILE if part.get(key) is not None},
        }
    return dict(part)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") == "custom":
        return custom_tools.nested(tool)
    if tool.get("type") != "function":
        return dict(tool)
    return {
        "type": "function",
        "function": {key: value for key, value in tool.items() if key != "type"},
    }


def _tool_choice(choice: str | Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> Any:
    if isinstance(choice, str):
        if choice in ("none", "auto", "required"):
            return choice
        kind = custom_tools.kind_of(choice, tools)
        return {"type": kind, kind: {"name": choice}}
    if choice.get("type") == "custom":
        return custom_tools.nested(choice)
    if choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _response_format(shape: ResponseFormat) -> dict[str, Any]:
    schema = {"name": shape.name, "schema": dict(shape.schema), "strict": shape.strict}
    return {"type": "json_schema", "json_schema": schema}
