"""What is said about tools, where there are none. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synth_ai.errors import OptionError

#: What brings tools along: the body itself, or on Responses a prompt that the server keeps.
_BRING_TOOLS = frozenset({"tools", "prompt"})

_ABOUT_TOOLS = frozenset({"tool_choice", "parallel_tool_calls"})


def without_idle_choice(body: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """A body without what it says about tools, if it has none: OpenAI refuses that.

    Args:
        more: what is sent along with the body (`extra_body`).

    Raises:
        OptionError: `tool_choice` wants a call of a tool.
    """
    if _BRING_TOOLS & (body.keys() | more.keys()):
        return dict(body)
    choice = body.get("tool_choice")
    if choice not in (None, "none", "auto"):
        raise OptionError(
            f"tool_choice={choice!r} cannot be met: this call has no tools. Give tools=, or tool_choice='auto'."
        )
    return {name: value for name, value in body.items() if name not in _ABOUT_TOOLS}
