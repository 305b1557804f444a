"""What stands before a conversation: the system message, and the developer message if there is one.

The conversation itself never depends on it, so the two are rendered apart and joined by
`assemble_prompt`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from synth_ai.errors import OptionError, ToolError
from synth_ai.harmony.channels import CHANNELS, COMMENTARY
from synth_ai.harmony.messages import encode_message
from synth_ai.harmony.tools import (
    Function,
    Tool,
    declare_built_ins,
    declare_functions,
    is_name,
    read_tools,
)
from synth_ai.harmony.typescript import fold, literal

ReasoningEffort: TypeAlias = Literal["low", "medium", "high"]
Date: TypeAlias = datetime.date | str | Literal[False] | None

# The texts that gpt-oss was trained with.
IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
_VALID_CHANNELS = (
    f"# Valid channels: {', '.join(CHANNELS)}. Channel must be included for every message."
)
_CALL_CHANNEL = f"Calls to these tools must go to the {COMMENTARY.name} channel: 'functions'."


@dataclass(frozen=True)
class SystemPrompt:
    """The settings of a conversation.

    Attributes:
        instructions: what is elsewhere called the system prompt; None or "" for none.
        tools: function tools (flat or nested under `function`) and the built-in `"python"` and
            `"browser"`.
        reasoning_effort: `"low"`, `"medium"` or `"high"`; None leaves the line out.
        date: the current date as the model is told it. None is today; `""` or False leaves the
            line out.
        knowledge_cutoff: the date of the model's training data; None leaves the line out.
        model_identity: the first line of the system message; the model was trained with the
            default.
        response_format: the JSON schema of the answer: as `{"type": "json_schema", "name",
            "schema"}`, the same nested under `json_schema`, or the bare schema.

    Raises:
        OptionError: the effort is unknown, or a value has a line break and must be on one line; on
            reading `ids`, the response format is not a JSON schema.
        ToolError: on reading `ids`, a tool cannot be declared.
    """

    instructions: str | None = None
    tools: Sequence[Tool] = ()
    reasoning_effort: ReasoningEffort | str | None = "medium"
    date: Date = None
    knowledge_cutoff: str | None = "2024-06"
    model_identity: str = IDENTITY
    response_format: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if self.reasoning_effort not in ("low", "medium", "high", None):
            raise OptionError(
                f"reasoning_effort={self.reasoning_effort!r} is unknown to gpt-oss: "
                "it takes 'low', 'medium' or 'high'."
            )

        # The date of a conversation is fixed when it begins, not when it is rendered.
        date = _format_date(self.date)
        object.__setattr__(self, "date", date)

        _check_one_line("date", date)
        if self.knowledge_cutoff is not None:
            _check_one_line("knowledge_cutoff", self.knowledge_cutoff)

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """The token ids of the system message and, if it has any content, the developer message."""
        built_ins, functions = read_tools(self.tools)
        ids = encode_message("system", self._system_text(built_ins, has_functions=bool(functions)))

        developer_text = self._developer_text(functions)
        if developer_text:
            ids += encode_message("developer", developer_text)

        return tuple(ids)

    def _system_text(self, built_ins: Sequence[str], *, has_functions: bool) -> str:
        facts = [self.model_identity]
        if self.knowledge_cutoff:
            facts.append(f"Knowledge cutoff: {self.knowledge_cutoff}")
        if self.date:
            facts.append(f"Current date: {self.date}")

        sections = ["\n".join(facts)]
        if self.reasoning_effort:
            sections.append(f"Reasoning: {self.reasoning_effort}")
        if built_ins:
            sections.append(declare_built_ins(built_ins))

        channels = f"{_VALID_CHANNELS}\n{_CALL_CHANNEL}" if has_functions else _VALID_CHANNELS
        sections.append(channels)
        return "\n\n".join(sections)

    def _developer_text(self, functions: Sequence[Function]) -> str:
        sections = []
        if self.instructions:
            sections.append(f"# Instructions\n\n{self.instructions}")
        if functions:
            sections.append(declare_functions(functions))
        if self.response_format:
            sections.append(_declare_response_format(self.response_format))

        return "\n\n".join(filter(None, sections))


def _format_date(date: Date) -> str:
    if date is None:
        date = datetime.date.today()
    if isinstance(date, datetime.date):
        return date.isoformat()

    return date or ""


def _check_one_line(name: str, value: str) -> None:
    if fold(value) != value:
        raise OptionError(f"{name}={value!r} must be on one line.")


def _declare_response_format(response_format: Mapping[str, object]) -> str:
    """Write the `# Response Formats` section of a developer message; "" for plain text."""
    if response_format.get("type") == "text":
        return ""

    spec = _read_response_format(response_format)
    name = spec.get("name")
    if not is_name(name):
        name = "response"

    lines = [f"# Response Formats\n\n## {name}\n"]
    description = spec.get("description")
    if description:
        lines.append(f"// {fold(str(description))}")

    try:
        lines.append(literal(spec.get("schema", {})))
    except ToolError as error:
        raise OptionError(f"response_format cannot be shown to gpt-oss. {error}") from error
    return "\n".join(lines)


def _read_response_format(response_format: Mapping[str, object]) -> Mapping[str, object]:
    """Read the name, the description and the schema of a format, whatever its shape."""
    format_type = response_format.get("type")
    if format_type == "json_object":
        return {"schema": {"type": "object"}}

    # The format of an API; the schema stands in it, or in its `json_schema`.
    if format_type == "json_schema":
        spec = response_format.get("json_schema", response_format)
        if not isinstance(spec, Mapping):
            raise OptionError(f"The json_schema of response_format must be a dict, not {spec!r}.")
        return spec

    # The bare schema, which may have a name and a description in it.
    return {
        "schema": response_format,
        "name": response_format.get("title"),
        "description": response_format.get("description"),
    }
