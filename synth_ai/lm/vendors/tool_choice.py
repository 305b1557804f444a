"""What a body says about tools, if it has none. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from synth_ai.errors import OptionError

#: What brings tools along: the body itself, or on Responses a prompt that the server keeps.
_BRING_TOOLS = frozenset({"tools", "prompt"})

_ABOUT_TOOLS = frozenset({"tool_choice", "parallel_tool_calls"})


def drop_unused_tool_choice(
    body: Mapping[str, object], extra_body: Mapping[str, object]
) -> dict[str, object]:
    """Drop what a body says about tools if it has none, as OpenAI refuses such a body.

    Args:
        body: the body that was made here.
        extra_body: what the caller sends along with it, which may bring tools too.

    Raises:
        OptionError: `tool_choice` asks for a call of a tool.
    """
    if _BRING_TOOLS & (body.keys() | extra_body.keys()):
        return dict(body)

    choice = body.get("tool_choice")
    if choice not in (None, "none", "auto"):
        raise OptionError(
            f"tool_choice={choice!r} cannot be met: this call has no tools. "
            "Give tools=, or tool_choice='auto'."
        )

    return {name: value for name, value in body.items() if name not in _ABOUT_TOOLS}
