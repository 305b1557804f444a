"""A request of the Responses API, as a call of an LM. Pure.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synth_ai.api import API
from synth_ai.content import PlacedMessage
from synth_ai.openai_api.answer_formats import read_answer_format
from synth_ai.openai_api.call_options import read_option, read_options
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.refusals import invalid_field, unsupported_field
from synth_ai.openai_api.requested import (
    RequestedCall,
    RequestFields,
    check_stream_options,
    read_fields,
    read_metadata,
)
from synth_ai.openai_api.tool_choices import read_tool_choice

#: What an answer may bring along that other APIs have as an option.
_LOGPROBS = "message.output_text.logprobs"

#: What an answer brings along in the open where it is not encrypted.
_REASONING = "reasoning.encrypted_content"


class ResponsesRequest(RequestFields):
    """The fields of a request that are not plain options of an LM."""

    input: str | list[JSONObject] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    reasoning: JSONObject | None = None
    text: JSONObject | None = None
    include: list[str] | None = None


def read_responses_request(api: API, body: Mapping[str, object]) -> RequestedCall:
    """Read a request as a call of an LM.

    Args:
        api: the LM's.
        body: the request.

    Raises:
        RefusedRequestError: a field has a wrong type, or asks for what the API does not take.
    """
    request = read_fields(ResponsesRequest, body)
    check_stream_options(request.stream_options, known=())

    arguments: JSONObject = {
        "tools": request.tools,
        "system_message": request.instructions,
    }
    messages = _read_messages(request.input)
    if messages:
        arguments["messages"] = messages
    if request.previous_response_id is not None:
        arguments["previous_response_id"] = request.previous_response_id
    elif messages:
        # Clients send whole conversations again: what the model wrote stays as it was sampled.
        arguments["continue_known"] = True
    if request.tool_choice is not None:
        arguments["tool_choice"] = read_tool_choice(request.tool_choice)

    arguments |= read_options(api, request.options)
    arguments |= _read_reasoning(api, request.reasoning)
    arguments |= _read_include(api, request.include)
    arguments |= _read_text(api, request.text)
    arguments |= _read_kept(api, request)

    return RequestedCall(
        arguments=arguments,
        stream=bool(request.stream),
        is_kept=request.store is not False,
        echo=body,
    )


def _read_messages(given: str | list[JSONObject] | None) -> Sequence[JSONFields]:
    """Read the input as messages.

    System messages at its beginning are part of the conversation: instructions go with one request,
    and what was said stays said.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [PlacedMessage(message) for message in given or ()]


def _read_reasoning(api: API, reasoning: JSONObject | None) -> JSONObject:
    """Read how the model is to reason: the effort is an option everywhere, the rest of one API."""
    given = {name: value for name, value in (reasoning or {}).items() if value is not None}
    effort = given.pop("effort", None)
    options = read_option(api, "reasoning.effort", effort, name="reasoning_effort")
    if not given:
        return options

    if not api.accepts("reasoning"):
        name = next(iter(given))
        raise unsupported_field(
            f"reasoning.{name}", "Its reasoning comes in the open; leave this out."
        )
    return {**options, "reasoning": given}


def _read_include(api: API, include: list[str] | None) -> JSONObject:
    """Read what the answer is to bring along, where it does not anyway."""
    if not include:
        return {}
    if api.accepts("include"):
        return {"include": include}

    options = {}
    for name in include:
        if name == _LOGPROBS:
            options["logprobs"] = True
        elif name != _REASONING:
            raise unsupported_field("include", f"It has no {name!r:.80}; leave that out.")
    return options


def _read_text(api: API, text: JSONObject | None) -> JSONObject:
    """Read the format and the verbosity of the answer."""
    given = dict(text or {})
    answer_format = given.pop("format", None)
    verbosity = given.pop("verbosity", None)
    if given:
        name = next(iter(given))
        raise unsupported_field(f"text.{name}", "It takes format and verbosity.")
    if not isinstance(answer_format, dict | None):
        raise invalid_field("text.format", "it must be an object.")

    options = read_option(api, "text.verbosity", verbosity, name="verbosity")
    return options | read_answer_format(api, answer_format, "text.format")


def _read_kept(api: API, request: ResponsesRequest) -> JSONObject:
    """Read what is kept with the response: by a server that has a field for it, or here."""
    options: JSONObject = {}
    if request.store is not None and api.keeps_responses:
        options["store"] = request.store
    return options | read_metadata(api, request)
