"""What holds for every store that keeps turns.

To run these tests for a store of your own, register it in a module of yours (`register_store`, see
`outside.py`), and give pytest that module and the URL of a store. `{folder}` in it becomes a new
folder for each test, or else the store must be empty each time it is opened::

    export STORE_URL="mine://{folder}/turns"
    PYTHONPATH=. python -m pytest -p my_module tests/store/test_every_store.py -k STORE_URL
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from array import array
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from store.outside import SCHEME
from store.turns import make_chain, make_turn
from synth_ai.errors import StoreConflictError, StoreCorruptError, StoreImportError
from synth_ai.store.base import ResponseStore
from synth_ai.store.memory import MemoryStore
from synth_ai.store.open import open_store
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.store.tags import Annotation


def opens(url: str) -> Callable[[Path], ResponseStore]:
    """Make a function that opens the store of a URL in a folder."""
    return lambda folder: open_store(url.replace("{folder}", str(folder)))


STORES: dict[str, Callable[[Path], ResponseStore]] = {
    "memory": lambda folder: MemoryStore(),
    "power-loss": lambda folder: SQLiteStore(folder / "turns.db", durability="power-loss"),
    "process-crash": lambda folder: SQLiteStore(folder / "turns.db", durability="process-crash"),
    "outside": opens(f"{SCHEME}://{{folder}}"),
}
if "STORE_URL" in os.environ:
    STORES["STORE_URL"] = opens(os.environ["STORE_URL"])


@pytest.fixture(params=[*STORES, "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ResponseStore]:
    if request.param == "postgresql":
        opened = open_store(request.getfixturevalue("postgres_url"))
    else:
        opened = STORES[request.param](tmp_path)
    yield opened
    await opened.aclose()


async def put_all(store: ResponseStore, turns: list) -> None:
    for turn in turns:
        await store.put(turn)


async def test_a_turn_comes_back_as_it_was(store: ResponseStore) -> None:
    """No field is lost or changed, whatever characters and numbers it holds."""
    turn = make_turn(
        "resp_ü",
        "resp_elsewhere",
        input=(
            {
                "type": "message",
                "role": "user",
                "content": 'quote " \\ line\n\x00\x1b null 🙂 half \ud83d',
            },
        ),
        instructions="Sei höflich 🙂 \udc00",
        tools=({"type": "function", "name": "f", "parameters": {"a": [1, 2.5, None, True, {}]}},),
        status="incomplete",
        server="https://example.test",
        stored_on_server=True,
        redacted=True,
        incomplete_reason="max_output_tokens",
        error="boom",
        request_id="req_1",
        replay_reason="the server forgot",
        warnings=("clipped", "repaired"),
        usage=None,
        output_token_ids=[0, 200_002, 2**32 - 1],
        output_logprobs=array("f", [-0.1, 0.0, -math.inf]),
        logprobs_mode="raw_logprobs",
        temperature=0.7,
        prompt_hash="00ff",
        compaction={
            "first_kept": "resp_ü",
            "items": [{"role": "user", "content": "So far \ud83d"}],
        },
        date="2026-11-20",
        created_at=1.5,
        latency=2.25,
        time_to_first_token=0.125,
        cached=True,
        fingerprint="0123456789abcdef",
        request_key="fe" * 16,
        reward=-1.5,
        tags={"run": "ü \ud83d", "question": 17, "parts": [1, {"a": None}], "good": True},
    )
    await store.put(turn)
    assert await store.get(turn.id) == turn
    assert await store.list() == [turn]


async def test_what_is_absent_stays_absent(store: ResponseStore) -> None:
    """None and empty are different answers, for tools and token ids above all."""
    for id, empty in (("none", None), ("empty", ())):
        await store.put(make_turn(id, tools=empty, output_token_ids=None if empty is None else []))
    nothing, empty_turn = await store.get("none"), await store.get("empty")
    assert nothing is not None
    assert empty_turn is not None
    assert (nothing.tools, nothing.output_token_ids) == (None, None)
    assert (empty_turn.tools, empty_turn.output_token_ids) == ((), [])


async def test_chain_is_oldest_first(store: ResponseStore) -> None:
    """A branch is read from its first turn to the id, without its siblings."""
    turns = make_chain(5)
    await put_all(store, [*turns, make_turn("sibling", "turn_2")])
    assert await store.chain("turn_4") == turns
    assert [turn.id for turn in await store.chain("sibling") or ()] == [
        "turn_0",
        "turn_1",
        "turn_2",
        "sibling",
    ]


async def test_a_chain_with_a_gap_is_none(store: ResponseStore) -> None:
    """A history that is not all here must never be mistaken for a whole one."""
    await store.put(make_turn("child", "gone"))
    assert await store.chain("child") is None
    assert await store.chain("unknown") is None
    assert await store.get("unknown") is None


async def test_a_circle_is_an_error_and_no_endless_loop(store: ResponseStore) -> None:
    """Turns put with links that go round are refused when they are read."""
    await put_all(store, [make_turn("a", "b"), make_turn("b", "a"), make_turn("c", "b")])
    for id in "abc":
        with pytest.raises(StoreCorruptError, match="circle"):
            await store.chain(id)


async def test_put_replaces_a_turn_of_the_same_parent(store: ResponseStore) -> None:
    """Later facts about a turn take the place of earlier ones; its place in the order stays."""
    await put_all(store, [make_turn("a", status="incomplete", instructions="old"), make_turn("b")])
    await store.put(make_turn("a", instructions="new"))
    kept = await store.list()
    assert [(turn.id, turn.status, turn.instructions) for turn in kept] == [
        ("a", "completed", "new"),
        ("b", "completed", None),
    ]


async def test_an_id_never_changes_its_parent(store: ResponseStore) -> None:
    """An id that is in use elsewhere is refused, and what it named stays."""
    turns = make_chain(2)
    await put_all(store, turns)
    with pytest.raises(StoreConflictError, match="turn_1"):
        await store.put(make_turn("turn_1", None))
    assert await store.get("turn_1") == turns[1]


async def test_delete_refuses_a_turn_with_children(store: ResponseStore) -> None:
    """No branch loses its beginning by accident."""
    turns = make_chain(3)
    await put_all(store, turns)
    with pytest.raises(StoreConflictError, match=r"1 turn\(s\) continue"):
        await store.delete("turn_1")
    assert await store.list() == turns


async def test_delete_with_descendants_leaves_the_rest(store: ResponseStore) -> None:
    """The turns below go with it, siblings and ancestors stay readable."""
    turns = make_chain(4)
    await put_all(store, [*turns, make_turn("sibling", "turn_0")])
    assert await store.delete("turn_1", descendants=True)
    assert [turn.id for turn in await store.list()] == ["turn_0", "sibling"]
    assert await store.delete("sibling")
    assert await store.delete("turn_0")
    assert not await store.delete("turn_0")


async def test_a_parent_that_came_late_has_its_children(store: ResponseStore) -> None:
    """Order of arrival does not matter to the links."""
    await put_all(store, [make_turn("child", "parent"), make_turn("parent")])
    assert len(await store.chain("child") or ()) == 2
    with pytest.raises(StoreConflictError):
        await store.delete("parent")


async def test_redact_keeps_the_branch(store: ResponseStore) -> None:
    """The text is gone, pairs of calls and outputs hold, and what comes after can be replayed."""
    call = {
        "type": "function_call",
        "call_id": "c1",
        "name": "look",
        "arguments": '{"key": "secret"}',
        "id": "fc_1",
    }
    turn = make_turn(
        "turn_1",
        "turn_0",
        output=(call,),
        output_token_ids=[1, 2],
        server="x",
        stored_on_server=True,
    )
    output = {"type": "function_call_output", "call_id": "c1", "output": "secret"}
    await put_all(
        store, [make_turn("turn_0"), turn, make_turn("turn_2", "turn_1", input=(output,))]
    )
    assert await store.redact("turn_1")
    assert await store.redact("turn_2")
    chain = await store.chain("turn_2")
    assert chain is not None
    assert chain[1].input[0]["content"] == [{"type": "input_text", "text": "[redacted]"}]
    assert chain[1].output == (
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
    )
    assert (chain[1].output_token_ids, chain[1].stored_on_server, chain[1].server) == (
        None,
        False,
        None,
    )
    assert chain[2].input == (
        {"type": "function_call_output", "call_id": "c1", "output": "[redacted]"},
    )
    assert [item["type"] for item in chain[2].output] == ["message"]
    assert not await store.redact("unknown")


async def test_redact_keeps_custom_calls_and_their_outputs_together(store: ResponseStore) -> None:
    """A server refuses an output without its call, and a call without its output."""
    call = {
        "type": "custom_tool_call",
        "call_id": "c1",
        "name": "sql",
        "input": "secret",
        "id": "ctc_1",
    }
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": "secret"}
    await put_all(
        store, [make_turn("asks", output=(call,)), make_turn("answers", "asks", input=(output,))]
    )
    await store.redact("asks")
    await store.redact("answers")
    chain = await store.chain("answers")
    assert chain is not None
    assert chain[0].output == (
        {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "[redacted]"},
    )
    assert chain[1].input == (
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "[redacted]"},
    )


async def test_redact_leaves_no_text_in_small_facts(store: ResponseStore) -> None:
    """Errors and warnings may quote the text, and options may be texts."""
    facts = {
        "error": "secret",
        "warnings": ("secret",),
        "settings": {"top_p": 0.5, "prediction": {"text": "secret"}},
    }
    await store.put(make_turn("turn", usage={"input_tokens": 3}, **facts))
    await store.redact("turn")
    turn = await store.get("turn")
    assert turn is not None
    assert (turn.redacted, turn.error, turn.warnings, turn.settings) == (
        True,
        "[redacted]",
        (),
        {"top_p": 0.5},
    )
    assert turn.usage == {"input_tokens": 3}


async def test_after_a_redaction_no_server_continues_by_id(store: ResponseStore) -> None:
    """Only what comes after the turn would bring its text back, not what is before or beside it."""
    server = {"server": "https://example.test", "stored_on_server": True}
    turns = [
        make_turn("root", **server),
        make_turn("a", "root", **server),
        make_turn("b", "root", **server),
    ]
    await put_all(store, [*turns, make_turn("a1", "a", **server), make_turn("a2", "a1", **server)])
    await store.redact("a")
    left = {turn.id: turn for turn in await store.list()}
    assert {id for id, turn in left.items() if turn.stored_on_server} == {"root", "b"}
    assert {id for id, turn in left.items() if turn.redacted} == {"a"}
    assert left["a2"].server == "https://example.test"
    assert [turn.id for turn in await store.chain("a2") or ()] == ["root", "a", "a1", "a2"]


async def test_descendants(store: ResponseStore) -> None:
    """All that continues from a turn, each after the one that it continues; a circle ends."""
    await put_all(
        store,
        [
            *make_chain(4),
            make_turn("fork", "turn_1"),
            make_turn("leaf", "fork"),
            make_turn("other"),
        ],
    )
    found = [turn.id for turn in await store.descendants("turn_1")]
    assert sorted(found) == ["fork", "leaf", "turn_2", "turn_3"]
    assert found.index("fork") < found.index("leaf")
    assert found.index("turn_2") < found.index("turn_3")
    assert await store.descendants("other") == await store.descendants("unknown") == []
    await put_all(store, [make_turn("x", "y"), make_turn("y", "x")])
    assert [turn.id for turn in await store.descendants("x")] == ["y"]


async def test_add_is_all_or_nothing(store: ResponseStore) -> None:
    """One turn that clashes keeps the whole set out."""
    await store.put(make_turn("turn_2"))
    with pytest.raises(StoreConflictError, match="turn_2"):
        await store.add(make_chain(4))
    assert [turn.id for turn in await store.list()] == ["turn_2"]


async def test_add_twice_adds_once(store: ResponseStore) -> None:
    """What is here already is left as it is."""
    turns = make_chain(3)
    await store.put(turns[0])
    assert await store.add(turns) == 2
    assert await store.add(turns) == 0
    assert await store.list() == turns


@pytest.mark.parametrize("added", [[("a", "a")], [("a", "b"), ("b", "a")], [("b", "orphan")]])
async def test_add_refuses_circles(store: ResponseStore, added: list[tuple[str, str]]) -> None:
    """No set of turns can close a circle, not even through a turn that is here already."""
    await store.put(make_turn("orphan", "b"))
    with pytest.raises(StoreImportError, match="circle"):
        await store.add([make_turn(id, parent) for id, parent in added])
    assert [turn.id for turn in await store.list()] == ["orphan"]


async def test_a_thousand_forks_of_one_turn_at_once(store: ResponseStore) -> None:
    """Concurrent callers neither lose a turn nor disturb each other's branch."""
    await store.put(make_turn("root"))
    await asyncio.gather(*(store.put(make_turn(f"fork_{n}", "root")) for n in range(1000)))
    chains = await asyncio.gather(*(store.chain(f"fork_{n}") for n in range(1000)))
    assert [[turn.id for turn in chain or ()] for chain in chains] == [
        ["root", f"fork_{n}"] for n in range(1000)
    ]


async def test_threads_with_loops_of_their_own_share_a_store(store: ResponseStore) -> None:
    """A store belongs to no event loop."""

    async def write(name: int) -> None:
        for turn in make_chain(25, f"thread{name}"):
            await store.put(turn)
            assert await store.get(turn.id) == turn

    threads = [threading.Thread(target=asyncio.run, args=(write(name),)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for name in range(6):
        assert len(await store.chain(f"thread{name}_24") or ()) == 25


# --- hashes -----------------------------------------------------------------------------------


async def test_a_fingerprint_finds_the_newest_turn(store: ResponseStore) -> None:
    """Two branches may say the same; the one that was put last is found."""
    await put_all(
        store,
        [
            make_turn("old", fingerprint="aa"),
            make_turn("other", fingerprint="bb"),
            make_turn("new", fingerprint="aa"),
            make_turn("none"),
        ],
    )
    found = await store.find("aa")
    assert found == await store.get("new")
    assert await store.find("cc") is None
    assert await store.find("no hexadecimal digits") is None

    assert [turn.id for turn in await store.find_all("aa", 5)] == ["new", "old"]
    assert [turn.id for turn in await store.find_all("aa", 1)] == ["new"]
    assert list(await store.find_all("cc", 5)) == []

    assert await store.delete("new")
    found = await store.find("aa")
    assert found is not None
    assert found.id == "old"


async def test_a_turn_that_is_put_again_is_found_by_its_new_hashes(store: ResponseStore) -> None:
    """The old hash stands for nothing any more."""
    await store.put(make_turn("turn", fingerprint="aa", request_key="01"))
    await store.put(make_turn("turn", fingerprint="bb", request_key="02"))
    assert await store.find("aa") is None
    assert await store.find_answer("01") is None
    for found in (await store.find("bb"), await store.find_answer("02")):
        assert found is not None
        assert found.id == "turn"


async def test_a_request_key_finds_its_answer(store: ResponseStore) -> None:
    """A fingerprint is no request key, and the other way round."""
    await put_all(
        store,
        [make_turn("answer", request_key="aa"), make_turn("conversation", fingerprint="aa")],
    )
    found = await store.find_answer("aa")
    assert found is not None
    assert found.id == "answer"
    assert await store.find_answer("bb") is None


async def test_what_was_redacted_is_not_found(store: ResponseStore) -> None:
    """Nor are the conversations that go through it; those beside it are."""
    hashes = {"fingerprint": "aa", "request_key": "bb"}
    summary = {"first_kept": "child", "items": [{"role": "user", "content": "secret"}]}
    await put_all(
        store,
        [
            make_turn("before", **hashes),
            make_turn("secret", "before", prompt_hash="ee", **hashes),
            make_turn("child", "secret", compaction=summary, **hashes),
            make_turn("grandchild", "child", **hashes),
        ],
    )
    await store.redact("secret")
    left = {turn.id: turn for turn in await store.list()}
    for id in ("secret", "child", "grandchild"):
        assert (left[id].fingerprint, left[id].request_key) == (None, None)
    assert left["child"].compaction is None
    assert left["child"].output == make_turn("child").output
    assert left["secret"].prompt_hash is None
    for found in (await store.find("aa"), await store.find_answer("bb")):
        assert found is not None
        assert found.id == "before"

    # A turn from elsewhere may be redacted and have hashes all the same.
    await store.put(make_turn("imported", redacted=True, fingerprint="dd", request_key="dd"))
    assert await store.find("dd") is None
    assert await store.find_answer("dd") is None


# --- tags and rewards -------------------------------------------------------------------------


async def test_tags_are_searched(store: ResponseStore) -> None:
    """All that is wanted must be there, with the very value."""
    await put_all(
        store,
        [
            make_turn("a", tags={"run": "july", "good": True, "rows": [1, 2]}),
            make_turn("b", tags={"run": "july", "good": 1}),
            make_turn("c", tags={"run": "june"}),
            make_turn("d"),
        ],
    )

    async def search(**tags: object) -> list[str]:
        return [turn.id for turn in await store.search(tags)]

    assert await search(run="july") == ["a", "b"]
    assert await search(run="july", good=True) == ["a"]
    assert await search(good=1) == ["b"]
    assert await search(rows=[1, 2]) == ["a"]
    assert await search(run=None) == []
    assert await search(unknown=1) == []


async def test_annotations(store: ResponseStore) -> None:
    """Tags are added, replaced and taken away one by one; the rest of the turn stays."""
    logprobs = array("f", [-1.5])
    turn = make_turn("turn", tags={"run": "july", "bad": 1}, output_logprobs=logprobs)
    await store.put(turn)
    assert await store.annotate("turn", Annotation(reward=0.5, tags={"bad": None, "note": "ok"}))
    expected = replace(turn, reward=0.5, tags={"run": "july", "note": "ok"})
    assert await store.get("turn") == expected
    assert [each.id for each in await store.search({"note": "ok"})] == ["turn"]
    assert await store.search({"bad": 1}) == []

    assert await store.annotate("turn", Annotation())
    assert await store.get("turn") == expected
    assert await store.annotate("turn", Annotation(reward=None, replaces_tags=True))
    assert await store.get("turn") == replace(turn, tags={})
    assert not await store.annotate("unknown", Annotation(reward=1.0))


async def test_turns_that_were_annotated_since_are_no_others(store: ResponseStore) -> None:
    """Importing an export again does no harm, and what was said of the turns stays."""
    turns = make_chain(2)
    await store.add(turns)
    await store.annotate("turn_0", Annotation(reward=1.0, tags={"run": "july"}))
    assert await store.add([*turns, make_turn("turn_2", "turn_1")]) == 1
    turn = await store.get("turn_0")
    assert turn is not None
    assert (turn.reward, turn.tags) == (1.0, {"run": "july"})


async def test_a_redacted_turn_keeps_its_reward_and_tags(store: ResponseStore) -> None:
    """They are the caller's own, who finds the turn by them."""
    await store.put(make_turn("turn", reward=1.0, tags={"run": "july"}))
    await store.redact("turn")
    (turn,) = await store.search({"run": "july"})
    assert (turn.redacted, turn.reward, turn.tags) == (True, 1.0, {"run": "july"})


async def test_annotations_at_once_lose_nothing(store: ResponseStore) -> None:
    """Each sets a tag of its own."""
    if not isinstance(store, (MemoryStore, SQLiteStore)):
        pytest.skip("the working default reads and puts in two steps")
    await store.put(make_turn("turn"))
    tags = {f"tag_{number}": number for number in range(50)}
    await asyncio.gather(
        *(store.annotate("turn", Annotation(tags={name: tags[name]})) for name in tags)
    )
    turn = await store.get("turn")
    assert turn is not None
    assert turn.tags == tags
