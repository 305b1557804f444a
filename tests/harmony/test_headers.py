"""Reading headers: each question in its place, and what is well-formed."""

from __future__ import annotations

import pytest

from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK, Header, read_header
from synth_ai.harmony.tool_names import OfferedTools

TOOLS = OfferedTools.from_tools(["f", "get_weather", "python"])


def read(text: str, *, implied: bool = True) -> Header:
    """Read a header whose control tokens are spelled out."""
    marks = text.replace("<|channel|>", CHANNEL_MARK).replace("<|constrain|>", CONSTRAIN_MARK)
    return read_header(marks, TOOLS, implied)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        # the channel
        ("<|channel|>analysis", Header("reasoning", clean=True)),
        ("<|channel|>commentary", Header("preamble", clean=True)),
        ("<|channel|>final", Header("final", clean=True)),
        ("<|channel|>final <|constrain|>json", Header("final", clean=True)),
        ("<|channel|>Thinking", Header("reasoning")),
        ("<|channel|>analysis<|channel|>final", Header("final")),
        ("<|channel|>response", Header("unclear")),
        ("", Header("unclear")),
        # a call, whose recipient counts for more than the channel
        (" to=functions.f<|channel|>commentary", Header("tool_call", "f", clean=True)),
        ("<|channel|>commentary to=functions.f json", Header("tool_call", "f", clean=True)),
        ("<|channel|>analysis to=python code", Header("tool_call", "python", True, True)),
        ("<|channel|>final to=functions.f", Header("tool_call", "f")),
        ("<|channel|>commentary functions.f json", Header("tool_call", "f")),
        ("<|channel|>commentary to=f", Header("tool_call", "f")),
        (" to=<|channel|>commentary functions.f json", Header("tool_call", "f")),
        (" to=functions<|channel|>commentary functions.f", Header("tool_call", "f")),
        (" to=<|channel|>commentary json", Header("untargeted")),
        (" to=user<|channel|>commentary functions.f", Header("preamble", "user")),
        (" to=functions.x to=functions.f<|channel|>commentary", Header("tool_call", "f")),
        # a recipient that is not a tool
        ("<|channel|>commentary to=assistant", Header("foreign")),
        ("<|channel|>analysis to=assistant", Header("reasoning")),
        ("<|channel|>commentary to=user", Header("preamble", "user")),
        ("<|channel|>commentary to=functions", Header("untargeted")),
        ("<|channel|>commentary to=2f", Header("tool_call")),
        ("<|channel|>commentary json", Header("untargeted")),
    ],
)
def test_first_header(text: str, header: Header) -> None:
    """Behind a prompt that ends with the assistant's name, a header has no author."""
    assert read(text) == header


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("assistant<|channel|>final", Header("final", clean=True)),
        ("assistantassistant<|channel|>final", Header("final")),
        ("user", Header("turn")),
        ("developer<|channel|>final", Header("turn")),
        ("functions.f to=assistant<|channel|>commentary", Header("foreign")),
        ("functions.f<|channel|>commentary", Header("author", "f")),
        ("python<|channel|>analysis", Header("author", "python", True)),
        ("somebody<|channel|>commentary", Header("author")),
        ("commentary to=functions.f", Header("tool_call", "f")),
        ("The answer is", Header("unclear")),
    ],
)
def test_header_with_its_author(text: str, header: Header) -> None:
    """Any other header says who speaks."""
    assert read(text, implied=False) == header


def test_a_long_header_is_not_kept() -> None:
    """A header as long as a completion is read all the same."""
    assert read("<|channel|>final" + " " * 1000) == Header("final")
