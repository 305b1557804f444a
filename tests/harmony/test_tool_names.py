"""The tools of a request: their names, and what a garbled name means."""

from __future__ import annotations

import pytest

from synth_ai.harmony.tool_names import OfferedTools, ResolvedTool

WEATHER = {"type": "function", "name": "get_weather"}


def test_reading_tools() -> None:
    """Specifications of either API and names of each kind are read."""
    nested = {"type": "function", "function": {"name": "python"}}
    tools = OfferedTools.from_tools([WEATHER, nested, "functions.f", "functions", "browser"])
    assert tools.functions == {"get_weather", "python", "f"}
    assert tools.built_ins == {"browser"}
    assert tools.any_function


@pytest.mark.parametrize(
    ("tools", "name", "includes"),
    [
        ([], "anything", True),
        (["f"], "f", True),
        (["f"], "g", False),
        (["functions"], "g", True),
        (["functions"], "browser.search", False),
        (["browser"], "browser.search", True),
        (["browser"], "f", False),
        (["functions.python"], "python", True),
    ],
)
def test_includes(tools: list[str], name: str, includes: bool) -> None:
    """Without any tools each name is expected, else those that are offered."""
    assert OfferedTools.from_tools(tools).includes(name) is includes


@pytest.mark.parametrize(
    ("tools", "name"),
    [(["f"], "f"), (["f", "g"], None), (["f", "python"], None), (["functions"], None), ([], None)],
)
def test_single_name(tools: list[str], name: str | None) -> None:
    """Only one function, and nothing else, is the only tool."""
    assert OfferedTools.from_tools(tools).single_name() == name


@pytest.mark.parametrize(
    ("recipient", "tool"),
    [
        ("functions.get_weather", ResolvedTool("get_weather")),
        ("Function/get_weather", ResolvedTool("get_weather")),
        ("get_weather", ResolvedTool("get_weather")),
        ("functions.user", ResolvedTool("user")),
        ("python", ResolvedTool("python", code=True)),
        ("functions.python", ResolvedTool("python")),
        ("functions.get_weather.commentary", ResolvedTool("get_weather")),
        ("functions.get_weatherjson", ResolvedTool("get_weatherjson")),
        ("user", None),
        ("json", None),
        ("2f", None),
        ("user.f", None),
        ("", None),
        ("???", None),
    ],
)
def test_resolve(recipient: str, tool: ResolvedTool | None) -> None:
    """A name that cannot be a tool's is none, and one that can stays whole."""
    assert OfferedTools.from_tools([WEATHER]).resolve(recipient) == tool


def test_a_channel_is_stripped_only_if_the_header_has_none() -> None:
    """A word that the header lacks is what is glued to the name."""
    tools = OfferedTools.from_tools([WEATHER])
    glued = "functions.get_weathercommentaryjson"
    assert tools.resolve(glued) == ResolvedTool("get_weathercommentaryjson")
    assert tools.resolve(glued, has_channel=False) == ResolvedTool("get_weather")


def test_without_offered_names_all_words_are_stripped() -> None:
    """If nothing is known, a name that ends with a channel has one glued to it."""
    assert OfferedTools().resolve("functions.fcommentary", has_channel=False) == ResolvedTool("f")
    assert OfferedTools().resolve("get_commentary", has_channel=False) == ResolvedTool(
        "get_commentary"
    )
