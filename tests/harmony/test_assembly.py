"""The last stage of parsing: messages become a completion."""

from __future__ import annotations

from synth_ai.harmony import CALL, END, START, Completion
from synth_ai.harmony.assembly import GARBLED_HEADER, CompletionBuilder
from synth_ai.harmony.deltas import DeltaQueue
from synth_ai.harmony.drafts import HeaderDraft, MessageDraft
from synth_ai.harmony.headers import Header
from synth_ai.harmony.tool_names import OfferedTools


def builder(*tools: str) -> CompletionBuilder:
    return CompletionBuilder(OfferedTools.from_tools(tools), DeltaQueue())


def message(header: Header, text: str, *, end: int | None = END) -> MessageDraft:
    return MessageDraft(header, texts=[text], end=end)


def build(builder: CompletionBuilder, *, cut: bool = False) -> Completion:
    return builder.build(last_message=None, stop=None, cut=cut)


def test_a_call() -> None:
    """A call counts with its arguments as JSON, and a warning if they had to be repaired."""
    completions = builder("f")
    completions.add_message(message(Header("tool_call", "f"), 'json{"a":1}', end=CALL))
    completion = build(completions)
    assert [(call.name, call.arguments) for call in completion.tool_calls] == [("f", '{"a":1}')]
    assert completion.finish == "tool_calls"
    assert completion.warnings == ["f: the arguments were not plain JSON"]


def test_a_broken_call() -> None:
    """A call without complete arguments leaves a warning, and nothing else."""
    completions = builder()
    completions.add_message(message(Header("tool_call", "f"), '{"a":'))
    completion = build(completions)
    assert (completion.messages, completion.finish) == ([], "malformed")
    assert completion.warnings == ["a tool call without complete arguments was left out: f"]


def test_a_call_without_a_name_goes_to_the_only_tool() -> None:
    """Without one, or with text in the place of arguments, it is a preamble."""
    for tools, text, names in ((["f"], "{}", ["f"]), ([], "{}", []), (["f"], "Wait.", [])):
        completions = builder(*tools)
        completions.add_message(message(Header("untargeted"), text))
        completion = build(completions)
        assert [call.name for call in completion.tool_calls] == names
        assert completion.preamble == (None if names else text)


def test_messages_of_others_are_left_out() -> None:
    """What is not the model's to write gives a warning."""
    for kind in ("author", "turn", "foreign"):
        completions = builder()
        completions.add_message(message(Header(kind), "text"))  # type: ignore[arg-type]
        completion = build(completions)
        assert (completion.messages, len(completion.warnings)) == ([], 1)


def test_a_fallback_is_the_answer_only_if_nothing_better_follows() -> None:
    """Text on an unknown channel is garbage once something well-formed follows."""
    completions = builder()
    completions.add_message(message(Header("unclear"), "A"))
    completions.add_message(message(Header("tool_call", "f"), "{}"))
    completion = build(completions)
    assert (completion.final, completion.finish) == (None, "tool_calls")

    completions = builder()
    completions.add_message(message(Header("unclear"), "A"))
    assert build(completions).final == "A"


def test_text_without_a_message_is_recovered() -> None:
    """What lost its control tokens is taken apart, and plain text is an answer."""
    completions = builder()
    completions.recover(HeaderDraft(texts=["analysisHm.assistantcommentary to=functions.f json{}"]))
    completion = build(completions)
    assert (completion.reasoning, completion.finish) == ("Hm.", "tool_calls")
    assert GARBLED_HEADER in completion.warnings

    completions = builder()
    completions.recover(HeaderDraft(texts=["4"]))
    assert build(completions).final == "4"


def test_the_rest_of_a_header_is_not_an_answer() -> None:
    """Neither a header that was cut off, nor text that was meant for a tool."""
    for draft, end, cut in (
        (HeaderDraft(after=START, start=3, texts=["assis"]), None, True),
        (HeaderDraft(texts=["assist"]), None, True),
        (HeaderDraft(texts=["{}"]), CALL, False),
    ):
        completions = builder()
        completions.recover(draft, end=end, cut=cut)
        assert build(completions, cut=cut).messages == []
