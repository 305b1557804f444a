"""A request and its answer as a turn of the store. Pure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from synth_ai.errors import SynthAIError
from synth_ai.lm.prompt import read_messages
from synth_ai.lm.tools import tool_specs
from synth_ai.lm.vendors.responses.decode import decode_response
from synth_ai.lm.vendors.responses.vendor import VLLM_KEYS
from synth_ai.turn import Turn

logger = logging.getLogger("synth_ai.backend")

#: The options of a request that a retrieved response repeats, by their names in a turn.
_SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_logprobs": "top_logprobs",
    "max_output_tokens": "max_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "metadata": "metadata",
    "service_tier": "service_tier",
    "truncation": "truncation",
    "tool_choice": "tool_choice",
    "user": "user",
}


def make_turn(
    request: Mapping[str, Any],
    answer: Mapping[str, Any],
    *,
    parent: Turn | None,
    server: str,
    stored_on_server: bool,
) -> Turn | None:
    """Make the turn that a request and its answer are.

    Args:
        request: the body, as the caller sent it.
        answer: the body of the response.
        parent: the turn that it continues.
        server: the server that answered.
        stored_on_server: whether that server can continue from the response by itself.

    Returns:
        None if the answer cannot be read: then it has gone to the caller as it is, and that is all.
    """
    try:
        response = decode_response(answer)
        items, system = _read_input(request)
        tools = _read_tools(request)
    except SynthAIError as error:
        # Its kind alone: the message may quote the conversation.
        logger.warning("A response is not kept: it cannot be read (%s).", type(error).__name__)
        return None
    if not response.response_id:
        return None

    instructions = request.get("instructions") or system
    if instructions is None and parent is not None:
        instructions = parent.instructions
    if tools is None and parent is not None:
        tools = parent.tools

    return Turn(
        id=response.response_id,
        parent_id=request.get("previous_response_id"),
        api_type="responses",
        model=response.model or str(request.get("model")),
        input=tuple(items),
        output=tuple(response.output),
        instructions=instructions,
        tools=tools,
        status=response.status,
        server=server,
        stored_on_server=stored_on_server,
        incomplete_reason=response.incomplete_reason,
        error=response.error,
        usage=None if response.usage is None else response.usage.model_dump(),
        settings=_read_settings(request),
        warnings=tuple(response.warnings),
    )


def _read_input(request: Mapping[str, Any]) -> tuple[list[Any], str | None]:
    given = request.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}], None
    return read_messages(given or [])


def _read_tools(request: Mapping[str, Any]) -> Any:
    tools = request.get("tools")
    return None if tools is None else tool_specs(tools)


def _read_settings(request: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, setting in _SETTINGS.items():
        if request.get(name) is not None:
            settings[setting] = request[name]

    reasoning = request.get("reasoning")
    if isinstance(reasoning, Mapping) and reasoning.get("effort"):
        settings["reasoning_effort"] = reasoning["effort"]
    return settings


def keeps_response(request: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    """Whether a server that answered so can continue from its response by the id."""
    if request.get("store") is False or answer.get("store") is False:
        return False
    # vLLM ignores the instructions and tools of a request that continues another.
    return VLLM_KEYS.isdisjoint(answer)
