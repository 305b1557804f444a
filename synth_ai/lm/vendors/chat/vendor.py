"""Chat Completions, on OpenAI or on any server that speaks it. It only sends: the bodies are made in `formats`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any

from synth_ai.errors import ConnectionFailedError, RejectedError
from synth_ai.events import Completed, StreamEvent
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.apis import CHAT
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.chat import decode as chat_answer
from synth_ai.lm.vendors.chat import encode as chat
from synth_ai.lm.vendors.chat.history import prepared
from synth_ai.lm.vendors.chat.stream import ChunkReader
from synth_ai.lm.vendors.send_options import split_options
from synth_ai.lm.vendors.tool_choice import without_idle_choice
from synth_ai.lm.vendors.wire import model_names
from synth_ai.response import BaseLMResponse

PATH = "/chat/completions"

_TOOLS_NOTE = (
    "(Newer models take function tools on Chat Completions only with reasoning_effort='none'; on the Responses API, "
    "which LM chooses by itself, they take them at any effort.)"
)


class ChatVendor(VendorBase):
    """A server that speaks Chat Completions.

    Args:
        client: the way to the server.
        dialect: what the server wants said its own way.
    """

    api = CHAT

    def __init__(self, client: HTTPClient, *, dialect: chat.Dialect = chat.COMPATIBLE) -> None:
        self._client = client
        self._dialect = dialect
        self.server = client.base_url

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        body, options, notes = self._body(request)
        body.pop("stream_options", None)
        try:
            answer = await self._client.post(PATH, body, options)
        except RejectedError as error:
            self._explain(request, error)
            raise
        response = answer.read(chat_answer.read_response)
        response.request_id = answer.request_id
        response.warnings += notes
        response._raw = partial(_typed, answer.data)
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        body, options, notes = self._body(request)
        body["stream"] = True
        body["stream_options"] = {"include_usage": True} | (body.get("stream_options") or {})
        reader = ChunkReader()
        try:
            async with self._client.stream(PATH, body, options) as chunks:
                async for chunk in chunks:
                    for event in reader.read(chunk):
                        yield event
                whole = reader.body()
                if whole is None:
                    raise ConnectionFailedError(
                        "The stream broke off before the answer was finished."
                    )
                response = chat_answer.read_response(whole)
        except RejectedError as error:
            self._explain(request, error)
            raise
        response.request_id = chunks.request_id
        response._raw = partial(_typed, {"object": "chat.completion", **whole})
        response.warnings += notes
        yield Completed(response)

    async def models(self) -> list[str]:
        return (await self._client.get("/models")).read(model_names)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _explain(self, request: LMRequest, error: RejectedError) -> None:
        """Say what is known of OpenAI's newer models where one of them refuses function tools on this API."""
        if (
            self._dialect is chat.OPENAI
            and request.tools
            and request.options.get("reasoning_effort") != "none"
        ):
            error.args = (f"{error} {_TOOLS_NOTE}", *error.args[1:])

    def _body(self, request: LMRequest) -> tuple[dict[str, Any], SendOptions, list[str]]:
        request, options = split_options(request)
        request, notes = prepared(request, self._dialect, server=self.server, now=time.time())
        body = without_idle_choice(
            chat.request_body(request, self._dialect), options.get("extra_json", {})
        )
        return body, options, notes


def _typed(data: Mapping[str, Any]) -> Any:
    from openai.types.chat import ChatCompletion

    return ChatCompletion.construct(**data)
