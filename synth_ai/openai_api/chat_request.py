"""A request of Chat Completions, as a call of an LM. Pure.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping

from synth_ai.api import API
from synth_ai.openai_api.answer_formats import read_answer_format
from synth_ai.openai_api.call_options import read_options
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.refusals import RefusedRequestError, unsupported_field
from synth_ai.openai_api.requested import (
    RequestedCall,
    RequestFields,
    check_stream_options,
    read_fields,
    read_metadata,
)
from synth_ai.openai_api.tool_choices import read_tool_choice


class ChatRequest(RequestFields):
    """The fields of a request that are not plain options of an LM."""

    messages: list[JSONObject] | None = None
    response_format: JSONObject | None = None
    n: int | None = None


def read_chat_request(api: API, body: Mapping[str, object]) -> RequestedCall:
    """Read a request as a call of an LM.

    Args:
        api: the LM's.
        body: the request.

    Raises:
        RefusedRequestError: a field has a wrong type, or asks for what the API does not take.
    """
    request = read_fields(ChatRequest, body)
    check_stream_options(request.stream_options, known=("include_usage",))
    if not request.messages:
        raise RefusedRequestError(
            "Missing required parameter: 'messages'.",
            code="missing_required_parameter",
            param="messages",
        )
    if request.n not in (None, 1):
        raise unsupported_field("n", "An answer is one choice; ask several times for several.")

    arguments: JSONObject = {
        "messages": request.messages,
        # Clients send whole conversations: what the model wrote stays as it was sampled.
        "continue_known": True,
        "tools": request.tools,
        "system_message": None,
    }
    if request.tool_choice is not None:
        arguments["tool_choice"] = read_tool_choice(request.tool_choice)

    arguments |= read_metadata(api, request)
    arguments |= read_options(api, request.options)
    arguments |= read_answer_format(api, request.response_format, "response_format")

    stream_options = request.stream_options or {}
    return RequestedCall(
        arguments=arguments,
        stream=bool(request.stream),
        is_kept=request.store is not False,
        echo=body,
        include_usage=bool(stream_options.get("include_usage")),
    )
