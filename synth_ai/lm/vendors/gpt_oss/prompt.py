"""The prompt of gpt-oss: a call, or a stored turn, as token ids. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from synth_ai import harmony
from synth_ai.content import Item, is_call, is_message, is_reasoning, reasoning_of
from synth_ai.errors import OptionError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.tools import ToolSpec
from synth_ai.lm.vendors.carry_over import Supports, drop_unsupported, reasoning_warnings
from synth_ai.turn import Turn

# gpt-oss reads text alone: no image and no file can stand in its prompt.
_SUPPORTS = Supports(
    "harmony",
    items=frozenset({"message", "reasoning", "function_call", "function_call_output"}),
    parts=frozenset({"input_text", "output_text", "text", "refusal"}),
    tools=frozenset({"function", "python", "browser"}),
)


class Transcripts(Protocol):
    """Renders conversations, and may remember what it has rendered."""

    def render(self, history: Sequence[Turn], new_items: Sequence[Item]) -> harmony.Transcript:
        """Render a history and what follows it."""


#: Options that are lines of the system message.
_SYSTEM_OPTIONS = ("reasoning_effort", "knowledge_cutoff", "model_identity")


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """What a prompt holds beside the conversation. A call and the turn it became have the same.

    Attributes:
        instructions: the system message in force.
        tools: the tools in force, as flat specs.
        date: the date under which the conversation began.
        options: the options of the call by their names, without those that were not given.
    """

    instructions: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    date: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_request(cls, request: LMRequest) -> PromptSettings:
        """Read the settings of a call."""
        return cls(request.instructions, request.tools, request.date, request.settings())

    @classmethod
    def of_turn(cls, turn: Turn) -> PromptSettings:
        """Read the settings of the call that became a turn."""
        return cls(turn.instructions, turn.tools or (), turn.date, turn.settings)

    @property
    def tool_names(self) -> list[str]:
        """The names by which the model knows its tools, such as `functions.add` and `python`."""
        names = []
        for tool in self.tools:
            # Only functions have a name; a built-in tool goes by its type.
            names.append(f"functions.{tool['name']}" if "name" in tool else tool["type"])
        return names

    def prefill(self) -> list[int]:
        """Encode what `tool_choice` makes the completion begin with: the header of a call.

        Raises:
            OptionError: the call has no such function.
        """
        choice = self.options.get("tool_choice")
        if choice in (None, "none", "auto"):
            return []

        functions = [tool["name"] for tool in self.tools if "name" in tool]
        header = _header_of_choice(choice, functions)
        if header is None:
            names = ", ".join(functions) or "none"
            raise OptionError(
                f"tool_choice={choice!r} cannot be met: the functions of this call are {names}. "
                "It takes none, auto, required, or a function's name."
            )
        return harmony.encode(header, control_tokens=True)

    def render(self, transcript: harmony.Transcript) -> list[int]:
        """Render the whole prompt for the answer to a conversation.

        Raises:
            OptionError: an option has a value that gpt-oss does not take.
            ToolError: a tool cannot be declared to gpt-oss.
        """
        return harmony.assemble_prompt(self._system_prompt(), transcript, self.prefill())

    def _system_prompt(self) -> harmony.SystemPrompt:
        options = self.options
        tools = () if options.get("tool_choice") == "none" else self.tools

        response_format = options.get("response_format")
        if response_format is not None:
            response_format = {"type": "json_schema", **response_format}

        given = {name: options[name] for name in _SYSTEM_OPTIONS if name in options}
        return harmony.SystemPrompt(
            instructions=self.instructions,
            tools=tools,
            date=self.date,
            response_format=response_format,
            **given,
        )


def adapt_history(request: LMRequest) -> tuple[LMRequest, list[str]]:
    """Drop from the history what gpt-oss cannot be shown.

    Returns:
        The request with the history that is left, and warnings that list the rest.
    """
    request, warnings = drop_unsupported(request, _SUPPORTS)
    return request, _warn_of_reasoning(request.history, request.input) + warnings


def render_turn(
    turn: Turn, history: Sequence[Turn], transcripts: Transcripts | None = None
) -> list[int]:
    """Render the prompt of a stored turn, as it was rendered for the call.

    Args:
        turn: the turn.
        history: the turns before it that the call was sent with.
        transcripts: renders a history and what follows it; without it all is rendered anew.

    Raises:
        RequestError: an item cannot be rendered.
        OptionError: an option has a value that gpt-oss does not take.
        ToolError: a tool cannot be declared to gpt-oss.
    """
    request = LMRequest(
        model=turn.model,
        input=turn.input,
        history=tuple(history),
        tools=turn.tools or (),
    )
    request, _ = adapt_history(request)
    settings = replace(PromptSettings.of_turn(turn), tools=request.tools)

    if transcripts is not None:
        return settings.render(transcripts.render(request.history, turn.input))

    transcript = harmony.Transcript()
    for earlier in request.history:
        transcript = append_turn(transcript, earlier)
    return settings.render(transcript.with_items(turn.input))


def append_turn(transcript: harmony.Transcript, turn: Turn) -> harmony.Transcript:
    """Add a stored turn to a transcript, with the ids that the model sampled if it has them.

    Raises:
        RequestError: an item cannot be rendered.
    """
    transcript = transcript.with_items(turn.input)
    if turn.output_token_ids is None:
        return transcript.with_items(turn.output)

    settings = PromptSettings.of_turn(turn)
    return append_completion(
        transcript, settings, turn.output_token_ids, turn.output, status=turn.status
    )


def append_completion(
    transcript: harmony.Transcript,
    settings: PromptSettings,
    sampled_ids: Sequence[int],
    output: Sequence[Item],
    *,
    status: str,
) -> harmony.Transcript:
    """Add a completion to a transcript, by the ids that the model sampled.

    Args:
        transcript: the conversation up to the completion.
        settings: those of the completion's prompt.
        sampled_ids: the ids, without the prefill.
        output: the items of the response, which have the ids that tool outputs come under.
        status: the status of the response.
    """
    call_ids = [item["call_id"] for item in output if is_call(item)]
    return transcript.with_completion(
        sampled_ids,
        prefill=settings.prefill(),
        tools=settings.tool_names,
        finish_reason="length" if status == "incomplete" else "stop",
        call_ids=call_ids,
    )


def _header_of_choice(choice: object, functions: Sequence[str]) -> str | None:
    """Write the header of the call that a tool choice forces; None if there is no such function.

    ::

        "required"                            -> <|channel|>commentary to=functions
        "add"                                 -> <|channel|>commentary to=functions.add ...
        {"type": "function", "name": "add"}   -> the same, as in the Responses API
        {"function": {"name": "add"}}         -> the same, as in Chat Completions
    """
    if choice == "required":
        # Which one is left to the model. In its own headers the dot is one token with the name.
        return "<|channel|>commentary to=functions" if functions else None

    name = choice
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None

    if name not in functions:
        return None
    return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"


def _warn_of_reasoning(history: Sequence[Turn], new_items: Sequence[Item]) -> list[str]:
    """Make the warnings that reasoning of other backends is not in the prompt."""
    unreadable = 0
    outdated = 0
    # From the end back, as reasoning is shown until an answer follows it.
    is_answered = any(_is_answer(item) for item in new_items)
    for turn, item in _items_backwards(history):
        if _is_answer(item):
            is_answered = True
            continue
        if turn.api_type == _SUPPORTS.api:
            continue
        if not is_reasoning(item):
            continue

        if not reasoning_of(item):
            unreadable += 1
        elif is_answered:
            outdated += 1

    return [
        *reasoning_warnings(unreadable, "only the server that made it can read it"),
        *reasoning_warnings(outdated, "gpt-oss is shown none from before its last answer"),
    ]


def _items_backwards(history: Sequence[Turn]) -> Iterator[tuple[Turn, Item]]:
    for turn in reversed(history):
        for item in reversed((*turn.input, *turn.output)):
            yield turn, item


def _is_answer(item: Item) -> bool:
    """Whether an item is a message of the assistant, and no preamble."""
    if not is_message(item):
        return False
    return item.get("role") == "assistant" and item.get("phase") != "commentary"
