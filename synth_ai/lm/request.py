"""One call, ready to be sent: everything a backend needs, and nothing it has to look up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synth_ai.content import Item
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.tools import ToolSpec
from synth_ai.timeout import Timeout
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class LMRequest:
    """One request object goes in to a backend, one response comes out.

    Attributes:
        model: the model's name.
        input: the items that this call adds.
        history: the turns before, oldest first; empty on a first turn, or when the server remembers them itself.
        previous_response_id: the id that the server continues from; None when `history` says it all.
        instructions: the system message in force.
        tools: the tools in force, as flat specs.
        response_format: the shape that the answer must have.
        temperature: None for the backend's default, like the other options.
        max_tokens: the most tokens to generate, the reasoning included.
        reasoning_effort: such as `low`, `medium` or `high`.
        stop: strings that end the answer.
        tool_choice: `none`, `auto`, `required`, or a function's name.
        options: further parameters of the API, by their own names.
        date: the date the conversation was begun under (Harmony writes it in the prompt).
        timeout: how long the call may take.
        compactable: whether the call comes again with less history if its prompt leaves too little room for an answer.
    """

    model: str
    input: tuple[Item, ...]
    history: tuple[Turn, ...] = ()
    previous_response_id: str | None = None
    instructions: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    response_format: ResponseFormat | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None
    timeout: Timeout = field(default_factory=Timeout)
    compactable: bool = False

    def items(self) -> list[Item]:
        """The whole conversation as items: what the turns before asked and answered, then the new input."""
        whole: list[Item] = []
        for turn in self.history:
            whole += turn.input
            whole += turn.output
        whole += self.input
        return whole

    def settings(self) -> dict[str, Any]:
        """The options that shape the call, as plain data to be kept with the turn; no `extra_`, which may hold keys."""
        shape = self.response_format
        named = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "reasoning_effort": self.reasoning_effort,
            "stop": list(self.stop) or None,
            "tool_choice": self.tool_choice,
            "response_format": None
            if shape is None
            else {"name": shape.name, "schema": dict(shape.schema)},
        }
        named |= {
            name: value for name, value in self.options.items() if not name.startswith("extra_")
        }
        return {name: value for name, value in named.items() if value is not None}


def stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """`stop` as it may be written, as a tuple."""
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)
