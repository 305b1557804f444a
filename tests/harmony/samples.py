"""Completions as gpt-oss samples them: the public cases, and well-formed ones to take apart."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from harmony.conversations import text
from synth_ai.harmony import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MESSAGE,
    RETURN,
    START,
    VOCABULARY_SIZE,
    Completion,
    Event,
    PreambleDelta,
    ReasoningDelta,
    StreamParser,
    TextDelta,
    ToolCallDelta,
    encode,
)

CASES: list[dict[str, Any]] = [
    json.loads(row)
    for row in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]


def case_ids(case: dict[str, Any]) -> list[int]:
    """The ids of a case; text cannot spell half an emoji or an id outside the vocabulary."""
    if "tokens" not in case:
        return encode(case["text"], control_tokens=True)
    pieces = case["tokens"]
    half = encode("\N{MELTING FACE}")[:1] if pieces.get("half_emoji") else []
    prefix, suffix = (encode(pieces[key], control_tokens=True) for key in ("prefix", "suffix"))
    return [*prefix, *half, *pieces.get("ids", []), *suffix]


def finish_reason(case: dict[str, Any]) -> str:
    return "length" if case["ended"] == "length" else "stop"


HEADERS = [
    "<|channel|>analysis",
    "<|channel|>final",
    "<|channel|>commentary",
    "<|channel|>final <|constrain|>json",
    " to=functions.search<|channel|>commentary <|constrain|>json",
    "<|channel|>commentary to=functions.read_file json",
    "<|channel|>analysis to=functions.run-tests code",
    "<|channel|>analysis to=browser.search code",
    "<|channel|>analysis to=python code",
]


def completion(random: Random) -> list[int]:
    """A well-formed completion of some messages, whose texts spell no control tokens."""
    ids: list[int] = []
    count = random.randint(1, 4)
    for number in range(count):
        header = random.choice(HEADERS)
        is_call = " to=" in header
        words = text(random).replace("|", "")
        body = json.dumps({"q": words, "n": random.randint(0, 9)}) if is_call else words
        if number:
            ids += encode("<|start|>assistant", control_tokens=True)
        ids += encode(f"{header}<|message|>", control_tokens=True)
        ids += encode(body)
        if is_call:
            ids.append(CALL)
        else:
            ids.append(RETURN if number == count - 1 else END)
    return ids


STRUCTURE = [START, END, MESSAGE, CHANNEL, CONSTRAIN, RETURN, CALL]


def mutant(random: Random, ids: list[int]) -> list[int]:
    """`ids` after a few random edits: ids dropped, doubled, swapped, replaced, cut off."""
    ids = list(ids)
    for _ in range(random.randint(1, 4)):
        at, other = (random.randrange(len(ids) + 1) for _ in range(2))
        edit = random.randrange(7)
        if edit == 0:
            del ids[at : at + random.randint(1, 3)]
        elif edit == 1:
            ids[at:at] = ids[at : at + random.randint(1, 5)]
        elif edit == 2:
            ids.insert(at, random.choice(STRUCTURE))
        elif edit == 3:
            ids.insert(at, random.randrange(VOCABULARY_SIZE + 1000))
        elif edit == 4:
            ids[at : at + 1] = [random.choice(STRUCTURE)]
        elif edit == 5:
            del ids[at:]
        else:
            ids[at:at], ids[other:other] = ids[other : other + 4], ids[at : at + 4]
    return ids


def surfaced(completion: Completion) -> list[str]:
    """Every text that a user, or a tool, gets to see."""
    texts = [completion.final, completion.preamble, completion.reasoning, *completion.warnings]
    calls = [part for call in completion.tool_calls for part in (call.name, call.arguments)]
    messages = [part for message in completion.messages for part in (message.text, message.name)]
    return [part for part in (*texts, *calls, *messages) if part]


def streamed(
    chunks: list[list[int]], *, finish_reason: str = "stop"
) -> tuple[list[Event], Completion]:
    """The events and the completion of ids that come in chunks."""
    parser = StreamParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    completion = parser.close(finish_reason)
    return [*events, *parser.take_pending()], completion


def joined(
    events: list[Event], completion: Completion
) -> tuple[str, str, str, list[tuple[int, str, str]]]:
    """Join deltas: the answer, the reasoning, the preamble, and the calls that are left at last."""
    by_kind = {TextDelta: "", ReasoningDelta: "", PreambleDelta: ""}
    calls: list[tuple[int, str, str]] = []
    for event in events:
        if isinstance(event, ToolCallDelta):
            if event.name is not None:  # begins a call, or begins it anew
                calls[event.index :] = [(event.index, event.name, "")]
            index, name, arguments = calls[event.index]
            calls[event.index] = (index, name, arguments + event.arguments)
        else:
            by_kind[type(event)] += event.text
    calls = calls[: len(completion.tool_calls)]
    return by_kind[TextDelta], by_kind[ReasoningDelta], by_kind[PreambleDelta], calls


def whole(completion: Completion) -> tuple[str, str, str, list[tuple[int, str, str]]]:
    """The same of a completion."""
    calls = [(index, call.name, call.arguments) for index, call in enumerate(completion.tool_calls)]
    return completion.final or "", completion.reasoning or "", completion.preamble or "", calls
