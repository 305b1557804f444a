"""Conversations that are handed on as files: exported by one LM, continued by another."""

from __future__ import annotations

from pathlib import Path

import pytest

from synth_ai import LM
from synth_ai.errors import StoreError, UnknownResponseError
from synth_ai.testing import ScriptedVendor


async def test_an_exported_branch_is_continued_elsewhere(tmp_path: Path) -> None:
    """The importing LM sends the whole history of the branch, though its server never saw it."""
    here = LM("m", vendor=ScriptedVendor(["Hi Ada.", "aside"]))
    first = await here.respond_async("My name is Ada.")
    await here.respond_async("Something else", previous_response_id=first.response_id)
    assert (
        await here.responses.export_async(tmp_path / "branch.jsonl", [first.response_id or ""]) == 1
    )

    vendor = ScriptedVendor(["Ada."])
    there = LM("m", vendor=vendor)
    assert await there.responses.import_async(tmp_path / "branch.jsonl") == 1
    response = await there.respond_async("Name?", previous_response_id=first.response_id)
    assert response.replayed
    assert [turn.id for turn in vendor.requests[0].history] == [first.response_id]


async def test_importing_twice_adds_nothing(tmp_path: Path) -> None:
    """What is here already is left alone."""
    lm = LM("m", vendor=ScriptedVendor(["a"]))
    await lm.respond_async("Hi")
    await lm.responses.export_async(tmp_path / "all.jsonl")
    assert await lm.responses.import_async(tmp_path / "all.jsonl") == 0


def test_sync_twins(tmp_path: Path) -> None:
    """Export and import work without an event loop."""
    lm = LM("m", vendor=ScriptedVendor(["a"]))
    lm.respond("Hi")
    assert lm.responses.export(tmp_path / "all.jsonl") == 1
    assert LM("m", vendor=ScriptedVendor()).responses.import_(tmp_path / "all.jsonl") == 1


async def test_deleting_with_descendants(tmp_path: Path) -> None:
    """A response that others continue from is deleted only together with them."""
    lm = LM("m", vendor=ScriptedVendor(["a", "b"]), response_store=tmp_path / "turns.db")
    first = await lm.respond_async("Hi")
    second = await lm.respond_async("And?")
    with pytest.raises(StoreError, match="continue"):
        await lm.responses.delete_async(first.response_id or "")
    await lm.responses.delete_async(first.response_id or "", descendants=True)
    with pytest.raises(UnknownResponseError):
        await lm.responses.retrieve_async(second.response_id or "")
    await lm.aclose()
