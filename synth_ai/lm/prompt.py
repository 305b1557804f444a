"""What people write, read into items: prompt strings, messages of both APIs, images, tool outputs.

Nothing here changes what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict, cast

from synth_ai.content import (
    CalledCustomTool,
    CalledFunction,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    Message,
    Part,
    Phase,
    PlacedMessage,
    Reasoning,
    Role,
    Status,
    assistant_message,
    custom_tool_call,
    function_call,
    function_call_output,
    is_message,
    is_model_item,
    output_text,
    reasoning_item,
    refusal_message,
    spoken_message,
    text_of,
    user_item,
    with_extra,
)
from synth_ai.errors import RequestError, did_you_mean
from synth_ai.images import Image, image_part
from synth_ai.lm.tool_results import UnwritableResultError, read_output
from synth_ai.store.item_shapes import find_item_mistake, is_shallow
from synth_ai.store.workers import run_on_thread

ROLES = ("user", "assistant", "system", "developer", "tool")
_SYSTEM_ROLES = ("system", "developer")

ToolOutputs: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class NotGiven(Enum):
    """Says that an argument was left out, where None has a meaning."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

SystemMessage: TypeAlias = str | NotGiven | None
"""A call's system message: None for none, `NOT_GIVEN` for the one that is in force."""


class ImageURL(TypedDict):
    """The image of a part of type `image_url`, in the shape of Chat Completions."""

    url: str
    detail: NotRequired[str]


class WrittenToolCall(TypedDict, total=False):
    """A tool call as people write it, in the shape of Chat Completions. Any key may be missing."""

    id: str
    type: Literal["function", "custom"]
    function: CalledFunction
    custom: CalledCustomTool
    extra_content: object


class AssistantMessage(TypedDict, total=False):
    """An assistant's message, with the fields that either API, or a server like it, has for one."""

    content: str | Sequence[str | Part] | None
    name: str
    # Chat Completions
    reasoning: str
    reasoning_content: str
    reasoning_details: Sequence[Mapping[str, object]]
    audio: Mapping[str, object] | None
    refusal: str | None
    tool_calls: Sequence[WrittenToolCall] | None
    # Responses
    id: str
    status: Status
    phase: Phase


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one call adds to a conversation.

    Attributes:
        items: the new items.
        instructions: the call's system message.
        is_history: the items hold an assistant's turn, so they are a whole conversation.
    """

    items: tuple[Item, ...]
    instructions: SystemMessage = NOT_GIVEN
    is_history: bool = False


def build_prompt(
    texts: Sequence[str],
    *,
    system_message: SystemMessage = NOT_GIVEN,
    user_message: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    images: Sequence[Image] = (),
    tool_outputs: ToolOutputs | None = None,
    may_be_empty: bool = False,
) -> Prompt:
    """Build one prompt from the ways a call can be written.

    Args:
        texts: the positional strings: one is the user's message, two are (system, user).
        system_message: the system message; None takes away the one that is in force.
        user_message: the user's message.
        messages: messages of Chat Completions, items of the Responses API, or both mixed.
        images: bytes, paths or URLs, added to the user's message.
        tool_outputs: `{call_id: output}`, or a list of `{"call_id": ..., "output": ...}`.
        may_be_empty: whether the server has a prompt of its own, which needs nothing added.

    Raises:
        RequestError: the ways contradict each other, or there is nothing to say.
    """
    system, user = _read_texts(texts, system_message, user_message)

    _check_image_list(images)
    if messages is not None and user is not None:
        raise RequestError("Give the conversation as messages= or as prompt strings, not both.")

    items: list[Item] = []
    if messages is not None:
        items, leading_system = read_messages(messages)
        if leading_system is not None and isinstance(system, str):
            raise RequestError(
                "There are two system messages: one in messages=, one beside it. Give one of them."
            )
        if leading_system is not None:
            system = leading_system
    elif user is not None:
        items.append(user_item(user))

    is_history = any(is_model_item(item) for item in items)
    if tool_outputs:
        outputs = read_tool_outputs(tool_outputs)
        # They answer the calls of the turn before, or those in the history.
        items = [*items, *outputs] if is_history else [*outputs, *items]

    if images:
        _add_images(items, images)

    if not items and may_be_empty:
        return Prompt((), system)
    if not items and isinstance(system, str):
        raise RequestError("A system message alone is not a prompt: give the user's message too.")
    if not items:
        raise RequestError(
            "There is nothing to send: give a prompt string, messages= or tool_outputs=."
        )

    return Prompt(tuple(items), system, is_history)


async def load_images(images: Sequence[Image] | None) -> Sequence[Image]:
    """Read the files among images, and encode those that are bytes, on a thread.

    A disk may be slow, and a network drive may never answer: the event loop goes on meanwhile, and
    a caller that gives up does not wait for it.

    Raises:
        RequestError: an image cannot be read, or this is not a list of images.
    """
    if images is None:
        return ()
    _check_image_list(images)

    given = list(images)
    if all(isinstance(image, str) and image.startswith("http") for image in given):
        return given
    parts = await run_on_thread(_make_image_parts, given)
    # What is a part already stays one.
    return cast("list[Image]", parts)


def _make_image_parts(images: Sequence[Image]) -> list[InputImage]:
    return [image_part(image) for image in images]


def _check_image_list(images: object) -> None:
    is_single = isinstance(images, (str, bytes, os.PathLike, Mapping))
    if is_single or not isinstance(images, Iterable):
        raise RequestError("images= must be a list of images; put a single one into a list.")


# --- prompt strings and images ----------------------------------------------------------------


def _read_texts(
    texts: Sequence[str], system: SystemMessage, user: str | None
) -> tuple[SystemMessage, str | None]:
    """Tell which string is the system message, and which the user's."""
    for text in (*texts, user):
        _check_text(text)
    if system is not NOT_GIVEN:
        _check_text(system)

    if len(texts) > 2:
        raise RequestError(
            f"{len(texts)} prompt strings were given; "
            "one is the user's message, two are (system, user)."
        )
    if texts and user is not None:
        raise RequestError(
            "Give the user's message as a positional string or as user_message=, not both."
        )
    if len(texts) == 2 and isinstance(system, str):
        raise RequestError(
            "Two prompt strings are (system, user), so system_message= is one too many."
        )

    if len(texts) == 2:
        system, user = texts
    elif len(texts) == 1:
        user = texts[0]

    if user is not None and not user.strip():
        raise RequestError("The prompt is empty.")

    return system, user


def _check_text(text: object) -> None:
    if text is None or isinstance(text, str):
        return

    hint = ""
    if isinstance(text, (list, tuple, dict)):
        hint = " For a list of messages, use messages=."
    raise RequestError(f"A prompt must be a string, not {type(text).__name__}.{hint}")


def _add_images(items: list[Item], images: Sequence[Image]) -> None:
    """Add images to the last message of the user, or as a message if there is none."""
    for index in reversed(range(len(items))):
        item = items[index]
        if is_message(item) and item["role"] == "user":
            items[index] = _with_images(item, images)
            return

    items.append(_with_images(user_item([]), images))


def _with_images(message: Message, images: Sequence[Image]) -> Message:
    content = message["content"]
    parts: list[Part] = [_input_text(content)] if isinstance(content, str) else list(content)
    parts += [image_part(image) for image in images]

    return {**message, "content": parts}


# --- messages ---------------------------------------------------------------------------------


def read_messages(messages: Sequence[Mapping[str, object]]) -> tuple[list[Item], str | None]:
    """Read a list of messages into items, and its leading system messages into instructions.

    Raises:
        RequestError: a message has no role that is known, or no content.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise RequestError(f"messages= must be a list of messages, not {type(messages).__name__}.")

    try:
        return _read_messages(messages)
    except RequestError:
        raise
    except (RecursionError, ValueError) as error:
        # Values that cannot even be shown in an error: too deep, or of too many digits.
        raise RequestError(
            f"messages= has a value that cannot be written: {type(error).__name__}."
        ) from error


def _read_messages(messages: Iterable[object]) -> tuple[list[Item], str | None]:
    items: list[Item] = []
    instructions: list[str] = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise RequestError(
                f"A message must be a dict with a role and content, not {message!r}."
            )

        # A system message between others stays where it is.
        is_first = not items and not isinstance(message, PlacedMessage)
        if is_first and _is_system_message(message):
            instructions.append(_read_system(message))
            continue

        read = _read_message(message)
        for item in read:
            _check_item(item)
        items += read

    if not instructions:
        return items, None
    return items, "\n\n".join(instructions)


def _is_system_message(message: Mapping[str, object]) -> bool:
    if message.get("type", "message") != "message":
        return False
    role = message.get("role")
    return isinstance(role, str) and role in _SYSTEM_ROLES


def _read_system(message: Mapping[str, object]) -> str:
    role = cast("Role", message["role"])
    item: Message = {
        "type": "message",
        "role": role,
        "content": _read_content(message.get("content", "")),
    }
    _check_item(item)
    return text_of(item)


def _check_item(item: Item) -> None:
    """Check what the readers of an item rely on; what else is in it is for the server to judge.

    Raises:
        RequestError: the item is malformed.
    """
    mistake = find_item_mistake(item)
    if mistake is not None:
        raise RequestError(f"messages= has an item that is malformed: {mistake}.")
    if not is_shallow(item):
        raise RequestError("messages= has an item that is nested too deeply, or contains itself.")


def _read_message(message: Mapping[str, object]) -> list[Item]:
    """Read one message; of Chat Completions, one may hold what are several items here."""
    if message.get("type", "message") != "message":
        return [cast("Item", dict(message))]  # an item of the Responses API already

    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise RequestError(
            f"The role of a message must be one of {', '.join(ROLES)}, not {role!r}."
            f"{did_you_mean(str(role), ROLES)}"
        )

    if role == "tool":
        return [_read_tool_output(message.get("tool_call_id"), message.get("content"))]
    if role == "assistant":
        return _read_assistant(cast("AssistantMessage", message))

    if "content" not in message:
        raise RequestError(f"A {role} message must have content.")
    item: Message = {
        "type": "message",
        "role": cast("Role", role),
        "content": _read_content(message["content"]),
    }
    return [_with_name(item, message)]


def _with_name(item: Message, message: Mapping[str, object]) -> Message:
    """Add the name of who said it."""
    name = message.get("name")
    if name:
        return {**item, "name": cast("str", name)}  # checked with the item
    return item


def _read_assistant(message: AssistantMessage) -> list[Item]:
    """Read an assistant's message: reasoning, text, refusal and tool calls, in that order."""
    items: list[Item] = []

    reasoning = _read_reasoning(message)
    if reasoning is not None:
        items.append(reasoning)

    answer = _read_answer(message)
    if answer is not None:
        items.append(_with_name(answer, message))

    refusal = message.get("refusal")
    if refusal:
        items.append(_with_name(refusal_message(refusal), message))

    items += _read_tool_calls(message.get("tool_calls"))

    if items:
        return items
    if message.get("content") is None:
        raise RequestError(
            "An assistant message must have content or tool calls; this one has neither."
        )
    return [_with_name(assistant_message(""), message)]  # servers answer so, too


def _read_reasoning(message: AssistantMessage) -> Reasoning | None:
    """Read the reasoning of an assistant's message; it goes back in the field in which it is."""
    field = "reasoning" if message.get("reasoning") else "reasoning_content"
    text = message.get("reasoning") or message.get("reasoning_content")
    if not isinstance(text, str):
        text = ""

    details = message.get("reasoning_details") or ()
    if not isinstance(details, (list, tuple)):
        details = ()
    if not text and not details:
        return None

    item = reasoning_item(text)
    if text:
        item["chat_field"] = field
    if details:
        item["reasoning_details"] = list(details)
    return item


def _read_tool_calls(calls: object) -> list[Item]:
    if not calls:
        return []
    if isinstance(calls, (str, bytes, Mapping)) or not isinstance(calls, Iterable):
        raise RequestError(
            f"The tool_calls of a message must be a list, not {type(calls).__name__}."
        )
    return [_read_tool_call(call) for call in calls]


def _read_answer(message: AssistantMessage) -> Message | None:
    """Read what an assistant's message says, in writing or aloud."""
    audio = message.get("audio")
    if audio is not None and not isinstance(audio, Mapping):
        raise RequestError(
            f"The audio of an assistant message must be {{'id': ...}}, not {audio!r:.100}."
        )
    spoken = spoken_message(audio) if audio else None

    content = message.get("content")
    if not content:
        return spoken

    text_or_parts = _read_content(content)
    if isinstance(text_or_parts, str):
        item = assistant_message(text_or_parts, phase=message.get("phase"))
    else:
        item = _message_of_parts(text_or_parts, message)

    # What was both spoken and written goes on as written, and keeps the sound's id.
    if spoken is not None and "audio" in spoken:
        item["audio"] = spoken["audio"]
    return item


def _message_of_parts(parts: Iterable[Part], message: AssistantMessage) -> Message:
    item: Message = {
        "type": "message",
        "role": "assistant",
        "content": [_as_output_part(part) for part in parts],
    }
    if message.get("id") is not None:
        item["id"] = message["id"]
    if message.get("status") is not None:
        item["status"] = message["status"]
    if message.get("phase") is not None:
        item["phase"] = message["phase"]
    return item


def _read_tool_call(call: WrittenToolCall) -> Item:
    """Read a tool call of Chat Completions.

    ::

        {"id": "call_1", "function": {"name": "add", "arguments": "{}"}}
        ->  {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}", ...}

        {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select"}}
        ->  {"type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": "select", ...}
    """
    try:
        if call.get("type") == "custom":
            return custom_tool_call(call["id"], call["custom"]["name"], call["custom"]["input"])

        item = function_call(call["id"], call["function"]["name"], call["function"]["arguments"])
        return with_extra(item, call)
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(
            "A tool call of an assistant message must be "
            "{'id': ..., 'function': {'name': ..., 'arguments': ...}}, "
            f"not {call!r}."
        ) from error


# --- content ----------------------------------------------------------------------------------


def _read_content(content: object) -> str | list[Part]:
    if isinstance(content, str):
        return content

    if isinstance(content, bytes) or not isinstance(content, Sequence):
        raise RequestError(
            f"The content of a message must be a string or a list of parts, not {content!r}."
        )
    return [_read_part(part) for part in content]


def _read_part(part: Any) -> Part:
    """Read a content part of either API, in the shape of the Responses API.

    ::

        "see"                           ->  {"type": "input_text", "text": "see"}
        {"type": "text", "text": "see"} ->  {"type": "input_text", "text": "see"}

        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        ->  {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}

        {"type": "file", "file": {"file_id": "file_1"}}
        ->  {"type": "input_file", "file_id": "file_1"}

    Other parts are of the Responses API already.
    """
    if isinstance(part, str):
        return _input_text(part)

    try:
        part_type = part.get("type")
        if part_type == "text":
            return _input_text(part["text"])
        if part_type == "image_url":
            return _read_image(part["image_url"])
        if part_type == "file":
            return cast("Part", {"type": "input_file", **part["file"]})
        return cast("Part", dict(part))
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(
            "A part of a message must be a dict with a type and the fields of that type, "
            f"not {part!r:.200}."
        ) from error


def _read_image(image: ImageURL | str) -> InputImage:
    if isinstance(image, str):
        image = {"url": image}

    url = image["url"]
    detail = image.get("detail", "auto")
    return {"type": "input_image", "image_url": url, "detail": detail}


def _input_text(text: str) -> InputText:
    return {"type": "input_text", "text": text}


def _as_output_part(part: Part) -> Part:
    """Text that an assistant said is output text, whatever its part was called."""
    if part.get("type") == "input_text":
        return output_text(cast("InputText", part).get("text", ""))
    return part


# --- tool outputs -----------------------------------------------------------------------------


def read_tool_outputs(outputs: ToolOutputs) -> list[Item]:
    """Read `tool_outputs=` into items.

    Raises:
        RequestError: an entry has no call id, or no output, or one that JSON cannot hold.
    """
    if not isinstance(outputs, Iterable):
        raise RequestError(
            "tool_outputs= must be {call_id: output}, or a list of entries, "
            f"not {type(outputs).__name__}."
        )
    if isinstance(outputs, Mapping):
        return [_read_tool_output(call_id, output) for call_id, output in outputs.items()]

    items: list[Item] = []
    for entry in outputs:
        if not isinstance(entry, Mapping) or "call_id" not in entry or "output" not in entry:
            raise RequestError(
                "An entry of tool_outputs= must be {'call_id': ..., 'output': ...}, "
                f"not {entry!r}."
            )

        item = _read_tool_output(entry["call_id"], entry["output"])
        if entry.get("type") == "custom_tool_call_output":
            items.append({**item, "type": "custom_tool_call_output"})
        else:
            items.append(item)

    return items


def _read_tool_output(call_id: object, output: object) -> FunctionCallOutput:
    if not isinstance(call_id, str) or not call_id:
        raise RequestError(
            f"A tool output must name the call it answers by its id, not by {call_id!r}."
        )
    try:
        return function_call_output(call_id, read_output(output))
    except UnwritableResultError as error:
        raise RequestError(f"The output of the tool call {call_id!r:.100}: {error}.") from error
