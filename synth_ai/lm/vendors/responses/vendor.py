"""The Responses API, on OpenAI or on any server that speaks it.

The vendor only sends: `history` selects what of the conversation goes along, `encode` makes the
bodies, `decode` and `stream` read the answers, `background` waits for those that take long.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from synth_ai.errors import (
    ConnectionFailedError,
    ForgottenResponseError,
    NotFoundError,
    RejectedError,
    ServerError,
)
from synth_ai.events import Completed, VendorEvent
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.http.error_mapping import error_from_body
from synth_ai.http.requests import QueryValue
from synth_ai.ids import quote_id
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.apis import RESPONSES
from synth_ai.lm.vendors.base import ItemPage, Order, VendorBase
from synth_ai.lm.vendors.responses.background import poll_until_done
from synth_ai.lm.vendors.responses.decode import decode_item_page, decode_response
from synth_ai.lm.vendors.responses.encode import encode_request
from synth_ai.lm.vendors.responses.history import adapt_history, drop_local_ids
from synth_ai.lm.vendors.responses.stream import EventReader
from synth_ai.lm.vendors.send_options import split_send_options
from synth_ai.lm.vendors.tool_choice import drop_unused_tool_choice
from synth_ai.lm.vendors.wire import decode_model_names
from synth_ai.response import BaseLMResponse

if TYPE_CHECKING:
    from openai.types.responses import Response

PATH = "/responses"

#: Keys that only vLLM puts into its responses, whatever their values. Its store is off by default
#: and, when on, ignores the instructions and tools of chained calls, so its responses are never
#: continued from by id.
VLLM_KEYS = frozenset({"input_messages", "kv_transfer_params"})


#: Why a conversation on vLLM is sent whole, whether or not the server has its store on.
VLLM_REPLAY_REASON = "vLLM does not take new instructions and tools when it continues from an id"

_BACKGROUND_HINT = (
    "(On vLLM, background=True needs the server's store: start it with "
    "VLLM_ENABLE_RESPONSES_API_STORE=1, and leave out store=False.)"
)


@dataclass(frozen=True, slots=True)
class ResponsesDialect:
    """What servers of the Responses API differ in.

    Attributes:
        remembers: whether the server can be trusted to continue from an id. vLLM cannot: it ignores
            the instructions and tools of a chained call.
        may_be_vllm: whether answers with vLLM's own keys come from vLLM, or from a server in front
            of it that remembers by itself.
        stream_in_query: whether the address too says that a stream is wanted, as the body does.
        dropped_prefix: what the names of models begin with elsewhere, and not on the server.
    """

    remembers: bool = True
    may_be_vllm: bool = True
    stream_in_query: bool = False
    dropped_prefix: str = ""


COMPATIBLE = ResponsesDialect()
VLLM = ResponsesDialect(remembers=False)
SYNTH = ResponsesDialect(may_be_vllm=False, stream_in_query=True, dropped_prefix="openai/")


class ResponsesVendor(VendorBase):
    """A server that speaks the Responses API.

    Args:
        client: the way to the server.
        dialect: what is particular to the server.
    """

    api = RESPONSES

    def __init__(self, client: HTTPClient, *, dialect: ResponsesDialect = COMPATIBLE) -> None:
        self._client = client
        self._dialect = dialect
        self.server = client.base_url
        if not dialect.remembers:
            self.replay_reason = VLLM_REPLAY_REASON

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        body, send_options, warnings = self._encode(request)
        try:
            answer = await self._client.post(PATH, body, send_options)
        except (NotFoundError, RejectedError) as error:
            _raise_if_forgotten(request, error)
            self._explain(request, error)
            raise

        if request.options.get("background"):
            try:
                data = await poll_until_done(self._client, PATH, answer.data, send_options)
            except ServerError as error:
                if error.status_code == 404:
                    self._explain(request, error)
                raise
            answer = replace(answer, data=data)

        response = answer.read(partial(self._decode, request))
        response.request_id = answer.request_id
        response.warnings += warnings
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[VendorEvent, None]:
        body, send_options, warnings = self._encode(request, stream=True)
        reader = EventReader()
        try:
            async with self._client.stream(PATH, body, send_options) as server_events:
                async for server_event in server_events:
                    if server_event.get("type") == "error":
                        raise error_from_body(server_event, "The stream ended with an error")
                    for event in reader.read(server_event):
                        yield event

                if reader.body is None:
                    raise ConnectionFailedError(
                        "The stream broke off before the answer was finished."
                    )
                response = self._decode(request, reader.body)
        except (NotFoundError, RejectedError) as error:
            _raise_if_forgotten(request, error)
            self._explain(request, error)
            raise

        response.request_id = server_events.request_id
        response.warnings += warnings
        yield Completed(response)

    async def models(self) -> list[str]:
        answer = await self._client.get("/models")
        return answer.read(decode_model_names)

    async def retrieve(self, response_id: str) -> BaseLMResponse:
        segment = quote_id(response_id, "response_id")
        answer = await self._client.get(f"{PATH}/{segment}")
        response = answer.read(decode_response)
        response.request_id = answer.request_id
        response.stored_on_server = self._dialect.remembers
        response._raw = partial(_as_sdk_object, answer.data)
        return response

    async def input_items(
        self, response_id: str, *, after: str | None, limit: int, order: Order
    ) -> ItemPage:
        segment = quote_id(response_id, "response_id")
        query: dict[str, QueryValue] = {"limit": limit, "order": order}
        if after is not None:
            query["after"] = after
        answer = await self._client.get(f"{PATH}/{segment}/input_items", {"params": query})
        return answer.read(decode_item_page)

    async def delete(self, response_id: str) -> None:
        segment = quote_id(response_id, "response_id")
        await self._client.delete(f"{PATH}/{segment}")

    async def aclose(self) -> None:
        await self._client.aclose()

    def _encode(
        self, request: LMRequest, *, stream: bool = False
    ) -> tuple[dict[str, object], SendOptions, list[str]]:
        """Make the body, how to send it, and the warnings of what it had to leave out."""
        request, send_options = split_send_options(request)
        request, warnings = adapt_history(drop_local_ids(request), self.server)

        body = encode_request(request, stream=stream)
        body = drop_unused_tool_choice(body, send_options.get("extra_json", {}))
        body["model"] = request.model.removeprefix(self._dialect.dropped_prefix)
        if stream and self._dialect.stream_in_query:
            send_options["params"] = {"stream": "true", **send_options.get("params", {})}
        return body, send_options, warnings

    def _decode(self, request: LMRequest, body: Mapping[str, Any]) -> BaseLMResponse:
        response = decode_response(body)
        response.stored_on_server = self._can_continue(request, body, response)
        response._raw = partial(_as_sdk_object, body)
        return response

    def _explain(self, request: LMRequest, error: ServerError) -> None:
        """Add to an error of a background call what a server of vLLM needs for it."""
        if not request.options.get("background") or "openai.com" in self._client.base_url:
            return
        if "VLLM_ENABLE_RESPONSES_API_STORE" in str(error):
            return
        error.args = (f"{error} {_BACKGROUND_HINT}", *error.args[1:])

    def _can_continue(
        self, request: LMRequest, body: Mapping[str, Any], response: BaseLMResponse
    ) -> bool:
        """Whether the server can continue from a response by its id."""
        if not self._dialect.remembers:
            return False
        if request.options.get("store") is False:
            return False
        if body.get("store") is False:
            # Some servers keep nothing whatever they are asked, and say so in this way alone.
            return False
        if self._dialect.may_be_vllm and not VLLM_KEYS.isdisjoint(body):
            self.replay_reason = VLLM_REPLAY_REASON
            return False

        # The server remembers what it sent. It would wait for the output of a call that was cut
        # off, and not know a call by another id.
        return list(response.output) == list(body["output"])


def _raise_if_forgotten(request: LMRequest, error: ServerError) -> None:
    """Raise an error of its own kind if the server cannot continue from the id of a request.

    Raises:
        ForgottenResponseError: if this is what the server's error says.
    """
    previous_id = request.previous_response_id
    if previous_id is None:
        return
    if not _is_about_previous(error, previous_id):
        return

    raise ForgottenResponseError(
        f"The server cannot continue from {previous_id!r}: {error}",
        status_code=error.status_code,
        request_id=error.request_id,
        code=error.code,
        body=error.body,
    ) from error


def _is_about_previous(error: ServerError, previous_id: str) -> bool:
    if error.code == "previous_response_not_found":
        return True

    # OpenAI names the parameter, for an unknown id as for zero data retention; vLLM names the id.
    if isinstance(error.body, Mapping) and error.body.get("param") == "previous_response_id":
        return True
    message = str(error)
    return "previous_response_id" in message or previous_id in message


def _as_sdk_object(body: Mapping[str, Any]) -> Response:
    # Imported when it is first asked for: the SDK's types take long to load.
    from openai.types.responses import Response

    return Response.construct(**body)
