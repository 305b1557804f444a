"""The events of an LM's stream as chunks of a chat completion. Pure.

https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synth_ai.errors import OverloadedError
from synth_ai.events import (
    Completed,
    PreambleDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)
from synth_ai.openai_api.chat_body import (
    SEPARATOR,
    check_answer,
    find_finish_reason,
    make_annotations,
    make_chat_id,
    make_chat_usage,
    make_choice_logprobs,
)
from synth_ai.openai_api.custom_tools import find_custom_tools
from synth_ai.openai_api.error_bodies import describe_error
from synth_ai.openai_api.held_calls import HeldCalls
from synth_ai.openai_api.item_events import ServerEvent
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.response import BaseLMResponse


class ChatChunkWriter:
    """Writes the chunks of one stream.

    Args:
        response_id: the id of the response.
        request: the request, for its custom tools.
        model: the model to name.
        created_at: when the answer was made, in seconds since the epoch.
        include_usage: end with a chunk that has the token counts.
        holds_calls: hold every call back until it is whole, see `HeldCalls`.
    """

    def __init__(
        self,
        response_id: str,
        request: Mapping[str, object],
        *,
        model: str,
        created_at: float,
        include_usage: bool = False,
        holds_calls: bool = True,
    ) -> None:
        self._facts = {
            "id": make_chat_id(response_id),
            "object": "chat.completion.chunk",
            "created": int(created_at),
            "model": model,
        }
        self._custom_tools = find_custom_tools(request)
        self._include_usage = include_usage
        self._held_calls = HeldCalls(holds_all=holds_calls)
        self._call_types: dict[int, str] = {}
        self._has_content = False
        self._has_text = False

    def begin(self) -> Iterator[ServerEvent]:
        """Yield the chunk before the first of the model's."""
        yield self._make_chunk({"role": "assistant"})

    def write(self, event: StreamEvent) -> Iterator[ServerEvent]:
        """Yield the chunks that an event of the LM stands for.

        Events that OpenAI has no counterpart of stand for none.
        """
        for ready in self._held_calls.feed(event):
            yield from self._translate(ready)

    def _translate(self, event: StreamEvent) -> Iterator[ServerEvent]:
        if isinstance(event, TextDelta):
            yield self._make_chunk({"content": self._part_from_preamble(event.text)})
        elif isinstance(event, PreambleDelta):
            self._has_content = True
            yield self._make_chunk({"content": event.text})
        elif isinstance(event, ReasoningDelta):
            yield self._make_chunk({"reasoning": event.text})
        elif isinstance(event, ToolCallDelta):
            yield self._make_chunk({"tool_calls": [self._make_call(event)]})
        elif isinstance(event, Completed):
            yield from self._complete(event.response)

    def fail(self, error: Mapping[str, object]) -> Iterator[ServerEvent]:
        """Yield what ends a stream that broke off."""
        yield {"error": dict(error)}

    def _part_from_preamble(self, text: str) -> str:
        follows_preamble = self._has_content and not self._has_text
        self._has_content = True
        self._has_text = True
        return SEPARATOR + text if follows_preamble else text

    def _make_call(self, delta: ToolCallDelta) -> JSONObject:
        # Only the first delta of a call names its tool.
        if delta.name is not None:
            is_custom = delta.name in self._custom_tools
            self._call_types[delta.index] = "custom" if is_custom else "function"

        call_type = self._call_types[delta.index]
        text_field = "input" if call_type == "custom" else "arguments"
        called = {text_field: delta.arguments}
        if delta.name is None:
            return {"index": delta.index, call_type: called}

        called["name"] = delta.name
        return {"index": delta.index, "id": delta.call_id, "type": call_type, call_type: called}

    def _complete(self, answer: BaseLMResponse) -> Iterator[ServerEvent]:
        try:
            check_answer(answer)
        except OverloadedError as error:
            yield from self.fail(describe_error(error))
            return

        delta: JSONObject = {}
        if answer.refusal is not None:
            delta["refusal"] = answer.refusal
        elif not answer.tool_calls and not self._has_content:
            delta["content"] = ""
        annotations = make_annotations(answer.output)
        if annotations:
            delta["annotations"] = annotations
        if delta:
            yield self._make_chunk(delta)

        chunk = self._make_chunk({}, finish_reason=find_finish_reason(answer))
        chunk["choices"][0]["logprobs"] = make_choice_logprobs(answer)
        yield chunk

        if self._include_usage:
            usage = make_chat_usage(answer.usage)
            yield {**self._facts, "choices": [], "usage": usage}

    def _make_chunk(self, delta: JSONFields, *, finish_reason: str | None = None) -> ServerEvent:
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}
        chunk: ServerEvent = {**self._facts, "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return chunk
