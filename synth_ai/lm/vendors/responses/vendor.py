"""The Responses API, on OpenAI or on any server that speaks it. It only sends: the bodies are made in `formats`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from synth_ai.errors import (
    ConnectionFailedError,
    ForgottenResponseError,
    NotFoundError,
    RejectedError,
    ServerError,
)
from synth_ai.events import Completed, StreamEvent
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.http.error_mapping import error_from_body
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.apis import RESPONSES
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.responses import encode as responses
from synth_ai.lm.vendors.responses.background import finished
from synth_ai.lm.vendors.responses.history import prepared
from synth_ai.lm.vendors.send_options import split_options
from synth_ai.lm.vendors.tool_choice import without_idle_choice
from synth_ai.lm.vendors.wire import model_names
from synth_ai.response import BaseLMResponse

PATH = "/responses"

#: Keys that only vLLM puts into its responses, whatever their values. Its store is off by default and, when on,
#: ignores the instructions and tools of chained calls, so its responses are never continued from by id.
_VLLM_MARKS = frozenset({"input_messages", "kv_transfer_params"})


class ResponsesVendor(VendorBase):
    """A server that speaks the Responses API.

    Args:
        client: the way to the server.
        remembers: whether the server can be trusted to continue from an id.
    """

    api = RESPONSES

    def __init__(self, client: HTTPClient, *, remembers: bool = True) -> None:
        self._client = client
        self._remembers = remembers
        self.server = client.base_url

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        body, options, notes = self._body(request)
        body.pop("stream_options", None)
        try:
            answer = await self._client.post(PATH, body, options)
        except (NotFoundError, RejectedError) as error:
            _tell_forgotten(request, error)
            raise
        if request.options.get("background"):
            answer = replace(answer, data=await finished(self._client, PATH, answer.data, options))
        response = answer.read(partial(self._read, request))
        response.request_id = answer.request_id
        response.warnings += notes
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        body, options, notes = self._body(request)
        body["stream"] = True
        reader = responses.EventReader()
        try:
            async with self._client.stream(PATH, body, options) as events:
                async for event in events:
                    if event.get("type") == "error":
                        raise error_from_body(event, "The stream ended with an error")
                    for ours in reader.read(event):
                        yield ours
                if reader.body is None:
                    raise ConnectionFailedError(
                        "The stream broke off before the answer was finished."
                    )
                response = self._read(request, reader.body)
        except (NotFoundError, RejectedError) as error:
            _tell_forgotten(request, error)
            raise
        response.request_id = events.request_id
        response.warnings += notes
        yield Completed(response)

    async def models(self) -> list[str]:
        return (await self._client.get("/models")).read(model_names)

    async def delete(self, response_id: str) -> None:
        await self._client.delete(f"{PATH}/{response_id}")

    async def aclose(self) -> None:
        await self._client.aclose()

    def _body(self, request: LMRequest) -> tuple[dict[str, Any], SendOptions, list[str]]:
        request, options = split_options(request)
        request, notes = prepared(request, self.server)
        body = without_idle_choice(responses.request_body(request), options.get("extra_json", {}))
        return body, options, notes

    def _read(self, request: LMRequest, data: Mapping[str, Any]) -> BaseLMResponse:
        response = responses.read_response(data)
        # The server remembers a call that was cut off too, and would wait for its output.
        is_whole = len(response.output) == len(data["output"])
        keeps = self._remembers and is_whole and _VLLM_MARKS.isdisjoint(data)
        response.stored_on_server = keeps and request.options.get("store") is not False
        response._raw = partial(_typed, data)
        return response


def _tell_forgotten(request: LMRequest, error: ServerError) -> None:
    """Tell apart the errors that mean: this server cannot continue from that id.

    Raises:
        ForgottenResponseError: for those.
    """
    if request.previous_response_id is None or not _is_about_previous(
        error, request.previous_response_id
    ):
        return
    raise ForgottenResponseError(
        f"The server cannot continue from {request.previous_response_id!r}: {error}",
        status_code=error.status_code,
        request_id=error.request_id,
        code=error.code,
        body=error.body,
    ) from error


def _is_about_previous(error: ServerError, id: str) -> bool:
    """OpenAI names the parameter, for an unknown id as for zero data retention; vLLM names the id alone."""
    param = error.body.get("param") if isinstance(error.body, Mapping) else None
    named = param == "previous_response_id" or "previous_response_id" in str(error)
    return error.code == "previous_response_not_found" or named or id in str(error)


def _typed(data: Mapping[str, Any]) -> Any:
    from openai.types.responses import Response

    return Response.construct(**data)
