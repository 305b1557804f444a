"""A recorded stream that breaks off at every byte: a prefix and a typed error, or the whole."""

from __future__ import annotations

import asyncio

import pytest

from servers.cuts import APIS, CutServer, cut_at_every_byte, outcome_of, record
from servers.openai_fake import OpenAIServer
from synth_ai import LM

#: A broken connection costs the next call a new one, so the tests break it at some offsets only,
#: and the soak at all.
EVERY = {"ended": 1, "closed": 29, "reset": 29}

#: A stream may lose a few bytes after what ends it: the mark at the end, and line breaks.
CLOSING = 50


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_cut_at_every_byte(openai_server: OpenAIServer, api: str) -> None:
    """Also in the middle of a character, and between the answer and the usage that follows it."""
    recorded = await asyncio.to_thread(record, openai_server, api)
    finished = await cut_at_every_byte(api, recorded, EVERY)
    assert 1 <= finished["ended"] <= CLOSING


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_that_comes_byte_by_byte(openai_server: OpenAIServer, api: str) -> None:
    """How a stream is cut into packets is the network's business."""
    recorded = await asyncio.to_thread(record, openai_server, api)
    async with (
        CutServer().serving() as server,
        LM("gpt-5", api=api, base_url=server.base_url, retry=False, response_store=False) as lm,
    ):
        server.stream = recorded
        whole = await outcome_of(lm)
        server.piece = 1
        assert await outcome_of(lm) == whole
        assert whole.error is None
