"""Custom tools, which take plain text: flat on Responses, nested on Chat Completions. Pure.

::

    {"type": "custom", "name": "sql", "format": {"type": "grammar", "syntax": ..., ...}}

    {"type": "custom", "custom": {"name": "sql", "format": {"type": "grammar", "grammar": {...}}}}

https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeGuard


def flatten_tool(tool: Mapping[str, object]) -> dict[str, object]:
    """Bring a custom tool, or the choice of one, into the shape of Responses."""
    custom = tool.get("custom")
    if not isinstance(custom, Mapping):
        return dict(tool)

    flat = {"type": "custom", **custom}
    tool_format = flat.get("format") or {}
    grammar = tool_format.get("grammar")
    if grammar:
        flat["format"] = {"type": "grammar", **grammar}
    return flat


def nest_tool(tool: Mapping[str, object]) -> dict[str, object]:
    """Bring a custom tool, or the choice of one, into the shape of Chat Completions."""
    if "custom" in tool:
        return dict(tool)

    custom = _without_type(tool)
    tool_format = custom.get("format")
    if _is_flat_grammar(tool_format):
        custom["format"] = {"type": "grammar", "grammar": _without_type(tool_format)}
    return {"type": "custom", "custom": custom}


def find_tool_type(
    name: str, tools: Iterable[Mapping[str, object]]
) -> Literal["function", "custom"]:
    """Find the type of the tool of this name; a name that no tool has counts as a function's."""
    custom_tools = [flatten_tool(tool) for tool in tools if tool.get("type") == "custom"]
    is_custom = any(tool.get("name") == name for tool in custom_tools)
    return "custom" if is_custom else "function"


def _is_flat_grammar(tool_format: object) -> TypeGuard[Mapping[str, object]]:
    if not isinstance(tool_format, Mapping):
        return False
    return tool_format.get("type") == "grammar" and "grammar" not in tool_format


def _without_type(shape: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in shape.items() if key != "type"}
