"""What OpenAI's Responses service remembers between calls, and what it refuses because of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest

from servers import errors
from servers.answers import Raw
from servers.bodies import Body, as_items


@dataclass(frozen=True)
class Turn:
    """A stored response.

    Attributes:
        response: its body.
        inputs: the items that its own request brought.
        context: all the items that the model saw, the inputs included.
    """

    response: Body
    inputs: list[Body]
    context: list[Body]

    @property
    def history(self) -> list[Body]:
        """What a turn that continues from this one starts with. Instructions are not part of it."""
        return self.context + self.response["output"]


class Refused(Exception):
    """The service does not take a request; `answer` is what it says instead."""

    def __init__(self, answer: Raw) -> None:
        super().__init__(answer.body["error"]["message"])
        self.answer = answer


@dataclass
class Memory:
    """Stored responses, and what is known of items by their ids.

    Attributes:
        turns: stored responses by id.
        reasoning_before: stored items, and the id of the reasoning item right before each (None
            without one).
        ciphertexts: every encrypted reasoning that was handed out whole.
    """

    turns: dict[str, Turn] = field(default_factory=dict)
    reasoning_before: dict[str, str | None] = field(default_factory=dict)
    ciphertexts: set[str] = field(default_factory=set)

    def admit(self, request: Body) -> tuple[list[Body], list[Body]]:
        """The items that a create call brings, and all that the model is to see.

        Raises:
            Refused: the service would answer with an error.
        """
        inputs = as_items(request.get("input", []))
        history: list[Body] = []
        if previous := request.get("previous_response_id"):
            if previous not in self.turns:
                raise Refused(errors.previous_response_not_found(previous))
            history = self.turns[previous].history
        self._check_items(inputs)
        _check_tool_outputs(history + inputs)
        return inputs, history + inputs

    def keep(self, request: Body, response: Body, inputs: list[Body], context: list[Body]) -> None:
        """Remember a response as its request's `store` says."""
        output = response["output"]
        self.ciphertexts |= {
            item["encrypted_content"] for item in output if item.get("encrypted_content")
        }
        if request.get("store") is False:
            return
        self.turns[response["id"]] = Turn(response, inputs, context)
        for before, item in zip([None, *output], output, strict=False):
            reasoning = before["id"] if before and before["type"] == "reasoning" else None
            self.reasoning_before[item["id"]] = reasoning

    def forget(self, response_id: str) -> None:
        """Lose a response and its items, as after thirty days.

        Raises:
            Refused: there is no such response.
        """
        turn = self.turns.pop(response_id, None)
        if turn is None:
            raise Refused(errors.response_not_found(response_id))
        for item in turn.response["output"]:
            self.reasoning_before.pop(item["id"], None)

    def turn(self, response_id: str) -> Turn:
        """A stored response.

        Raises:
            Refused: there is no such response.
        """
        if response_id not in self.turns:
            raise Refused(errors.response_not_found(response_id))
        return self.turns[response_id]

    def _check_items(self, inputs: list[Body]) -> None:
        """Items sent back by hand must be known, whole and in the company they were made in."""
        given = {item["id"] for item in inputs if item.get("id")}
        for item, following in zip_longest(inputs, inputs[1:]):
            item_id = item.get("id")
            if item["type"] == "reasoning":
                self._check_reasoning(item, following)
            elif item["type"] == "item_reference" and item_id not in self.reasoning_before:
                raise Refused(errors.item_not_found(str(item_id)))
            elif (needed := self.reasoning_before.get(item_id or "")) and needed not in given:
                raise Refused(errors.missing_reasoning(str(item_id), item["type"], needed))

    def _check_reasoning(self, item: Body, following: Body | None) -> None:
        ciphertext = item.get("encrypted_content")
        if ciphertext and ciphertext not in self.ciphertexts:
            raise Refused(errors.invalid_encrypted_content(ciphertext))
        if not ciphertext and item.get("id") not in self.reasoning_before:
            raise Refused(errors.item_not_found(str(item.get("id"))))
        if following is None or following.get("role", "assistant") != "assistant":
            raise Refused(errors.lonely_reasoning(str(item.get("id"))))


def _check_tool_outputs(items: list[Body]) -> None:
    """Every call has an output, and every output a call before it."""
    called: list[str] = []
    answered: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            called.append(item["call_id"])
        elif item["type"] == "function_call_output":
            if item["call_id"] not in called:
                raise Refused(errors.no_tool_call(item["call_id"]))
            answered.add(item["call_id"])
    for call_id in called:
        if call_id not in answered:
            raise Refused(errors.no_tool_output(call_id))


def check_chat_messages(messages: list[Body]) -> None:
    """On Chat, the tool messages come right after the assistant message that asked for them.

    Raises:
        Refused: a call has no tool message.
    """
    for position, message in enumerate(messages):
        wanted = [tool_call["id"] for tool_call in message.get("tool_calls") or []]
        for following in messages[position + 1 :]:
            if following["role"] != "tool":
                break
            wanted = [call_id for call_id in wanted if call_id != following["tool_call_id"]]
        if wanted:
            raise Refused(errors.unanswered_tool_calls(position + 1, wanted))
