"""What stands before a conversation: the system message, and the developer message where there is one.

The conversation itself never depends on the preface, so the two are rendered apart and joined by `prompt`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from synth_ai.errors import OptionError
from synth_ai.harmony.tokens import END, MESSAGE, START, encode, encode_word
from synth_ai.harmony.tools import NAME, Tool, declare_built_ins, declare_functions, read_tools
from synth_ai.harmony.typescript import fold, literal

ReasoningEffort = Literal["low", "medium", "high"]

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
CHANNELS = (
    "# Valid channels: analysis, commentary, final. Channel must be included for every message."
)
FUNCTIONS_CHANNEL = "\nCalls to these tools must go to the commentary channel: 'functions'."


@dataclass(frozen=True)
class Preface:
    """The settings of a conversation. `ids` are those of its system and developer messages, made once.

    Attributes:
        instructions: what is elsewhere called the system prompt; None or "" for none.
        tools: function tools (flat or nested under `function`) and the built-in `"python"` and `"browser"`.
        reasoning_effort: `"low"`, `"medium"` or `"high"`; None leaves the line out.
        date: the current date as the model is told it. None is today; `""` or False leaves the line out.
        knowledge_cutoff: None leaves the line out.
        model_identity: the first line of the system message; the model was trained with the default.
        response_format: the JSON schema of the answer: as `{"type": "json_schema", "name", "schema"}`, the same
            nested under `json_schema`, or the bare schema.

    Raises:
        OptionError: the effort is unknown, or a value has a line break where it must be one line.
        ToolError: a tool cannot be declared.
    """

    instructions: str | None = None
    tools: Sequence[Tool] = ()
    reasoning_effort: ReasoningEffort | str | None = "medium"
    date: datetime.date | str | Literal[False] | None = None
    knowledge_cutoff: str | None = "2024-06"
    model_identity: str = IDENTITY
    response_format: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.reasoning_effort not in ("low", "medium", "high", None):
            raise OptionError(
                f"reasoning_effort={self.reasoning_effort!r} is unknown to gpt-oss: it takes 'low', 'medium' or 'high'."
            )
        # The date of a conversation is fixed when it begins, not when it is rendered.
        object.__setattr__(self, "date", _date(self.date))
        for name in ("date", "knowledge_cutoff"):
            value = getattr(self, name)
            if value is not None and fold(value) != value:
                raise OptionError(f"{name}={value!r} must be on one line.")

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """The token ids of the system message and, where anything belongs into one, the developer message."""
        built_ins, functions = read_tools(self.tools)
        sections = [self._about()]
        if self.reasoning_effort:
            sections.append(f"Reasoning: {self.reasoning_effort}")
        if built_ins:
            sections.append(declare_built_ins(built_ins))
        sections.append(CHANNELS + (FUNCTIONS_CHANNEL if functions else ""))
        ids = message("system", "\n\n".join(sections))

        sections = []
        if self.instructions:
            sections.append(f"# Instructions\n\n{self.instructions}")
        if functions:
            sections.append(declare_functions(functions))
        if self.response_format and (response_format := _response_format(self.response_format)):
            sections.append(response_format)
        if sections:
            ids += message("developer", "\n\n".join(sections))
        return tuple(ids)

    def _about(self) -> str:
        lines = [self.model_identity]
        if self.knowledge_cutoff:
            lines.append(f"Knowledge cutoff: {self.knowledge_cutoff}")
        if self.date:
            lines.append(f"Current date: {self.date}")
        return "\n".join(lines)


def message(role: str, *texts: str) -> list[int]:
    """The ids of a message that has no channel."""
    ids = [START, *encode_word(role), MESSAGE]
    for text in texts:
        ids += encode(text)
    ids.append(END)
    return ids


def _date(value: datetime.date | str | Literal[False] | None) -> str:
    if value is None:
        value = datetime.date.today()
    return value.isoformat() if isinstance(value, datetime.date) else value or ""


def _response_format(given: Mapping[str, Any]) -> str:
    """The `# Response Formats` section, or "" for a format that is plain text."""
    kind = given.get("type")
    if kind == "text":
        return ""
    if kind == "json_object":
        given = {"schema": {"type": "object"}}
    elif kind == "json_schema":
        given = given.get("json_schema", given)
    else:
        given = {
            "schema": given,
            "name": given.get("title"),
            "description": given.get("description"),
        }
    name = given.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        name = "response"
    lines = [f"# Response Formats\n\n## {name}\n"]
    if given.get("description"):
        lines.append(f"// {fold(str(given['description']))}")
    lines.append(literal(given.get("schema", {})))
    return "\n".join(lines)
