"""What gpt-oss is shown: a call, or a stored turn, as the ids of a prompt. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synth_ai import harmony
from synth_ai.content import Item, reasoning_of
from synth_ai.errors import OptionError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.tools import ToolSpec
from synth_ai.lm.vendors.carry_over import Takes, fitted, reasoning_note
from synth_ai.turn import Turn

_TAKES = Takes(
    "harmony",
    items=frozenset({"message", "reasoning", "function_call", "function_call_output"}),
    parts=frozenset({"input_text", "output_text", "text", "refusal"}),
    tools=frozenset({"function", "python", "browser"}),
)

_PREFACE = ("reasoning_effort", "knowledge_cutoff", "model_identity")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a prompt says beside the conversation itself; a request and the turn it became say the same."""

    instructions: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    date: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def by_request(cls, request: LMRequest) -> Shown:
        """What a call shows."""
        return cls(request.instructions, request.tools, request.date, request.settings())

    @classmethod
    def by_turn(cls, turn: Turn) -> Shown:
        """What the call of a stored turn has shown."""
        return cls(turn.instructions, turn.tools or (), turn.date, turn.settings)

    @property
    def tool_names(self) -> list[str]:
        """The names that the model knows its tools by: functions by their own, built-in tools by their type."""
        return [
            f"functions.{tool['name']}" if "name" in tool else tool["type"] for tool in self.tools
        ]

    def preface(self) -> harmony.SystemPrompt:
        """The system and the developer message."""
        settings = self.settings
        shape = settings.get("response_format")
        return harmony.SystemPrompt(
            instructions=self.instructions,
            tools=() if settings.get("tool_choice") == "none" else self.tools,
            date=self.date,
            response_format=None if shape is None else {"type": "json_schema", **shape},
            **{name: settings[name] for name in _PREFACE if name in settings},
        )

    def forced_start(self) -> list[int]:
        """The ids that `tool_choice` puts into the model's mouth: the header of the call that it has to make.

        Raises:
            OptionError: there is no such tool.
        """
        choice = self.settings.get("tool_choice")
        if choice is None or choice in ("none", "auto"):
            return []
        if isinstance(choice, Mapping):
            choice = choice["function"]["name"] if "function" in choice else choice.get("name")
        known = [tool["name"] for tool in self.tools if "name" in tool]
        if choice == "required" and known:
            # Which one is left to the model. The cut is before the dot, where the model's own tokens have one.
            return harmony.encode("<|channel|>commentary to=functions", control_tokens=True)
        if choice in known:
            header = f"<|channel|>commentary to=functions.{choice} <|constrain|>json<|message|>"
            return harmony.encode(header, control_tokens=True)
        raise OptionError(
            f"tool_choice={choice!r} cannot be met: the functions of this call are {', '.join(known) or 'none'}. "
            "It takes none, auto, required, or a function's name."
        )

    def prompt(self, transcript: harmony.Transcript) -> list[int]:
        """The whole prompt for what comes after `transcript`."""
        return harmony.assemble_prompt(self.preface(), transcript, self.forced_start())


def prepared(request: LMRequest) -> tuple[LMRequest, list[str]]:
    """The request with a history that gpt-oss can be shown, and warnings of what had to be left out of it."""
    request, notes = fitted(request, _TAKES)
    return request, _lost_reasoning(request) + notes


def _lost_reasoning(request: LMRequest) -> list[str]:
    """Warnings of the reasoning of other backends that a prompt is rendered without."""
    unreadable = finished = 0
    answered = any(map(_is_final, request.input))
    for turn in reversed(request.history):
        for item in reversed((*turn.input, *turn.output)):
            answered = answered or _is_final(item)
            if turn.api_type != "harmony" and item.get("type") == "reasoning":
                readable = bool(reasoning_of(item))
                unreadable += not readable
                finished += readable and answered
    return reasoning_note(unreadable, "only the server that made it can read it") + reasoning_note(
        finished, "gpt-oss is shown none from before its last answer"
    )


def _is_final(item: Item) -> bool:
    is_said = item.get("type", "message") == "message" and item.get("role") == "assistant"
    return is_said and item.get("phase") != "commentary"


def with_turn(transcript: harmony.Transcript, turn: Turn) -> harmony.Transcript:
    """A stored turn behind a transcript: by the ids that the model sampled where there are any, else rendered."""
    transcript = transcript.with_items(turn.input)
    if turn.output_token_ids is None:
        return transcript.with_items(turn.output)
    return with_completion(
        transcript, Shown.by_turn(turn), turn.output_token_ids, turn.output, turn.status
    )


def with_completion(
    transcript: harmony.Transcript,
    shown: Shown,
    sampled: Sequence[int],
    output: Sequence[Item],
    status: str,
) -> harmony.Transcript:
    """A completion behind a transcript, whose tool outputs will come under the call ids of `output`."""
    return transcript.with_completion(
        sampled,
        prefill=shown.forced_start(),
        tools=shown.tool_names,
        finish_reason="length" if status == "incomplete" else "stop",
        call_ids=[item["call_id"] for item in output if item.get("type") == "function_call"],
    )
