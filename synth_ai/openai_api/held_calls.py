"""Tool calls of a stream that are held back until they are whole. Pure.

gpt-oss may write arguments that have to be repaired, and then a call begins anew. OpenAI's streams
cannot take back what they have sent, so its calls go out in one piece, each when it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from synth_ai.content import name_and_text
from synth_ai.events import Completed, StreamEvent, ToolCallDelta
from synth_ai.response import BaseLMResponse


class HeldCalls:
    """The calls of one stream.

    Args:
        holds_all: hold every call; else those alone whose id the backend tells late.
    """

    def __init__(self, *, holds_all: bool) -> None:
        self._holds_all = holds_all
        self._held: ToolCallDelta | None = None
        self._sent = 0

    def feed(self, event: StreamEvent) -> Iterator[StreamEvent]:
        """Take an event, and yield those that can go out now."""
        if isinstance(event, ToolCallDelta):
            yield from self._on_call(event)
            return

        if isinstance(event, Completed):
            yield from self._release_at_end(event.response)
        else:
            yield from self._release()
        yield event

    def _on_call(self, delta: ToolCallDelta) -> Iterator[StreamEvent]:
        if delta.index < self._sent:
            yield delta
            return

        held = self._held
        if held is not None and held.index != delta.index:
            yield from self._release()
            held = None

        if held is not None and delta.name is None:
            self._held = replace(held, arguments=held.arguments + delta.arguments)
            return

        # A call that begins anew takes the place of what was held of it.
        self._held = delta
        if not self._holds_all:
            yield from self._release()

    def _release(self) -> Iterator[StreamEvent]:
        """Yield the call that is held, if it has an id and those before it are out."""
        held, self._held = self._held, None
        if held is None:
            return
        if held.call_id is None or held.index != self._sent:
            # The end has it.
            return

        self._sent += 1
        yield held

    def _release_at_end(self, answer: BaseLMResponse) -> Iterator[StreamEvent]:
        """Yield every call of the answer that is not out; one that was cut off is not one."""
        for index, call in enumerate(answer.tool_calls or ()):
            if index >= self._sent:
                name, text = name_and_text(call)
                yield ToolCallDelta(index, name, text, call["id"])
