"""Conversations to render: a few that a person can read, and a generator of any number.

Both are plain data (`items` and the settings of `render`), so that they can be handed to another
library as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

Item = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Arguments of `render`."""

    items: list[Item]
    settings: dict[str, Any] = field(default_factory=dict)


WEATHER: Item = {
    "type": "function",
    "name": "get_current_weather",
    "description": "Gets the current weather in the provided location.",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state, e.g. San Francisco, CA",
            },
            "format": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        },
        "required": ["location"],
    },
}
LOCATION: Item = {
    "type": "function",
    "function": {
        "name": "get_location",
        "description": "Gets the location of the user.",
        "parameters": None,
    },
}
CALENDAR: Item = {
    "type": "function",
    "name": "plan",
    "description": "Plans an event.\nOne event at a time.",
    "parameters": {
        "type": "object",
        "description": "An event",
        "properties": {
            "when": {
                "description": "Start of the event",
                "oneOf": [
                    {"type": "string", "description": "A date", "default": "today"},
                    {"type": "number", "description": "Seconds from now", "nullable": True},
                ],
            },
            "guests": {
                "type": "array",
                "description": "Who comes",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            },
            "room": {
                "type": "object",
                "description": "Where it is",
                "properties": {"floor": {"type": "integer"}},
            },
            "tags": {
                "type": "array",
                "items": {"type": "string"},
                "examples": ["work", "home"],
                "title": "Labels!",
            },
            "size": {"type": ["string", "null"], "default": None},
        },
    },
}

BASE: Item = {"date": "2025-06-28"}
USER: Item = {"role": "user", "content": "What is the weather like in SF?"}
THOUGHT: Item = {
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Need to use get_current_weather."}],
}
CALL: Item = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "get_current_weather",
    "arguments": '{"location":"San Francisco"}',
}
OUTPUT: Item = {
    "type": "function_call_output",
    "call_id": "call_1",
    "output": '{"sunny": true, "temperature": 20}',
}
ANSWER: Item = {
    "type": "message",
    "role": "assistant",
    "phase": "final_answer",
    "content": [{"type": "output_text", "text": "Sunny, 20 degrees."}],
}

READABLE: dict[str, Conversation] = {
    "simple": Conversation([{"role": "user", "content": "What is 2 + 2?"}], BASE),
    "instructions": Conversation(
        [{"role": "user", "content": "Hi"}],
        {**BASE, "instructions": "Answer in riddles.", "reasoning_effort": "high"},
    ),
    "no_date": Conversation(
        [{"role": "user", "content": "Hi"}], {"date": "", "reasoning_effort": "low"}
    ),
    "tools": Conversation(
        [USER], {**BASE, "instructions": "Use a friendly tone.", "tools": [LOCATION, WEATHER]}
    ),
    "rich_schema": Conversation([USER], {**BASE, "tools": [CALENDAR]}),
    "open_tool_turn": Conversation([USER, THOUGHT, CALL, OUTPUT], {**BASE, "tools": [WEATHER]}),
    "finished_tool_turn": Conversation(
        [USER, THOUGHT, CALL, OUTPUT, ANSWER, {"role": "user", "content": "And tomorrow?"}],
        {**BASE, "tools": [WEATHER]},
    ),
    "preamble": Conversation(
        [
            USER,
            {"role": "assistant", "phase": "commentary", "content": "Let me look that up."},
            CALL,
            OUTPUT,
        ],
        {**BASE, "tools": [WEATHER]},
    ),
    "built_in_tools": Conversation(
        [
            {"role": "user", "content": "2 to the 10th, and is it a famous number?"},
            {
                "type": "reasoning",
                "content": [{"type": "reasoning_text", "text": "Compute, then search."}],
            },
            {
                "type": "function_call",
                "call_id": "a",
                "name": "python",
                "arguments": "print(2**10)",
            },
            {"type": "function_call_output", "call_id": "a", "output": "1024\n"},
            {
                "type": "function_call",
                "call_id": "b",
                "name": "browser.search",
                "arguments": '{"query": "1024"}',
            },
            {"type": "function_call_output", "call_id": "b", "output": "[0] Powers of two"},
        ],
        {**BASE, "tools": ["python", {"type": "browser"}]},
    ),
    "developer_in_between": Conversation(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "developer", "content": "From now on answer in French."},
            {"role": "user", "content": "How are you?"},
        ],
        BASE,
    ),
    "second_turn_reasoning": Conversation(
        [
            {"role": "user", "content": "One?"},
            {
                "type": "reasoning",
                "content": [{"type": "reasoning_text", "text": "First thought."}],
            },
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Two?"},
            {
                "type": "reasoning",
                "content": [{"type": "reasoning_text", "text": "Second thought."}],
            },
            {"role": "assistant", "content": "No."},
            USER,
            THOUGHT,
            CALL,
            OUTPUT,
        ],
        {**BASE, "tools": [WEATHER]},
    ),
}

WORDS = [
    *(
        "a",
        "Hello",
        "world",
        "don't",
        "1234567",
        "x=1;",
        "the end.",
        "function",
        "final",
        "analysis",
    ),
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        "\u00a0",
        "!",
        "//",
        "```",
        '"quoted"',
        "{}",
        '{"a": [1, 2]}',
    ),
    *(
        "日本語",
        "مرحبا",
        "é",
        "e\u0301",
        "👩‍👩‍👧",
        "🇺🇳",
        "\u200b",
        "\u2028",
        "to=functions.x",
        "assistant",
    ),
    *(
        "<|start|>",
        "<|end|>",
        "<|channel|>final<|message|>",
        "<|call|>",
        "<|return|>",
        "<|endoftext|>",
    ),
]
FUNCTIONS = ["search", "read_file", "run-tests"]


def text(random: Random) -> str:
    return "".join(random.choice(WORDS) for _ in range(random.randint(1, 8)))


def line(random: Random) -> str:
    """Text without line breaks or quotes, which are written differently here on purpose."""
    return " ".join(random.choice(WORDS[:10]) for _ in range(random.randint(1, 5)))


def schema(random: Random, depth: int = 0) -> Item:
    """A JSON schema of the kinds that openai-harmony renders without giving up."""
    scalars = ["string", "number", "integer", "boolean"]
    kind = random.choice(
        [*scalars, "choice", "either"] + ["object", "array", "list", "oneOf"] * (depth < 3)
    )
    found: Item = {"type": kind}
    if kind == "choice":
        found = {
            "type": "string",
            "enum": [f"{line(random)} {number}" for number in range(random.randint(1, 3))],
        }
    elif kind == "either":
        found = {"type": random.sample([*scalars, "object", "array"], 2)}
    elif kind == "list":
        found = {"type": "array"}
    elif kind == "array":
        found = {"type": "array", "items": schema(random, depth + 1)}
    elif kind == "oneOf":
        found = {"oneOf": [schema(random, depth + 1) for _ in range(random.randint(1, 3))]}
    elif kind == "object":
        names = [
            random.choice(["path", "line_no", "max-size", "$ref_", "名前"]) + str(n)
            for n in range(3)
        ]
        found = {
            "type": "object",
            "properties": {name: schema(random, depth + 1) for name in names},
        }
        found["required"] = [name for name in names if random.random() < 0.5]
    if random.random() < 0.4:
        found["description"] = line(random)
    if random.random() < 0.3:
        found["default"] = (
            found["enum"][0] if "enum" in found else random.choice([1, -2.5, True, "x", [1, "a"]])
        )
    if random.random() < 0.1:
        found |= {"title": "A title of its own", "nullable": True, "examples": ["one", 2]}
    return found


def conversation(random: Random) -> Conversation:
    """A well-formed conversation: all roles, tools and settings that Harmony has."""
    tools: list[Any] = [name for name in ("python", "browser") if random.random() < 0.3]
    for name in FUNCTIONS[: random.randint(0, 3)]:
        parameters = {
            "type": "object",
            "properties": {key: schema(random, 1) for key in ("path", "q")[:1]},
        }
        tool = {
            "name": name,
            "description": text(random).replace("\u2028", ""),
            "parameters": parameters,
        }
        if random.random() < 0.2:
            del tool["parameters"]
        tools.append(
            {"type": "function", **tool}
            if random.random() < 0.5
            else {"type": "function", "function": tool}
        )
    settings = {
        "tools": tools,
        "reasoning_effort": random.choice(["low", "medium", "high"]),
        "date": random.choice(["2025-06-28", ""]),
        "knowledge_cutoff": random.choice(["2024-06", None]),
        "instructions": text(random) if random.random() < 0.6 else None,
    }
    items: list[Item] = []
    for _ in range(random.randint(0, 4)):
        items.append({"type": "message", "role": "user", "content": _content(random, "input_text")})
        for _ in range(random.randint(0, 4)):
            items += _step(random, f"call_{len(items)}")
        if random.random() < 0.7:
            items.append({"role": "assistant", "content": _content(random, "output_text")})
    return Conversation(items, settings)


def _content(random: Random, kind: str) -> str | list[Item]:
    if random.random() < 0.5:
        return text(random)
    return [{"type": kind, "text": text(random)} for _ in range(random.randint(1, 2))]


def _step(random: Random, call_id: str) -> list[Item]:
    kind = random.choice(["reasoning", "preamble", "developer", "function", "built_in"])
    if kind == "reasoning":
        return [
            {
                "type": "reasoning",
                "content": [{"type": "reasoning_text", "text": text(random)}],
                "summary": [],
            }
        ]
    if kind == "preamble":
        return [{"role": "assistant", "phase": "commentary", "content": text(random)}]
    if kind == "developer":
        return [{"role": random.choice(["system", "developer"]), "content": text(random)}]
    name = random.choice(
        FUNCTIONS if kind == "function" else ["python", "browser.search", "browser.open"]
    )
    arguments = text(random)
    if name == "python":
        arguments = f"x = {arguments}"
    return [
        {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments},
        {"type": "function_call_output", "call_id": call_id, "output": text(random)},
    ]
