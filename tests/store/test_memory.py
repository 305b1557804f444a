"""Turns in memory: there is a bound, and the newest conversations stay whole within it."""

from __future__ import annotations

import pytest

from store.turns import make_chain, make_turn
from synth_ai.errors import StoreError
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore


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
