"""Turns in memory: there are bounds, and the newest conversations stay whole within them."""

from __future__ import annotations

from array import array
from dataclasses import replace
from inspect import signature

import pytest

from store.turns import make_chain, make_turn
from synth_ai.errors import StoreError
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore
from synth_ai.store.tags import Annotation


async def test_the_oldest_leaves_go_first() -> None:
    """A loop over a data set does not leak, and no turn that is kept loses its beginning."""
    store = MemoryStore(max_turns=4)
    for turn in make_chain(3):
        await store.put(turn)
    for n in range(20):
        await store.put(make_turn(f"single_{n}"))
        for turn in await store.list():
            assert await store.chain(turn.id) is not None
    assert len(await store.list()) == 4
    assert await store.get("single_19") is not None


async def test_the_error_after_a_drop_says_how_to_keep_more() -> None:
    """A caller whose turn was dropped learns that it was, and what to do."""
    store = MemoryStore(max_turns=1)
    assert "this process alone" in store.explain_missing("a")
    await store.put(make_turn("a"))
    await store.put(make_turn("b"))
    assert "dropped the 1 oldest" in store.explain_missing("a")
    assert "max_turns" in store.explain_missing("a")


async def test_a_conversation_may_outgrow_the_bound() -> None:
    """One long conversation is never cut off at its beginning."""
    store = MemoryStore(max_turns=3)
    for turn in make_chain(10):
        await store.put(turn)
    assert len(await store.chain("turn_9") or ()) == 10


def test_a_bound_of_nothing_is_refused() -> None:
    """Zero would drop every turn at once."""
    with pytest.raises(StoreError, match="max_turns=0"):
        MemoryStore(max_turns=0)


async def test_no_store_keeps_nothing() -> None:
    """What `response_store=False` asks for takes every turn and has none."""
    store = NullStore()
    await store.put(make_turn("a"))
    assert (await store.get("a"), await store.chain("a"), await store.list()) == (None, None, [])
    assert not await store.delete("a")
    assert not await store.redact("a")
    assert "response_store=False" in store.explain_missing("a")


@pytest.mark.parametrize("shared", [False, True])
async def test_the_store_has_a_bound_in_bytes(shared: bool) -> None:
    """Calls with pictures leave megabytes each; a system message that all share counts once."""
    store = MemoryStore(max_bytes=1_000_000)
    instructions = "i" * 400_000
    for n in range(30):
        picture = f"data:image/png;base64,{n:0100000d}"
        part = {"type": "input_image", "image_url": picture}
        item = {"type": "message", "role": "user", "content": [part]}
        turn = replace(make_turn(f"turn_{n}"), input=(item,))
        await store.put(replace(turn, instructions=instructions) if shared else turn)

    kept = [turn.id for turn in await store.list()]
    first = 25 if shared else 21
    assert kept == [f"turn_{n}" for n in range(first, 30)]
    assert "max_bytes" in store.explain_missing("turn_0")
    assert "0.9537 MiB" in store.explain_missing("turn_0")


async def test_what_is_replaced_redacted_or_deleted_takes_no_bytes() -> None:
    """The count follows the turns, whatever happens to them."""
    store = MemoryStore(max_bytes=1_000_000)
    large = replace(make_turn("large"), instructions="i" * 300_000, error="e" * 300_000)
    for _ in range(5):
        await store.put(large)
    assert await store.redact("large")
    await store.put(replace(make_turn("other"), instructions="o" * 600_000))
    assert len(await store.list()) == 2

    assert await store.delete("large")
    assert await store.delete("other")
    await store.add([replace(make_turn("a"), error="e" * 900_000)])
    with pytest.raises(StoreError, match="max_bytes"):
        await store.add([replace(make_turn("b"), error="e" * 900_000)])
    assert len(await store.list()) == 1


async def test_all_that_a_turn_keeps_is_counted() -> None:
    """Tags, log probabilities, and what stood in the place of old turns."""
    large = "x" * 900_000
    summary = {"first_kept": "a", "items": [{"role": "user", "content": large}]}
    for facts in (
        {"tags": {"note": [large]}},
        {"compaction": summary},
        {"output_logprobs": array("f", [0.0] * 225_000)},
        {"output_token_ids": list(range(22_500))},
    ):
        store = MemoryStore(max_bytes=1_000_000)
        await store.put(make_turn("a", **facts))
        await store.put(make_turn("b", **facts))
        assert [turn.id for turn in await store.list()] == ["b"], facts.keys()
        # What is said of it later is counted, too.
        await store.put(make_turn("c"))
        await store.annotate("c", Annotation(tags={"note": large}))
        await store.put(make_turn("d"))
        assert [turn.id for turn in await store.list()] == ["c", "d"], facts.keys()


async def test_a_conversation_of_pictures_may_outgrow_the_bound() -> None:
    """No turn that is kept loses its beginning, however large that is."""
    store = MemoryStore(max_bytes=1)
    for turn in make_chain(10):
        await store.put(turn)
    assert len(await store.chain("turn_9") or ()) == 10


def test_the_default_store_has_a_bound_in_bytes() -> None:
    """Nobody who names no store should have to know how large pictures are."""
    assert signature(MemoryStore).parameters["max_bytes"].default == 256 * 1024 * 1024
    with pytest.raises(StoreError, match="max_bytes=0"):
        MemoryStore(max_bytes=0)
