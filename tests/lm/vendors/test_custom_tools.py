"""Custom tools in the shapes of both APIs."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai.lm.vendors.custom_tools import find_tool_type, flatten_tool, nest_tool

GRAMMAR = {"syntax": "lark", "definition": "start: WORD"}
FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no format": ({}, {}),
    "text": ({"format": {"type": "text"}}, {"format": {"type": "text"}}),
    "a grammar": (
        {"format": {"type": "grammar", **GRAMMAR}},
        {"format": {"type": "grammar", "grammar": GRAMMAR}},
    ),
}


@pytest.mark.parametrize(("flat_format", "nested_format"), FORMATS.values(), ids=FORMATS)
def test_each_shape_becomes_the_other(
    flat_format: dict[str, Any], nested_format: dict[str, Any]
) -> None:
    """The grammar too, which Chat Completions nests once more; a shape that fits stays."""
    flat = {"type": "custom", "name": "sql", **flat_format}
    nested = {"type": "custom", "custom": {"name": "sql", **nested_format}}
    assert flatten_tool(nested) == flatten_tool(flat) == flat
    assert nest_tool(flat) == nest_tool(nested) == nested


def test_a_format_that_is_unknown_is_the_server_s_to_judge() -> None:
    """It goes as it is, and the server's error says what is wrong with it."""
    assert nest_tool({"type": "custom", "name": "sql", "format": "lark"}) == {
        "type": "custom",
        "custom": {"name": "sql", "format": "lark"},
    }


def test_the_type_of_a_tool_is_found_by_its_name() -> None:
    """In either shape; what is not among the tools counts as a function."""
    tools = [
        {"type": "function", "name": "add"},
        {"type": "custom", "name": "sql"},
        {"type": "custom", "custom": {"name": "shell"}},
    ]
    names = ["add", "sql", "shell", "other"]
    types = [find_tool_type(name, tools) for name in names]
    assert types == ["function", "custom", "custom", "function"]
