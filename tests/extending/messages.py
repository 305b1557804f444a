"""A vendor from outside the package: its API is called `messages`, and its server keeps responses.

Nothing here is private to synth_ai. The server runs in this process: it keeps what it answered by
id, goes on from there, streams, and can forget.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from synth_ai import (
    API,
    BaseLMResponse,
    Completed,
    LMRequest,
    Option,
    Usage,
    VendorBase,
    options_named,
)
from synth_ai.content import (
    Item,
    assistant_message,
    function_call,
    is_call,
    is_call_output,
    is_message,
    reasoning_item,
    text_of,
)
from synth_ai.errors import ForgottenResponseError, NotFoundError, OptionError
from synth_ai.events import ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta

Block = dict[str, Any]


# --- the server -------------------------------------------------------------------------------


class MessagesServer:
    """Answers what it was told to, and keeps each answer with what came before.

    Attributes:
        requests: the bodies so far.
        url: its address.
    """

    url = "https://messages.test/v1"

    def __init__(self) -> None:
        self.requests: list[Block] = []
        self.answers: deque[list[Block]] = deque()
        self.kept: dict[str, list[Block]] = {}

    def create(self, body: Block) -> Block:
        """Answer a request; a `KeyError` is its 404."""
        self.requests.append(body)
        before = self.kept[body["parent"]] if "parent" in body else []
        messages = [*before, *body["messages"]]

        content = self.answers.popleft()
        id = f"msg_{secrets.token_hex(8)}"
        self.kept[id] = [*messages, {"role": "assistant", "content": content}]
        return {
            "id": id,
            "model": body["model"],
            "content": content,
            "stop_reason": "end",
            "usage": {"input": len(messages), "output": len(content)},
        }

    def seen(self) -> list[Block]:
        """The whole conversation of the last request, as the model saw it."""
        last = self.requests[-1]
        before = self.kept.get(last.get("parent", ""), [])
        return [*before, *last["messages"]]


# --- the vendor -------------------------------------------------------------------------------


class Thinking:
    """Takes `{"budget": N}`, as this API writes it."""

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, dict) or not isinstance(value.get("budget"), int):
            raise OptionError(
                f"{name} must be a dictionary such as {{'budget': 1024}}, not {value!r}."
            )


MESSAGES = API(
    name="messages",
    options=options_named(
        "temperature", "max_tokens", "stop", "top_k", Option("thinking", Thinking())
    ),
    keeps_responses=True,
    chains=True,
)


class MessagesVendor(VendorBase):
    """Speaks the messages API."""

    api = MESSAGES

    def __init__(self, service: MessagesServer) -> None:
        self.service = service
        self.server = service.url
        self.closed = False

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        return decode(self._create(request))

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        answer = self._create(request)
        calls = 0
        for block in answer["content"]:
            if block["type"] == "thinking":
                yield ReasoningDelta(block["text"])
            elif block["type"] == "tool_use":
                arguments = json.dumps(block["input"])
                yield ToolCallDelta(calls, block["name"], arguments, block["id"])
                calls += 1
            else:
                for letter in block["text"]:
                    yield TextDelta(letter)
        yield Completed(decode(answer))

    async def models(self) -> list[str]:
        return ["m-1"]

    async def delete(self, response_id: str) -> None:
        if self.service.kept.pop(response_id, None) is None:
            raise NotFoundError(f"There is no {response_id!r}.", status_code=404)

    async def aclose(self) -> None:
        self.closed = True

    def _create(self, request: LMRequest) -> Block:
        try:
            return self.service.create(encode(request))
        except KeyError as error:
            raise ForgottenResponseError(
                f"The server has no {request.previous_response_id!r}.", status_code=404
            ) from error


def encode(request: LMRequest) -> Block:
    """The body of a request."""
    body: Block = {"model": request.model, "options": dict(request.options)}
    items: Iterable[Item] = request.input
    if request.previous_response_id is not None:
        body["parent"] = request.previous_response_id
    else:
        items = request.items()

    body["messages"] = [message for item in items if (message := _message(item))]
    if request.instructions is not None:
        body["system"] = request.instructions
    if request.tools:
        body["tools"] = [tool["name"] for tool in request.tools]
    if request.response_format is not None:
        body["schema"] = dict(request.response_format.schema)
    return body


def _message(item: Item) -> Block | None:
    """An item as a message of this API; None for what only other APIs have, such as reasoning."""
    if is_call(item):
        text = item["input"] if item["type"] == "custom_tool_call" else item["arguments"]
        block = {"type": "tool_use", "id": item["call_id"], "name": item["name"], "input": text}
        return {"role": "assistant", "content": [block]}
    if is_call_output(item):
        block = {"type": "tool_result", "id": item["call_id"], "text": text_of(item)}
        return {"role": "user", "content": [block]}
    if is_message(item):
        return {"role": item["role"], "content": [{"type": "text", "text": text_of(item)}]}
    return None


def decode(answer: Block) -> BaseLMResponse:
    """The response of an answer."""
    output: list[Item] = []
    for block in answer["content"]:
        if block["type"] == "thinking":
            output.append(reasoning_item(block["text"]))
        elif block["type"] == "tool_use":
            output.append(function_call(block["id"], block["name"], json.dumps(block["input"])))
        else:
            output.append(assistant_message(block["text"]))

    usage = Usage(input_tokens=answer["usage"]["input"], output_tokens=answer["usage"]["output"])
    return BaseLMResponse.of_output(
        output,
        response_id=answer["id"],
        model=answer["model"],
        usage=usage,
        stored_on_server=True,
    )
