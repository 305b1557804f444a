"""Calls that share an id, or have an odd one: each runs once, and each has its own answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM

Hosted = Callable[..., LM]

ANN, BOB = '{"to": "Ann"}', '{"to": "Bob"}'


def asking(api: str, *calls: tuple[Any, Any]) -> Raw:
    """An answer with calls of `pay`, each an id and its arguments."""
    if api == "chat":
        message = {
            "role": "assistant",
            "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "pay", "arguments": text}}
                for id, text in calls
            ],
        }
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        return Raw({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]})

    output = [
        {"type": "function_call", "id": f"fc_{number}", "call_id": id, "name": "pay"}
        | {"arguments": text, "status": "completed"}
        for number, (id, text) in enumerate(calls)
    ]
    return Raw({"id": "resp_1", "object": "response", "status": "completed", "output": output})


def sent_back(api: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """The outputs that went back, with the arguments of the call that each names."""
    if api == "chat":
        calls = {
            call["id"]: call["function"]["arguments"]
            for message in body["messages"]
            for call in message.get("tool_calls", ())
        }
        outputs = [each for each in body["messages"] if each["role"] == "tool"]
        return [(calls[each["tool_call_id"]], each["content"]) for each in outputs]

    items = body["input"]
    calls = {each["call_id"]: each.get("arguments") for each in items if "arguments" in each}
    return [(calls[each["call_id"]], each["output"]) for each in items if "output" in each]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    "calls",
    [
        [("call_0", ANN), ("call_0", BOB)],
        [("call_0", ANN), ("call_0", BOB), ("call_0_2", ANN)],
        [(5, ANN), (5, BOB)],
        [(None, ANN), ("", BOB), (" ", ANN)],
        [("call_0", {"to": "Ann"}), ("call_1", {"to": "Bob"})],
    ],
)
async def test_each_call_runs_once_and_has_its_own_output(
    openai_server: OpenAIServer, hosted: Hosted, api: str, calls: list[tuple[Any, Any]]
) -> None:
    """Ids that are missing, numbers or repeated are replaced; objects are written as JSON."""
    paid = []

    def pay(to: str) -> str:
        """Pay somebody."""
        paid.append(to)
        return f"paid {to}"

    openai_server.enqueue(asking(api, *calls))
    lm = hosted(api, retry=False)
    await lm.run_tools_async("Pay them.", tools=[pay])
    expected = ["Bob" if "Bob" in str(text) else "Ann" for _, text in calls]
    assert sorted(paid) == sorted(expected)

    back = sent_back(api, openai_server.bodies[-1])
    assert back == [(f'{{"to": "{name}"}}', f"paid {name}") for name in expected]
