"""Exported files: what goes out comes back, and nothing else gets in."""

from __future__ import annotations

import json
import math
import stat
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from store.turns import make_chain, make_turn
from synth_ai.errors import StoreConflictError, StoreError, StoreImportError, StoreUnavailableError
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.store.transfer import (
    VERSION,
    export_turns,
    from_lines,
    import_turns,
    to_lines,
)

WHY: dict[str, Any] = {
    "status": "incomplete",
    "incomplete_reason": "max_output_tokens",
    "error": "boom",
    "request_id": "req_1",
    "replay_reason": "the server forgot",
    "warnings": ("clipped",),
    "redacted": True,
}


async def memory_of(turns: list) -> MemoryStore:
    store = MemoryStore()
    for turn in turns:
        await store.put(turn)
    return store


async def test_a_store_goes_out_and_comes_back(tmp_path: Path) -> None:
    """Every field of every turn survives, from one kind of store to another."""
    odd = make_turn(
        "odd",
        "turn_1",
        input=(
            {"type": "message", "role": "user", "content": "line\u2028 break \ud83d\n\x85 end"},
        ),
        tools=({"name": "f"},),
        instructions="\udc00",
        output_token_ids=[1, 200_002],
        usage=None,
        output_logprobs=array("f", [-0.1, -math.inf]),
        logprobs_mode="raw_logprobs",
        temperature=0.7,
        prompt_hash="00ff",
        compaction={"first_kept": "turn_1", "items": [{"role": "user", "content": "\udc00"}]},
        settings={"tool_choice": {"type": "function", "function": {"name": "f"}}, "top_p": 0.5},
        latency=0.25,
        time_to_first_token=0.125,
        cached=True,
        fingerprint="aa",
        request_key="bb",
        reward=0.1,
        tags={"run": "\ud83d", "parts": [1, None, {"a": 0.1}]},
        **WHY,
    )
    turns = [*make_chain(3), odd]
    file = tmp_path / "turns.jsonl"
    assert await export_turns(await memory_of(turns), file) == 4
    store = SQLiteStore(tmp_path / "turns.db")
    assert await import_turns(store, file) == 4
    assert await import_turns(store, file) == 0
    assert await store.list() == turns
    await store.aclose()


async def test_some_ids_take_what_they_continue_from(tmp_path: Path) -> None:
    """An exported branch is whole; its siblings stay at home."""
    store = await memory_of(
        [*make_chain(3), make_turn("fork", "turn_0"), make_turn("lost", "gone")]
    )
    file = tmp_path / "turns.jsonl"
    assert await export_turns(store, file, ["fork", "turn_1"]) == 3
    assert [turn.id for turn in from_lines(file.read_text().splitlines())] == [
        "turn_0",
        "fork",
        "turn_1",
    ]
    for id in ("unknown", "lost"):
        with pytest.raises(StoreError, match="cannot be exported"):
            await export_turns(store, tmp_path / "other.jsonl", [id])
    assert [path.name for path in tmp_path.iterdir()] == ["turns.jsonl"]


async def test_the_file_is_private_and_replaces_only_an_export(tmp_path: Path) -> None:
    """Conversations are nobody else's, and no other file is lost to a mistyped name."""
    store = await memory_of(make_chain(2))
    file = tmp_path / "turns.jsonl"
    await export_turns(store, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await export_turns(store, file, ["turn_0"]) == 1
    precious = tmp_path / "notes.txt"
    precious.write_text("precious")
    with pytest.raises(StoreUnavailableError, match="is not an earlier export"):
        await export_turns(store, precious)
    assert precious.read_text() == "precious"
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        await export_turns(store, tmp_path / "missing" / "turns.jsonl")
    with pytest.raises(StoreUnavailableError, match="cannot be read"):
        await import_turns(store, tmp_path / "missing.jsonl")


async def test_an_export_over_a_store_in_use_leaves_its_locks(tmp_path: Path) -> None:
    """Closing any handle of a file drops a process's locks on it.

    Other processes could then damage the store.
    """
    path, link = tmp_path / "turns.db", tmp_path / "link"
    store = SQLiteStore(path)
    await store.put(make_turn("a"))
    link.symlink_to(path)
    for target in (path, link, tmp_path / "turns.db-wal", tmp_path / "turns.db-shm"):
        with pytest.raises(StoreUnavailableError, match=target.name):
            await export_turns(store, target)
    # Byte 0x40000002 is where SQLite's readers of a file lock it.
    script = (
        f"import fcntl; fcntl.lockf(open({str(path)!r}, 'r+b'), "
        "fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "BlockingIOError" in done.stderr
    assert await store.get("a") is not None
    await store.aclose()


@pytest.mark.parametrize("cut", [0, 1, 30, 200, -1, -2, -300, -700])
async def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    """Wherever a download broke, nothing of it is stored; only the last line end may be missing."""
    whole = "".join(to_lines(make_chain(3)))
    file = tmp_path / "turns.jsonl"
    file.write_text(whole[:cut])
    store = MemoryStore()
    if cut == -1:
        assert await import_turns(store, file) == 3
        return
    with pytest.raises(StoreImportError, match=r"turns\.jsonl.*[Nn]othing was imported"):
        await import_turns(store, file)
    assert await store.list() == []


def changed(**facts: Any) -> str:
    first, *_ = list(to_lines([make_turn("a", created_at=1.0)]))[1:]
    return json.dumps(json.loads(first) | facts)


HEADER = f'{{"format": "synth-ai turns", "version": {VERSION}, "turns": 1}}'
LATER = HEADER.replace(f'"version": {VERSION}', f'"version": {VERSION + 1}')


def test_an_api_of_somebody_s_own_goes_out_and_comes_back() -> None:
    """Vendors may bring their API; a file of its turns is as good as any."""
    turn = make_turn("a", api_type="messages", created_at=1.0)
    assert from_lines(to_lines([turn])) == [turn]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([], "first line"),
        (["hello"], "first line"),
        (["[" * 5000], "first line"),
        ([HEADER.replace("synth-ai", "other")], "first line"),
        ([LATER], "upgrade synth-ai"),
        ([HEADER, "[]"], "not an object"),
        ([HEADER, '{"id": "a"}'], "it lacks parent_id"),
        ([HEADER, changed(id="")], "its id is"),
        ([HEADER, changed(id=3)], "its id is '3'"),
        ([HEADER, changed(input="text")], "its input is 'text'"),
        ([HEADER, changed(output=["text"])], "its output"),
        ([HEADER, changed(output_token_ids=[-1])], "its output_token_ids"),
        ([HEADER, changed(created_at="now")], "its created_at"),
        ([HEADER, changed(settings="oops")], "its settings is 'oops'"),
        ([HEADER, changed(settings=None)], "its settings"),
        ([HEADER, changed(settings={"tool_choice": ["f"]})], "its settings"),
        ([HEADER, changed(settings={"tool_choice": {"function": "f"}})], "its settings"),
        ([HEADER, changed(usage={"bogus": [1]})], "its usage"),
        ([HEADER, changed(usage={"input_tokens": "many"})], "its usage"),
        ([HEADER, changed(usage={"input_tokens": -1})], "its usage"),
        ([HEADER, changed(redacted="no")], "its redacted"),
        ([HEADER, changed(error=5)], "its error"),
        ([HEADER, changed(warnings="clipped")], "its warnings"),
        ([HEADER, changed(status="weird")], "its status is 'weird'"),
        ([HEADER, changed(api_type="")], "its api_type is ''"),
        ([HEADER, changed(api_type=None)], "its api_type is 'None'"),
        ([HEADER, changed(input=[{"type": "message", "role": "user", "content": 5}])], "its input"),
        ([HEADER, changed(mood="good")], "mood, which no turn has"),
        ([HEADER, changed(), changed()], "cut off"),
        (
            [HEADER.replace(": 1}", ": 2}"), changed(), changed(model="other")],
            "another turn under the id 'a'",
        ),
    ],
)
def test_lines_that_are_no_export_are_refused(lines: list[str], what: str) -> None:
    """The message says which line is wrong, and how."""
    with pytest.raises(StoreImportError, match=what):
        from_lines(lines)


async def test_a_clash_or_a_circle_stores_nothing(tmp_path: Path) -> None:
    """What is in the store stays, and nothing of the file joins it."""
    store = SQLiteStore(tmp_path / "turns.db")
    mine = make_turn("turn_2", model="mine")
    await store.put(mine)
    file = tmp_path / "turns.jsonl"
    await export_turns(await memory_of(make_chain(4)), file)
    with pytest.raises(StoreConflictError, match="turn_2"):
        await import_turns(store, file)
    file.write_text("".join(to_lines([make_turn("a", "b"), make_turn("b", "a")])))
    with pytest.raises(StoreImportError, match="circle"):
        await import_turns(store, file)
    file.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(StoreImportError, match="not text"):
        await import_turns(store, file)
    assert await store.list() == [mine]
    await store.aclose()


async def test_stores_that_cannot_take_the_turns_say_so() -> None:
    """An import that would drop its own turns, or keep none, is refused."""
    small = MemoryStore(max_turns=2)
    with pytest.raises(StoreError, match="keeps 2 and has 0"):
        await small.add(make_chain(3))
    assert await small.list() == []
    with pytest.raises(StoreError, match="keeps none"):
        await NullStore().add(make_chain(1))


async def test_a_long_name_of_any_script(tmp_path: Path) -> None:
    """Whatever name the file system takes, the part beside it has a name that it takes too."""
    file = tmp_path / ("対話" * 40 + ".jsonl")
    assert await export_turns(await memory_of(make_chain(1)), file) == 1
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
