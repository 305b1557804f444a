"""Messages and exports as hostile clients write them: the right words in the wrong places."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.errors import SynthAIError
from synth_ai.testing import ScriptedEngine, final_text

ATOMS: list[Any] = [
    *(None, 5, 0, True, -1.5, float("nan"), 10**30, "", "x", "c", "\ud800", "a\0b", [], {}, [[]]),
    *([1], [None], ["x"], {"type": "text"}, {"id": 5}, {"id": "a"}, [{"text": "x"}]),
    *([{"type": name}] for name in ("input_text", "refusal", "input_file", "x", 5, ["x"])),
    [{"type": "text", "text": "x"}],
    [{"type": "text", "text": 5}],
    [{"type": "output_text", "text": None}],
    [{"type": "refusal", "refusal": 5}],
    [{"type": "image_url", "image_url": 5}],
    [{"type": "image_url", "image_url": {"url": None}}],
    [{"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": 5}}],
    [{"type": "input_image", "image_url": ["x"]}],
    [{"type": "file", "file": {}}],
    [{"type": "file", "file": 5}],
    [{"type": "input_audio", "input_audio": 5}],
    [{"type": "summary_text", "text": 5}],
    [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
    [{"id": "c", "function": {"name": 5, "arguments": {}}}],
    [{"id": 5, "type": "custom", "custom": {"name": 5, "input": 5}}],
    [{"id": ["x"], "function": {"name": "f", "arguments": "{}"}}],
]
ROLES: list[Any] = ["user", "assistant", "system", "developer", "tool", ["user"], {"a": 1}, 5]
TYPES: list[Any] = [
    *("message", "function_call", "function_call_output", "custom_tool_call", "reasoning"),
    *("custom_tool_call_output", "item_reference", "computer_call", ["message"], {"a": 1}, 5, None),
]
KEYS = (
    *("role", "type", "content", "tool_calls", "tool_call_id", "call_id", "output", "name"),
    *("arguments", "audio", "refusal", "reasoning", "reasoning_content", "phase", "id", "summary"),
    *("status", "encrypted_content", "input", "extra_content", "namespace", "annotations"),
)


def make_message(rng: random.Random) -> Any:
    """A message of which any field may be anything."""
    if rng.random() < 0.02:
        return rng.choice(ATOMS)
    message = {key: rng.choice(ATOMS) for key in rng.sample(KEYS, rng.randint(1, 6))}
    if rng.random() < 0.8:
        message["role"] = rng.choice(ROLES)
    if rng.random() < 0.6:
        message["type"] = rng.choice(TYPES)
    return message


def make_lm(api: str, server: OpenAIServer) -> LM:
    """An LM that answers whatever it is asked."""
    if api == "harmony":
        return LM("gpt-oss-20b", engine=ScriptedEngine([final_text("x")] * 100_000))
    return LM("gpt-5", api=api, base_url=server.base_url, api_key="sk-test", retry=False)


async def try_messages(lm: LM, server: OpenAIServer, messages: Any) -> None:
    """Send messages; only errors of this library may come."""
    server.enqueue(Answer(text="ok"))
    try:
        lm.reset()
        await lm.respond_async(messages=messages)
    except SynthAIError:
        pass
    finally:
        server.reset()


EXPORTED: list[dict[str, Any]] = [
    {
        "id": "r1",
        "parent_id": None,
        "api_type": "chat",
        "model": "m",
        "input": [
            {"type": "message", "role": "user", "content": "hi"},
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        ],
        "output": [
            {
                "type": "reasoning",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "think"}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "settings": {"tool_choice": "auto", "reasoning_effort": "low"},
        "output_token_ids": [200005, 35644],
        "instructions": "Be brief.",
        "date": "2026-01-02",
        "created_at": 1.5,
    },
    {
        "id": "r2",
        "parent_id": "r1",
        "api_type": "chat",
        "model": "m",
        "input": [{"type": "function_call_output", "call_id": "c", "output": "5"}],
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "ok", "annotations": []}],
            }
        ],
        "status": "incomplete",
        "incomplete_reason": "max_output_tokens",
        "warnings": ["w"],
    },
]


def mutate(value: Any, rng: random.Random) -> Any:
    """Put something else in one place of a copy."""
    value = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each))
        for key in keys:
            places.append((each, key))
            if isinstance(each[key], (dict, list)):
                waiting.append(each[key])

    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(places)
        if rng.random() < 0.2 and isinstance(holder, dict):
            holder.pop(key, None)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = rng.choice([*ATOMS, *ROLES, *TYPES, *KEYS])
    return value


def readers_of(lm: LM, directory: Path) -> list[Callable[[], Any]]:
    """Whatever reads turns."""
    return [
        lm.responses.list,
        lambda: [lm.responses.retrieve(id) for id in ("r1", "r2")],
        lambda: [lm.responses.input_items(id) for id in ("r1", "r2")],
        lambda: lm.responses.training_examples("r2"),
        lambda: lm.responses.export(directory / "again.jsonl"),
        lambda: str(lm.tree()),
        lambda: (lm.tree().to_html(), lm.tree().to_mermaid(), lm.tree().to_json()),
        lambda: lm.tree()._repr_mimebundle_(),
        lambda: lm.respond("go on", previous_response_id="r2"),
        lambda: lm.respond("go on", previous_response_id="r1", tool_outputs={"c": "1"}),
    ]


def try_import(api: str, server: OpenAIServer, directory: Path, rng: random.Random) -> bool:
    """Import changed turns, and read them in every way; returns whether they were imported."""
    turns = mutate([turn | {"api_type": api} for turn in EXPORTED], rng)
    header = {"format": "synth-ai turns", "version": 4, "turns": len(turns)}
    path = directory / "export.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [header, *turns]))

    lm = make_lm(api, server)
    server.enqueue(Answer(text="ok"), Answer(text="ok"))
    try:
        lm.responses.import_(path)
    except SynthAIError:
        return False
    for read in readers_of(lm, directory):
        with contextlib.suppress(SynthAIError):
            read()
    server.reset()
    lm.close()
    return True
