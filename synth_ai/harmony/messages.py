"""Conversation items, in the shape of OpenAI's Responses API, as the token ids of Harmony messages.

A tool call is rendered in the published order, `assistant to=NAME<|channel|>commentary
<|constrain|>json`. Calls of the built-in `python` and `browser` belong to the chain of thought:
they are on the analysis channel, like their outputs, and go when the reasoning around them goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from synth_ai.errors import RequestError
from synth_ai.harmony.channels import ANALYSIS, COMMENTARY, FINAL, Channel
from synth_ai.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MESSAGE,
    START,
    encode,
    encode_word,
)
from synth_ai.harmony.tools import BUILT_INS, NAME_PATTERN, ROLES

Item: TypeAlias = Mapping[str, object]
"""An item of a conversation as somebody gives it: nothing in it has been checked."""

# The name of a tool, with a dot between namespaces:
#   get_weather, functions.get_weather, browser.search   -> match
#   two words, f., "", f to=assistant                    -> no match
_TOOL_NAME = re.compile(rf"{NAME_PATTERN}(?:\.{NAME_PATTERN})*")


@dataclass(frozen=True, slots=True)
class MessageTokens:
    """The ids of one or more whole messages.

    Attributes:
        ids: the token ids, from `<|start|>` to the end.
        mask: as long as `ids`; 1 if the model sampled the id, else 0.
        dropped_after_final: whether they are left out once a final answer follows.
        is_final: whether a final answer is among them.
    """

    ids: tuple[int, ...]
    mask: bytes
    dropped_after_final: bool = False
    is_final: bool = False

    @classmethod
    def from_prompt(
        cls, ids: Iterable[int], *, dropped_after_final: bool = False, is_final: bool = False
    ) -> MessageTokens:
        """Take ids of which the model has sampled none."""
        ids = tuple(ids)
        return cls(ids, bytes(len(ids)), dropped_after_final, is_final)


@dataclass(frozen=True, slots=True)
class ToolAddress:
    """A tool as Harmony addresses it.

    Attributes:
        name: the recipient of its calls, and the author of its outputs.
        channel: the channel that both are on.
    """

    name: str
    channel: Channel = COMMENTARY

    @property
    def namespace(self) -> str:
        return self.name.split(".")[0]


def address_tool(name: object, arguments: str = "{}") -> ToolAddress:
    """Find how Harmony addresses the tool that a call names.

    ::

        get_weather                         ->  functions.get_weather
        functions.get_weather, math.sum     ->  the same
        browser.search                      ->  the same, on the analysis channel
        python, with the arguments "1 + 1"  ->  the same, on the analysis channel
        python, with the arguments "{}"     ->  functions.python

    Args:
        name: the name of the call.
        arguments: its arguments. The built-in `python` takes code, so that a JSON object is meant
            for a function of that name.

    Raises:
        RequestError: the name cannot stand in a message header.
    """
    if not isinstance(name, str) or not _is_tool_name(name):
        raise RequestError(
            f"The tool name {name!r} cannot be used: names are letters, digits, underscores and "
            "hyphens, with dots between namespaces, and a namespace must not be a role."
        )

    name = name.removeprefix("functions.")
    is_function = name == "python" and _is_json_object(arguments)
    if is_function:
        return ToolAddress("functions.python")

    address = ToolAddress(name, ANALYSIS)
    if address.namespace in BUILT_INS:
        return address

    return ToolAddress(name if "." in name else f"functions.{name}")


def _is_tool_name(name: str) -> bool:
    if not _TOOL_NAME.fullmatch(name):
        return False

    # In the place of an author, `system.x` would pass for the system.
    namespace, dot, _ = name.partition(".")
    return not dot or namespace not in ROLES


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


# --- items ------------------------------------------------------------------------------------


def render_message(item: Item) -> MessageTokens:
    """Render a message of a user, an assistant, a system or a developer."""
    role = item.get("role")
    if role == "user":
        return MessageTokens.from_prompt(encode_message("user", *_read_texts(item, "content")))
    if role == "assistant":
        return _render_assistant(item)
    if role in ("system", "developer"):
        return _render_developer(item)

    raise RequestError(
        f"A message has the role {role!r}; Harmony has user, assistant, system and developer."
    )


def _render_assistant(item: Item) -> MessageTokens:
    channel = COMMENTARY if item.get("phase") == "commentary" else FINAL
    ids = encode_channel_message(channel, *_read_texts(item, "content"))
    return MessageTokens.from_prompt(ids, is_final=channel is FINAL)


def _render_developer(item: Item) -> MessageTokens:
    """Render a system or developer message in the course of a conversation.

    Harmony has the developer speak for both.
    """
    first, *others = _read_texts(item, "content") or [""]
    ids = encode_message("developer", f"# Instructions\n\n{first}", *others)
    return MessageTokens.from_prompt(ids)


def render_reasoning(item: Item) -> MessageTokens:
    """Render reasoning, or its summary, as a message for each text."""
    ids: list[int] = []
    for text in _read_texts(item, "content") or _read_texts(item, "summary"):
        ids += encode_channel_message(ANALYSIS, text)

    return MessageTokens.from_prompt(ids, dropped_after_final=ANALYSIS.dropped_after_final)


def render_call(item: Item, tool: ToolAddress) -> MessageTokens:
    """Render the call of a tool."""
    arguments = item.get("arguments")
    if not isinstance(arguments, str):
        raise RequestError(f"The arguments of a function_call must be text, not {arguments!r}.")

    ids = [*encode_call_header(tool), *encode(arguments), CALL]
    return MessageTokens.from_prompt(ids, dropped_after_final=tool.channel.dropped_after_final)


def render_output(item: Item, tool: ToolAddress) -> MessageTokens:
    """Render what a tool gave back."""
    ids = [START, *encode_word(tool.name), *encode_word(" to=assistant")]
    ids += [CHANNEL, *encode_word(tool.channel.name), MESSAGE]
    for text in _read_texts(item, "output"):
        ids += encode(text)
    ids.append(END)

    return MessageTokens.from_prompt(ids, dropped_after_final=tool.channel.dropped_after_final)


# --- messages ---------------------------------------------------------------------------------


def encode_message(role: str, *texts: str) -> list[int]:
    """Encode a message that has no channel."""
    ids = [START, *encode_word(role), MESSAGE]
    for text in texts:
        ids += encode(text)
    ids.append(END)
    return ids


def encode_channel_message(channel: Channel, *texts: str) -> list[int]:
    """Encode an assistant message that calls no tool."""
    ids = list(encode_header(channel))
    for text in texts:
        ids += encode(text)
    ids.append(END)
    return ids


def encode_header(channel: Channel) -> tuple[int, ...]:
    """Encode the header of an assistant message that calls no tool, `<|message|>` included."""
    return (START, *encode_word("assistant"), CHANNEL, *encode_word(channel.name), MESSAGE)


def encode_call_header(tool: ToolAddress) -> tuple[int, ...]:
    """Encode the header of an assistant message to a tool, `<|message|>` included."""
    if tool.namespace in BUILT_INS:
        content_type = encode_word(" code")
    else:
        content_type = (*encode_word(" "), CONSTRAIN, *encode_word("json"))

    recipient = (START, *encode_word("assistant"), *encode_word(f" to={tool.name}"))
    return (*recipient, CHANNEL, *encode_word(tool.channel.name), *content_type, MESSAGE)


# --- texts ------------------------------------------------------------------------------------


def _read_texts(item: Item, key: str) -> list[str]:
    """Read the texts in the content, the summary or the output of an item.

    Raises:
        RequestError: it is, or has, something else than text.
    """
    value = item.get(key)
    if isinstance(value, str):
        return [value]
    # Reasoning that only its server can read has no text.
    is_encrypted = value is None and item.get("type") == "reasoning"
    if is_encrypted:
        return []
    if not isinstance(value, (list, tuple)):
        raise RequestError(
            f"The {key} of {_describe(item)} must be text or a list of text parts, not {value!r}."
        )

    return [_read_part(part, item) for part in value]


def _read_part(part: object, item: Item) -> str:
    if isinstance(part, str):
        return part

    part_type: object = type(part).__name__
    text = None
    if isinstance(part, Mapping):
        part_type = part.get("type")
        text = part.get("refusal" if part_type == "refusal" else "text")

    if not isinstance(text, str):
        raise RequestError(
            f"{_describe(item)} has a part of type {part_type!r}; gpt-oss reads text only."
        )
    return text


def _describe(item: Item) -> str:
    name = item.get("role") or item.get("type") or "an item"
    return repr(name)
