"""Which tools of a request are custom ones, whose calls have plain text. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def find_custom_tools(request: Mapping[str, object]) -> frozenset[str]:
    """Find the names of the custom tools of a request, as either API describes them."""
    tools = request.get("tools")
    if not isinstance(tools, list):
        return frozenset()

    names = set()
    for tool in tools:
        if tool.get("type") == "custom":
            custom = tool.get("custom", tool)
            names.add(custom.get("name"))
    return frozenset(names)
