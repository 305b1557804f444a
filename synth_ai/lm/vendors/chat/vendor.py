"""Chat Completions, on OpenAI or on any server that speaks it.

The vendor only sends: `history` selects what of the conversation goes along, `encode` makes the
bodies, `decode` and `stream` read the answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from synth_ai.errors import ConnectionFailedError, RejectedError
from synth_ai.events import Completed, StreamEvent
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.apis import CHAT
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.chat.decode import decode_response
from synth_ai.lm.vendors.chat.encode import COMPATIBLE, OPENAI, Dialect, encode_request
from synth_ai.lm.vendors.chat.history import adapt_history
from synth_ai.lm.vendors.chat.stream import ChunkReader
from synth_ai.lm.vendors.send_options import split_send_options
from synth_ai.lm.vendors.tool_choice import drop_unused_tool_choice
from synth_ai.lm.vendors.wire import decode_model_names
from synth_ai.response import BaseLMResponse

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

PATH = "/chat/completions"

_TOOLS_HINT = (
    "(Newer models take function tools on Chat Completions only with reasoning_effort='none'; on "
    "the Responses API, which LM chooses by itself, they take them at any effort.)"
)


class ChatVendor(VendorBase):
    """A server that speaks Chat Completions.

    Args:
        client: the way to the server.
        dialect: what is particular to the server.
    """

    api = CHAT

    def __init__(self, client: HTTPClient, *, dialect: Dialect = COMPATIBLE) -> None:
        self._client = client
        self._dialect = dialect
        self.server = client.base_url

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        body, send_options, warnings = self._encode(request)
        try:
            answer = await self._client.post(PATH, body, send_options)
        except RejectedError as error:
            self._explain(request, error)
            raise

        response = answer.read(decode_response)
        response.request_id = answer.request_id
        response.warnings += warnings
        response._raw = partial(_as_sdk_object, answer.data)
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        body, send_options, warnings = self._encode(request, stream=True)
        reader = ChunkReader()
        try:
            async with self._client.stream(PATH, body, send_options) as chunks:
                async for chunk in chunks:
                    for event in reader.read(chunk):
                        yield event

                whole_body = reader.body()
                if whole_body is None:
                    raise ConnectionFailedError(
                        "The stream broke off before the answer was finished."
                    )
                response = decode_response(whole_body)
        except RejectedError as error:
            self._explain(request, error)
            raise

        response.request_id = chunks.request_id
        response.warnings += warnings
        response._raw = partial(_as_sdk_object, {"object": "chat.completion", **whole_body})
        yield Completed(response)

    async def models(self) -> list[str]:
        answer = await self._client.get("/models")
        return answer.read(decode_model_names)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _encode(
        self, request: LMRequest, *, stream: bool = False
    ) -> tuple[dict[str, object], SendOptions, list[str]]:
        """Make the body, how to send it, and the warnings of what it had to leave out."""
        request, send_options = split_send_options(request)
        request, warnings = adapt_history(
            request, self._dialect, server=self.server, now=time.time()
        )

        body = encode_request(request, self._dialect, stream=stream)
        body = drop_unused_tool_choice(body, send_options.get("extra_json", {}))
        return body, send_options, warnings

    def _explain(self, request: LMRequest, error: RejectedError) -> None:
        """Add to an error the likeliest reason: OpenAI's newer models refuse tools on this API."""
        if self._dialect is not OPENAI:
            return
        if not request.tools or request.options.get("reasoning_effort") == "none":
            return

        error.args = (f"{error} {_TOOLS_HINT}", *error.args[1:])


def _as_sdk_object(body: Mapping[str, Any]) -> ChatCompletion:
    # Imported when it is first asked for: the SDK's types take long to load.
    from openai.types.chat import ChatCompletion

    return ChatCompletion.construct(**body)
