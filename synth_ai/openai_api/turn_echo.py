"""What a stored turn still knows of its request, for the body of a retrieved response. Pure."""

from __future__ import annotations

from typing import Any

from synth_ai.openai_api.json_types import JSONObject
from synth_ai.turn import Turn

#: The fields of a request, by the settings of a turn that have them.
_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_logprobs": "top_logprobs",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "metadata": "metadata",
    "service_tier": "service_tier",
    "truncation": "truncation",
    "user": "user",
}


def echo_turn(turn: Turn) -> JSONObject:
    """Make the fields of the request that became a turn."""
    # An API without metadata has it as tags.
    echo: JSONObject = {
        "metadata": {name: str(value) for name, value in turn.tags.items()},
        "instructions": turn.instructions,
        "previous_response_id": turn.parent_id,
        "tools": list(turn.tools or ()),
    }
    for name, field in _FIELDS.items():
        if name in turn.settings:
            echo[field] = turn.settings[name]

    effort = turn.settings.get("reasoning_effort")
    if effort is not None:
        echo["reasoning"] = {"effort": effort}

    choice = turn.settings.get("tool_choice")
    if choice is not None:
        echo["tool_choice"] = _echo_choice(choice)

    shape = turn.settings.get("response_format")
    if shape is not None and "schema" in shape:
        echo["text"] = {"format": {"type": "json_schema", **shape}}
    return echo


def _echo_choice(choice: Any) -> Any:
    """Write a choice as the Responses API does; an LM knows a named function by its name alone.

    `"add"` -> `{"type": "function", "name": "add"}`
    """
    is_name = isinstance(choice, str) and choice not in ("none", "auto", "required")
    return {"type": "function", "name": choice} if is_name else choice
