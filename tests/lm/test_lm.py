"""`LM` as an object: sync and async ways in, closing, showing, signatures."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest

from synth_ai import LM, BaseLMResponse, LMRequest, MemoryStore
from synth_ai import content as items
from synth_ai.testing import ScriptedVendor


def echo(request: LMRequest) -> str:
    """An answer that tells whose it is."""
    return f"re: {items.text_of(request.input[-1])}"


def echoing(count: int = 50) -> ScriptedVendor:
    """A vendor that repeats what it is told."""
    return ScriptedVendor([echo] * count)


def test_sync_calls() -> None:
    """`respond` and `respond_sync` are one, and chain like their async twin."""
    lm = LM("x", vendor=echoing())
    one = lm.respond("Be terse.", "one")
    two = lm.respond_sync("two")
    assert (one.raw_response, one.text) == ("re: one", "re: one")
    assert two.previous_response_id == one.response_id
    assert LM.respond is LM.respond_sync


async def test_sync_calls_inside_a_running_loop() -> None:
    """As in a notebook, mixed with awaited ones on the same conversation."""
    lm = LM("x", vendor=echoing())
    one = lm.respond("one")
    two = await lm.respond_async("two")
    three = lm.respond("three")
    assert two.previous_response_id == one.response_id
    assert three.previous_response_id == two.response_id
    assert len(lm.respond_batch(["a", "b"])) == 2


def test_one_lm_in_several_threads_and_loops() -> None:
    """Each caller gets its own answer, whichever way it calls."""
    lm = LM("x", vendor=echoing(400), max_concurrency=3, auto_store_responses=False)
    wrong: list[str] = []

    def check(response: BaseLMResponse, text: str) -> None:
        if response.raw_response != f"re: {text}":
            wrong.append(text)

    async def many(name: str) -> None:
        texts = [f"{name} {number}" for number in range(25)]
        for text, response in zip(
            texts, await asyncio.gather(*map(lm.respond_async, texts)), strict=True
        ):
            check(response, text)

    def sync(name: str) -> None:
        for number in range(25):
            text = f"{name} {number}"
            check(lm.respond(text), text)

    threads = [threading.Thread(target=asyncio.run, args=(many(f"loop{n}"),)) for n in range(4)]
    threads += [threading.Thread(target=sync, args=(f"thread{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert len(lm._config.vendor.requests) == 200  # type: ignore[attr-defined]


async def test_closing_leaves_what_is_the_caller_s() -> None:
    """A vendor or a store that was given is not closed; nor does a fork close its LM's."""
    closed: list[str] = []

    class Store(MemoryStore):
        async def aclose(self) -> None:
            closed.append("store")

    vendor = echoing()
    async with LM("x", vendor=vendor, response_store=Store()) as lm:
        async with lm.fork() as branch:
            await branch.respond_async("Hi")
        await lm.respond_async("Hi")
    assert not vendor.closed
    assert closed == []
    await lm.aclose()


def test_closing_by_sync_context_manager() -> None:
    """The sync twin, and a second close that does nothing."""
    with LM("x", vendor=echoing()) as lm:
        lm.respond("Hi")
    lm.close()


def test_an_lm_shows_itself() -> None:
    """Its model, its API and where it is."""
    lm = LM("x", vendor=echoing())
    assert repr(lm) == "LM('x', api='responses', head=None)"
    response = lm.respond("Hi")
    assert str(response.response_id) in repr(lm)
    assert (lm.model, lm.api_type, lm.auto_store_responses) == ("x", "responses", True)


def test_models_of_the_server() -> None:
    """Both ways to ask."""
    lm = LM("x", vendor=echoing())
    lm.respond("Hi")
    assert lm.models() == ["x"]
    assert asyncio.run(lm.models_async()) == ["x"]


def test_a_tree_of_the_conversations() -> None:
    """It is there to look at, with every branch in it."""
    lm = LM("x", vendor=echoing())
    one = lm.respond("one")
    lm.respond("two", previous_response_id=one.response_id)
    lm.respond("three", previous_response_id=one.response_id)
    assert all(text in str(lm.tree()) for text in ("one", "two", "three"))


@pytest.mark.parametrize("name", ["respond_sync", "respond", "stream_async", "stream_sync"])
def test_twins_take_the_same(name: str) -> None:
    """`help()` and editors show the arguments on each."""
    theirs, own = inspect.signature(LM.respond_async), inspect.signature(getattr(LM, name))
    assert own.parameters == theirs.parameters
    assert own.return_annotation != theirs.return_annotation


def test_a_response_shows_itself() -> None:
    """In a terminal as its text, in a debugger as a line of facts, in a notebook as Markdown.

    There, all model text is made harmless.
    """
    output = [
        items.reasoning_item("<b>think</b>"),
        items.function_call("call_1", "add", '{"a": "<i>"}'),
        items.assistant_message("<script>x</script>"),
    ]
    response = BaseLMResponse.of_output(
        output, response_id="resp_1", api_type="chat", status="incomplete"
    )
    assert str(response) == "<script>x</script>"
    assert "resp_1" in repr(response)
    assert "calls add" in repr(response)
    assert "incomplete" in repr(response)
    shown = response._repr_markdown_()
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "&lt;script&gt;" in shown
    assert "incomplete" in shown
    calling = BaseLMResponse.of_output(output[1:2], response_id="resp_2")
    assert "add" in str(calling)
