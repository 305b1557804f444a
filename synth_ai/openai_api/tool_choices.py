"""Which tool to call, as both APIs write it, in the form that an LM takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from synth_ai.openai_api.refusals import invalid_field

_NAMED = ("function", "custom")


def read_tool_choice(choice: str | Mapping[str, object]) -> str | Mapping[str, object]:
    """Read a choice: a named tool by its name alone.

    ::

        "auto"                                            ->  "auto"
        {"type": "function", "name": "add"}               ->  "add"
        {"type": "function", "function": {"name": "add"}} ->  "add"
        {"type": "custom", "custom": {"name": "sql"}}     ->  "sql"

    Other choices go on as they are, for the LM's API to judge.

    Raises:
        RefusedRequestError: a named tool has no name.
    """
    if isinstance(choice, str):
        return choice

    choice_type = choice.get("type")
    if choice_type not in _NAMED:
        return choice

    named = choice.get(str(choice_type), choice)
    name = named.get("name") if isinstance(named, Mapping) else None
    if not isinstance(name, str):
        raise invalid_field("tool_choice", f"a {choice_type} must be chosen by its name.")
    return name
