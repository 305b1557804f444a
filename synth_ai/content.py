"""What is said in a conversation: items and their parts, in the shape of the Responses API.

Items are plain dicts at run time. LM, the store and every backend share them; each backend
converts at its edge. They are values: nothing here changes an item it was given.

Six keys are not the Responses API's. A message has the `name` of its author if one was given,
and the `audio` by which the server that spoke it knows the sound; its text is the transcript then.
A call may have `extra_content`, which its chat server wants back with it, as Gemini does its
signature of the thoughts. Reasoning of a chat server has the `chat_field` of the message in which
it came, as it goes back there, and the `reasoning_details` that came with it, signatures included.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, TypeGuard, cast

from typing_extensions import TypeVar

AnswerT = TypeVar("AnswerT", covariant=True, default=Any)
"""The type of an answer, where `response_model=` gave it one."""

Role: TypeAlias = Literal["user", "assistant", "system", "developer"]
Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]
Phase: TypeAlias = Literal["commentary", "final_answer"]


# --- parts of a message -----------------------------------------------------------------------


class InputText(TypedDict):
    """Text of a user, a system or a developer."""

    type: Literal["input_text"]
    text: str


class InputImage(TypedDict):
    """An image: by its address, or as a data URL; `file_id` belongs to the server that has it."""

    type: Literal["input_image"]
    image_url: NotRequired[str | None]
    file_id: NotRequired[str | None]
    detail: NotRequired[str]


class InputFile(TypedDict):
    """A file: its content as a data URL, its address, or its id on the server that has it."""

    type: Literal["input_file"]
    file_data: NotRequired[str]
    file_url: NotRequired[str]
    file_id: NotRequired[str | None]
    filename: NotRequired[str]


class InputAudio(TypedDict):
    """Sound, encoded in base 64."""

    type: Literal["input_audio"]
    input_audio: Mapping[str, str]


class OutputText(TypedDict):
    """Text of the assistant. An annotation points into it, such as a citation."""

    type: Literal["output_text"]
    text: str
    annotations: NotRequired[Sequence[Mapping[str, Any]]]
    logprobs: NotRequired[Sequence[Mapping[str, Any]]]


class Refusal(TypedDict):
    """The text in which the assistant refuses to answer."""

    type: Literal["refusal"]
    refusal: str


class ReasoningText(TypedDict):
    """Reasoning in the open, or its summary."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


Part: TypeAlias = InputText | InputImage | InputFile | InputAudio | OutputText | Refusal


class ContentPart(dict[str, Any]):
    """A part that this library made, as `image_part` does.

    It is the dict that it equals. Its class tells it from JSON that a tool has from elsewhere.
    """

    __slots__ = ()


class PlacedMessage(dict[str, Any]):
    """A message that stays where it is in the conversation.

    Without this class a system message at its beginning becomes the system message of the call,
    which another call may replace.
    """

    __slots__ = ()


# --- items ------------------------------------------------------------------------------------


class Audio(TypedDict, total=False):
    """What a server calls a sound that it has spoken, and until when it knows it (Unix time)."""

    id: str
    expires_at: float


class Message(TypedDict):
    """What somebody says: a user, an assistant, a system, a developer."""

    type: Literal["message"]
    role: Role
    content: str | Sequence[Part]
    id: NotRequired[str]
    status: NotRequired[Status]
    phase: NotRequired[Phase]
    name: NotRequired[str]
    audio: NotRequired[Audio]


class Reasoning(TypedDict):
    """How the model came to what follows: in the open, as a summary, or encrypted."""

    type: Literal["reasoning"]
    summary: Sequence[ReasoningText]
    content: NotRequired[Sequence[ReasoningText] | None]
    encrypted_content: NotRequired[str | None]
    id: NotRequired[str]
    status: NotRequired[Status]
    chat_field: NotRequired[str]
    reasoning_details: NotRequired[Sequence[Mapping[str, Any]]]


class FunctionCall(TypedDict):
    """A call of a function; `arguments` is JSON text."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: NotRequired[str]
    status: NotRequired[Status]
    namespace: NotRequired[str]
    extra_content: NotRequired[Any]


class CustomToolCall(TypedDict):
    """A call of a custom tool; `input` is plain text."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    id: NotRequired[str]
    status: NotRequired[Status]
    extra_content: NotRequired[Any]


class FunctionCallOutput(TypedDict):
    """What a function gave back: text, or parts."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | Sequence[Part]
    id: NotRequired[str]
    status: NotRequired[Status]


class CustomToolCallOutput(TypedDict):
    """What a custom tool gave back: text, or parts."""

    type: Literal["custom_tool_call_output"]
    call_id: str
    output: str | Sequence[Part]
    id: NotRequired[str]
    status: NotRequired[Status]


class HostedItem(TypedDict):
    """What a server's own tools did. At run time `type` may be one that no list here has."""

    type: Literal[
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "computer_call",
        "computer_call_output",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "local_shell_call",
        "local_shell_call_output",
        "item_reference",
        "compaction",
    ]
    id: NotRequired[str]
    status: NotRequired[str]


Call: TypeAlias = FunctionCall | CustomToolCall
CallOutput: TypeAlias = FunctionCallOutput | CustomToolCallOutput
Item: TypeAlias = Message | Reasoning | Call | CallOutput | HostedItem


# --- tools and calls, as callers see them -----------------------------------------------------


class FunctionTool(TypedDict):
    """A function that the model may call; `parameters` is a JSON schema."""

    type: Literal["function"]
    name: str
    description: NotRequired[str]
    parameters: NotRequired[Mapping[str, Any] | None]
    strict: NotRequired[bool | None]


class CalledFunction(TypedDict):
    """What a call of a function calls; `arguments` is JSON text."""

    name: str
    arguments: str


class CalledCustomTool(TypedDict):
    """What a call of a custom tool calls; `input` is plain text."""

    name: str
    input: str


class FunctionToolCall(TypedDict):
    """A call of a function in the shape of Chat Completions; `id` is the call id."""

    id: str
    type: Literal["function"]
    function: CalledFunction
    extra_content: NotRequired[Any]


class CustomToolToolCall(TypedDict):
    """A call of a custom tool in the shape of Chat Completions; `id` is the call id."""

    id: str
    type: Literal["custom"]
    custom: CalledCustomTool
    extra_content: NotRequired[Any]


ToolCall: TypeAlias = FunctionToolCall | CustomToolToolCall


# --- which item it is -------------------------------------------------------------------------


def is_message(item: Item) -> TypeGuard[Message]:
    """Whether an item is a message. People may leave out the type of one."""
    return item.get("type", "message") == "message"


def is_reasoning(item: Item) -> TypeGuard[Reasoning]:
    """Whether an item is reasoning."""
    return item.get("type") == "reasoning"


def is_call(item: Item) -> TypeGuard[Call]:
    """Whether an item is a call that the caller answers."""
    return item.get("type") in ("function_call", "custom_tool_call")


def is_call_output(item: Item) -> TypeGuard[CallOutput]:
    """Whether an item answers a call."""
    return item.get("type") in ("function_call_output", "custom_tool_call_output")


def is_model_item(item: Item) -> bool:
    """Whether a model wrote this item, as opposed to a user, a developer or a tool."""
    if is_message(item):
        return item.get("role") == "assistant"
    return not str(item["type"]).endswith(("_output", "_response"))


#: The types of calls that the caller answers, and of the answers.
CALLS = frozenset({"function_call", "custom_tool_call"})
CALL_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


# --- making items -----------------------------------------------------------------------------


def new_response_id() -> str:
    """Make an id for a response that no server gave one."""
    return f"resp_{secrets.token_hex(16)}"


def new_call_id() -> str:
    """Make an id for a tool call that no server gave one."""
    return f"call_{secrets.token_hex(12)}"


#: What the ids of items begin with on the Responses API, by type; `item` for any other type.
_ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
}

# msg_local_0d3c..., which no server gives.
_LOCAL_ID = re.compile(r"[a-z]+_local_[0-9a-f]{32}")


def local_item_id(item_type: str, response_id: str, index: int) -> str:
    """Return the id of an output item to which no server gave one.

    It follows from its place, so that it is known while the item is still being streamed. No server
    knows it, so it is never sent to one.

    Args:
        item_type: the type of the item, such as `message`.
        response_id: the response that the item is part of.
        index: its index in the output.
    """
    prefix = _ID_PREFIXES.get(item_type, "item")
    place = f"{response_id} {index}".encode(errors="surrogatepass")
    return f"{prefix}_local_{hashlib.sha256(place).hexdigest()[:32]}"


def is_local_id(id: object) -> bool:
    """Whether an id of an item was made here, so that no server knows it."""
    return isinstance(id, str) and _LOCAL_ID.fullmatch(id) is not None


def complete_items(output: Iterable[Item], response_id: str) -> list[Item]:
    """Give every output item of a response an id and a status, if its backend gave it none."""
    items: list[Item] = []
    for index, item in enumerate(output):
        missing: dict[str, str] = {}
        if not item.get("id"):
            missing["id"] = local_item_id(item.get("type", "message"), response_id, index)
        if not item.get("status"):
            missing["status"] = "completed"
        items.append(cast("Item", {**item, **missing}) if missing else item)
    return items


def mark_cut_off(output: Iterable[Item]) -> list[Item]:
    """Say of the last item of an answer that stopped short that it is incomplete.

    A call is left as it is: those that were cut off are dropped.
    """
    items = list(output)
    if items and not is_call(items[-1]):
        items[-1] = cast("Item", {**items[-1], "status": "incomplete"})
    return items


def without_local_id(item: Item) -> Item:
    """Return an item without its id, if that was made here."""
    if not is_local_id(item.get("id")):
        return item
    bare = item.copy()
    bare.pop("id", None)
    return bare


def output_text(text: str) -> OutputText:
    """Make a text part of an assistant's message."""
    return {"type": "output_text", "text": text, "annotations": []}


def user_item(content: str | Sequence[Part]) -> Message:
    """Make a user's message."""
    return {"type": "message", "role": "user", "content": content}


def assistant_message(text: str, *, id: str | None = None, phase: Phase | None = None) -> Message:
    """Make an assistant's finished message.

    Args:
        text: what it says.
        id: the server's id of it.
        phase: `commentary` for a preamble, `final_answer` for the answer.
    """
    message: Message = {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [output_text(text)],
    }
    if id is not None:
        message["id"] = id
    if phase is not None:
        message["phase"] = phase
    return message


def spoken_message(audio: Mapping[str, Any]) -> Message:
    """Make an assistant's message that was spoken, without the sound.

    Args:
        audio: the `audio` of a message of Chat Completions.
    """
    message = assistant_message(audio.get("transcript") or "")
    audio_id = audio.get("id")
    if not audio_id or not isinstance(audio_id, str):
        return message

    message["audio"] = {"id": audio_id}
    expires_at = audio.get("expires_at")
    if expires_at and isinstance(expires_at, (int, float)):
        message["audio"]["expires_at"] = expires_at
    return message


def refusal_message(refusal: str) -> Message:
    """Make an assistant's message in which it refuses to answer."""
    part: Refusal = {"type": "refusal", "refusal": refusal}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part]}


def reasoning_item(text: str, *, id: str | None = None) -> Reasoning:
    """Make an item of reasoning that the model wrote in the open."""
    part: ReasoningText = {"type": "reasoning_text", "text": text}
    item: Reasoning = {"type": "reasoning", "summary": [], "content": [part]}
    if id is not None:
        item = {"id": id, **item}
    return item


def function_call(
    call_id: str, name: str, arguments: str, *, id: str | None = None
) -> FunctionCall:
    """Make a call of a function; `arguments` is JSON text."""
    item: FunctionCall = {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }
    if id is not None:
        item = {"id": id, **item}
    return item


def with_extra(item: FunctionCall, call: Mapping[str, Any]) -> FunctionCall:
    """Add the `extra_content` of a call in the shape of Chat Completions, if it has any."""
    if not call.get("extra_content"):
        return item
    return {**item, "extra_content": call["extra_content"]}


def custom_tool_call(call_id: str, name: str, input: str) -> CustomToolCall:
    """Make a call of a custom tool; `input` is plain text."""
    return {
        "type": "custom_tool_call",
        "call_id": call_id,
        "name": name,
        "input": input,
        "status": "completed",
    }


def function_call_output(call_id: str, output: str | Sequence[Part]) -> FunctionCallOutput:
    """Make the answer to a call of a function."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


# --- reading items ----------------------------------------------------------------------------


def text_of(item: Mapping[str, Any]) -> str:
    """Read the text of a message or of a call's output, its parts joined."""
    key = "output" if item.get("type") in CALL_OUTPUTS else "content"
    content = item.get(key)
    if isinstance(content, str):
        return content

    texts = []
    for part in content or ():
        texts.append(part if isinstance(part, str) else part.get("text") or "")
    return "".join(texts)


def reasoning_of(item: Mapping[str, Any]) -> str:
    """Read the text of a reasoning item: the reasoning itself, or else its summary."""
    parts = item.get("content") or item.get("summary") or ()
    return "\n\n".join(part["text"] for part in parts if part.get("text"))


def answer_of(output: Iterable[Mapping[str, Any]]) -> tuple[str, str | None, str | None]:
    """Read the texts of a turn's output items.

    Returns:
        The answer, the reasoning and the preamble; None for the last two if there is none.
    """
    answer: list[str] = []
    reasoning: list[str] = []
    preamble: list[str] = []
    for item in output:
        item_type = item.get("type")
        if item_type == "reasoning":
            reasoning.append(reasoning_of(item))
        elif item_type == "message" and item.get("phase") == "commentary":
            preamble.append(text_of(item))
        elif item_type == "message":
            answer.append(text_of(item))

    return "".join(answer), _join_paragraphs(reasoning), _join_paragraphs(preamble)


def _join_paragraphs(texts: Iterable[str]) -> str | None:
    return "\n\n".join(text for text in texts if text) or None


def tool_calls_of(output: Iterable[Item]) -> list[ToolCall] | None:
    """Read the calls of functions and custom tools of a turn, in the shape of Chat Completions.

    Returns:
        The calls, or None if there is none. `id` is the call id; `name_and_text` reads the rest.
    """
    return [chat_call(item) for item in output if is_call(item)] or None


def chat_call(item: Call) -> ToolCall:
    """Bring one call into the shape of Chat Completions."""
    if item["type"] == "custom_tool_call":
        custom: CalledCustomTool = {"name": item["name"], "input": item["input"]}
        return {"id": item["call_id"], "type": "custom", "custom": custom}

    function: CalledFunction = {"name": item["name"], "arguments": item["arguments"]}
    call: FunctionToolCall = {"id": item["call_id"], "type": "function", "function": function}
    if item.get("extra_content"):
        call["extra_content"] = item["extra_content"]
    return call


def name_and_text(call: ToolCall) -> tuple[str, str]:
    """Read what a call in the shape of Chat Completions calls, and with what.

    Returns:
        The name, and the JSON text of the arguments or the text of a custom tool's input.
    """
    if call["type"] == "custom":
        return call["custom"]["name"], call["custom"]["input"]
    return call["function"]["name"], call["function"]["arguments"]


def refusal_of(output: Iterable[Mapping[str, Any]]) -> str | None:
    """Read the text in which the model refused to answer; None if it did not."""
    for item in output:
        if item.get("type") != "message" or isinstance(item.get("content"), str):
            continue
        for part in item.get("content") or ():
            if isinstance(part, Mapping) and part.get("type") == "refusal":
                return str(part.get("refusal", ""))
    return None
