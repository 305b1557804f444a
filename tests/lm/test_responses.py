"""`lm.responses`: what is stored can be read, listed and deleted, here and on its server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synth_ai import (
    LM,
    BaseLMResponse,
    LMRequest,
    MemoryStore,
    Price,
    RetryPolicy,
    SQLiteStore,
    harmony,
)
from synth_ai import content as items
from synth_ai.errors import NotFoundError, OverloadedError, StoreError, UnknownResponseError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text
from synth_ai.turn import Turn


class Keeping(ScriptedVendor):
    """A server that notes what it is told to delete."""

    deleted: list[str]
    busy: tuple[str, ...] = ()

    async def delete(self, response_id: str) -> None:
        self.deleted = [*getattr(self, "deleted", []), response_id]
        if response_id in self.busy:
            self.busy = tuple(id for id in self.busy if id != response_id)
            raise OverloadedError("busy", status_code=503)
        if response_id in self._forgotten:
            raise NotFoundError("gone", status_code=404)


REASONED = [items.reasoning_item("Hm."), items.function_call("call_1", "add", "{}")]


async def test_a_response_is_read_back_as_it_was() -> None:
    """Texts, calls, usage and its place in the conversation."""
    lm = LM("x", vendor=ScriptedVendor(["one", REASONED]))
    await lm.respond_async("Hi")
    response = await lm.respond_async("Add.")
    again = await lm.responses.retrieve_async(str(response.response_id))
    for name in (
        "raw_response",
        "reasoning",
        "tool_calls",
        "output",
        "usage",
        "model",
        "status",
        "api_type",
    ):
        assert getattr(again, name) == getattr(response, name), name
    assert again.previous_response_id == response.previous_response_id
    assert again.response_id == response.response_id


async def test_why_an_answer_is_as_it_is_is_read_back() -> None:
    """What was cut, failed, replayed and repaired; the cost is that of the prices."""
    store = MemoryStore()
    said: dict[str, Any] = {
        "status": "failed",
        "error": "boom",
        "incomplete_reason": "max_output_tokens",
    }
    how: dict[str, Any] = {
        "request_id": "req_1",
        "replay_reason": "the server forgot",
        "warnings": ("clipped",),
    }
    await store.put(
        Turn(
            "resp_1",
            None,
            "responses",
            "m",
            (),
            (),
            usage={"input_tokens": 2_000_000},
            **said,
            **how,
        )
    )
    lm = LM("m", vendor=ScriptedVendor(), response_store=store, prices={"m": Price(3, 4)})
    again = await lm.responses.retrieve_async("resp_1")
    assert {name: getattr(again, name) for name in said} == said
    assert (again.request_id, again.replayed, again.replay_reason) == (
        "req_1",
        True,
        "the server forgot",
    )
    assert (again.warnings, again.cost) == (["clipped"], 6)
    [listed] = await lm.responses.list_async()
    assert listed == again


@pytest.mark.parametrize("file", [None, "turns.db"])
async def test_a_call_keeps_why_its_answer_is_as_it_is(file: str | None, tmp_path: Path) -> None:
    """What the response said when it came, it says when it is read back."""
    cut = BaseLMResponse.of_output(
        [items.assistant_message("Riv")],
        status="incomplete",
        incomplete_reason="max_output_tokens",
        request_id="req_1",
    )
    failed = BaseLMResponse.of_output(
        [], status="failed", error="boom", warnings=["max_tokens was clipped"]
    )
    vendor = ScriptedVendor([cut, failed])
    async with LM("x", vendor=vendor, response_store=file and tmp_path / file) as lm:
        first = await lm.respond_async("a")
        vendor.forget(str(first.response_id))
        second = await lm.respond_async("b")
        assert second.replayed
        for response in (first, second):
            again = await lm.responses.retrieve_async(str(response.response_id))
            for name in (
                "incomplete_reason",
                "error",
                "request_id",
                "replayed",
                "replay_reason",
                "warnings",
            ):
                assert getattr(again, name) == getattr(response, name), name


@pytest.mark.parametrize("file", [None, "turns.db"])
async def test_edits_of_a_response_stay_with_the_caller(file: str | None, tmp_path: Path) -> None:
    """No response that a caller has is what the store keeps and models are sent."""
    vendor = ScriptedVendor(["one", "two"], api="chat")
    async with LM("x", vendor=vendor, response_store=file and tmp_path / file) as lm:
        response = await lm.respond_async("a")
        id = str(response.response_id)
        [listed] = await lm.responses.list_async()
        for each in (response, await lm.responses.retrieve_async(id), listed):
            each.output[0]["content"][0]["text"] = "forged"
        (await lm.responses.input_items_async(id))[0]["content"] = "forged"
        assert (await lm.responses.retrieve_async(id)).raw_response == "one"
        await lm.respond_async("b", previous_response_id=id)
    assert [items.text_of(item) for item in vendor.requests[-1].items()] == ["a", "one", "b"]


async def test_input_items_are_those_of_the_whole_conversation() -> None:
    """What the model saw for this response, oldest first; its own answer is not among them."""
    lm = LM("x", vendor=ScriptedVendor(["one", "two"]))
    await lm.respond_async("a")
    last = await lm.respond_async("b")
    given = await lm.responses.input_items_async(str(last.response_id))
    assert [items.text_of(item) for item in given] == ["a", "one", "b"]


async def test_the_list_is_oldest_first() -> None:
    """Of every conversation in the store."""
    lm = LM("x", vendor=ScriptedVendor(["one", "two", "three"], api="chat"))
    for text in ("a", "b", "c"):
        await lm.respond_async(text)
    assert [response.raw_response for response in await lm.responses.list_async()] == [
        "one",
        "two",
        "three",
    ]


def test_the_sync_twins() -> None:
    """Every method has one."""
    lm = LM("x", vendor=ScriptedVendor(["one"], api="chat"))
    id = str(lm.respond("a").response_id)
    assert lm.responses.retrieve(id).raw_response == "one"
    assert [items.text_of(item) for item in lm.responses.input_items(id)] == ["a"]
    assert len(lm.responses.list()) == 1
    lm.responses.delete(id)
    assert lm.responses.list() == []


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
async def test_an_unknown_id(api: str) -> None:
    """Told on every method, with the reason why it may not be here."""
    vendor = Keeping(api=api)  # type: ignore[arg-type]
    vendor.forget("resp_9")
    responses = LM("x", vendor=vendor).responses
    for method in (responses.retrieve_async, responses.input_items_async, responses.delete_async):
        with pytest.raises(UnknownResponseError, match="'resp_9' is not in this store"):
            await method("resp_9")


async def test_delete_deletes_on_the_server_that_has_it() -> None:
    """And only there: a turn of another backend is none of this one's business."""
    here, there = Keeping(["one"]), Keeping(["two"])
    lm = LM("x", vendor=here)
    other = LM("y", vendor=there, response_store=lm._config.store)
    one = await lm.respond_async("a")
    two = await other.respond_async("b")
    await lm.responses.delete_async(str(one.response_id))
    await lm.responses.delete_async(str(two.response_id))
    assert here.deleted == [one.response_id]
    assert not hasattr(there, "deleted")
    assert await lm.responses.list_async() == []


async def test_delete_of_what_only_one_side_has() -> None:
    """What the server has forgotten is deleted here; what is not here is deleted there."""
    vendor = Keeping(["one"])
    lm = LM("x", vendor=vendor)
    one = await lm.respond_async("a")
    vendor.forget(str(one.response_id))
    await lm.responses.delete_async(str(one.response_id))
    assert await lm.responses.list_async() == []
    await lm.responses.delete_async("resp_8")
    assert vendor.deleted[-1] == "resp_8"


async def test_a_turn_that_others_continue_from_is_kept() -> None:
    """Deleting it would break their history; neither side forgets it."""
    vendor = Keeping(["one", "two"])
    lm = LM("x", vendor=vendor)
    one = await lm.respond_async("a")
    await lm.respond_async("b")
    with pytest.raises(StoreError, match=r"cannot be deleted.*1 turn"):
        await lm.responses.delete_async(str(one.response_id))
    assert not hasattr(vendor, "deleted")
    assert len(await lm.responses.list_async()) == 2


async def test_an_unknown_id_where_no_server_keeps_responses() -> None:
    """Nobody can delete it, so it is an error and no silence."""
    with pytest.raises(UnknownResponseError, match="resp_9"):
        await LM("x", vendor=ScriptedVendor(api="chat")).responses.delete_async("resp_9")


async def test_a_deleted_head_is_told() -> None:
    """The next call says that the turn is gone instead of beginning anew without a word."""
    lm = LM("x", vendor=ScriptedVendor(["one", "two"], api="harmony"))
    one = await lm.respond_async("a")
    await lm.responses.delete_async(str(one.response_id))
    with pytest.raises(UnknownResponseError, match=str(one.response_id)):
        await lm.respond_async("b")


async def test_delete_with_descendants_deletes_them_on_the_server_too() -> None:
    """Those that it keeps, not what another server made; each deletion is retried."""
    vendor = Keeping(["one", "two", "three", "four"])
    lm = LM("x", vendor=vendor, retry=RetryPolicy(attempts=2, wait_initial=0))
    first, second, third = [
        str((await lm.respond_async(text)).response_id) for text in ("a", "b", "c")
    ]
    apart = await lm.respond_async("d", previous_response_id=first)
    other = LM("y", vendor=Keeping(["elsewhere"]), response_store=lm._config.store)
    await other.respond_async("e", previous_response_id=third)
    vendor.forget(third)
    vendor.busy = (second,)
    await lm.responses.delete_async(first, descendants=True)
    assert sorted(vendor.deleted) == sorted([first, second, second, third, str(apart.response_id)])
    assert await lm.responses.list_async() == []


async def test_what_a_server_could_not_delete_is_named() -> None:
    """The others are deleted all the same, and the id that is left can be deleted again."""
    vendor = Keeping(["one", "two", "three"])
    lm = LM("x", vendor=vendor, retry=False)
    first, second, third = [
        str((await lm.respond_async(text)).response_id) for text in ("a", "b", "c")
    ]
    vendor.busy = (second,)
    with pytest.raises(OverloadedError) as caught:
        await lm.responses.delete_async(first, descendants=True)
    assert caught.value.__notes__ == [f"The server may still have {second}."]
    assert sorted(vendor.deleted) == sorted([first, second, third])
    await lm.responses.delete_async(second)


# --- redaction --------------------------------------------------------------------------------

SECRET = "HUNTER2"


def sent(request: LMRequest) -> str:
    """All that a model or a server was given of the conversation."""
    return json.dumps([request.previous_response_id, *request.items()])


async def test_redact_takes_the_text_and_leaves_the_turn(tmp_path: Path) -> None:
    """The tree is as before, and neither the file nor what is read from it has the text."""
    path = tmp_path / "turns.db"
    async with LM("x", vendor=Keeping([f"So it is {SECRET}.", "two"]), response_store=path) as lm:
        first = await lm.respond_async(f"It is {SECRET}.")
        second = await lm.respond_async("And?")
        assert SECRET in path.with_name("turns.db-wal").read_bytes().decode("latin-1")
        await lm.responses.redact_async(str(first.response_id))
        again = await lm.responses.retrieve_async(str(first.response_id))
        assert (again.raw_response, again.usage) == ("[redacted]", first.usage)
        assert (
            await lm.responses.retrieve_async(str(second.response_id))
        ).previous_response_id == first.response_id
        assert all(SECRET.encode() not in file.read_bytes() for file in tmp_path.iterdir())
        assert [turn.redacted for turn in lm.tree().walk()] == [True, False]


def test_the_sync_twin_of_redact() -> None:
    """As every method has one; an unknown response is an error."""
    lm = LM("x", vendor=Keeping(["one"], api="chat"))
    id = str(lm.respond("a").response_id)
    lm.responses.redact(id)
    assert lm.responses.retrieve(id).raw_response == "[redacted]"
    with pytest.raises(UnknownResponseError, match="'resp_9' is not in this store"):
        lm.responses.redact("resp_9")


async def test_redact_deletes_on_the_server_what_would_bring_the_text_back() -> None:
    """The response and those that continue from it; not the one before."""
    vendor = Keeping(["one", "two", "three"])
    lm = LM("x", vendor=vendor, retry=False)
    _, second, third = [str((await lm.respond_async(text)).response_id) for text in ("a", "b", "c")]
    await lm.responses.redact_async(second)
    assert sorted(vendor.deleted) == sorted([second, third])


async def test_a_redaction_that_the_server_did_not_hear_of_can_be_repeated() -> None:
    """Nothing is redacted before the server is told: the turn would not say where it is kept."""
    vendor = Keeping(["one"])
    lm = LM("x", vendor=vendor, retry=False)
    id = str((await lm.respond_async("a")).response_id)
    vendor.busy = (id,)
    with pytest.raises(OverloadedError):
        await lm.responses.redact_async(id)
    assert (await lm.responses.retrieve_async(id)).raw_response == "one"
    await lm.responses.redact_async(id)
    assert (await lm.responses.retrieve_async(id)).raw_response == "[redacted]"
    assert vendor.deleted == [id, id]


@pytest.mark.parametrize("how", ["responses", "store", "elsewhere"])
@pytest.mark.parametrize("file", [None, "turns.db"])
async def test_a_redacted_conversation_goes_on_without_the_text(
    how: str, file: str | None, tmp_path: Path
) -> None:
    """From the head, the turn itself and one after it, whoever redacted it: without its ids."""
    store = MemoryStore() if file is None else SQLiteStore(tmp_path / file)
    vendor = ScriptedVendor(["ok", "fine", "head", "itself", "after", "next"])
    lm = LM("x", vendor=vendor, response_store=store)
    first = str((await lm.respond_async(SECRET)).response_id)
    second = str((await lm.respond_async("go on")).response_id)
    if how == "responses":
        await lm.responses.redact_async(first)
    elif how == "elsewhere" and file is not None:
        other = SQLiteStore(tmp_path / file)
        await other.redact(first)
        await other.aclose()
    else:
        await store.redact(first)
    head = await lm.respond_async("from the head")
    for id in (first, second):
        response = await lm.respond_async("from its id", previous_response_id=id, auto_store=False)
        assert response.replay_reason == "a part of it was redacted"
    assert [SECRET in sent(request) for request in vendor.requests] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert ["[redacted]" in sent(request) for request in vendor.requests[2:]] == [True] * 3
    assert [request.previous_response_id for request in vendor.requests[2:]] == [None] * 3
    await lm.respond_async("the new turn is the server's again")
    assert vendor.requests[-1].previous_response_id == head.response_id
    await store.aclose()


async def test_a_rendered_conversation_is_rendered_again_after_a_redaction() -> None:
    """gpt-oss is not shown the ids of before, from the turn, from one after it or from the head."""
    engine = ScriptedEngine(
        [final_text(text) for text in (f"{SECRET}!", "fine", "a", "b", "c", "d")]
    )
    lm = LM("gpt-oss-20b", engine=engine)
    before = str((await lm.respond_async("Hi")).response_id)
    first = str((await lm.respond_async(f"It is {SECRET}.")).response_id)
    await lm.respond_async("go on")
    await lm.responses.redact_async(before)
    await lm.responses.redact_async(first)
    await lm.respond_async("from the head")
    for id in (first, before):
        await lm.respond_async("from its id", previous_response_id=id)
    prompts = [harmony.decode(prompt) for prompt in engine.prompts]
    assert [SECRET in prompt for prompt in prompts] == [False, True, True, False, False, False]
    assert [prompt.count("[redacted]") for prompt in prompts[3:]] == [4, 4, 2]
