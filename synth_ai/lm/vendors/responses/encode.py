"""The Responses API's bodies: requests to JSON, JSON to responses, server-sent events to ours. Pure.

Items are already in this API's shape, so most of the work is what to leave out; `responses_history` does it for what
came before:
https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from synth_ai.content import CALLS, Item
from synth_ai.errors import OptionError
from synth_ai.events import PreambleDelta, ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors import custom_tools
from synth_ai.lm.vendors.truncated_calls import without_cut_calls
from synth_ai.lm.vendors.wire import expecting, text
from synth_ai.options import COMMON_OPTIONS
from synth_ai.response import BaseLMResponse, Usage


def request_body(request: LMRequest) -> dict[str, Any]:
    """The JSON body of a create call.

    Raises:
        OptionError: `response_model` and `text=` both say how the answer is shaped.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "input": _shortest(_input_items(request.items())),
    }
    if request.previous_response_id is not None:
        body["previous_response_id"] = request.previous_response_id
    if request.instructions is not None:
        body["instructions"] = request.instructions
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.options.get("temperature") is not None:
        body["temperature"] = request.options.get("temperature")
    if request.options.get("max_tokens") is not None:
        body["max_output_tokens"] = request.options.get("max_tokens")
    if request.options.get("tool_choice") is not None:
        body["tool_choice"] = _tool_choice(request.options.get("tool_choice"), request.tools)
    body |= {
        name: value
        for name, value in request.options.items()
        if name not in _TRANSLATED and name not in COMMON_OPTIONS
    }
    composed = {
        "reasoning": _reasoning(request),
        "text": _text_config(request),
        "include": _include(request.options),
    }
    return body | {name: value for name, value in composed.items() if value}


#: Options that this API has under other names, or that are put together from several.
_TRANSLATED = frozenset({"reasoning", "text", "verbosity", "include", "logprobs"})


def _reasoning(request: LMRequest) -> dict[str, Any]:
    effort = (
        {}
        if request.options.get("reasoning_effort") is None
        else {"effort": request.options.get("reasoning_effort")}
    )
    return effort | (request.options.get("reasoning") or {})


def _include(options: Mapping[str, Any]) -> list[str]:
    """What the answer is to bring along: the caller's wishes, and what other options need."""
    given = options.get("include")
    include = list(given or ())
    # Where nothing is kept, the next turn has to bring the reasoning back; an empty list of one's own says no to that.
    if options.get("store") is False and given != []:
        include.append("reasoning.encrypted_content")
    if options.get("logprobs") or options.get("top_logprobs"):
        include.append("message.output_text.logprobs")
    return list(dict.fromkeys(include))


def _shortest(items: list[Item]) -> str | list[Item]:
    """A lone user's text may be sent as a plain string, which is what people expect to see on the wire."""
    if len(items) == 1 and items[0].get("role") == "user" and isinstance(items[0]["content"], str):
        return items[0]["content"]
    return items


def _input_items(items: Iterable[Item]) -> list[Item]:
    """Items as the API takes them; reasoning that no server made has no place there."""
    return [_input_item(item) for item in items if item.get("type") != "reasoning" or "id" in item]


def _input_item(item: Item) -> Item:
    """An item as the API takes it back.

    A status is the server's to give, and a reasoning item that was written elsewhere has no id there; assistant
    messages without an id go as the short form, which asks for none. Names of speakers and the extras of chat servers
    are unknown there.
    """
    kind = item.get("type", "message")
    if kind == "message" and item.get("role") == "assistant" and "id" not in item:
        text = "".join(part.get("text", part.get("refusal", "")) for part in _parts(item))
        short: Item = {"role": "assistant", "content": text}
        return short | {"phase": item["phase"]} if "phase" in item else short
    if kind == "message" and item.get("role") != "assistant":
        return {"role": item["role"], "content": item["content"]}
    if kind in CALLS and "id" not in item:
        return {key: value for key, value in item.items() if key not in ("status", "extra_content")}
    return (
        {key: value for key, value in item.items() if key != "name"} if kind == "message" else item
    )


def _parts(item: Item) -> Iterable[Mapping[str, Any]]:
    content = item["content"]
    return [{"text": content}] if isinstance(content, str) else content


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in this API's shape; a function with the one key that the API demands and people leave out."""
    return {"strict": False, **tool} if tool.get("type") == "function" else custom_tools.flat(tool)


def _tool_choice(choice: str | Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> Any:
    if isinstance(choice, str):
        if choice in ("none", "auto", "required"):
            return choice
        return {"type": custom_tools.kind_of(choice, tools), "name": choice}
    if isinstance(choice.get("function"), Mapping):
        return {"type": "function", "name": choice["function"]["name"]}
    return custom_tools.flat(choice) if "custom" in choice else choice


def _text_config(request: LMRequest) -> dict[str, Any]:
    text, shape = dict(request.options.get("text") or {}), request.response_format
    if (verbosity := request.options.get("verbosity")) is not None:
        text["verbosity"] = verbosity
    if shape is None:
        return text
    if text.get("format"):
        raise OptionError(
            "response_model= and text={'format': ...} both shape the answer; give one of them."
        )
    schema = {"name": shape.name, "schema": dict(shape.schema), "strict": shape.strict}
    return text | {"format": {"type": "json_schema", **schema}}


def read_response(data: Mapping[str, Any]) -> BaseLMResponse:
    """The response in a decoded body.

    Raises:
        MalformedAnswerError: the body is no response.
    """
    with expecting("The server's answer is no response of the Responses API", data):
        return _read(data)


def _read(data: Mapping[str, Any]) -> BaseLMResponse:
    output, error = data["output"], data.get("error")
    warnings: list[str] = []
    if data.get("status") == "incomplete":
        output, warnings = without_cut_calls(output)
    if not isinstance(data["id"], str):
        raise TypeError("an id is a string")
    return BaseLMResponse.of_output(
        output,
        response_id=data["id"],
        api_type="responses",
        model=data.get("model"),
        status=data.get("status") or "completed",
        incomplete_reason=(data.get("incomplete_details") or {}).get("reason"),
        error=f"{error.get('code')}: {error.get('message')}" if error else None,
        usage=read_usage(data.get("usage")),
        logprobs=_logprobs(output),
        warnings=warnings,
    )


def read_usage(usage: Mapping[str, Any] | None) -> Usage | None:
    """Token counts in our shape."""
    if not usage:
        return None
    return Usage(
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        cached_tokens=(usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning_tokens=(usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def _logprobs(output: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    entries = [
        entry
        for item in output
        if item.get("type") == "message"
        for part in item.get("content") or ()
        for entry in part.get("logprobs") or ()
    ]
    return entries or None


class EventReader:
    """Server-sent events of one stream, turned into ours as they come.

    `body` is the final response once the stream has told it. Events of types unknown here are passed over, as
    servers add their own.
    """

    def __init__(self) -> None:
        self.body: Mapping[str, Any] | None = None
        self._calls: dict[int, int] = {}
        self._commentary: set[int] = set()
        self._done: list[tuple[int, Item]] = []

    def read(self, event: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """The events of ours that one server-sent event stands for: none, or one.

        Raises:
            MalformedAnswerError: the event is of another shape than its type has.
        """
        with expecting("An event of the stream is of no shape of the Responses API", event):
            yield from self._read(event)

    def _read(self, event: Mapping[str, Any]) -> Iterator[StreamEvent]:
        kind = event.get("type")
        at = event.get("output_index") or 0
        if kind == "response.output_text.delta":
            yield (PreambleDelta if at in self._commentary else TextDelta)(text(event["delta"]))
        elif kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
            yield ReasoningDelta(text(event["delta"]))
        elif kind in (
            "response.function_call_arguments.delta",
            "response.custom_tool_call_input.delta",
        ):
            yield ToolCallDelta(self._calls.get(at, 0), None, text(event["delta"]))
        elif kind == "response.output_item.added":
            yield from self._added(at, event["item"])
        elif kind == "response.output_item.done":
            self._done.append((at, dict(event["item"])))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self.body = self._whole(dict(event["response"]))

    def _whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The final response. Some proxies leave its output empty, as they have told the items before."""
        told = [item for _, item in sorted(self._done, key=itemgetter(0))]
        return {**body, "output": told} if told and not body.get("output") else body

    def _added(self, at: int, item: Mapping[str, Any]) -> Iterator[StreamEvent]:
        if item.get("type") in CALLS:
            self._calls[at] = len(self._calls)
            text = item.get("arguments") or item.get("input") or ""
            yield ToolCallDelta(self._calls[at], item.get("name"), text, item.get("call_id"))
        elif item.get("phase") == "commentary":
            self._commentary.add(at)
