"""What each route does, without any HTTP library. Each handler takes an LM and a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from synth_ai.errors import StructuredOutputError, UnknownResponseError
from synth_ai.lm.lm import LM
from synth_ai.openai_api.chat_body import check_answer, make_chat_body
from synth_ai.openai_api.chat_chunks import ChatChunkWriter
from synth_ai.openai_api.chat_request import read_chat_request
from synth_ai.openai_api.encoding import DONE
from synth_ai.openai_api.handles import Handle
from synth_ai.openai_api.input_items import make_input_list, read_page
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.refusals import (
    RefusedRequestError,
    unknown_model,
    unknown_response,
)
from synth_ai.openai_api.replies import APIRequest, EventWriter, JSONReply, StreamedReply
from synth_ai.openai_api.requested import RequestedCall, read_body
from synth_ai.openai_api.responses_body import make_response_body
from synth_ai.openai_api.responses_events import ResponseEventWriter
from synth_ai.openai_api.responses_request import read_responses_request
from synth_ai.openai_api.turn_echo import echo_turn
from synth_ai.response import BaseLMResponse

_OWNER = "synth_ai"


async def create_response(handle: Handle, request: APIRequest) -> JSONReply | StreamedReply:
    """Answer a request of the Responses API."""
    body = read_body(request.body)
    _check_model(handle.lm, body)
    call = read_responses_request(handle.api, body)
    model = handle.lm.model

    if call.stream:
        make_writer = partial(
            ResponseEventWriter,
            request=call.echo,
            model=model,
            created_at=time.time(),
            holds_calls=handle.holds_calls,
        )
        return _stream(handle, call, make_writer)

    answer = await _ask(handle, call)
    made = make_response_body(answer, call.echo, model=model)
    return JSONReply(made, headers=_make_headers(answer))


async def create_chat_completion(handle: Handle, request: APIRequest) -> JSONReply | StreamedReply:
    """Answer a request of Chat Completions."""
    body = read_body(request.body)
    _check_model(handle.lm, body)
    call = read_chat_request(handle.api, body)
    model = handle.lm.model

    if call.stream:
        make_writer = partial(
            ChatChunkWriter,
            request=call.echo,
            model=model,
            created_at=time.time(),
            include_usage=call.include_usage,
            holds_calls=handle.holds_calls,
        )
        return _stream(handle, call, make_writer, last=DONE)

    answer = await _ask(handle, call)
    check_answer(answer)
    made = make_chat_body(answer, model=model)
    return JSONReply(made, headers=_make_headers(answer))


async def retrieve_response(handle: Handle, request: APIRequest, response_id: str) -> JSONReply:
    """Answer with a stored response."""
    if request.query.get("stream") == "true":
        raise RefusedRequestError(
            "Only a response that runs in the background can be streamed again; leave stream out.",
            param="stream",
        )

    answer = await _retrieve(handle, response_id)
    turn = await handle.find_turn(response_id)
    echo: Mapping[str, object] = {} if turn is None else echo_turn(turn)
    return JSONReply(make_response_body(answer, echo, model=handle.lm.model))


async def delete_response(handle: Handle, request: APIRequest, response_id: str) -> JSONReply:
    """Delete a stored response."""
    try:
        await handle.lm.responses.delete_async(response_id)
    except UnknownResponseError as error:
        raise unknown_response(response_id) from error
    return JSONReply({"id": response_id, "object": "response", "deleted": True})


async def list_input_items(handle: Handle, request: APIRequest, response_id: str) -> JSONReply:
    """Answer with a page of what went into a stored response."""
    page = read_page(request.query)
    try:
        items = await handle.lm.responses.input_items_async(response_id)
    except UnknownResponseError as error:
        raise unknown_response(response_id) from error
    return JSONReply(make_input_list(items, response_id, page))


async def list_models(handle: Handle, request: APIRequest) -> JSONReply:
    """Answer with the one model that there is."""
    return JSONReply({"object": "list", "data": [_make_model(handle.lm)]})


async def retrieve_model(handle: Handle, request: APIRequest, model: str) -> JSONReply:
    """Answer with what is known of a model."""
    _check_model(handle.lm, {"model": model})
    return JSONReply(_make_model(handle.lm))


def _check_model(lm: LM, body: JSONFields) -> None:
    """Check that a request asks for the model that there is; one that names none does.

    Raises:
        RefusedRequestError: it asks for another.
    """
    model = body.get("model")
    if isinstance(model, str) and model != lm.model:
        raise unknown_model(model, repr(lm.model))


def _make_model(lm: LM) -> JSONObject:
    return {"id": lm.model, "object": "model", "created": 0, "owned_by": _OWNER}


async def _ask(handle: Handle, call: RequestedCall) -> BaseLMResponse:
    """Make a call, and return its answer.

    Raises:
        SynthAIError: see `synth_ai.errors`.
    """
    lm = handle.for_call(is_kept=call.is_kept)
    try:
        return await lm.respond_async(**call.arguments)
    except StructuredOutputError as error:
        # Whoever asked for a shape checks it: the answer goes out as the model wrote it.
        answer: BaseLMResponse = error.response
        return answer


def _stream(
    handle: Handle,
    call: RequestedCall,
    make_writer: Callable[[str], EventWriter],
    last: bytes = b"",
) -> StreamedReply:
    return StreamedReply(
        lm=handle.for_call(is_kept=call.is_kept),
        arguments=call.arguments,
        make_writer=make_writer,
        last=last,
    )


async def _retrieve(handle: Handle, response_id: str) -> BaseLMResponse:
    try:
        return await handle.lm.responses.retrieve_async(response_id)
    except UnknownResponseError as error:
        raise unknown_response(response_id) from error


def _make_headers(answer: BaseLMResponse) -> dict[str, str]:
    if answer.request_id is None:
        return {}
    return {"x-request-id": answer.request_id}
