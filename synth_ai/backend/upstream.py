"""Requests passed on to a server, byte for byte, and what it answers kept.

A conversation that the server does not know goes to it whole, see `continuation`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import aiohttp
from yarl import URL

from synth_ai.backend.answer_reader import FINAL_STATUSES, AnswerReader
from synth_ai.backend.callers import Caller
from synth_ai.backend.continuation import (
    expand_request,
    make_broken_chunk,
    make_broken_event,
    says_forgotten,
)
from synth_ai.backend.item_owners import ItemOwners, list_item_ids
from synth_ai.backend.owned_store import store_of
from synth_ai.backend.passage import Passage, read_whole, select_headers
from synth_ai.backend.recording import keeps_response, make_turn
from synth_ai.backend.replies import PiecesReply, WholeReply, as_json
from synth_ai.backend.usage import UsageRecord
from synth_ai.errors import OverloadedError, TimedOutError
from synth_ai.ids import quote_id
from synth_ai.lm.responses import as_response
from synth_ai.lm.vendors.apis import CHAT, RESPONSES
from synth_ai.openai_api.input_items import make_input_list, read_page
from synth_ai.openai_api.refusals import RefusedRequestError, unknown_model, unknown_response
from synth_ai.openai_api.replies import APIRequest
from synth_ai.openai_api.requested import read_body
from synth_ai.openai_api.responses_body import make_response_body
from synth_ai.openai_api.routes import APIRoute, find_route
from synth_ai.openai_api.turn_echo import echo_turn
from synth_ai.store.base import ResponseStore
from synth_ai.turn import Turn

#: Headers of a request that are the server's to read. Others, such as `cookie`, are this one's.
_PASSED_ON = ("content-type", "accept", "user-agent", "openai-beta", "x-request-id", "traceparent")

_PATH = "/responses"
_CHAT_PATH = "/chat/completions"

#: What the names of the models may begin with elsewhere.
_VENDOR_PREFIX = "openai/"

# Seconds to connect, and to wait for the next byte of an answer: models may think for long.
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 600.0

_NOT_FOUND = 404


class UpstreamService:
    """A server behind this one.

    Args:
        url: its address, such as `http://localhost:8000/v1`.
        key: the key for it; None passes on the caller's.
        models: the models that may be asked for.
        store: where its responses are kept. It is not closed with this.
    """

    def __init__(
        self, url: str, *, key: str | None, models: Sequence[str], store: ResponseStore
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._models = tuple(models)
        self._store = store
        self._item_owners = ItemOwners(store)
        self._session: aiohttp.ClientSession | None = None

    async def aopen(self) -> None:
        """Open the connections. No proxy is between two servers of one owner."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=timeout
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def answer(
        self, request: APIRequest, caller: Caller, record: UsageRecord
    ) -> WholeReply | PiecesReply:
        """Answer a request; see `Service`."""
        route, parts = find_route(_ROUTES, request.method, request.path)
        return await route.handler(self, request, caller, record, *parts)

    async def list_models(
        self, request: APIRequest, caller: Caller, record: UsageRecord
    ) -> WholeReply:
        """Answer with the models that may be asked for, whatever the server lists."""
        return as_json({"object": "list", "data": [_make_model(name) for name in self._models]})

    # --- new responses ------------------------------------------------------------------------

    async def create_chat_completion(
        self, request: APIRequest, caller: Caller, record: UsageRecord
    ) -> WholeReply | PiecesReply:
        """Pass on a request of Chat Completions; nothing of it is kept."""
        record.api = CHAT.name
        body = read_body(request.body)
        self._check_model(body)
        record.model = body.get("model")
        record.is_stream = bool(body.get("stream"))

        answer = await self._send(request, caller, _CHAT_PATH, request.body)
        return await Passage(answer, record, broken=make_broken_chunk()).reply()

    async def create_response(
        self, request: APIRequest, caller: Caller, record: UsageRecord
    ) -> WholeReply | PiecesReply:
        """Pass on a request of the Responses API, and keep the response."""
        record.api = RESPONSES.name
        body = read_body(request.body)
        content = request.body
        self._check_model(body)
        if request.query.get("stream") == "true" and not body.get("stream"):
            body["stream"] = True
            content = json.dumps(body).encode()
        record.model = body.get("model")
        record.is_stream = bool(body.get("stream"))

        await self._check_items(body, caller)
        parent = await self._find_parent(body, caller)
        if parent is not None and not self._knows(parent):
            return await self._continue_whole(request, caller, record, body, parent)

        answer = await self._send(request, caller, _PATH, content)
        if parent is not None and not answer.ok:
            refusal = await read_whole(answer)
            if says_forgotten(refusal, parent.id):
                return await self._continue_whole(request, caller, record, body, parent)
            return WholeReply(refusal, answer.status, select_headers(answer))

        return await self._pass_response(answer, caller, record, body, parent)

    async def _continue_whole(
        self,
        request: APIRequest,
        caller: Caller,
        record: UsageRecord,
        body: dict[str, Any],
        parent: Turn,
    ) -> WholeReply | PiecesReply:
        """Send the whole conversation, as the server cannot continue from the id."""
        chain = await store_of(self._store, caller.owner).chain(parent.id)
        if chain is None:
            raise unknown_response(parent.id)

        expanded = expand_request(body, chain, self._url)
        content = json.dumps(expanded).encode()
        answer = await self._send(request, caller, _PATH, content)
        return await self._pass_response(
            answer, caller, record, body, parent, restored_parent=parent.id
        )

    async def _pass_response(
        self,
        answer: aiohttp.ClientResponse,
        caller: Caller,
        record: UsageRecord,
        body: Mapping[str, Any],
        parent: Turn | None,
        restored_parent: str | None = None,
    ) -> WholeReply | PiecesReply:
        passage = Passage(
            answer,
            record,
            broken=make_broken_event(),
            keep=partial(self._keep, caller, body, parent),
            restored_parent=restored_parent,
        )
        return await passage.reply()

    async def _keep(
        self,
        caller: Caller,
        request: Mapping[str, Any],
        parent: Turn | None,
        response: Mapping[str, Any],
    ) -> None:
        """Keep a response that is whole, unless its caller does not want that."""
        self._item_owners.note_output(response, caller.owner)
        if request.get("store") is False:
            return

        turn = make_turn(
            request,
            response,
            parent=parent,
            server=self._url,
            stored_on_server=keeps_response(request, response),
        )
        if turn is not None:
            await store_of(self._store, caller.owner).put(turn)
            self._item_owners.note(turn, caller.owner)

    def _knows(self, parent: Turn) -> bool:
        return parent.stored_on_server and parent.server == self._url

    async def _find_parent(self, body: Mapping[str, Any], caller: Caller) -> Turn | None:
        """Find the response that a request continues; None if only the server behind may know."""
        parent_id = body.get("previous_response_id")
        if parent_id is None:
            return None
        if not isinstance(parent_id, str):
            raise RefusedRequestError(
                "Invalid type for 'previous_response_id': it must be a string.",
                code="invalid_type",
                param="previous_response_id",
            )
        parent = await self._find(parent_id, caller)
        if parent is None and not caller.may_ask_upstream:
            raise RefusedRequestError(
                f"Previous response with id {parent_id!r:.200} not found.",
                status=_NOT_FOUND,
                code="previous_response_not_found",
                param="previous_response_id",
            )
        return parent

    async def _find(self, response_id: str, caller: Caller) -> Turn | None:
        """Find a response of the caller's.

        Raises:
            RefusedRequestError: it is somebody else's.
        """
        turn = await store_of(self._store, caller.owner).get(response_id)
        if turn is None and await self._store.get(response_id) is not None:
            raise unknown_response(response_id)
        return turn

    async def _check_items(self, body: Mapping[str, Any], caller: Caller) -> None:
        """Check that the items that a request refers to by their ids are the caller's.

        Raises:
            RefusedRequestError: one is not.
        """
        if caller.owner is None:
            return
        for item_id in list_item_ids(body.get("input")):
            if not await self._item_owners.owns(caller.owner, item_id, caller.may_ask_upstream):
                raise RefusedRequestError(
                    f"Item with id {item_id!r:.200} not found.", status=_NOT_FOUND, param="input"
                )

    def _check_model(self, body: Mapping[str, Any]) -> None:
        model = body.get("model")
        name = model.removeprefix(_VENDOR_PREFIX) if isinstance(model, str) else model
        if name not in self._models:
            raise unknown_model(str(model), " and ".join(self._models))

    # --- responses that are there -------------------------------------------------------------

    async def retrieve(
        self, request: APIRequest, caller: Caller, record: UsageRecord, response_id: str
    ) -> WholeReply | PiecesReply:
        """Answer with a response that is kept, else with what the server says."""
        turn = await self._find(response_id, caller)
        if turn is not None and turn.status in FINAL_STATUSES:
            return as_json(make_stored_body(turn))

        if turn is None:
            return await self._ask_upstream(request, caller, _response_path(response_id))
        return await self._refresh(request, caller, turn)

    async def _refresh(self, request: APIRequest, caller: Caller, turn: Turn) -> WholeReply:
        """Ask the server for a response that is made in the background, and keep its end."""
        answer = await self._send(request, caller, _response_path(turn.id))
        content = await read_whole(answer)
        reader = AnswerReader(UsageRecord(caller=caller.name))
        reader.read_body(content)

        response = reader.response
        if response is not None:
            kept = {"input": list(turn.input), "previous_response_id": turn.parent_id}
            made = make_turn(kept, response, parent=turn, server=self._url, stored_on_server=True)
            if made is not None:
                made = replace(made, settings=turn.settings, created_at=turn.created_at)
                await store_of(self._store, caller.owner).put(made)
                self._item_owners.note(made, caller.owner)
        return WholeReply(content, answer.status, select_headers(answer))

    async def delete(
        self, request: APIRequest, caller: Caller, record: UsageRecord, response_id: str
    ) -> WholeReply | PiecesReply:
        """Delete a response, here and on the server."""
        turn = await self._find(response_id, caller)
        if turn is None:
            return await self._ask_upstream(request, caller, _response_path(response_id))

        # Here first: that is refused where other responses continue from it.
        await store_of(self._store, caller.owner).delete(response_id)
        if turn.stored_on_server:
            answer = await self._send(request, caller, _response_path(response_id))
            content = await read_whole(answer)
            is_gone = answer.ok or answer.status == _NOT_FOUND
            if not is_gone:
                return WholeReply(content, answer.status, select_headers(answer))

        return as_json({"id": response_id, "object": "response", "deleted": True})

    async def list_input_items(
        self, request: APIRequest, caller: Caller, record: UsageRecord, response_id: str
    ) -> WholeReply | PiecesReply:
        """Answer with a page of what went into a response."""
        page = read_page(request.query)
        chain = await store_of(self._store, caller.owner).chain(response_id)
        if chain is None:
            await self._find(response_id, caller)
            path = f"{_response_path(response_id)}/input_items"
            return await self._ask_upstream(request, caller, path)

        items: list[Any] = []
        for turn in chain[:-1]:
            items += [*turn.input, *turn.output]
        items += chain[-1].input
        return as_json(make_input_list(items, response_id, page))

    async def _ask_upstream(self, request: APIRequest, caller: Caller, path: str) -> WholeReply:
        """Pass on a request about a response that is not kept here."""
        if not caller.may_ask_upstream:
            raise unknown_response(path.removeprefix(f"{_PATH}/"))

        answer = await self._send(request, caller, path)
        content = await read_whole(answer)
        return WholeReply(content, answer.status, select_headers(answer))

    # --- the server ---------------------------------------------------------------------------

    async def _send(
        self, request: APIRequest, caller: Caller, path: str, content: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """Send a request, and return its answer as soon as the headers are there.

        Args:
            request: as it came; its method, query and headers go on.
            caller: whose key goes along.
            path: behind the server's address.
            content: the body.

        Raises:
            OverloadedError: the server cannot be reached.
            TimedOutError: it does not answer.
        """
        assert self._session is not None
        try:
            return await self._session.request(
                request.method,
                # It is quoted already, and an id with %2F in it must stay so.
                URL(f"{self._url}{path}", encoded=True),
                data=content,
                params=_select_query(request.query),
                headers=self._make_headers(request, caller),
                allow_redirects=False,
            )
        except TimeoutError as error:
            raise TimedOutError("The model's server did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise OverloadedError("The model's server cannot be reached.") from error

    def _make_headers(self, request: APIRequest, caller: Caller) -> dict[str, str]:
        headers = {"accept-encoding": "identity"}
        for name in _PASSED_ON:
            if name in request.headers:
                headers[name] = request.headers[name]

        key = self._key or caller.key
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        return headers


Handler: TypeAlias = Callable[..., Awaitable[WholeReply | PiecesReply]]
"""Takes the service, a request, its caller, the record of it, and what the path leaves open."""

_ROUTES: tuple[APIRoute[Handler], ...] = (
    APIRoute("POST", "/responses", UpstreamService.create_response),
    APIRoute("GET", "/responses/{}", UpstreamService.retrieve),
    APIRoute("DELETE", "/responses/{}", UpstreamService.delete),
    APIRoute("GET", "/responses/{}/input_items", UpstreamService.list_input_items),
    APIRoute("POST", "/chat/completions", UpstreamService.create_chat_completion),
    APIRoute("GET", "/models", UpstreamService.list_models),
)


def _response_path(response_id: str) -> str:
    """Make the path of a response; its id is one segment of it, whatever characters it has.

    Raises:
        RequestError: it cannot be an id.
    """
    return f"{_PATH}/{quote_id(response_id, 'response_id')}"


def make_stored_body(turn: Turn) -> dict[str, Any]:
    """Make the body of a response that is kept."""
    return make_response_body(
        as_response(turn, {}), echo_turn(turn), model=turn.model, created_at=turn.created_at
    )


def _make_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "synth"}


def _select_query(query: Mapping[str, str]) -> dict[str, str]:
    """Select what of a query is the server's: that a stream is wanted, the body says."""
    return {name: value for name, value in query.items() if name != "stream"}
