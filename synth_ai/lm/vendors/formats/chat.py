"""Chat Completions' bodies: requests to JSON, JSON to responses, chunks to events. Pure.

Chat has messages where the Responses API has items, so consecutive items of the assistant (reasoning, text, calls)
become one message, and one message becomes several items:
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from synth_ai.deltas import ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.errors import MalformedAnswerError, OptionError, RequestError
from synth_ai.lm import items as item_shapes
from synth_ai.lm.events import StreamEvent
from synth_ai.lm.items import Item
from synth_ai.lm.request import LMRequest
from synth_ai.lm.response import BaseLMResponse, Usage
from synth_ai.lm.structured import ResponseFormat

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

_STATUS = {"length": ("incomplete", "max_output_tokens"), "content_filter": ("incomplete", "content_filter")}


def request_body(request: LMRequest, dialect: Dialect = COMPATIBLE) -> dict[str, Any]:
    """The JSON body of a create call.

    Raises:
        OptionError: `response_model` and `response_format=` both say how the answer is shaped.
        RequestError: an item has no counterpart in Chat Completions.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages(request.items(), request.instructions, reasoning=dialect.takes_reasoning),
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body[dialect.max_tokens_name] = request.max_tokens
    if request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    body |= request.options
    if request.response_format is not None:
        if "response_format" in request.options:
            raise OptionError("response_model= and response_format= both shape the answer; give one of them.")
        body["response_format"] = _response_format(request.response_format)
    return body


def messages(items: Iterable[Item], instructions: str | None = None, *, reasoning: bool = True) -> list[Message]:
    """The messages of a conversation.

    With `reasoning`, it goes back with the tool calls it led to, under both names that servers know it by; the
    reasoning of finished answers is left out.

    Raises:
        RequestError: an item has no counterpart in Chat Completions.
    """
    result: list[Message] = [{"role": "system", "content": instructions}] if instructions is not None else []
    turn: Message | None = None
    for item in items:
        if item_shapes.is_model_item(item):
            turn = turn if turn is not None else {"role": "assistant", "content": None}
            _add_to(turn, item)
            continue
        if turn is not None:
            result += _closed(turn, reasoning)
            turn = None
        result.append(_input_message(item))
    return result + (_closed(turn, reasoning) if turn is not None else [])


def _add_to(turn: Message, item: Item) -> None:
    kind = item.get("type", "message")
    if kind == "reasoning":
        text = item_shapes.reasoning_of(item)
        turn["reasoning"] = f"{turn['reasoning']}\n\n{text}" if turn.get("reasoning") else text
    elif kind == "message":
        text = item_shapes.text_of(item) or item_shapes.refusal_of([item]) or ""
        turn["content"] = (turn["content"] or "") + text
    elif kind == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        turn.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})
    else:
        raise RequestError(f"An item of type {kind!r} has no counterpart in Chat Completions; use the responses API.")


def _closed(turn: Message, reasoning: bool) -> list[Message]:
    text = turn.pop("reasoning", None)
    if reasoning and text and turn.get("tool_calls"):
        turn["reasoning"] = turn["reasoning_content"] = text
    return [turn] if turn["content"] is not None or turn.get("tool_calls") else []


def _input_message(item: Item) -> Message:
    kind = item.get("type", "message")
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item["call_id"], "content": item_shapes.text_of(item)}
    if kind != "message":
        raise RequestError(f"An item of type {kind!r} has no counterpart in Chat Completions; use the responses API.")
    content = item["content"]
    if not isinstance(content, str):
        content = [_content_part(part) for part in content]
    return {"role": item["role"], "content": content}


def _content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "input_text":
        return {"type": "text", "text": part["text"]}
    if kind == "input_image":
        if "image_url" not in part:
            raise RequestError("A picture by file id exists on the Responses API alone; give bytes, a path or a URL.")
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail", "auto")}}
    return dict(part)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return dict(tool)
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _tool_choice(choice: str | Mapping[str, Any]) -> Any:
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        return {"type": "function", "function": {"name": choice}}
    if isinstance(choice, Mapping) and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _response_format(shape: ResponseFormat) -> dict[str, Any]:
    schema = {"name": shape.name, "schema": dict(shape.schema), "strict": shape.strict}
    return {"type": "json_schema", "json_schema": schema}


def read_response(data: Mapping[str, Any]) -> BaseLMResponse:
    """The response in a decoded body.

    Raises:
        MalformedAnswerError: the body is no chat completion.
    """
    try:
        return _read(data)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise MalformedAnswerError(f"The server's answer is no chat completion: {data!r:.300}", body=data) from error


def _read(data: Mapping[str, Any]) -> BaseLMResponse:
    choice = data["choices"][0]
    status, reason = _STATUS.get(choice.get("finish_reason"), ("completed", None))
    return BaseLMResponse.of_output(
        output_items(choice["message"]),
        api_type="chat",
        model=data.get("model"),
        status=status,
        incomplete_reason=reason,
        usage=read_usage(data.get("usage")),
        logprobs=(choice.get("logprobs") or {}).get("content"),
    )


def output_items(message: Mapping[str, Any]) -> list[Item]:
    """The items of an assistant's message."""
    found: list[Item] = []
    # vLLM renamed `reasoning_content` to `reasoning`; other servers kept the old name.
    if reasoning := message.get("reasoning") or message.get("reasoning_content"):
        found.append(item_shapes.reasoning_item(reasoning))
    if content := message.get("content"):
        found.append(item_shapes.assistant_message(content))
    if refusal := message.get("refusal"):
        part = {"type": "refusal", "refusal": refusal}
        found.append({"type": "message", "role": "assistant", "status": "completed", "content": [part]})
    for call in message.get("tool_calls") or ():
        if function := call.get("function"):
            call_id = call.get("id") or item_shapes.new_call_id()
            found.append(item_shapes.function_call(call_id, function["name"], function.get("arguments") or ""))
    return found


def read_usage(usage: Mapping[str, Any] | None) -> Usage | None:
    """Token counts in our shape."""
    if not usage:
        return None
    return Usage(
        input_tokens=usage.get("prompt_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


class ChunkReader:
    """Chunks of one stream, turned into events as they come and gathered into the body of a whole completion."""

    def __init__(self) -> None:
        self._is_done = False
        self._facts: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {"content": [], "reasoning": [], "refusal": []}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None

    def read(self, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """The events that one chunk stands for. An empty chunk is the mark at the end."""
        self._is_done = self._is_done or not chunk
        self._facts |= {key: chunk[key] for key in ("id", "model", "usage") if chunk.get(key)}
        for choice in chunk.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            self._logprobs += (choice.get("logprobs") or {}).get("content") or ()
            delta = choice.get("delta") or {}
            if reasoning := delta.get("reasoning") or delta.get("reasoning_content"):
                self._texts["reasoning"].append(reasoning)
                yield ReasoningDelta(reasoning)
            if content := delta.get("content"):
                self._texts["content"].append(content)
                yield TextDelta(content)
            if refusal := delta.get("refusal"):
                self._texts["refusal"].append(refusal)
            for call in delta.get("tool_calls") or ():
                yield self._call_delta(call)

    def _call_delta(self, delta: Mapping[str, Any]) -> StreamEvent:
        at = delta.get("index", 0)
        function = delta.get("function") or {}
        call = self._calls.get(at)
        first = call is None
        if call is None:
            call = self._calls[at] = {"id": delta.get("id"), "name": function.get("name"), "arguments": []}
        arguments = function.get("arguments") or ""
        call["arguments"].append(arguments)
        return ToolCallDelta(at, call["name"] if first else None, arguments, call["id"] if first else None)

    def body(self) -> dict[str, Any] | None:
        """The completion as an unstreamed call would have answered it; None when the stream was cut off.

        The usage comes after the answer, where the server tells it, and the mark at the end after both.
        """
        if self._finish_reason is None or not (self._is_done or "usage" in self._facts):
            return None
        message: dict[str, Any] = {key: "".join(parts) or None for key, parts in self._texts.items()}
        message["tool_calls"] = [
            {"id": call["id"], "function": {"name": call["name"], "arguments": "".join(call["arguments"])}}
            for _, call in sorted(self._calls.items())
        ]
        choice = {
            "message": message,
            "finish_reason": self._finish_reason,
            "logprobs": {"content": self._logprobs or None},
        }
        return {**self._facts, "choices": [choice]}
