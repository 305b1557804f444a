"""Custom tools, which take plain text: flat on the Responses API, nested under `custom` on Chat Completions. Pure.

https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def flat(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A custom tool, or the choice of one, in the shape of Responses, from either shape."""
    custom = tool.get("custom")
    if not isinstance(custom, Mapping):
        return dict(tool)
    spec = {"type": "custom", **custom}
    grammar = (spec.get("format") or {}).get("grammar")
    return spec | {"format": {"type": "grammar", **grammar}} if grammar else spec


def nested(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A custom tool, or the choice of one, in the shape of Chat Completions, from either shape."""
    if "custom" in tool:
        return dict(tool)
    custom = {key: value for key, value in tool.items() if key != "type"}
    shape = custom.get("format") or {}
    if shape.get("type") == "grammar" and "grammar" not in shape:
        grammar = {key: value for key, value in shape.items() if key != "type"}
        custom["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": custom}


def kind_of(name: str, tools: Iterable[Mapping[str, Any]]) -> str:
    """The type of the tool of this name: `custom`, or else `function`."""
    customs = (flat(tool) for tool in tools if tool.get("type") == "custom")
    return "custom" if any(tool.get("name") == name for tool in customs) else "function"
