"""Conversations of the tiny model that come back whole have the prompts of chained calls."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from synth_ai import LM, BaseLMResponse, VLLMEngine
from synth_ai import content as items

pytestmark = pytest.mark.vllm

CONVERSATIONS = 50
TURNS = 4

QUESTIONS = (
    "What is the weather in Paris?",
    "What is the capital of France?",
    "My name is Ada. Say hello.",
    "Count to 5.",
    "Add 2 and 3.",
)
CHOICES = ("auto", "get_weather", "required", "none")


def get_weather(city: str) -> str:
    """Gets the current weather in the provided location."""
    return f"sunny in {city}"


def as_chat(history: list[Any]) -> list[dict[str, Any]]:
    """The history as messages of Chat Completions, without reasoning; runs of the model are one."""
    messages: list[dict[str, Any]] = []
    for item in history:
        if items.is_reasoning(item):
            continue
        if item.get("role") in ("user", "tool"):
            messages.append(item)
        elif items.is_call(item):
            message = {"role": "assistant", "content": None, "tool_calls": [items.chat_call(item)]}
            messages.append(message)
        else:
            messages.append({"role": item["role"], "content": items.text_of(item)})
    return messages


def next_items(response: BaseLMResponse, draw: random.Random) -> list[dict[str, Any]]:
    """The outputs of the response's calls, or another question."""
    if response.tool_calls is None:
        return [{"role": "user", "content": draw.choice(QUESTIONS)}]
    ids = [call["id"] for call in response.tool_calls]
    return [{"role": "tool", "tool_call_id": id, "content": "sunny"} for id in ids]


async def converse(lm: LM, seed: int) -> list[tuple[BaseLMResponse, list[Any]]]:
    """Hold a conversation, and compare each prompt with that of the history sent whole.

    Returns:
        The responses, each with the history that it ends.
    """
    draw = random.Random(seed)
    shape = as_chat if seed % 2 else list
    history: list[Any] = []
    turns: list[tuple[BaseLMResponse, list[Any]]] = []
    # No two conversations begin alike: each is continued from its own turns.
    first = f"{draw.choice(QUESTIONS)} (Conversation {seed}.)"
    added: list[dict[str, Any]] = [{"role": "user", "content": first}]
    for _ in range(TURNS):
        parent_id = turns[-1][0].response_id if turns else None
        options: dict[str, Any] = {
            "tool_choice": draw.choice(CHOICES),
            "temperature": draw.choice([0, 1]),
            "max_tokens": draw.choice([12, 64]),
        }
        known = await lm.respond_async(
            messages=[*shape(history), *added], continue_known=True, **{**options, "max_tokens": 1}
        )
        # It says as little as a chained turn of which all is cut off, and may not stand for one.
        await lm.responses.delete_async(known.response_id)
        chained = await lm.respond_async(messages=added, previous_response_id=parent_id, **options)
        assert known.prompt_token_ids == chained.prompt_token_ids, (seed, len(turns))
        assert known.previous_response_id == parent_id
        history = [*history, *added, *chained.output]
        turns.append((chained, history))
        added = next_items(chained, draw)

    return turns


def edit_one_character(history: list[Any], draw: random.Random) -> tuple[list[Any], int]:
    """Return the history with another character in one of its items, and the item's index."""
    texts = [at for at, item in enumerate(history) if find_text(item)]
    at = draw.choice(texts)
    path, text = find_text(history[at])
    index = draw.randrange(len(text))
    letter = "x" if text[index] != "x" else "y"
    edited = set_text(history[at], path, text[:index] + letter + text[index + 1 :])
    return [*history[:at], edited, *history[at + 1 :]], at


def find_text(item: dict[str, Any]) -> tuple[str, str]:
    """Find a text of an item, and where it is."""
    if items.is_call(item):
        return "name", item["name"]
    if "tool_call_id" in item or isinstance(item.get("content"), str):
        return "content", item["content"]
    return "parts", item["content"][0]["text"]


def set_text(item: dict[str, Any], path: str, text: str) -> dict[str, Any]:
    if path != "parts":
        return {**item, path: text}
    return {**item, "content": [{**item["content"][0], "text": text}, *item["content"][1:]]}


async def test_histories_that_come_back_whole(tiny_engine: VLLMEngine) -> None:
    """50 tool conversations: at every turn the prompt of the history is that of the chained call.

    One edited character, and the history is rendered from there on: with nothing before it that is
    known, as a whole.
    """
    lm = LM("gpt-oss-20b", engine=tiny_engine, tools=[get_weather]).detached()
    conversations = await asyncio.gather(*(converse(lm, seed) for seed in range(CONVERSATIONS)))
    calls = [turn for turns in conversations for turn, _ in turns if turn.tool_calls]
    assert len(calls) > CONVERSATIONS

    async def check_edit(seed: int, turns: list[tuple[BaseLMResponse, list[Any]]]) -> bool:
        draw = random.Random(seed)
        last, history = turns[-1]
        edited, at = edit_one_character(history, draw)
        edited += next_items(last, draw)

        parent_id, kept = None, 0
        for response, known in turns:
            if len(known) <= at:
                parent_id, kept = response.response_id, len(known)

        options: dict[str, Any] = {"max_tokens": 1, "tool_choice": "auto"}
        found, by_hand = await asyncio.gather(
            lm.respond_async(messages=edited, continue_known=True, **options),
            lm.respond_async(messages=edited[kept:], previous_response_id=parent_id, **options),
        )
        assert found.prompt_token_ids == by_hand.prompt_token_ids, seed
        assert found.previous_response_id == parent_id
        return parent_id is None

    checks = (check_edit(seed, turns) for seed, turns in enumerate(conversations))
    rendered_whole = await asyncio.gather(*checks)
    assert 0 < sum(rendered_whole) < CONVERSATIONS
