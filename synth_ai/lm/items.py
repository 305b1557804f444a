"""Conversation content in the item shape of the Responses API, and what people write turned into it.

An item is a plain dict: a message, a `reasoning` item, a `function_call` or a `function_call_output` (or their twins
for custom tools, whose input is plain text). It is the one shape that LM, the store and every backend share; each
backend converts at its edge. Items are values: nothing here changes an item it was given.

Three keys are not of the Responses API. A message that was spoken has the transcript as its text, and in `audio` the
`id` by which the server that spoke it knows the sound, and `expires_at`, until when. A message may have the `name` of
who said it. A call may have `extra_content`, which its chat server wants back with it, as Gemini does its thoughts'
signature.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from synth_ai.errors import RequestError, did_you_mean
from synth_ai.lm.images import Image, image_part

Item: TypeAlias = dict[str, Any]
ToolOutputs: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]

ROLES = ("user", "assistant", "system", "developer", "tool")
_SYSTEM_ROLES = ("system", "developer")

#: The types of calls that the caller answers, and of the answers.
CALLS = frozenset({"function_call", "custom_tool_call"})
CALL_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one call adds to a conversation.

    Attributes:
        items: the new items.
        instructions: the system message, where the call gave one; None leaves the branch's in force.
        is_history: the items hold an assistant's turn, so they are a whole conversation of their own.
    """

    items: tuple[Item, ...]
    instructions: str | None = None
    is_history: bool = False


def build_prompt(
    texts: Sequence[str],
    *,
    system_message: str | None = None,
    user_message: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    images: Sequence[Image] = (),
    tool_outputs: ToolOutputs | None = None,
) -> Prompt:
    """One prompt from the ways a call can be written.

    Args:
        texts: the positional strings: one is the user's message, two are (system, user).
        messages: messages in the shape of Chat Completions, or items of the Responses API, or both mixed.
        images: bytes, paths or URLs, added to the user's message.
        tool_outputs: `{call_id: output}`, or a list of `{"call_id": ..., "output": ...}`.

    Raises:
        RequestError: the ways contradict each other, or there is nothing to say.
    """
    system, user = _read_texts(texts, system_message, user_message)
    if isinstance(images, (str, bytes, os.PathLike)):
        raise RequestError("images= takes a list of pictures; put the one you have into a list.")
    if messages is not None and user is not None:
        raise RequestError("Give the conversation as messages= or as prompt strings, not both.")
    items: list[Item] = []
    if tool_outputs:
        items += read_tool_outputs(tool_outputs)
    if messages is not None:
        given, own = read_messages(messages)
        if own is not None and system is not None:
            raise RequestError("There are two system messages: one in messages=, one beside it. Give one of them.")
        system = own if own is not None else system
        items += given
        if images:
            items = _with_images(items, images)
    elif user is not None or images:
        items.append(user_message_item(user or "", images))
    if not items:
        raise RequestError(
            "There is nothing to send: give a prompt string, messages= or tool_outputs=."
            if system is None
            else "A system message alone is no prompt: give the user's message too."
        )
    return Prompt(tuple(items), system, any(is_model_item(item) for item in items))


def _read_texts(texts: Sequence[str], system: str | None, user: str | None) -> tuple[str | None, str | None]:
    for text in (*texts, system, user):
        if text is not None and not isinstance(text, str):
            hint = " For a list of messages, use messages=." if isinstance(text, (list, tuple, dict)) else ""
            raise RequestError(f"A prompt is a string, not {type(text).__name__}.{hint}")
    if len(texts) > 2:
        raise RequestError(
            f"{len(texts)} prompt strings were given; one is the user's message, two are (system, user)."
        )
    if texts and user is not None:
        raise RequestError("Give the user's message as a positional string or as user_message=, not both.")
    if len(texts) == 2 and system is not None:
        raise RequestError("Two prompt strings are (system, user), so system_message= is one too many.")
    if len(texts) == 2:
        system, user = texts
    elif texts:
        user = texts[0]
    if user is not None and not user.strip():
        raise RequestError("The prompt is empty.")
    return system, user


def read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Item], str | None]:
    """The items of a list of messages, and its leading system messages as instructions.

    Raises:
        RequestError: a message has no role that is known, or no content.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise RequestError(f"messages= takes a list of messages, not {type(messages).__name__}.")
    items: list[Item] = []
    instructions: list[str] = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise RequestError(f"A message is a dict with a role and content, not {message!r}.")
        if not items and message.get("role") in _SYSTEM_ROLES:
            instructions.append(text_of(message))
        else:
            items += _read_message(message)
    return items, "\n\n".join(instructions) if instructions else None


def _read_message(message: Mapping[str, Any]) -> list[Item]:
    kind = message.get("type", "message")
    if kind != "message":
        return [dict(message)]
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(
            f"A message has the role {role!r}; it takes {', '.join(ROLES)}.{did_you_mean(str(role), ROLES)}"
        )
    if role == "tool":
        return [function_call_output(message.get("tool_call_id"), message.get("content"))]
    if role == "assistant":
        return _read_assistant(message)
    if "content" not in message:
        raise RequestError(f"A {role} message has no content.")
    return [_named({"type": "message", "role": role, "content": _read_content(message["content"])}, message)]


def _named(item: Item, message: Mapping[str, Any]) -> Item:
    return item | {"name": message["name"]} if message.get("name") else item


def _read_assistant(message: Mapping[str, Any]) -> list[Item]:
    """An assistant message of either API: its reasoning, its text, its refusal and its tool calls, in that order."""
    items: list[Item] = []
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        items.append(reasoning_item(reasoning))
    audio = message.get("audio")
    if audio is not None and not isinstance(audio, Mapping):
        raise RequestError(f"The audio of an assistant message is {{'id': ...}}, not {audio!r:.100}.")
    spoken = spoken_message(audio) if audio else None
    content = message.get("content")
    if content:
        parts = _read_content(content)
        if isinstance(parts, str):
            item = assistant_message(parts, phase=message.get("phase"))
        else:
            item = {"type": "message", "role": "assistant", "content": [_output_part(part) for part in parts]}
            item |= {key: message[key] for key in ("id", "status", "phase") if message.get(key) is not None}
        if spoken is not None and "audio" in spoken:
            item["audio"] = spoken["audio"]
        items.append(_named(item, message))
    elif spoken is not None:
        items.append(_named(spoken, message))
    if refusal := message.get("refusal"):
        items.append(_named(refusal_message(refusal), message))
    items += [_read_tool_call(call) for call in message.get("tool_calls") or ()]
    if not items and content is None:
        raise RequestError("An assistant message has neither content nor tool calls.")
    return items or [_named(assistant_message(""), message)]


def _read_tool_call(call: Any) -> Item:
    try:
        if call.get("type") == "custom":
            return custom_tool_call(call["id"], call["custom"]["name"], call["custom"]["input"])
        return with_extra(function_call(call["id"], call["function"]["name"], call["function"]["arguments"]), call)
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(
            "A tool call of an assistant message is {'id': ..., 'function': {'name': ..., 'arguments': ...}}, "
            f"not {call!r}."
        ) from error


def _read_content(content: Any) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise RequestError(f"The content of a message is a string or a list of parts, not {content!r}.")
    return [_input_part(part) for part in content]


def _input_part(part: Any) -> dict[str, Any]:
    """A content part of either API in the shape of the Responses API."""
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    try:
        kind = part.get("type")
        if kind == "text":
            return {"type": "input_text", "text": part["text"]}
        if kind == "image_url":
            image = part["image_url"]
            image = {"url": image} if isinstance(image, str) else image
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")}
        if kind == "file":
            return {"type": "input_file", **part["file"]}
        return dict(part)
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(
            f"A part of a message is a dict with a type and what that type has, not {part!r:.200}."
        ) from error


def _output_part(part: dict[str, Any]) -> dict[str, Any]:
    return output_text(part.get("text", "")) if part.get("type") == "input_text" else part


def new_response_id() -> str:
    """An id for a response that no server gave one."""
    return f"resp_{secrets.token_hex(16)}"


def new_call_id() -> str:
    """An id for a tool call that no server gave one."""
    return f"call_{secrets.token_hex(12)}"


# --- making items ---------------------------------------------------------------------------------------------------


def user_message_item(text: str, images: Sequence[Image] = ()) -> Item:
    """A user's message, with pictures where there are any."""
    if not images:
        return {"type": "message", "role": "user", "content": text}
    parts: list[dict[str, Any]] = [{"type": "input_text", "text": text}] if text else []
    return {"type": "message", "role": "user", "content": parts + [image_part(image) for image in images]}


def assistant_message(text: str, *, id: str | None = None, phase: str | None = None) -> Item:
    """An assistant's finished message; `phase` is `commentary` for a preamble and `final_answer` for the answer."""
    item: Item = {"type": "message", "role": "assistant", "status": "completed", "content": [output_text(text)]}
    if id is not None:
        item["id"] = id
    if phase is not None:
        item["phase"] = phase
    return item


def spoken_message(audio: Mapping[str, Any]) -> Item:
    """An assistant's message that was spoken, from the `audio` of a message of Chat Completions; without the sound."""
    item = assistant_message(audio.get("transcript") or "")
    known = {key: audio[key] for key in ("id", "expires_at") if audio.get(key) is not None}
    return item | {"audio": known} if "id" in known else item


def refusal_message(refusal: str) -> Item:
    """An assistant's message in which it refuses to answer."""
    part = {"type": "refusal", "refusal": refusal}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part]}


def output_text(text: str) -> dict[str, Any]:
    """A text part of an assistant's message."""
    return {"type": "output_text", "text": text, "annotations": []}


def reasoning_item(text: str, *, id: str | None = None) -> Item:
    """Reasoning that the model wrote in the open."""
    item: Item = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}
    return item if id is None else {"id": id, **item}


def function_call(call_id: str, name: str, arguments: str, *, id: str | None = None) -> Item:
    """A call of a function; `arguments` is JSON text."""
    item: Item = {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }
    return item if id is None else {"id": id, **item}


def with_extra(item: Item, call: Mapping[str, Any]) -> Item:
    """A call's item with the `extra_content` of the call in the shape of Chat Completions, where that has one."""
    return item | {"extra_content": call["extra_content"]} if call.get("extra_content") else item


def custom_tool_call(call_id: str, name: str, input: str) -> Item:
    """A call of a custom tool; `input` is plain text."""
    return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": input, "status": "completed"}


def function_call_output(call_id: Any, output: Any) -> Item:
    """The result of a function; anything but a string or content parts is sent as JSON."""
    if not isinstance(call_id, str) or not call_id:
        raise RequestError(f"A tool output names its call by {call_id!r}; it takes the id of the call it answers.")
    return {"type": "function_call_output", "call_id": call_id, "output": _output_value(output)}


def _output_value(output: Any) -> str | list[dict[str, Any]]:
    if isinstance(output, str):
        return output
    if isinstance(output, list) and output and all(isinstance(part, Mapping) and "type" in part for part in output):
        return [_input_part(part) for part in output]
    if hasattr(output, "model_dump_json"):
        return str(output.model_dump_json())
    return json.dumps(output, ensure_ascii=False, default=str)


def read_tool_outputs(outputs: ToolOutputs) -> list[Item]:
    """The items of `tool_outputs=`.

    Raises:
        RequestError: an entry has no call id, or no output.
    """
    if isinstance(outputs, Mapping):
        return [function_call_output(call_id, output) for call_id, output in outputs.items()]
    items = []
    for entry in outputs:
        if not isinstance(entry, Mapping) or "call_id" not in entry or "output" not in entry:
            raise RequestError(f"An entry of tool_outputs= is {{'call_id': ..., 'output': ...}}, not {entry!r}.")
        item = function_call_output(entry["call_id"], entry["output"])
        items.append(item | {"type": entry["type"]} if entry.get("type") in CALL_OUTPUTS else item)
    return items


def _with_images(items: list[Item], images: Sequence[Image]) -> list[Item]:
    """`items` with pictures added to the last user message."""
    for at in range(len(items) - 1, -1, -1):
        if items[at].get("role") == "user":
            content = items[at]["content"]
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else list(content)
            parts += [image_part(image) for image in images]
            return [*items[:at], {**items[at], "content": parts}, *items[at + 1 :]]
    return [*items, user_message_item("", images)]


# --- reading items --------------------------------------------------------------------------------------------------


def is_model_item(item: Mapping[str, Any]) -> bool:
    """Whether a model wrote this item, as opposed to a user, a developer or a tool."""
    kind = item.get("type", "message")
    if kind == "message":
        return item.get("role") == "assistant"
    return not str(kind).endswith(("_output", "_response"))


def text_of(item: Mapping[str, Any]) -> str:
    """The text of a message or of a tool's output, its parts joined."""
    content = item.get("output") if item.get("type") in CALL_OUTPUTS else item.get("content")
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in content or ())


def reasoning_of(item: Mapping[str, Any]) -> str:
    """The readable text of a reasoning item: the reasoning itself, or else its summary."""
    parts = item.get("content") or item.get("summary") or ()
    return "\n\n".join(part["text"] for part in parts if part.get("text"))


def answer_of(output: Iterable[Mapping[str, Any]]) -> tuple[str, str | None, str | None]:
    """The (answer, reasoning, preamble) texts of a turn's output items; the last two are None when there is none."""
    answer: list[str] = []
    reasoning: list[str] = []
    preamble: list[str] = []
    for item in output:
        kind = item.get("type")
        if kind == "reasoning":
            reasoning.append(reasoning_of(item))
        elif kind == "message":
            (preamble if item.get("phase") == "commentary" else answer).append(text_of(item))
    return (
        "".join(answer),
        "\n\n".join(text for text in reasoning if text) or None,
        "\n\n".join(text for text in preamble if text) or None,
    )


def tool_calls_of(output: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The calls of functions and custom tools of a turn in the shape of Chat Completions, or None.

    `id` is the call id. A function's call has its name and arguments under `function`, a custom tool's its name and
    input under `custom`; `name_and_text` reads both.
    """
    return [chat_call(item) for item in output if item.get("type") in CALLS] or None


def chat_call(item: Mapping[str, Any]) -> dict[str, Any]:
    """One call in the shape of Chat Completions."""
    if item["type"] == "custom_tool_call":
        custom = {"name": item["name"], "input": item["input"]}
        return {"id": item["call_id"], "type": "custom", "custom": custom}
    function = {"name": item["name"], "arguments": item["arguments"]}
    return with_extra({"id": item["call_id"], "type": "function", "function": function}, item)


def name_and_text(call: Mapping[str, Any]) -> tuple[str, str]:
    """What a call in the shape of Chat Completions calls, and with what: JSON, or a custom tool's text."""
    if "custom" in call:
        return call["custom"]["name"], call["custom"]["input"]
    return call["function"]["name"], call["function"]["arguments"]


def refusal_of(output: Iterable[Mapping[str, Any]]) -> str | None:
    """The text in which the model refused to answer, or None."""
    for item in output:
        if item.get("type") == "message" and not isinstance(item.get("content"), str):
            for part in item.get("content") or ():
                if part.get("type") == "refusal":
                    return str(part.get("refusal", ""))
    return None
