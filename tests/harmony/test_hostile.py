"""Completions made to be slow to read: the work grows with their length, not with its square."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from synth_ai.harmony import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    MESSAGE,
    START,
    StreamParser,
    Transcript,
    encode,
)

CALLING = " to=functions.f<|channel|>commentary json<|message|>"
THEN = "<|channel|>analysis<|message|>t<|end|>"
ANSWERED = "<|message|>{}<|call|>"


def ids(text: str) -> list[int]:
    return encode(text, control_tokens=True)


def letters(unit: str, count: int) -> list[int]:
    """`unit` over and over, in ids that are not merged: more of them than any text is made into."""
    return encode(unit) * count


HOSTILE: dict[str, Callable[[int], list[int]]] = {
    "blanks": lambda n: [*letters(" ", 20 * n), *ids("x")],
    "line_breaks": lambda n: [*letters("\n", 20 * n), *ids("x")],
    "blanks_after_a_message": lambda n: [*ids(THEN), *letters(" ", 20 * n), *ids("x")],
    "blanks_after_assistant": lambda n: [*ids("assistant"), *letters(" ", 20 * n), *ids("x")],
    "blanks_after_json": lambda n: [*ids("json"), *letters(" ", 20 * n), *ids("x")],
    "blanks_in_a_header": lambda n: [
        *ids("<|channel|>final"),
        *letters(" ", 20 * n),
        *ids("x" + ANSWERED),
    ],
    "blanks_before_a_role": lambda n: [
        *ids(THEN),
        START,
        *letters(" ", 20 * n),
        *ids("x" + ANSWERED),
    ],
    "blanks_after_a_role": lambda n: [
        *ids(f"{THEN}<|start|>foo"),
        *letters(" ", 20 * n),
        *ids("x" + ANSWERED),
    ],
    "blanks_after_to": lambda n: [
        *ids("<|channel|>commentary to"),
        *letters(" ", 20 * n),
        *ids("x" + ANSWERED),
    ],
    "blanks_in_arguments": lambda n: [
        *ids(CALLING + "{"),
        *letters(" ", 20 * n),
        *ids("}<|call|>"),
    ],
    "wide_blanks_in_arguments": lambda n: [
        *ids(CALLING + "{"),
        *letters(" " * 128, 20 * n),
        *ids("}<|call|>"),
    ],
    "blanks_before_arguments": lambda n: [*ids(CALLING), *letters(" ", 20 * n), *ids("{}<|call|>")],
    "blanks_in_an_answer": lambda n: [
        *ids("<|channel|>final<|message|>"),
        *letters(" ", 20 * n),
        *ids("x"),
    ],
    "assistants": lambda n: letters("assistant", 4 * n),
    "assistants_apart": lambda n: letters("assistant \n", 4 * n),
    "channels": lambda n: letters("analysis", 4 * n),
    "sections": lambda n: letters("assistantcommentary to=", n),
    "recipients": lambda n: [
        *ids("<|channel|>commentary"),
        *letters(" to=functions.f", 4 * n),
        *ids(ANSWERED),
    ],
    "recipient": lambda n: [*ids(" to="), *letters("a", 20 * n), *ids(ANSWERED)],
    "dotted": lambda n: [*ids(" to=functions.f"), *letters(".commentary", 10 * n), *ids(ANSWERED)],
    "prefixes": lambda n: [*ids(" to="), *letters("functions.", 10 * n), *ids("f" + ANSWERED)],
    "glued": lambda n: [
        *ids(" to=functions.f"),
        *letters("commentary", 10 * n),
        *ids("x" + ANSWERED),
    ],
    "role": lambda n: [*ids(THEN), START, *letters("to", 20 * n), *ids("!" + ANSWERED)],
    "letter": lambda n: letters("a", 20 * n),
    "underscores": lambda n: [*letters("_", 20 * n), *ids("x")],
    "quotes": lambda n: [*ids(CALLING), *letters('"', 20 * n), CALL],
    "backslashes": lambda n: [*ids(CALLING + '"'), *letters("\\", 20 * n), CALL],
    "digits": lambda n: [*ids(CALLING + '{"a":0.'), *letters("1", 20 * n), *ids("}<|call|>")],
    "opened": lambda n: [*ids(CALLING), *letters("{", 20 * n), CALL],
    "nested": lambda n: [*ids(CALLING), *letters('{"a":', 10 * n), CALL],
    "lists": lambda n: [*ids(CALLING), *letters("[{", 20 * n), CALL],
    "closed": lambda n: [*ids(CALLING + "{}"), *letters("}", 20 * n), CALL],
    "objects": lambda n: [
        *ids(CALLING),
        *(i for k in range(n) for i in encode(f'{{"a":{k}}}')),
        CALL,
    ],
    "broken_objects": lambda n: [*ids(CALLING), *letters('{"a":NaN}', 2 * n), CALL],
    "fences": lambda n: [*ids(CALLING), *letters("```json\n", 10 * n), CALL],
    "starts": lambda n: [START] * 5 * n,
    "starts_and_text": lambda n: letters("x", 1) + [START, *letters("x", 1)] * 2 * n,
    "channel_marks": lambda n: [CHANNEL] * 5 * n,
    "constrain_marks": lambda n: [CONSTRAIN] * 20 * n,
    "constrain_marks_and_text": lambda n: [CONSTRAIN, *ids("json")] * 5 * n,
    "messages": lambda n: [MESSAGE] * 10 * n,
    "unknown_ids": lambda n: [*ids("<|channel|>final<|message|>"), *[300_000] * 10 * n],
    "many_calls": lambda n: [*ids(f"{CALLING}{{}}<|end|><|start|>assistant") * (n // 4)],
    "many_names": lambda n: [
        i for k in range(n // 4) for i in ids(f" to=functions.f{k}<|message|>{{}}<|end|>")
    ],
    "half_characters": lambda n: [
        *ids("<|channel|>final<|message|>"),
        *encode("\N{MELTING FACE}")[:1] * 10 * n,
    ],
}


def whole(tokens: list[int]) -> None:
    parser = StreamParser(tools=["f", "python"])
    parser.feed(tokens)
    parser.close()


def one_by_one(tokens: list[int]) -> None:
    parser = StreamParser(tools=["f", "python"])
    for token in tokens:
        parser.feed((token,))
    parser.close()


def history(tokens: list[int]) -> None:
    Transcript().with_completion(tokens, tools=["f", "python"])


def seconds(read: Callable[[list[int]], None], tokens: list[int]) -> float:
    """The least of two runs: others use the machine too."""
    taken = []
    for _ in range(2):
        began = time.process_time()
        read(tokens)
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize("read", [whole, one_by_one, history])
@pytest.mark.parametrize("make", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_ids_take_linear_time(
    make: Callable[[int], list[int]], read: Callable[[list[int]], None]
) -> None:
    """Four times the ids take about four times as long; sixteen times would be quadratic."""
    size = 100 if read is one_by_one else 500
    short, long = seconds(read, make(size)), seconds(read, make(4 * size))
    assert long < 9 * short + 0.01
