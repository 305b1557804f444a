"""Broken answers, by any server: only errors of our own. The long form is in `make soak`."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.mutations import BrokenServer, load_answers, mutate, take_broken_answer
from synth_ai import LM, MemoryStore
from synth_ai.errors import MalformedAnswerError, SynthAIError
from synth_ai.http.responses import decode_body, decode_event
from synth_ai.lm.vendors.chat.decode import decode_response as decode_chat
from synth_ai.lm.vendors.chat.stream import ChunkReader
from synth_ai.lm.vendors.responses.decode import decode_response
from synth_ai.lm.vendors.responses.stream import EventReader

ANSWERS = load_answers()


@settings(max_examples=300, deadline=None)
@given(st.integers(min_value=0, max_value=2**64))
def test_a_broken_answer_is_read_or_refused(seed: int) -> None:
    """By the readers alone, which raise no KeyError, TypeError or RecursionError."""
    chooser = random.Random(seed)
    api, bodies, is_stream = chooser.choice(ANSWERS)
    broken = mutate(chooser, bodies)
    try:
        if not is_stream:
            if isinstance(broken[0], dict):
                (decode_chat if api == "chat" else decode_response)(broken[0])
            return

        reader = ChunkReader() if api == "chat" else EventReader()
        for event in broken:
            if isinstance(event, dict):
                list(reader.read(event))
        body = reader.body() if isinstance(reader, ChunkReader) else reader.body
        if body is not None:
            (decode_chat if api == "chat" else decode_response)(body)
    except SynthAIError:
        pass


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
async def test_a_call_with_a_broken_answer_ends_in_an_error_of_ours(transport: str) -> None:
    """Over a socket, with the next turn, the tree and the reprs of what came of it."""
    async with BrokenServer() as server:
        store = MemoryStore(max_turns=20)
        lms = {
            api: LM(
                "m",
                api=api,
                base_url=server.base_url,
                api_key="k",
                retry=False,
                transport=transport,  # type: ignore[arg-type]
                response_store=store,
            )
            for api in ("chat", "responses")
        }
        outcomes = set()
        for seed in range(300):
            outcomes.add(await take_broken_answer(lms, server, ANSWERS, seed))
        await asyncio.gather(*(lm.aclose() for lm in lms.values()))
    assert {"read", "MalformedAnswerError"} <= outcomes


@pytest.mark.parametrize("depth", [150, 900, 10_000, 100_000])
@pytest.mark.parametrize("pair", [('{"a":', "}"), ('{"a":[', "]}")])
def test_json_that_is_nested_too_deep_is_refused(depth: int, pair: tuple[str, str]) -> None:
    """What walks through it later would run out of stack, or only the parser does."""
    text = pair[0] * depth + "1" + pair[1] * depth
    with pytest.raises(MalformedAnswerError):
        decode_body(text.encode())
    with pytest.raises(MalformedAnswerError):
        decode_event(text)


def test_many_brackets_are_not_deep() -> None:
    """Log probabilities are thousands of objects, side by side."""
    text = '{"a": [' + ", ".join(['{"b": [1]}'] * 5000) + "]}"
    assert len(decode_body(text.encode())["a"]) == 5000
