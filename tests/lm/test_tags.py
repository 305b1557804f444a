"""Tags, rewards and times of responses: kept with the turn on every backend, and never sent."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, Completed, MemoryStore, RetryPolicy, SQLiteStore
from synth_ai.errors import OptionError, OverloadedError, UnknownResponseError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text, tool_call

Hosted = Callable[..., LM]

TRANSPORTS = pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
HOSTED_APIS = pytest.mark.parametrize("api", ["chat", "responses"])


def scripted(*answers: Any, **options: Any) -> LM:
    return LM("x", vendor=ScriptedVendor(answers), **options)


# --- tags of a call ---------------------------------------------------------------------------


@TRANSPORTS
@HOSTED_APIS
async def test_tags_are_kept_and_never_sent(
    openai_server: OpenAIServer, hosted: Hosted, api: str, transport: str, tmp_path: Path
) -> None:
    """`metadata=` goes to OpenAI and `tags=` to the store, each without the other."""
    tags = {"marker-of-tags": "marker-of-tags", "question": 17, "parts": [1, {"a": None}]}
    metadata = {"team": "blue"}
    path = tmp_path / "turns.db"
    async with hosted(api, transport=transport, response_store=path) as lm:
        response = await lm.respond_async("Hi", tags=tags, metadata=metadata)
        async with lm.stream_async("Hi", tags=tags) as stream:
            async for _ in stream:
                pass

        for each in (response, stream.response):
            assert each.tags == tags
            assert lm.responses.retrieve(each.response_id).tags == tags
        assert openai_server.bodies[0]["metadata"] == metadata
        assert "marker-of-tags" not in json.dumps(openai_server.bodies)
        for request in openai_server.requests:
            assert "marker-of-tags" not in repr(request)

    other = scripted(response_store=path)
    assert len(other.responses.list(tags={"question": 17})) == 2


async def test_tags_on_an_engine() -> None:
    """They are in no prompt."""
    engine = ScriptedEngine([final_text("Hi"), final_text("Hi")])
    lm = LM("gpt-oss-20b", engine=engine, auto_store_responses=False)
    tagged = await lm.respond_async("Hello", tags={"run": "july"})
    await lm.respond_async("Hello")
    assert tagged.tags == {"run": "july"}
    assert engine.prompts[0] == engine.prompts[1]


async def test_tags_of_a_call_come_on_top_of_the_lms() -> None:
    """None is for none at all; those of the call before are not inherited."""
    lm = scripted("1", "2", "3", "4", tags={"run": "july", "split": "train"})
    assert (await lm.respond_async("a", tags={"split": "test"})).tags == {
        "run": "july",
        "split": "test",
    }
    assert (await lm.respond_async("b")).tags == {"run": "july", "split": "train"}
    assert (await lm.respond_async("c", tags=None)).tags == {}
    assert (await lm.fork().respond_async("d", tags={})).tags == {"run": "july", "split": "train"}


async def test_tags_of_batches_and_runs() -> None:
    """Every call of a batch and every round of a run has them."""
    lm = scripted("1", "2", tool_call("f"), "done")

    def f() -> str:
        """Do it."""
        return "ok"

    batch = await lm.respond_batch_async(
        ["a", {"user_message": "b", "tags": {"row": 2}}], tags={"row": 1}
    )
    assert [response.tags for response in batch] == [{"row": 1}, {"row": 2}]
    run = await lm.run_tools_async("c", tools=[f], tags={"row": 3})
    rounds = [step.response for step in run.steps]
    assert [response.tags for response in (*rounds, run.response)] == [{"row": 3}] * 2


async def test_what_the_caller_does_later_changes_no_tags() -> None:
    """What is kept is a copy, and so is what is read."""
    own: dict[str, Any] = {"rows": [1]}
    lm = scripted("1", tags=own)
    given: dict[str, Any] = {"deep": {"a": 1}}
    response = await lm.respond_async("Hi", tags=given)
    own["rows"].append(2)
    given["deep"]["a"] = 2
    response.tags["deep"]["a"] = 3
    lm.responses.retrieve(response.response_id).tags["deep"]["a"] = 4
    assert lm.responses.retrieve(response.response_id).tags == {"rows": [1], "deep": {"a": 1}}


RECURSIVE: dict[str, Any] = {}
RECURSIVE["self"] = RECURSIVE

NO_JSON: list[Any] = [
    "run",
    ["run"],
    5,
    {1: "a"},
    {"a": {1, 2}},
    {"a": b"bytes"},
    {"a": float("nan")},
    {"a": [float("-inf")]},
    {"a": {2: "b"}},
    {"a": datetime.date(2026, 11, 20)},
    {"a": object()},
    RECURSIVE,
]


@pytest.mark.parametrize("tags", NO_JSON)
async def test_tags_that_are_no_json_are_refused_before_anything_is_sent(tags: Any) -> None:
    """Of a call, of a stream when it is made, of an LM, of an annotation, of a search."""
    vendor = ScriptedVendor(["one"])
    lm = LM("x", vendor=vendor)
    with pytest.raises(OptionError, match="tags must be"):
        await lm.respond_async("Hi", tags=tags)
    for stream in (lm.stream_async, lm.stream_sync):
        with pytest.raises(OptionError, match="tags must be"):
            stream("Hi", tags=tags)
    with pytest.raises(OptionError, match="tags must be"):
        LM("x", vendor=vendor, tags=tags)
    assert vendor.requests == []

    with pytest.raises(OptionError, match="tags must be"):
        lm.responses.list(tags=tags)
    response = await lm.respond_async("Hi")
    value = tags["a"] if isinstance(tags, dict) and "a" in tags else object()
    with pytest.raises(OptionError, match="tags must be JSON"):
        lm.responses.annotate(response.response_id, a=value)
    assert lm.responses.retrieve(response.response_id).tags == {}


# --- annotations ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_annotate(kind: str, tmp_path: Path) -> None:
    """Rewards and tags of a judge who comes later; what is not named stays."""
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "turns.db")
    lm = scripted("one", "two", response_store=store)
    response = await lm.respond_async("Hi", tags={"run": "july", "draft": True})
    id = response.response_id
    await lm.responses.annotate_async(id, reward=0.75, note="good", draft=None)
    again = lm.responses.retrieve(id)
    assert (again.reward, again.tags) == (0.75, {"run": "july", "note": "good"})
    assert again.raw_response == "one"

    lm.responses.annotate(id, note="better")
    assert lm.responses.retrieve(id).reward == 0.75
    lm.responses.annotate(id, reward=True)
    assert lm.responses.retrieve(id).reward == 1.0
    lm.responses.annotate(id, reward=None)
    again = lm.responses.retrieve(id)
    assert (again.reward, again.tags) == (None, {"run": "july", "note": "better"})

    # The conversation goes on from it all the same.
    later = await lm.respond_async("And?")
    assert later.previous_response_id == id
    assert [each.response_id for each in lm.responses.list(tags={"note": "better"})] == [id]
    assert lm.responses.list(tags={"note": "good"}) == []
    assert len(lm.responses.list(tags={})) == len(lm.responses.list()) == 2
    await store.aclose()


def test_annotations_that_make_no_sense() -> None:
    """They name what was given and change nothing."""
    lm = scripted("one")
    id = lm.respond("Hi").response_id
    for reward in ("good", float("nan"), float("inf"), [1], 10**400):
        with pytest.raises(OptionError, match="reward must be a finite number"):
            lm.responses.annotate(id, reward=reward)  # type: ignore[arg-type]
    with pytest.raises(UnknownResponseError, match="'unknown' is not in this store"):
        lm.responses.annotate("unknown", reward=1)
    none = LM("x", vendor=ScriptedVendor(["one"]), response_store=False)
    with pytest.raises(UnknownResponseError, match="keeps no turns"):
        none.responses.annotate(none.respond("Hi").response_id, reward=1)
    assert lm.responses.retrieve(id).reward is None


async def test_tags_stay_in_a_redaction_unless_they_go_too(tmp_path: Path) -> None:
    """Those that go leave no trace in the file."""
    path = tmp_path / "turns.db"
    lm = scripted("one", "two", response_store=path)
    kept = await lm.respond_async("Hi", tags={"user": "marker-kept"})
    gone = await lm.respond_async("Hi", tags={"user": "marker-gone"})
    lm.responses.annotate(gone.response_id, reward=1, note="marker-note")
    lm.responses.annotate(gone.response_id, note="marker-other-note")
    lm.responses.redact(kept.response_id)
    lm.responses.redact(gone.response_id, tags=True)
    assert lm.responses.retrieve(kept.response_id).tags == {"user": "marker-kept"}
    again = lm.responses.retrieve(gone.response_id)
    assert (again.reward, again.tags) == (None, {})

    content = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"marker-kept" in content
    for marker in (b"marker-gone", b"marker-note", b"marker-other-note"):
        assert marker not in content
    await lm.aclose()


async def test_deleted_tags_leave_no_trace(tmp_path: Path) -> None:
    """Not in the file, not beside it, and not in the way of a file that is made smaller."""
    path = tmp_path / "turns.db"
    store = SQLiteStore(path)
    lm = scripted("one", "two", response_store=store)
    response = await lm.respond_async("Hi", tags={"user": "marker-tag"})
    other = await lm.respond_async("Hi", tags={"user": "marker-other"}, auto_store=False)
    await lm.responses.delete_async(response.response_id, descendants=True)
    assert b"marker-tag" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert lm.responses.list(tags={"user": "marker-other"}) == []

    lm = scripted("three", response_store=store)
    last = await lm.respond_async("Hi", tags={"user": "marker-last"})
    await store.compact()
    assert lm.responses.retrieve(last.response_id).tags == {"user": "marker-last"}
    with pytest.raises(UnknownResponseError):
        lm.responses.retrieve(other.response_id)
    await store.check()
    await store.aclose()


async def test_exports_have_tags_rewards_and_times(tmp_path: Path) -> None:
    """Another store has them as they were."""
    lm = scripted("one")
    response = await lm.respond_async("Hi", tags={"run": "july"})
    lm.responses.annotate(response.response_id, reward=-1)
    lm.responses.export(tmp_path / "turns.jsonl")
    other = scripted()
    assert other.responses.import_(tmp_path / "turns.jsonl") == 1
    names = {"tags", "reward", "latency", "created_at", "time_to_first_token"}
    before = lm.responses.retrieve(response.response_id).model_dump(include=names)
    assert other.responses.retrieve(response.response_id).model_dump(include=names) == before
    assert before["reward"] == -1.0


# --- times ------------------------------------------------------------------------------------


@TRANSPORTS
@HOSTED_APIS
async def test_a_response_says_how_long_it_took(
    openai_server: OpenAIServer, hosted: Hosted, api: str, transport: str
) -> None:
    """At least as long as the server waited; not a stream, so no first token."""
    openai_server.enqueue(Answer(text="one", delay=0.2))
    async with hosted(api, transport=transport) as lm:
        response = await lm.respond_async("Hi")
        assert response.latency is not None
        assert response.latency >= 0.2
        assert response.time_to_first_token is None
        assert_times_are_kept(lm, response)


@TRANSPORTS
@HOSTED_APIS
async def test_a_stream_says_when_its_first_token_came(
    openai_server: OpenAIServer, hosted: Hosted, api: str, transport: str
) -> None:
    """After the server's first byte, and before the whole answer."""
    hold = threading.Event()
    openai_server.enqueue(Answer(text="one two", hold=hold))
    async with hosted(api, transport=transport) as lm:
        threading.Timer(0.3, hold.set).start()
        async with lm.stream_async("Hi") as stream:
            async for event in stream:
                last = event
        assert isinstance(last, Completed)
        response = stream.response
        assert response.latency is not None
        assert response.time_to_first_token is not None
        assert 0.2 <= response.time_to_first_token <= response.latency
        assert_times_are_kept(lm, response)


async def test_only_the_last_try_counts() -> None:
    """What was waited for between two tries is not the model's time."""
    vendor = ScriptedVendor([OverloadedError("busy", status_code=503), "one"])
    lm = LM("x", vendor=vendor, retry=RetryPolicy(wait_initial=0.5))
    response = await lm.respond_async("Hi")
    assert response.attempts == 2
    assert response.latency is not None
    assert response.latency < 0.5


async def test_times_on_an_engine() -> None:
    """A stream has a first token; a whole answer has one where the engine says so."""
    lm = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("one"), final_text("two")]))
    whole = await lm.respond_async("Hi")
    assert whole.time_to_first_token is None
    async with lm.stream_async("Hi") as stream:
        async for _ in stream:
            pass
    assert stream.response.time_to_first_token is not None
    for response in (whole, stream.response):
        assert response.latency is not None
        assert_times_are_kept(lm, response)


def assert_times_are_kept(lm: LM, response: BaseLMResponse) -> None:
    assert response.created_at is not None
    again = lm.responses.retrieve(response.response_id)
    assert (again.created_at, again.latency, again.time_to_first_token) == (
        response.created_at,
        response.latency,
        response.time_to_first_token,
    )
