"""The ids of careless and hostile servers: no turn is overwritten, and each can be named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM

Hosted = Callable[..., LM]


def answer(id: Any, text: str) -> Raw:
    """A response of this id."""
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    return Raw({"id": id, "object": "response", "status": "completed", "output": [message]})


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where turns are kept, as `response_store=` takes it."""
    return None if request.param == "memory" else str(tmp_path / "turns.db")


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
async def test_a_repeated_id_overwrites_no_other_conversation(
    openai_server: OpenAIServer, hosted: Hosted, store: str | None, transport: str
) -> None:
    """The second response has an id made here, and says so; it is continued with its history."""
    openai_server.enqueue(*(answer("resp_1", text) for text in ("one", "two", "three")))
    async with hosted(response_store=store, transport=transport) as lm:
        first = await lm.respond_async("first")
        lm.reset()
        second = await lm.respond_async("second")
        assert first.response_id == "resp_1" != second.response_id
        assert "'resp_1' cannot be this response's" in second.warnings[0]
        assert lm.responses.retrieve("resp_1").text == "one"
        assert lm.responses.retrieve(second.response_id).text == "two"

        third = await lm.respond_async("third")
        assert third.previous_response_id == second.response_id
        assert "previous_response_id" not in openai_server.bodies[-1]
        assert len(lm.tree()) == 3


async def test_calls_that_end_together_do_not_share_an_id(
    openai_server: OpenAIServer, hosted: Hosted, store: str | None
) -> None:
    """Both are answered before either is stored."""
    openai_server.enqueue(*(answer("resp_1", str(number)) for number in range(8)))
    async with hosted(response_store=store) as lm:
        responses = await asyncio.gather(
            *(lm.respond_async("Hi", auto_store=False) for _ in range(8))
        )
        assert len({each.response_id for each in responses}) == 8
        for each in responses:
            assert lm.responses.retrieve(each.response_id).text == each.text


async def test_a_streamed_response_cannot_be_its_own_parent(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """An id that only the server knows, and that it gives again."""
    openai_server.enqueue(answer("resp_self", "x"))
    async with hosted() as lm:
        response = await lm.respond_async("Hi", previous_response_id="resp_self")
        assert response.response_id != "resp_self"
        assert response.previous_response_id == "resp_self"


@pytest.mark.parametrize(
    "id",
    [
        *("", " ", None, 5, ["x"], {}, "\ud800", "a" * 3000, "resp\n\x1b[2J", "../files/x"),
        *(".", "..", "a/b", "a%2Fb", "a?b", "a#b", "a b", "a\\b"),
    ],
)
async def test_an_id_that_cannot_be_an_address_is_replaced(
    openai_server: OpenAIServer, hosted: Hosted, store: str | None, id: Any
) -> None:
    """The answer is there all the same, and the conversation goes on."""
    openai_server.enqueue(answer(id, "one"), answer(id, "two"))
    async with hosted(response_store=store) as lm:
        first = await lm.respond_async("first")
        assert first.response_id.startswith("resp_")
        assert first.response_id.isalnum() or "_" in first.response_id
        assert len(first.response_id) < 50
        second = await lm.respond_async("second")
        assert second.previous_response_id == first.response_id
        assert [turn.text for turn in map(lm.responses.retrieve, (first.response_id,))] == ["one"]


@pytest.mark.parametrize("id", ["resp_68a9", "gen-17:2", "resp_bGl0ZWxsbTpjdXN0b20=", "a" * 300])
async def test_ids_of_services_stay(openai_server: OpenAIServer, hosted: Hosted, id: str) -> None:
    """Those of gateways are long, or base 64."""
    openai_server.enqueue(answer(id, "one"))
    async with hosted() as lm:
        response = await lm.respond_async("first")
    assert (response.response_id, response.warnings) == (id, [])
    assert response.stored_on_server
