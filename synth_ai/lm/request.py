"""One call, ready to be sent: everything a backend needs, and nothing it has to look up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from synth_ai.content import Item
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.tools import ToolSpec
from synth_ai.options import GenerationOptions
from synth_ai.timeout import Timeout
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class LMRequest:
    """One request object goes in to a backend, one response comes out.

    Attributes:
        model: the model's name.
        input: the items that this call adds.
        history: the turns before, oldest first; empty on a first turn, or when the server continues
            from `previous_response_id`.
        previous_response_id: the id that the server continues from; None when `history` has it all.
        instructions: the system message in force.
        tools: the tools in force, as flat specs.
        response_format: the shape that the answer must have.
        options: what the caller asked for beside the prompt, by the names of `GenerationOptions` or
            of the backend's own API; what is not in it is left to the backend. LM's own options
            (`timeout`, `include_reasoning`, `truncation` where the server does not do that) are
            not in it.
        date: the date on which the conversation began, as YYYY-MM-DD. Harmony writes it into the
            prompt.
        timeout: how long the call may take.
        response_id: the id for the response, if the backend has none of its own.
        compactable: whether the call comes again with less history if its prompt leaves too little
            room for an answer.
    """

    model: str
    input: tuple[Item, ...]
    history: tuple[Turn, ...] = ()
    previous_response_id: str | None = None
    instructions: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    response_format: ResponseFormat | None = None
    options: GenerationOptions = field(default_factory=GenerationOptions)
    date: str | None = None
    timeout: Timeout = field(default_factory=Timeout)
    response_id: str | None = None
    compactable: bool = False

    @property
    def stop(self) -> tuple[str, ...]:
        """The strings that end the answer; none of them is part of it."""
        return stop_strings(self.options.get("stop"))

    def items(self) -> list[Item]:
        """Return the whole conversation: the turns before, then the new input."""
        items: list[Item] = []
        for turn in self.history:
            items += turn.input
            items += turn.output
        items += self.input
        return items

    def settings(self) -> dict[str, object]:
        """Return the options that shape the call, as plain data to be kept with the turn.

        What is sent along with it (`extra_headers` and its like) is left out: it may hold keys.
        """
        settings: dict[str, object] = {}
        for name, value in self.options.items():
            if value is not None and not name.startswith("extra_"):
                settings[name] = value

        if self.stop:
            settings["stop"] = list(self.stop)
        if self.response_format is not None:
            settings["response_format"] = {
                "name": self.response_format.name,
                "schema": dict(self.response_format.schema),
            }
        return settings


def stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return `stop`, in whatever form it was written, as a tuple."""
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (stop,)
    return tuple(stop)
