"""Responses that the store lacks: read from the server that keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from servers.sockets import SentRequest, reply, serve
from synth_ai import LM
from synth_ai import content as items
from synth_ai.errors import (
    AuthenticationFailedError,
    MalformedAnswerError,
    OptionError,
    RequestError,
    UnknownResponseError,
)
from synth_ai.testing import ScriptedVendor

TRANSPORTS = ("httpx", "aiohttp")

Hosted = Callable[..., LM]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_response_of_another_program(hosted: Hosted, transport: str) -> None:
    """It is read as it was answered, and can be continued from; it is not stored here."""
    theirs = await hosted().respond_async("Hi")
    lm = hosted(transport=transport)
    response = await lm.responses.retrieve_async(theirs.response_id)
    for name in ("text", "response_id", "output", "usage", "status", "model", "api_type", "cost"):
        assert getattr(response, name) == getattr(theirs, name), name
    assert response.raw.id == theirs.response_id
    assert await lm.responses.list_async() == []
    again = await lm.respond_async("Bye", previous_response_id=response.response_id)
    assert again.previous_response_id == theirs.response_id
    await lm.aclose()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_input_items_of_another_program(
    hosted: Hosted, openai_server: OpenAIServer, transport: str
) -> None:
    """All pages of them, the oldest first unless asked otherwise."""
    theirs = hosted()
    for number in range(60):
        last = await theirs.respond_async(str(number))
    known = await theirs.responses.input_items_async(last.response_id)
    lm = hosted(transport=transport)

    def texts(found: list[Any]) -> list[str]:
        return [items.text_of(item) or str(items.reasoning_of(item)) for item in found]

    found = await lm.responses.input_items_async(last.response_id)
    assert texts(found) == texts(known)
    assert len(found) > 100
    pages = [request.query for request in openai_server.requests if request.method == "GET"]
    assert pages == [
        {"limit": "100", "order": "asc"},
        {"limit": "100", "order": "asc", "after": found[99]["id"]},
    ]

    newest = await lm.responses.input_items_async(last.response_id, order="desc", limit=3)
    assert texts(newest) == texts(known)[:-4:-1]
    behind = await lm.responses.input_items_async(last.response_id, after=found[4]["id"], limit=102)
    assert behind == found[5:107]
    await lm.aclose()


async def test_items_of_the_store_are_cut_in_the_same_way() -> None:
    """Order, beginning and length mean what they do on the server."""
    lm = LM("x", vendor=ScriptedVendor(["one", "two", "three"], api="chat"))
    first = await lm.respond_async("a")
    last = await lm.respond_async("b", previous_response_id=first.response_id)

    async def texts(**page: Any) -> list[str]:
        found = await lm.responses.input_items_async(last.response_id, **page)
        return [items.text_of(item) for item in found]

    assert await texts() == ["a", "one", "b"]
    assert await texts(order="desc") == ["b", "one", "a"]
    assert await texts(limit=2) == ["a", "one"]
    answer_id = first.output[0]["id"]
    assert await texts(after=answer_id) == ["b"]
    assert await texts(after=answer_id, order="desc", limit=5) == ["a"]
    with pytest.raises(RequestError, match=r"No item .* 'msg_9'"):
        await texts(after="msg_9")


@pytest.mark.parametrize("page", [{"limit": 0}, {"limit": "5"}, {"limit": True}, {"order": "up"}])
def test_a_page_that_makes_no_sense(page: Any) -> None:
    """Is an error before anybody is asked."""
    lm = LM("x", vendor=ScriptedVendor(["one"]))
    with pytest.raises(OptionError, match=next(iter(page))):
        lm.responses.input_items("resp_1", **page)


async def test_what_nobody_has(hosted: Hosted, openai_server: OpenAIServer) -> None:
    """The typed error says that both were asked; other errors of the server stay what they are."""
    lm = hosted()
    for read in (lm.responses.retrieve_async, lm.responses.input_items_async):
        with pytest.raises(UnknownResponseError, match=r"'resp_9' .* server does not have it"):
            await read("resp_9")
    wrong = hosted(api_key="sk-wrong")
    with pytest.raises(AuthenticationFailedError):
        await wrong.responses.retrieve_async("resp_9")

    sent = len(openai_server.requests)
    chat = hosted("chat")
    for read in (chat.responses.retrieve_async, chat.responses.input_items_async):
        with pytest.raises(UnknownResponseError, match="'resp_9' is not in this store"):
            await read("resp_9")
    assert len(openai_server.requests) == sent


async def test_a_part_of_the_conversation_is_only_on_the_server(hosted: Hosted) -> None:
    """A turn whose parent the store lacks: the server has the whole conversation."""
    theirs = await hosted().respond_async("Hi")
    lm = hosted()
    last = await lm.respond_async("Bye", previous_response_id=theirs.response_id)
    found = await lm.responses.input_items_async(last.response_id)
    assert items.text_of(found[0]) == "Hi"
    assert items.text_of(found[-1]) == "Bye"


@pytest.mark.parametrize("body", [{"data": 5}, {"data": [5]}, {}, {"data": [{"type": 5}]}])
async def test_a_page_that_is_none(hosted: Hosted, openai_server: OpenAIServer, body: Any) -> None:
    """It is a typed error."""
    openai_server.enqueue(Raw(body), on="input_items")
    with pytest.raises(MalformedAnswerError):
        await hosted(retry=False).responses.input_items_async("resp_1")


async def test_a_server_that_gives_one_page_for_ever(
    hosted: Hosted, openai_server: OpenAIServer
) -> None:
    """Is asked for it twice at most."""
    item = {"type": "message", "role": "user", "id": "msg_1", "content": []}
    page = {"data": [item], "has_more": True, "last_id": "msg_1"}
    openai_server.enqueue(*[Raw(page)] * 5, on="input_items")
    found = await hosted().responses.input_items_async("resp_1")
    assert len(found) == 2
    without_ids = {"data": [{"type": "message", "role": "user", "content": []}], "has_more": True}
    openai_server.enqueue(Raw(without_ids), on="input_items")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("id", ["../models/x", "abc?purge=all", "a#b", "Ünïcode 😀"])
def test_an_id_stays_one_segment(transport: Any, id: str) -> None:
    """Whatever is in it: the path has no more parts, and no query of its own."""

    def answer(request: SentRequest, connection: Any) -> None:
        reply(connection, {"data": [], "has_more": False})

    with serve(answer) as server:
        lm = LM("m", api="responses", base_url=server.base_url, retry=False, transport=transport)
        assert lm.responses.input_items(id) == []
        with pytest.raises(MalformedAnswerError):
            lm.responses.retrieve(id)

    listed, read = (request.path for request in server.requests)
    path, _, query = listed.partition("?")
    assert sorted(query.split("&")) == ["limit=100", "order=asc"]
    prefix, segment, end = path.removeprefix("/v1").rsplit("/", 2)
    assert (prefix, unquote(segment), end) == ("/responses", id, "input_items")
    assert unquote(read.rpartition("/")[2]) == id


@pytest.mark.parametrize("id", ["", ".", "..", "\ud800", "a\nb", 5, None])
def test_what_is_no_id_is_sent_nowhere(id: Any) -> None:
    """It is an error before anything is sent."""
    with serve(lambda _, connection: reply(connection, {})) as server:
        lm = LM("m", api="responses", base_url=server.base_url, retry=False)
        for read in (lm.responses.retrieve, lm.responses.input_items):
            with pytest.raises(RequestError, match="response_id"):
                read(id)
    assert server.requests == []
