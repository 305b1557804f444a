"""Text that has lost control tokens: what is taken apart, and what is left as it is."""

from __future__ import annotations

import pytest

from synth_ai.harmony.channels import ANALYSIS, COMMENTARY, FINAL
from synth_ai.harmony.headers import CHANNEL_MARK
from synth_ai.harmony.recovery import Section, looks_like_content, plain_text, split_sections


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        (
            "analysisWe need 4.assistantfinal4",
            [
                Section(ANALYSIS, None, "We need 4.", has_type=False),
                Section(FINAL, None, "4", has_type=False),
            ],
        ),
        (
            "2 + 2.assistantfinal4",
            [Section(ANALYSIS, None, "2 + 2."), Section(FINAL, None, "4", has_type=False)],
        ),
        (
            "assistantcommentary to=functions.f json{}",
            [Section(COMMENTARY, "functions.f", "{}")],
        ),
        (
            "assistant to=functions.f{}",
            [Section(COMMENTARY, "functions.f", "{}", has_channel=False, has_type=False)],
        ),
        (
            "assistantcommentary to=functions.fjson{}",
            [Section(COMMENTARY, "functions.f", "{}", has_type=False)],
        ),
        (
            "analysis to=python codeprint(1)",
            [Section(ANALYSIS, "python", "print(1)", has_type=False)],
        ),
        (f"{CHANNEL_MARK}final A", [Section(FINAL, None, "A", has_type=False)]),
        ("FINALYes", [Section(FINAL, None, "Yes", has_type=False)]),
        ("assistantfınalYes", [Section(FINAL, None, "Yes", has_type=False)]),
        ("final answer: 42", []),
        ("analysis of data", []),
        ("Hello", []),
        ("", []),
    ],
)
def test_split_sections(text: str, sections: list[Section]) -> None:
    """A text is taken apart if it is clear where its messages begin."""
    assert split_sections(text) == sections


@pytest.mark.parametrize(
    ("text", "functions"),
    [
        ("assistantcommentary to=functions.fjson{}", {"fjson"}),
        ("assistantcommentary to=functions.fjson json{}", {"f"}),
    ],
)
def test_a_name_is_not_cut_short(text: str, functions: set[str]) -> None:
    """A name that is offered, or that has a content type behind it, has none glued to it."""
    assert [section.recipient for section in split_sections(text, functions)] == ["functions.fjson"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hello", "Hello"),
        ("assistantHello", "Hello"),
        ("assistants help", "assistants help"),
        ("{}", None),
        ("assistant json", None),
        ('assistantcode{"path": ""}', None),
        ("...", None),
        (f"{CHANNEL_MARK}what", None),
    ],
)
def test_plain_text(text: str, answer: str | None) -> None:
    """The remains of a header are not an answer."""
    assert plain_text(text) == answer


def test_looks_like_content() -> None:
    """JSON and sentences are more than the rest of a header."""
    assert looks_like_content(' {"a": 1')
    assert looks_like_content("We need to go")
    assert not looks_like_content(" to=functions.f json")
