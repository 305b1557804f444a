"""Every output item has an id and a status, and a stream knows its response's id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.answers import Answer, Raw, call, calls
from servers.openai_fake import OpenAIServer
from synth_ai import LM, SQLiteStore
from synth_ai import content as items
from synth_ai.content import is_local_id
from synth_ai.errors import RateLimitError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_"}

ANSWERS = [
    Answer(text="Hello.", reasoning="I greet."),
    calls(call("add", a=1), call("sub", b=2)),
]


def check_items(output: list[Any]) -> None:
    for item in output:
        assert item["id"].startswith(PREFIXES[item["type"]])
        assert item["status"] in ("completed", "incomplete")
    ids = [item["id"] for item in output]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("answer", ANSWERS, ids=["text", "calls"])
async def test_items_of_servers(
    hosted: Callable[..., LM], openai_server: OpenAIServer, api: str, answer: Answer, tmp_path: Path
) -> None:
    """The server's where it gives them, else ours; the same in the stream and in the store."""
    async with hosted(api, response_store=tmp_path / "turns.db") as lm:
        openai_server.enqueue(answer, answer)
        response = await lm.respond_async("Hi")
        async with lm.detached().stream_async("Hi") as stream:
            response_id = stream.response_id
            async for _ in stream:
                assert stream.response_id == response_id
        assert stream.response.response_id == response_id == stream.response_id

        for each in (response, stream.response):
            check_items(each.output)
            stored = await lm.responses.retrieve_async(each.response_id)
            assert stored.output == each.output
            assert all(is_local_id(item["id"]) is (api == "chat") for item in each.output)


async def test_items_of_an_engine() -> None:
    """Made here, from the id of the response and their places in it."""
    engine = ScriptedEngine(
        [
            call_text("add", a=1, reasoning="I add."),
            final_text("It is one.", reasoning="The tool says so."),
        ]
    )
    lm = LM("gpt-oss-20b", engine=engine, tools=[add])
    asked = await lm.respond_async("1?")
    check_items(asked.output)
    assert asked.output[0]["id"] == items.local_item_id("reasoning", asked.response_id, 0)

    outputs = {each["id"]: "1" for each in asked.tool_calls or ()}
    async with lm.stream_async(tool_outputs=outputs) as stream:
        assert stream.response_id is not None
        async for _ in stream:
            pass
    check_items(stream.response.output)
    assert stream.response.output[1]["id"] == items.local_item_id("message", stream.response_id, 1)
    # What was rendered for the turn is found again, ids and all.
    cached = lm._config.vendor._transcripts  # type: ignore[attr-defined]
    chain = await lm._config.store.chain(stream.response.response_id)
    entry, count = cached._find_longest(chain)
    assert (entry is not None, count) == (True, 2)


def add(a: int) -> int:
    """Add."""
    return a


def test_a_vendor_of_ones_own_need_not_mind() -> None:
    """Whatever it leaves out is filled in; what it gives stays."""
    given = {**tool_call("add", a=1), "id": "mine", "status": "incomplete"}
    vendor = ScriptedVendor([[items.reasoning_item("Hm"), given]], api="chat")
    response = LM("x", vendor=vendor).respond("Hi")
    assert [item["id"] for item in response.output][1] == "mine"
    assert [item["status"] for item in response.output] == ["completed", "incomplete"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_cut_off_says_so(
    hosted: Callable[..., LM], openai_server: OpenAIServer, stream: bool
) -> None:
    """The last item of an answer that stopped short is incomplete."""
    lm = hosted("chat")
    openai_server.enqueue(Answer(text="Once upon", incomplete="max_output_tokens"))
    if stream:
        events = lm.stream_async("Tell me.")
        async for _ in events:
            pass
        response = events.response
    else:
        response = await lm.respond_async("Tell me.")
    assert response.status == "incomplete"
    assert [item["status"] for item in response.output] == ["incomplete"]

    engine = ScriptedEngine(["<|channel|>final<|message|>Once upon a time, far away"])
    cut = await LM("gpt-oss-20b", engine=engine).respond_async("Tell me.", max_tokens=5)
    assert (cut.status, cut.output[0]["status"]) == ("incomplete", "incomplete")


async def test_no_server_is_told_ids_that_were_made_here(
    hosted: Callable[..., LM], openai_server: OpenAIServer, tmp_path: Path
) -> None:
    """In a replayed branch, in a history that comes back, and in messages of the caller's."""
    store = SQLiteStore(tmp_path / "turns.db")
    chat = hosted("chat", response_store=store)
    first = await chat.respond_async("Hi")
    responses = hosted("responses", response_store=store)
    await responses.respond_async("Bye", previous_response_id=first.response_id)
    history: list[Any] = [{"role": "user", "content": "Hi"}, *first.output]
    await responses.respond_async(messages=[*history, {"role": "user", "content": "Bye"}])
    await chat.respond_async(messages=[*history, {"role": "user", "content": "Bye"}])
    assert "_local_" not in str(openai_server.bodies)
    await store.aclose()


# --- ids of streams ---------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
def test_a_sync_stream_knows_its_id(api: str) -> None:
    """From its beginning on; before it there is none."""
    vendor = ScriptedVendor(["one two", "three four"], api=api, remembers=False)
    lm = LM("x", vendor=vendor)
    stream = lm.stream_sync("Hi")
    assert stream.response_id is None
    with stream:
        begun = stream.response_id
        for _ in stream:
            pass
    assert stream.response_id == stream.response.response_id
    assert begun == stream.response_id


async def test_the_id_is_that_of_the_try_that_was_answered(
    hosted: Callable[..., LM], openai_server: OpenAIServer
) -> None:
    """A try that failed has left none behind."""
    limited = {"error": {"message": "Too many.", "type": "rate_limit", "code": None}}
    openai_server.enqueue(Raw(limited, status=429), Answer(text="Hello."))
    async with hosted("responses").stream_async("Hi") as stream:
        begun = stream.response_id
        assert begun is not None
        async for _ in stream:
            pass
    assert stream.response.response_id == begun

    openai_server.enqueue(Raw(limited, status=429))
    failing = hosted("responses", retry=False).stream_async("Hi")
    with pytest.raises(RateLimitError):
        await failing.__aenter__()
    assert failing.response_id is None
