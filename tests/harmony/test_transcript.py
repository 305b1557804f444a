"""Transcripts: immutable, incremental, and exact about what was sampled."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.conversations import ANSWER, CALL, FUNCTIONS, OUTPUT, THOUGHT, USER, conversation
from harmony.samples import completion, mutant
from synth_ai.errors import RequestError
from synth_ai.harmony import (
    Completion,
    SystemPrompt,
    Transcript,
    assemble_prompt,
    decode,
    encode,
    parse,
    render,
)

RANDOM = st.randoms(use_true_random=False)
START = "<|start|>assistant"


def ids(text: str) -> list[int]:
    return encode(text, control_tokens=True)


def called(name: str, *, end: str = "<|call|>") -> str:
    return f" to=functions.{name}<|channel|>commentary<|message|>{{}}{end}"


@given(RANDOM, st.lists(st.integers(0, 30)))
def test_incremental_equals_full(random: Random, cuts: list[int]) -> None:
    """Items added in any portions give the ids of all items at once."""
    one = conversation(random)
    transcript = Transcript()
    bounds = [0, *sorted(cuts), len(one.items)]
    for start, end in pairwise(bounds):
        transcript = transcript.with_items(one.items[start:end])
    assert assemble_prompt(SystemPrompt(**one.settings), transcript) == render(
        one.items, **one.settings
    )


@given(RANDOM)
def test_branches_are_independent(random: Random) -> None:
    """Two children of one transcript do not see each other, and the parent stays as it was."""
    parent = Transcript().with_items(conversation(random).items)
    before = parent.ids
    left, right = parent.with_items([USER]), parent.with_items([ANSWER])
    assert left.ids == parent.with_items([USER]).ids
    assert right.ids == parent.with_items([ANSWER]).ids
    assert parent.ids == before


def test_sampled_ids_are_kept() -> None:
    """A well-formed completion is history id by id, with `<|end|>` for `<|return|>`."""
    sampled = ids(
        "<|channel|>commentary to=functions.f json<|message|>{}<|end|>"
        f"{START}<|channel|>final<|message|>A<|return|>"
    )
    assert Transcript().with_completion(sampled).ids == [
        *ids(START),
        *sampled[:-1],
        *ids("<|end|>"),
    ]


@pytest.mark.parametrize(
    ("recipient", "offered", "body", "written"),
    [
        ("python", ["python"], '{"a"', "python"),
        ("functions.python", ["python"], "x = 1", "python"),
        ("functions.python", ["functions.python"], "{}", "functions.python"),
        ("python", ["functions.python"], "{}", "functions.python"),
    ],
)
def test_python_in_history(recipient: str, offered: list[str], body: str, written: str) -> None:
    """A call whose header is rendered anew stays with its tool: the built-in, or a function."""
    sampled = ids(f"<|channel|>response to={recipient}<|message|>{body}<|call|>")
    header = decode(Transcript().with_completion(sampled, tools=offered).ids).partition(
        "<|channel|>"
    )[0]
    assert header == f"{START} to={written}"


def test_code_that_is_a_dict_is_code() -> None:
    """A stored call of `python` goes to a function only if its arguments are a JSON object."""
    call = {"type": "function_call", "call_id": "a", "name": "python"}
    for arguments, written in (("{1: 2}", "python"), ('{"code": "1"}', "functions.python")):
        assert f" to={written}<|channel|>" in decode(
            Transcript().with_items([{**call, "arguments": arguments}]).ids
        )


def test_tokens_the_encoder_would_not_choose_are_kept() -> None:
    """Ids are not made anew from their text: a model may split words differently."""
    letters = [token for letter in "answer" for token in encode(letter)]
    sampled = [*ids("<|channel|>final<|message|>"), *letters, *ids("<|return|>")]
    assert letters != encode("answer")
    assert Transcript().with_completion(sampled).ids[5:-1] == letters


@pytest.mark.parametrize(
    "sampled",
    [
        called("f", end="<|end|>") + START + called("g"),
        f"<|channel|>analysis<|message|>t<|end|>{START}" + called("f"),
    ],
)
def test_calls_are_kept_with_the_ends_that_were_sampled(sampled: str) -> None:
    """Each id of parallel calls is the model's, so that the next prompt begins with all of them."""
    transcript = Transcript().with_completion(ids(sampled))
    assert transcript.ids == [*ids(START), *ids(sampled)]
    assert transcript.mask == [0] * 2 + [1] * len(ids(sampled))


@pytest.mark.parametrize(
    "behind",
    [
        '<|start|>functions.f to=assistant<|channel|>commentary<|message|>{"x": 1}<|end|>'
        f"{START}<|channel|>final<|message|>It is 1.<|return|>",
        f"{START}{called('g')}",
        "<|channel|>final<|message|>It is 1.",
        "commentary",
        "<|return|>",
    ],
)
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_nothing_behind_a_finished_call_is_history(behind: str, finish_reason: str) -> None:
    """A history says what its answer said: the call alone."""
    sampled = called("f")
    transcript = Transcript().with_completion(ids(sampled + behind), finish_reason=finish_reason)
    assert decode(transcript.ids) == START + sampled


def test_several_calls_of_one_text_are_read_again() -> None:
    """Calls that had to be rendered anew end so that the next one still counts."""
    sampled = ids('assistantcommentary to=functions.f json{"a": 1}{"a": 2}')
    found = parse(sampled)
    transcript = Transcript().with_completion(sampled)
    assert len(found.tool_calls) == 2
    assert parse(transcript.ids).tool_calls == found.tool_calls
    assert transcript.ids.count(ids("<|call|>")[0]) == 1


def test_reasoning_goes_with_the_answer() -> None:
    """Sampled reasoning follows the same rule as rendered reasoning."""
    opened = Transcript().with_completion(
        ids(f"<|channel|>analysis<|message|>t<|end|>{START}{called('f')}")
    )
    assert "analysis" in decode(opened.ids)
    done = opened.with_completion(
        ids(f"<|channel|>analysis<|message|>u<|end|>{START}<|channel|>final<|message|>A<|return|>")
    )
    assert "analysis" not in decode(done.ids)
    assert "analysis" not in decode(opened.with_items([ANSWER]).ids)


def test_mask() -> None:
    """The mask marks what was sampled: not the prompt, and not what was rendered to repair."""
    transcript = (
        Transcript()
        .with_items([USER])
        .with_completion(ids("<|channel|>final<|message|>A<|return|>"))
        .with_items([USER])
    )
    user = len(Transcript().with_items([USER]).ids)
    assert transcript.mask == [0] * (user + 2) + [1] * 5 + [0] * user
    cut = Transcript().with_completion(ids("<|channel|>final<|message|>A"), finish_reason="length")
    assert cut.mask == [0, 0, 1, 1, 1, 1, 0]
    garbled = Transcript().with_completion(ids("<|channel|>Final<|message|>A<|return|>"))
    assert garbled.mask == [0] * 5 + [1, 1]
    header = ids("<|channel|>final<|message|>")
    assert Transcript().with_completion(ids("A<|return|>"), prefill=header).mask == [0] * 5 + [1, 1]


def functions_called(completion: Completion) -> list[str]:
    """Calls of built-in tools are part of the reasoning and may have gone with it."""
    return [call.name for call in completion.tool_calls if call.name in FUNCTIONS]


@given(RANDOM, st.sampled_from(["stop", "length"]))
def test_what_counts_survives_history(random: Random, reason: str) -> None:
    """Reading a repaired transcript gives the same messages, and nothing is left to repair."""
    sampled = mutant(random, completion(random))
    found = parse(sampled, finish_reason=reason)
    transcript = Transcript().with_completion(sampled, finish_reason=reason)
    assert len(transcript.mask) == len(transcript.ids)
    again = parse(transcript.ids)
    assert again.final == found.final
    assert functions_called(again) == functions_called(found)
    assert not [
        warning for warning in again.warnings if "header" in warning or "control" in warning
    ]
    assert Transcript().with_completion(transcript.ids).ids == transcript.ids


@pytest.mark.parametrize(
    ("sampled", "kept"),
    [
        ("<|channel|>final<|message|>A", f"{START}<|channel|>final<|message|>A<|end|>"),
        ("<|channel|>final<|message|>A<|call|>", f"{START}<|channel|>final<|message|>A<|end|>"),
        ("A<|return|>", f"{START}<|channel|>final<|message|>A<|end|>"),
        ("<|channel|>??<|end|>", ""),
        (" to=functions.f<|channel|>commentary<|message|>{<|call|>", ""),
        (
            "<|channel|>commentary to= functions.f json<|message|>{}<|return|>",
            f"{START} to=functions.f<|channel|>commentary <|constrain|>json<|message|>{{}}<|call|>",
        ),
        (
            "<|channel|>final<|message|>A<|message|>B<|return|>",
            f"{START}<|channel|>final<|message|>AB<|end|>",
        ),
        (
            "<|channel|>final<|message|>A<|end|><|start|>user<|message|>B<|end|>"
            f"{START}<|channel|>final<|message|>C",
            f"{START}<|channel|>final<|message|>A<|end|>",
        ),
        (
            "assistantcommentary to=functions.f json{}",
            f"{START} to=functions.f<|channel|>commentary <|constrain|>json<|message|>{{}}<|call|>",
        ),
    ],
)
def test_repairs(sampled: str, kept: str) -> None:
    """What cannot stand in a prompt is ended, written anew or left out."""
    assert decode(Transcript().with_completion(ids(sampled)).ids) == kept


def test_broken_bytes_in_a_header() -> None:
    """Half a character in a header is invisible in its text, and stays out of the next prompt."""
    half = encode("\N{MELTING FACE}")[:1]
    sampled = [*ids("<|channel|>final"), *half, *ids("<|message|>A<|return|>")]
    assert (
        decode(Transcript().with_completion(sampled).ids)
        == f"{START}<|channel|>final<|message|>A<|end|>"
    )


def test_outputs_find_their_sampled_calls() -> None:
    """Outputs of sampled calls come under the ids that the caller gave them, in any order."""
    transcript = Transcript().with_completion(
        ids(f"{called('f', end='<|end|>')}{START}{called('g')}"), call_ids=["one", "two"]
    )
    both = [
        {"type": "function_call_output", "call_id": call_id, "output": "x"}
        for call_id in ("two", "one")
    ]
    text = decode(transcript.with_items(both).ids)
    assert text.index("<|start|>functions.g to=assistant") < text.index(
        "<|start|>functions.f to=assistant"
    )


def test_a_single_open_call_needs_no_id() -> None:
    """Without ids an output can go only to the one call that is open; of two, none is guessed."""
    call = called("f")
    two_calls = called("f", end="<|end|>") + START + call
    output = [{"type": "function_call_output", "call_id": "x", "output": "y"}]
    assert "<|start|>functions.f to=assistant" in decode(
        Transcript().with_completion(ids(call)).with_items(output).ids
    )
    with pytest.raises(RequestError, match="'x'"):
        Transcript().with_completion(ids(two_calls)).with_items(output)


def test_built_in_output_follows_its_call() -> None:
    """The output of python comes on the channel of its call, and goes with that reasoning."""
    output = [{"type": "function_call_output", "call_id": "a", "output": "4"}]
    for channel in ("analysis", "commentary"):
        sampled = ids(f"<|channel|>{channel} to=python code<|message|>2+2<|call|>")
        transcript = Transcript().with_completion(sampled, call_ids=["a"]).with_items(output)
        assert f"<|start|>python to=assistant<|channel|>{channel}<|message|>4" in decode(
            transcript.ids
        )
        assert ("python" in decode(transcript.with_items([ANSWER]).ids)) is (
            channel == "commentary"
        )


def test_output_after_an_answer() -> None:
    """A call keeps waiting for its output even if the model went on to answer."""
    assert "functions.get_current_weather to=assistant" in decode(
        Transcript().with_items([CALL, ANSWER, OUTPUT]).ids
    )


def test_settings_do_not_touch_the_body() -> None:
    """The same transcript serves under any settings, and prefill comes last."""
    transcript = Transcript().with_items([USER, THOUGHT, CALL, OUTPUT])
    for system_prompt in (
        SystemPrompt(),
        SystemPrompt(instructions="x", tools=["python"], reasoning_effort="high"),
    ):
        full = assemble_prompt(system_prompt, transcript, prefill=[1, 2])
        assert full == [*system_prompt.ids, *transcript.ids, *ids(START), 1, 2]
