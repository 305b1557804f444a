"""Harmony against the bars it is held to, and against the `openai_harmony` module of this machine.

    PYTHONPATH=tests python -m benchmarks.harmony

Times are medians of interleaved runs, in CPU time: all of it is on one thread, and other work on
the machine does not count. Without an `openai_harmony` module the ratios are left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import synth_ai
from harmony import oracle
from harmony.conversations import Conversation
from harmony.samples import CASES, case_ids, completion, finish_reason, mutant, surfaced
from harmony.test_cases import answer, fits
from harmony.test_safety import FIELDS, controls
from synth_ai.errors import SynthAIError
from synth_ai.harmony import (
    CONTROL_TOKENS,
    StreamParser,
    SystemPrompt,
    Transcript,
    assemble_prompt,
    encode,
    parse,
    render,
    tokens,
)

LIBRARY = find_spec("openai_harmony") is not None
TURNS = 50
MUTANTS = 100_000


def main() -> None:
    print(f"{'':46}{'here':>14}{'library':>14}{'ratio':>9}   bar")
    for rows in (cases(), mutants(), rendering(), long_runs(), parsing(), streaming(), injection()):
        for name, here, library, ratio, bar in rows:
            print(f"{name:46}{here:>14}{library:>14}{ratio:>9}   {bar}", flush=True)


Row = tuple[str, str, str, str, str]


def cases() -> Iterator[Row]:
    right = 0
    for case in CASES:
        got = answer(
            parse(case_ids(case), tools=case["offered"], finish_reason=finish_reason(case))
        )
        expected = case["expected"]
        right += any(fits(got, {**expected, **other}) for other in ({}, *expected.get("alt", [])))
    yield "public cases right", f"{right} of {len(CASES)}", "", "", "all"


def mutants() -> Iterator[Row]:
    random = Random(0)
    raised = leaked = 0
    for _ in range(MUTANTS):
        ids = mutant(random, completion(random))
        try:
            found = parse(ids, finish_reason=random.choice(["stop", "length"]))
            Transcript().with_completion(ids)
        except Exception:
            raised += 1
        else:
            leaked += any(
                "<|" in text and any(name in text for name in CONTROL_TOKENS)
                for text in surfaced(found)
            )
    yield f"{MUTANTS:,} mutants: exceptions", str(raised), "", "", "0"
    yield f"{MUTANTS:,} mutants: leaked control tokens", str(leaked), "", "", "0"


def chat() -> Conversation:
    """150 messages, about 70,000 tokens, all of which are kept: code and English of this project.

    As in a chat with a programmer's assistant, questions are short and answers long.
    """
    files = sorted(Path(synth_ai.__file__).parent.rglob("*.py"))
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    random = Random(1)

    def passage(length: int) -> str:
        at = random.randrange(len(source) - length)
        return source[at : at + length]

    items: list[dict[str, Any]] = []
    for _ in range(TURNS):
        items.append({"role": "user", "content": passage(400)})
        items.append({"role": "assistant", "phase": "commentary", "content": passage(300)})
        items.append({"role": "assistant", "content": passage(5400)})
    return Conversation(items, {"date": "2025-06-28", "instructions": "Be brief."})


def rendering() -> Iterator[Row]:
    one = chat()
    system_prompt = SystemPrompt(**one.settings)
    parent = Transcript().with_items(one.items[:-3])
    turn = one.items[-3:-2]

    def cold() -> list[int]:
        tokens._cache.clear()
        return render(one.items, **one.settings)

    def turn_cold() -> list[int]:
        tokens._cache.clear()
        return assemble_prompt(system_prompt, parent.with_items(turn))

    full: list[Callable[[], Any]] = [cold]
    warm: list[Callable[[], Any]] = [lambda: render(one.items, **one.settings)]
    last: list[Callable[[], Any]] = [turn_cold]
    if LIBRARY:
        messages = oracle.messages(one)
        upto = oracle.messages(Conversation(one.items[:-2], one.settings))
        full.append(lambda: oracle.render_messages(messages))
        warm.append(full[1])
        last.append(lambda: oracle.render_messages(upto))
        assert full[0]() == full[1]()
        assert last[0]() == last[1]()
    count = len(full[0]())
    yield times(f"full render, {len(one.items)} new messages, {count:,} ids", full, 25, "5x")
    yield times("the same texts once more", warm, 25, "5x")
    yield times(f"turn {TURNS} of it, incrementally", last, 25, "200x")


def long_runs() -> Iterator[Row]:
    for name, unit in (
        ("a", "a"),
        ("blank", " "),
        ("!", "!"),
        ("line break", "\n"),
        ("Chinese letter", "中"),
    ):
        text = unit * 1_000_000
        yield times(f"encode a million times {name}", [lambda text=text: encode(text)], 3, "2 s")


def parsing() -> Iterator[Row]:
    one = chat()
    text = "".join(item["content"] for item in one.items)
    reasoning, answer = text[: len(text) // 2], text[len(text) // 2 :]
    for name, size in (("70,000 ids", 1), ("1,000 ids", 70), ("100 ids", 700)):
        head = encode("<|channel|>analysis<|message|>", control_tokens=True)
        middle = encode("<|end|><|start|>assistant<|channel|>final<|message|>", control_tokens=True)
        ids = [*head, *encode(reasoning[: len(reasoning) // size]), *middle]
        ids += [*encode(answer[: len(answer) // size]), 200002]
        runs: list[Callable[[], Any]] = [lambda ids=ids: parse(ids)]
        if LIBRARY:
            oh = oracle.library()
            read = oracle.encoding().parse_messages_from_completion_tokens
            runs.append(lambda ids=ids, read=read, oh=oh: read(ids, oh.Role.ASSISTANT))
        seconds = [statistics.median(column) for column in interleaved(runs, 15)]
        rates = [f"{len(ids) / each / 1e6:.2f} M/s" for each in seconds]
        ratio = f"{seconds[1] / seconds[0]:.1f}x" if LIBRARY else ""
        yield (
            f"parse whole, {name}",
            rates[0],
            rates[1] if LIBRARY else "",
            ratio,
            "5 M/s" if size == 1 else "",
        )


def streaming() -> Iterator[Row]:
    ids = encode("<|channel|>final<|message|>", control_tokens=True) + encode(" word and" * 20_000)

    def stream(count: int) -> None:
        parser = StreamParser()
        for token in ids[:count]:
            parser.feed([token])
        parser.close()

    counts = (5_000, 40_000)
    columns = interleaved([lambda: stream(counts[0]), lambda: stream(counts[1])], 5)
    for count, column in zip(counts, columns, strict=True):
        each = statistics.median(column) / count * 1e6
        yield f"stream {count:,} ids one by one, each", f"{each:.2f} us", "", "", "same"


def injection() -> Iterator[Row]:
    made = tried = 0
    for build in FIELDS.values():
        harmless = controls(render(**build("f")))
        for spelling in CONTROL_TOKENS:
            tried += 1
            try:
                made += controls(render(**build(spelling))) != harmless
            except SynthAIError:  # a name that is refused
                continue
    yield f"{tried:,} injections: control ids produced", str(made), "", "", "0"


def times(name: str, runs: list[Callable[[], Any]], count: int, bar: str) -> Row:
    medians = [statistics.median(column) for column in interleaved(runs, count)]
    shown = [f"{each * 1e3:.3f} ms" for each in medians]
    if len(medians) == 1:
        return name, shown[0], "", "", bar
    return name, shown[0], shown[1], f"{medians[1] / medians[0]:.0f}x", bar


def interleaved(runs: list[Callable[[], Any]], count: int) -> list[list[float]]:
    """The seconds of each run, taken in turns so that all see the same machine.

    A turn repeats its run for a twentieth of a second: otherwise a run of a microsecond pays for
    the caches that the one before it has filled, which says more about that one.
    """
    columns: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(count):
        for run, column in zip(runs, columns, strict=True):
            begin, repeated = time.thread_time(), 0
            while not repeated or time.thread_time() - begin < 0.05:
                run()
                repeated += 1
            column.append((time.thread_time() - begin) / repeated)
    return columns


if __name__ == "__main__":
    main()
