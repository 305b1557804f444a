"""Requests answered by an LM in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from synth_ai.backend.answer_reader import AnswerReader
from synth_ai.backend.callers import Caller
from synth_ai.backend.owned_store import store_of
from synth_ai.backend.replies import EVENTS_TYPE, JSON_TYPE, PiecesReply, WholeReply
from synth_ai.backend.usage import UsageRecord
from synth_ai.errors import SynthAIError
from synth_ai.lm.conversation import Head
from synth_ai.lm.lm import LM
from synth_ai.lm.vendors.apis import CHAT, RESPONSES
from synth_ai.openai_api.handles import Handle
from synth_ai.openai_api.refusals import RefusedRequestError, unknown_response
from synth_ai.openai_api.replies import APIRequest, JSONReply, StreamedReply
from synth_ai.openai_api.requested import read_body
from synth_ai.openai_api.routes import ROUTES, find_route
from synth_ai.openai_api.routes import answer as answer_request
from synth_ai.openai_api.streaming import EncodedStream

_RESPONSES = "/responses"

#: The APIs by the routes that make a response.
_APIS = {_RESPONSES: RESPONSES.name, "/chat/completions": CHAT.name}


class LocalService:
    """An LM in this process.

    Args:
        lm: the LM, which is not closed with this.
    """

    def __init__(self, lm: LM) -> None:
        self._lm = lm
        self._handles: dict[str | None, Handle] = {}

    async def aopen(self) -> None:
        """Leave the engine to the first call, which loads it."""

    async def aclose(self) -> None:
        """Leave the LM open: it is its owner's."""

    async def answer(
        self, request: APIRequest, caller: Caller, record: UsageRecord
    ) -> WholeReply | PiecesReply:
        """Answer a request; see `Service`."""
        route, parts = find_route(ROUTES, request.method, request.path)
        record.api = _APIS.get(route.path)
        handle = self._find_handle(caller.owner)
        if caller.owner is not None:
            await self._check_ids(caller.owner, _list_response_ids(request, route.path, parts))

        reply = await answer_request(handle, request)
        reader = AnswerReader(record)
        if isinstance(reply, StreamedReply):
            record.is_stream = True
            stream = _LocalStream(EncodedStream(reply), reader)
            await stream.open()
            return stream
        return _encode(reply, reader)

    def _find_handle(self, owner: str | None) -> Handle:
        """Return the LM as one caller sees it."""
        # There are as many as there are keys, so nothing has to leave.
        if owner not in self._handles:
            config = self._lm._config
            owned = replace(config, store=store_of(config.store, owner))
            lm = self._lm._derive(Head(), starts_from_head=False, config=owned)
            self._handles[owner] = Handle(lm)
        return self._handles[owner]

    async def _check_ids(self, owner: str, response_ids: Iterable[str]) -> None:
        """Check that the responses that a request names are the caller's.

        An LM may ask a server for an id that its store lacks, and that server knows no callers.

        Raises:
            RefusedRequestError: one is not.
        """
        store = store_of(self._lm._config.store, owner)
        for response_id in response_ids:
            if await store.get(response_id) is None:
                raise unknown_response(response_id)


class _LocalStream:
    """A stream of an LM's answer, read as it passes by."""

    status = 200

    def __init__(self, stream: EncodedStream, reader: AnswerReader) -> None:
        self.headers = {"content-type": EVENTS_TYPE, "cache-control": "no-store"}
        self._stream = stream
        self._reader = reader

    async def open(self) -> None:
        """Send the call, and wait for its first event."""
        try:
            await self._stream.open()
        except (SynthAIError, RefusedRequestError):
            await self._stream.aclose()
            raise

    async def next(self) -> bytes:
        """Return the next piece; none is empty but the one behind the end."""
        piece = await self._stream.next()
        self._reader.feed(piece)
        return piece

    async def aclose(self) -> None:
        """End the stream, and abort the call."""
        await self._stream.aclose()


def _list_response_ids(request: APIRequest, route: str, parts: Sequence[str]) -> list[str]:
    """List the ids of the responses that a request names, in its path or its body."""
    if request.method == "POST":
        parent_id = read_body(request.body).get("previous_response_id")
        return [parent_id] if isinstance(parent_id, str) else []
    return list(parts) if route.startswith(_RESPONSES) else []


def _encode(reply: JSONReply, reader: AnswerReader) -> WholeReply:
    content = json.dumps(reply.body).encode()
    if reply.status < 400:
        reader.read_body(content)
    return WholeReply(content, reply.status, {"content-type": JSON_TYPE, **reply.headers})
