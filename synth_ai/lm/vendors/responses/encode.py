"""Encode a request as the body of a call of the Responses API. Pure.

Items have this API's shape already, so most of the work is what to leave out; `history` does that
for the turns before.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from synth_ai.content import (
    Item,
    Message,
    Part,
    is_call,
    is_message,
    is_reasoning,
    output_text,
)
from synth_ai.errors import OptionError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.custom_tools import find_tool_type, flatten_tool
from synth_ai.lm.vendors.families import reasons
from synth_ai.lm.vendors.wire import require_str


def encode_request(request: LMRequest, *, stream: bool = False) -> dict[str, object]:
    """Encode a request as the JSON body of a create call.

    Args:
        request: the request.
        stream: whether the answer is to come as a stream.

    Raises:
        OptionError: `response_model` and `text=` both shape the answer.
    """
    body: dict[str, object] = {"model": request.model, "input": encode_items(request.items())}
    if not request.items():
        # A prompt that the server keeps needs none.
        del body["input"]
    if request.previous_response_id is not None:
        body["previous_response_id"] = request.previous_response_id
    if request.instructions is not None:
        body["instructions"] = request.instructions
    if request.tools:
        body["tools"] = [_encode_tool(tool) for tool in request.tools]

    body |= _encode_options(request)

    if stream:
        body["stream"] = True
    else:
        # An LM may have some for its streams; servers refuse them in other calls.
        body.pop("stream_options", None)

    return body


# --- items ------------------------------------------------------------------------------------


def encode_items(items: Iterable[Item]) -> str | list[Mapping[str, object]]:
    """Encode a conversation as the API takes it.

    A lone message of the user goes as a string, which is what people expect to see on the wire.
    """
    encoded = []
    for item in items:
        # Reasoning that no server made has no id, and the API takes none without.
        if not is_reasoning(item) or "id" in item:
            encoded.append(_encode_item(item))

    if len(encoded) != 1:
        return encoded

    content = encoded[0].get("content")
    if encoded[0].get("role") == "user" and isinstance(content, str):
        return content
    return encoded


def _encode_item(item: Item) -> Mapping[str, object]:
    """Encode an item; one that the server made goes back as it is."""
    if is_message(item):
        return _encode_message(item)

    if is_reasoning(item) and item.get("summary") is None:
        return {**item, "summary": []}

    # A status is the server's to give, and `extra_content` is known to chat servers alone.
    if is_call(item) and "id" not in item:
        call = item.copy()
        call.pop("status", None)
        call.pop("extra_content", None)
        return call

    return item


def _encode_message(item: Message) -> Mapping[str, object]:
    """Encode a message. The API has no field for the name of who said it."""
    if item.get("role") != "assistant":
        return {"role": item["role"], "content": item["content"]}

    # One that the server made keeps its id, by which its reasoning belongs to it.
    if "id" in item:
        message = item.copy()
        message.pop("name", None)
        message["status"] = item.get("status") or "completed"
        message["content"] = _complete_parts(item["content"])
        return message

    # The API demands an id of the long form of an assistant's message, and none of the short one.
    short: dict[str, object] = {"role": "assistant", "content": _plain_text(item["content"])}
    if "phase" in item:
        short["phase"] = item["phase"]
    return short


def _complete_parts(content: str | Iterable[Part]) -> list[Part]:
    """Add what the API demands of an assistant's text, and some servers leave out.

    ::

        {"type": "output_text", "text": "Hi"}
        ->  {"type": "output_text", "text": "Hi", "annotations": []}
    """
    if isinstance(content, str):
        return [output_text(content)]

    parts: list[Part] = []
    for part in content:
        if part.get("type") == "output_text" and part.get("annotations") is None:
            part = cast("Part", {**part, "annotations": []})
        parts.append(part)
    return parts


def _plain_text(content: str | Iterable[Part]) -> str:
    """Join the texts and refusals of a message."""
    if isinstance(content, str):
        return content

    texts = []
    for part in content:
        text = part.get("text", part.get("refusal", ""))
        texts.append(require_str(text))
    return "".join(texts)


# --- options and tools ------------------------------------------------------------------------

#: Options that this API has under other names, or that are put together from several.
_COMPOSED = frozenset(
    {
        "max_tokens",
        "tool_choice",
        "reasoning_effort",
        "reasoning",
        "text",
        "verbosity",
        "include",
        "logprobs",
    }
)


def _encode_options(request: LMRequest) -> Mapping[str, object]:
    """Encode what shapes the answer, under the names that the API has for it."""
    given = request.options

    options: dict[str, object] = {}
    for name, value in given.items():
        if name not in _COMPOSED:
            options[name] = value
    if "max_tokens" in given:
        options["max_output_tokens"] = given["max_tokens"]
    choice = given.get("tool_choice")
    if choice is not None:
        options["tool_choice"] = _encode_tool_choice(choice, request.tools)

    reasoning = _compose_reasoning(given.get("reasoning_effort"), given.get("reasoning"))
    if reasoning:
        options["reasoning"] = reasoning

    text = _compose_text(given.get("text"), given.get("verbosity"), request.response_format)
    if text:
        options["text"] = text

    include = _compose_include(
        given.get("include"),
        needs_reasoning=given.get("store") is False and reasons(request.model),
        has_logprobs=bool(given.get("logprobs") or given.get("top_logprobs")),
    )
    if include:
        options["include"] = include

    return options


def _compose_reasoning(
    effort: str | None, reasoning: Mapping[str, object] | None
) -> Mapping[str, object]:
    """Compose `reasoning`, which has the effort here beside what the caller gives."""
    composed: dict[str, object] = {}
    if effort is not None:
        composed["effort"] = effort

    composed |= reasoning or {}
    return composed


def _compose_text(
    text: Mapping[str, object] | None,
    verbosity: object,
    response_format: ResponseFormat | None,
) -> Mapping[str, object]:
    """Compose `text`, which has the verbosity and the format here."""
    composed = dict(text or {})
    if verbosity is not None:
        composed["verbosity"] = verbosity
    if response_format is None:
        return composed

    if composed.get("format"):
        raise OptionError(
            "response_model= and text={'format': ...} both shape the answer; give one of them."
        )
    composed["format"] = {
        "type": "json_schema",
        "name": response_format.name,
        "schema": dict(response_format.schema),
        "strict": response_format.strict,
    }
    return composed


def _compose_include(
    given: Sequence[str] | None, *, needs_reasoning: bool, has_logprobs: bool
) -> list[str]:
    """List what the answer is to bring along.

    Args:
        given: what the caller wants. An empty list also says no to the reasoning.
        needs_reasoning: whether the next turn has to bring the reasoning back, as the server does
            not keep the response. A model that does not reason refuses to be asked for it.
        has_logprobs: whether another option asks for log probabilities.
    """
    include = list(given or ())
    if needs_reasoning and given != []:
        include.append("reasoning.encrypted_content")
    if has_logprobs:
        include.append("message.output_text.logprobs")

    return list(dict.fromkeys(include))


def _encode_tool(tool: Mapping[str, object]) -> Mapping[str, object]:
    # The API demands `strict` of a function, and people leave it out.
    if tool.get("type") == "function":
        return {"strict": False, **tool}
    return flatten_tool(tool)


def _encode_tool_choice(
    choice: str | Mapping[str, object], tools: Iterable[Mapping[str, object]]
) -> object:
    """Encode which tool to call.

    ::

        "auto"                                            ->  "auto"
        "add"                                             ->  {"type": "function", "name": "add"}
        {"type": "function", "function": {"name": "add"}} ->  {"type": "function", "name": "add"}
        {"type": "custom", "custom": {"name": "sql"}}     ->  {"type": "custom", "name": "sql"}

    Other choices have the API's own shape already.
    """
    if isinstance(choice, str):
        if choice in ("none", "auto", "required"):
            return choice
        return {"type": find_tool_type(choice, tools), "name": choice}

    function = choice.get("function")
    if isinstance(function, Mapping):
        return {"type": "function", "name": function["name"]}
    if "custom" in choice:
        return flatten_tool(choice)
    return choice
