"""Where a call continues from: chains, forks, heads, concurrent calls, and what carries over."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from synth_ai import LM, BaseLMResponse, LMRequest, MemoryStore
from synth_ai import content as items
from synth_ai.errors import (
    MissingToolOutputError,
    OptionError,
    RateLimitError,
    RequestError,
    SynthAIError,
    UnknownResponseError,
)
from synth_ai.lm.conversation import Head, Parent
from synth_ai.lm.vendors.apis import HARMONY
from synth_ai.testing import ScriptedVendor, tool_call


def echo(request: LMRequest) -> str:
    """An answer that tells whose it is."""
    return f"re: {items.text_of(request.input[-1])}"


def talk(*answers: Any, api: Any = "responses", **options: Any) -> tuple[LM, ScriptedVendor]:
    """An LM over a script; without answers it echoes."""
    vendor = ScriptedVendor(answers or [echo] * 50, api=api)
    return LM("scripted", vendor=vendor, **options), vendor


def said(request: LMRequest) -> list[str]:
    """The texts that the model sees, the turns before included."""
    return [items.text_of(item) for item in request.items()]


class HeldVendor(ScriptedVendor):
    """Answers each prompt once it is let go, so that a test decides in which order calls end."""

    def __init__(self) -> None:
        super().__init__([echo] * 50)
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        text = items.text_of(request.input[-1])
        response = await super().respond(request)
        if text in self.gates:
            await self.gates[text].wait()
        if text in self.errors:
            raise self.errors[text]
        return response

    def hold(self, *texts: str) -> None:
        self.gates |= {text: asyncio.Event() for text in texts}


# --- auto and manual --------------------------------------------------------------------------


async def test_responses_calls_chain_by_themselves() -> None:
    """Each call continues the one before, by the server's id alone."""
    lm, vendor = talk()
    one = await lm.respond_async("one")
    two = await lm.respond_async("two")
    assert [request.previous_response_id for request in vendor.requests] == [None, one.response_id]
    assert vendor.requests[1].history == ()
    assert two.previous_response_id == one.response_id
    assert one.previous_response_id is None
    assert lm.head == two.response_id


async def test_calls_chain_with_their_history_where_no_server_remembers() -> None:
    """The same conversation, sent in full, where ids are made here."""
    vendor = ScriptedVendor([echo] * 3, remembers=False)
    vendor.api = HARMONY
    lm = LM("scripted", vendor=vendor)
    for text in ("one", "two", "three"):
        response = await lm.respond_async(text)
        assert response.response_id is not None
        assert response.response_id.startswith("resp_")
        assert not response.replayed
    assert [request.previous_response_id for request in vendor.requests] == [None] * 3
    assert said(vendor.requests[-1]) == ["one", "re: one", "two", "re: two", "three"]


async def test_chat_never_chains_by_itself() -> None:
    """Chat callers loop over data sets with one LM; nothing of one call may reach the next."""
    lm, vendor = talk(api="chat")
    one = await lm.respond_async("Be terse.", "one")
    await lm.respond_async("two")
    assert said(vendor.requests[1]) == ["two"]
    assert vendor.requests[1].instructions is None
    assert lm.head is None
    assert one.response_id is not None


async def test_chat_continues_where_it_is_told_to() -> None:
    """`previous_response_id=` and fork() work on chat as everywhere; a fork goes on by itself."""
    lm, vendor = talk(api="chat")
    one = await lm.respond_async("Be terse.", "one")
    two = await lm.respond_async("two", previous_response_id=one.response_id)
    assert said(vendor.requests[-1]) == ["one", "re: one", "two"]
    assert vendor.requests[-1].instructions == "Be terse."
    assert lm.head is None
    branch = lm.fork(two.response_id)
    await branch.respond_async("three")
    await branch.respond_async("four")
    assert said(vendor.requests[-1])[-3:] == ["three", "re: three", "four"]
    assert lm.head is None


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_two_forks_of_one_id(api: str) -> None:
    """An id never changes its meaning: each fork sees the conversation up to it, not the other."""
    lm, vendor = talk(api=api)
    one = await lm.respond_async("one")
    a = await lm.respond_async("a", previous_response_id=one.response_id)
    b = await lm.respond_async("b", previous_response_id=one.response_id)
    assert {a.previous_response_id, b.previous_response_id} == {one.response_id}
    deep = await lm.respond_async("deeper", previous_response_id=a.response_id)
    chain = await lm.responses.input_items_async(str(deep.response_id))
    assert [items.text_of(item) for item in chain] == ["one", "re: one", "a", "re: a", "deeper"]
    assert len(vendor.requests) == 4


async def test_a_manual_call_moves_the_head_too() -> None:
    """After a fork by id, the conversation goes on from there."""
    lm, _ = talk()
    one = await lm.respond_async("one")
    await lm.respond_async("two")
    a = await lm.respond_async("a", previous_response_id=one.response_id)
    assert lm.head == a.response_id
    assert (await lm.respond_async("b")).previous_response_id == a.response_id


async def test_asking_aside_leaves_the_head_alone() -> None:
    """`auto_store=False` starts from the head without moving it; its turn can be continued."""
    lm, _ = talk()
    one = await lm.respond_async("one")
    aside = await lm.respond_async("aside", auto_store=False)
    assert aside.previous_response_id == one.response_id
    assert lm.head == one.response_id
    assert (await lm.respond_async("two")).previous_response_id == one.response_id
    more = await lm.respond_async("more", previous_response_id=aside.response_id, auto_store=False)
    assert more.previous_response_id == aside.response_id


async def test_auto_store_off_for_the_whole_lm(monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument or by variable, every call starts anew.

    One call may ask for the contrary; the argument wins over the variable.
    """
    lm, _ = talk(auto_store_responses=False)
    await lm.respond_async("one")
    assert lm.head is None
    assert (await lm.respond_async("two")).previous_response_id is None
    kept = await lm.respond_async("three", auto_store=True)
    assert lm.head == kept.response_id

    monkeypatch.setenv("SYNTH_AI_AUTO_STORE_RESPONSES", "false")
    assert talk()[0].auto_store_responses is False
    assert talk(auto_store_responses=True)[0].auto_store_responses is True


async def test_reset_begins_anew() -> None:
    """Nothing of the conversation before is sent, and it can still be continued by its id."""
    lm, vendor = talk()
    one = await lm.respond_async("Be terse.", "one")
    lm.reset()
    assert lm.head is None
    fresh = await lm.respond_async("two")
    assert fresh.previous_response_id is None
    assert vendor.requests[-1].instructions is None
    assert (
        await lm.respond_async("three", previous_response_id=one.response_id)
    ).previous_response_id


# --- whole histories --------------------------------------------------------------------------

HISTORY = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "v"},
]


async def test_a_whole_history_starts_a_new_root() -> None:
    """With an assistant's turn in it, `messages=` is a conversation of its own, now the head."""
    lm, vendor = talk()
    await lm.respond_async("Be terse.", "one")
    root = await lm.respond_async(messages=HISTORY)
    assert root.previous_response_id is None
    assert vendor.requests[-1].previous_response_id is None
    assert said(vendor.requests[-1]) == ["u", "a", "v"]
    assert vendor.requests[-1].instructions == "Be kind."
    assert lm.head == root.response_id
    await lm.respond_async("w")
    assert vendor.requests[-1].instructions == "Be kind."


async def test_a_history_with_an_id_continues_from_it() -> None:
    """Who gives both means both."""
    lm, vendor = talk()
    one = await lm.respond_async("one")
    both = await lm.respond_async(messages=HISTORY, previous_response_id=one.response_id)
    assert both.previous_response_id == one.response_id
    assert said(vendor.requests[-1]) == ["u", "a", "v"]


async def test_user_messages_alone_continue_the_head() -> None:
    """A list of user or tool messages is like a string."""
    lm, _ = talk()
    one = await lm.respond_async("one")
    two = await lm.respond_async(messages=[{"role": "user", "content": "u"}])
    assert two.previous_response_id == one.response_id


# --- concurrency ------------------------------------------------------------------------------


async def test_calls_start_from_the_head_as_it_was_when_they_were_made() -> None:
    """A call made before another's answer does not see it, whenever it is awaited."""
    lm, _ = talk()
    one = await lm.respond_async("one")
    made_before = lm.respond_async("made before")
    two = await lm.respond_async("two")
    late = await made_before
    assert late.previous_response_id == one.response_id
    assert two.previous_response_id == one.response_id


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
async def test_the_call_made_last_wins_the_head(order: tuple[int, ...]) -> None:
    """In whichever order concurrent calls end."""
    vendor = HeldVendor()
    lm = LM("held", vendor=vendor)
    names = ("a", "b", "c")
    vendor.hold(*names)
    calls = [asyncio.create_task(lm.respond_async(name)) for name in names]
    await asyncio.sleep(0)
    for at in order:
        vendor.gates[names[at]].set()
        await calls[at]
    assert lm.head == calls[2].result().response_id
    assert {call.result().previous_response_id for call in calls} == {None}


async def test_failed_and_cancelled_calls_leave_the_head() -> None:
    """The head is the last answer that there is; a later call that failed does not replace it."""
    vendor = HeldVendor()
    lm = LM("held", vendor=vendor, retry=False)
    one = await lm.respond_async("one")
    vendor.errors["fails"] = RateLimitError("slow down")
    with pytest.raises(RateLimitError):
        await lm.respond_async("fails")
    assert lm.head == one.response_id

    vendor.hold("first", "cancelled")
    first = asyncio.create_task(lm.respond_async("first"))
    cancelled = asyncio.create_task(lm.respond_async("cancelled"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    vendor.gates["first"].set()
    assert lm.head == one.response_id
    assert lm.head != (await first).response_id
    assert lm.head == first.result().response_id


async def test_a_coroutine_that_is_never_awaited_holds_nothing_up() -> None:
    """Its place in the order is simply left empty."""
    lm, _ = talk()
    lm.respond_async("never").close()
    one = await lm.respond_async("one")
    assert lm.head == one.response_id


@pytest.mark.parametrize(
    ("status", "moves"), [("completed", True), ("incomplete", True), ("failed", False)]
)
async def test_only_answers_that_can_be_continued_move_the_head(status: Any, moves: bool) -> None:
    """An answer that was cut can be gone on from; a failed one cannot."""
    answer = BaseLMResponse.of_output(
        [items.assistant_message("hal")], status=status, incomplete_reason="max"
    )
    lm, _ = talk("one", answer)
    one = await lm.respond_async("one")
    second = await lm.respond_async("two")
    assert second.status == status
    assert (lm.head == second.response_id) is moves
    assert (lm.head == one.response_id) is not moves


async def test_reset_is_not_undone_by_calls_under_way() -> None:
    """A call made before the reset ends after it."""
    vendor = HeldVendor()
    lm = LM("held", vendor=vendor)
    vendor.hold("old")
    old = asyncio.create_task(lm.respond_async("old"))
    await asyncio.sleep(0)
    lm.reset()
    vendor.gates["old"].set()
    await old
    assert lm.head is None


async def test_fork_handles_do_not_mind_each_other() -> None:
    """Branches at the same time, each with a head of its own, on one backend and one store."""
    lm, vendor = talk()
    one = await lm.respond_async("Be terse.", "one")
    branches = [lm.fork(one.response_id) for _ in range(5)]

    async def go_on(number: int) -> list[str | None]:
        return [
            (await branches[number].respond_async(f"{number}.{step}")).previous_response_id
            for step in range(3)
        ]

    parents = await asyncio.gather(*(go_on(number) for number in range(5)))
    assert [chain[0] for chain in parents] == [one.response_id] * 5
    assert len({branch.head for branch in branches}) == 5
    assert lm.head == one.response_id
    assert {request.instructions for request in vendor.requests} == {"Be terse."}
    for number, branch in enumerate(branches):
        chain = await lm.responses.input_items_async(str(branch.head))
        mine = [items.text_of(item) for item in chain if item.get("role") == "user"]
        assert mine == ["one", f"{number}.0", f"{number}.1", f"{number}.2"]


async def test_a_fork_of_the_head_and_of_nothing() -> None:
    """Without an id it starts where the LM is now, and stays there when the LM moves on."""
    lm, _ = talk()
    empty = lm.fork()
    one = await lm.respond_async("one")
    branch = lm.fork()
    await lm.respond_async("two")
    assert branch.head == one.response_id
    assert (await branch.respond_async("b")).previous_response_id == one.response_id
    assert (await empty.respond_async("c")).previous_response_id is None


def test_heads_over_threads() -> None:
    """Many threads on one LM leave the answer of some call made last as the head, and lose none."""
    lm, vendor = talk(*[echo] * 80)
    threads = [
        threading.Thread(target=lambda: [lm.respond("hi") for _ in range(10)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(vendor.requests) == 80
    ids = {response.response_id for response in lm.responses.list()}
    assert len(ids) == 80
    assert lm.head in ids


def test_head_by_itself() -> None:
    """The rule in its smallest form: the highest number that settled wins."""
    head = Head()
    tickets = [head.take() for _ in range(3)]
    head.move(tickets[1], Parent("second", None))
    head.move(tickets[0], Parent("first", None))
    assert head.current == Parent("second", None)
    head.move(tickets[2], Parent("third", None))
    assert head.current == Parent("third", None)
    assert head.take().head == Parent("third", None)


# --- carrying over ----------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def sub(a: int, b: int) -> int:
    """Subtracts."""
    return a - b


def names(request: LMRequest) -> list[str]:
    """The tools in force."""
    return [tool["name"] for tool in request.tools]


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
async def test_the_system_message_of_the_lm_begins_conversations(api: Any) -> None:
    """Where a call gives none of its own.

    A branch keeps what it was begun with, and a history's own is in it.
    """
    vendor = ScriptedVendor(["ok"] * 6, api=api)
    lm = LM("x", vendor=vendor, system_message="Be terse.")
    first = await lm.respond_async("Hi")
    loud = await lm.respond_async("Be loud.", "Hi", previous_response_id=first.response_id)
    await lm.fork(loud.response_id).respond_async("Hi")
    assert [request.instructions for request in vendor.requests] == [
        "Be terse.",
        "Be loud.",
        "Be loud.",
    ]
    lm.reset()
    await lm.respond_batch_async(["Hi", ("", "Hi")])
    assert [request.instructions for request in vendor.requests[3:]] == ["Be terse.", ""]
    with pytest.raises(OptionError, match=r"system_message must be a string, not \['Be terse"):
        LM("x", vendor=vendor, system_message=["Be terse."])  # type: ignore[arg-type]


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
async def test_system_message_and_tools_carry_over_until_replaced(api: Any) -> None:
    """Down the branch that they were given on, and on no other."""
    lm, vendor = talk(api=api)
    lm = lm.fork()
    one = await lm.respond_async("Be terse.", "one", tools=[add])
    await lm.respond_async("two")
    assert (vendor.requests[-1].instructions, names(vendor.requests[-1])) == ("Be terse.", ["add"])
    await lm.respond_async("Be loud.", "three", tools=[sub])
    await lm.respond_async("four")
    assert (vendor.requests[-1].instructions, names(vendor.requests[-1])) == ("Be loud.", ["sub"])
    await lm.respond_async("a", previous_response_id=one.response_id)
    assert (vendor.requests[-1].instructions, names(vendor.requests[-1])) == ("Be terse.", ["add"])
    await lm.respond_async("", "b", tools=None)
    await lm.respond_async("c")
    assert (vendor.requests[-1].instructions, names(vendor.requests[-1])) == ("", [])


async def test_the_lm_s_tools_are_the_default() -> None:
    """Until a call of the branch names others; `tools=[]` and None are none at all, and stay so."""
    lm, vendor = talk(tools=[add])
    await lm.respond_async("one")
    await lm.respond_async("two", tools=[sub])
    await lm.respond_async("three")
    await lm.respond_async("four", tools=[])
    await lm.respond_async("five")
    lm.reset()
    await lm.respond_async("six")
    assert [names(request) for request in vendor.requests] == [
        ["add"],
        ["sub"],
        ["sub"],
        [],
        [],
        ["add"],
    ]


async def test_the_date_is_fixed_at_the_first_turn() -> None:
    """Prompts of one conversation begin alike, so that they stay in the cache."""
    lm, vendor = talk()
    await lm.respond_async("one")
    turn = (await lm._config.store.list())[0]
    assert turn.date is not None
    await lm.respond_async("two")
    assert vendor.requests[0].date == vendor.requests[1].date == turn.date


# --- tool outputs -----------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
async def test_every_parallel_call_must_be_answered(api: Any) -> None:
    """The library says before it sends which output is missing, and the head stays.

    With every output given, the conversation goes on.
    """
    calls = [
        tool_call("add", call_id="call_1", a=1, b=2),
        tool_call("add", call_id="call_2", a=3, b=4),
    ]
    lm, vendor = talk(calls, "3 and 7", api=api, tools=[add])
    lm = lm.fork()
    asked = await lm.respond_async("Add.")
    assert [call["id"] for call in asked.tool_calls or ()] == ["call_1", "call_2"]
    for arguments in ({"tool_outputs": {"call_1": 3}}, {"user_message": "Never mind."}):
        with pytest.raises(MissingToolOutputError, match=r"add \(call_2\)"):
            await lm.respond_async(**arguments)
    assert len(vendor.requests) == 1
    assert lm.head == asked.response_id
    done = await lm.respond_async(tool_outputs={"call_1": 3, "call_2": 7})
    assert done.raw_response == "3 and 7"
    outputs = [item["output"] for item in vendor.requests[-1].input]
    assert outputs == ["3", "7"]
    vendor.assert_exhausted()


async def test_outputs_may_come_as_messages() -> None:
    """In the shape of Chat, with a word from the user."""
    lm, vendor = talk(tool_call("add", call_id="call_1", a=1, b=2), "3", tools=[add])
    await lm.respond_async("Add.")
    await lm.respond_async(
        messages=[
            {"role": "tool", "tool_call_id": "call_1", "content": "3"},
            {"role": "user", "content": "And?"},
        ]
    )
    assert [item["type"] for item in vendor.requests[-1].input] == [
        "function_call_output",
        "message",
    ]


# --- ids that are not there -------------------------------------------------------------------


@pytest.mark.parametrize("api", ["chat", "harmony"])
async def test_an_unknown_id_where_no_server_remembers(api: Any) -> None:
    """Told before anything is sent, by call and by fork."""
    lm, vendor = talk(api=api)
    for call in (
        lm.respond_async("Hi", previous_response_id="resp_9"),
        lm.fork("resp_9").respond_async("Hi"),
    ):
        with pytest.raises(
            UnknownResponseError, match=r"'resp_9' is not in this store.*response_store"
        ):
            await call
    assert vendor.requests == []


async def test_an_unknown_id_goes_to_a_server_that_remembers() -> None:
    """Ids that the user kept elsewhere are the server's to know."""
    lm, vendor = talk()
    response = await lm.respond_async("Hi", previous_response_id="resp_9")
    assert vendor.requests[0].previous_response_id == "resp_9"
    assert response.previous_response_id == "resp_9"
    assert (await lm.respond_async("more")).previous_response_id == response.response_id
    fork = await lm.fork("resp_8").respond_async("Hi")
    assert fork.previous_response_id == "resp_8"


@pytest.mark.parametrize("id", ["", "  ", 5, {"id": "resp_1"}])
async def test_an_id_that_is_none(id: Any) -> None:
    """A response in place of its id, or an empty string, does not begin a conversation."""
    lm, vendor = talk()
    one = await lm.respond_async("one")
    for given in (id, one):
        with pytest.raises(SynthAIError, match="previous_response_id"):
            await lm.respond_async("two", previous_response_id=given)
    assert len(vendor.requests) == 1


async def test_a_turn_that_left_a_full_store() -> None:
    """The error says so, and how to keep more; the newest conversation is whole."""
    lm, _ = talk(api="chat", response_store=MemoryStore(max_turns=3))
    responses = [await lm.respond_async(str(number)) for number in range(5)]
    with pytest.raises(
        UnknownResponseError, match=r"keeps 3 turns.*dropped the 2 oldest.*max_turns="
    ):
        await lm.respond_async("more", previous_response_id=responses[0].response_id)
    await lm.respond_async("more", previous_response_id=responses[4].response_id)


# --- replays ----------------------------------------------------------------------------------


async def test_a_forgotten_turn_is_replayed_in_full() -> None:
    """The server lost the id: the library sends it all instead of failing, and says so."""
    lm, vendor = talk()
    one = await lm.respond_async("Be terse.", "one", tools=[add])
    two = await lm.respond_async("two")
    vendor.forget(str(two.response_id))
    three = await lm.respond_async("three")
    tried, sent = vendor.requests[-2:]
    assert tried.previous_response_id == two.response_id
    assert sent.previous_response_id is None
    assert said(sent) == ["one", "re: one", "two", "re: two", "three"]
    assert (sent.instructions, names(sent)) == ("Be terse.", ["add"])
    assert three.replayed
    assert "not known here" in str(three.replay_reason)
    assert three.previous_response_id == two.response_id
    assert three.attempts == 2
    four = await lm.respond_async("four")
    assert not four.replayed
    assert vendor.requests[-1].previous_response_id == three.response_id
    assert one.response_id != four.response_id


async def test_a_forgotten_turn_that_is_not_here_either() -> None:
    """Nothing can be sent instead; the error names both reasons and keeps the server's."""
    lm, vendor = talk()
    vendor.forget("resp_9")
    with pytest.raises(
        UnknownResponseError, match=r"resp_9.*not known here.*not in this store"
    ) as raised:
        await lm.respond_async("Hi", previous_response_id="resp_9")
    assert raised.value.__context__ is not None


async def test_without_a_store_a_server_s_memory_is_all() -> None:
    """`response_store=False` chains by the server's ids.

    When the server forgets, the error says what is missing.
    """
    lm, vendor = talk(response_store=False)
    one = await lm.respond_async("Be terse.", "one")
    two = await lm.respond_async("two")
    assert vendor.requests[-1].previous_response_id == one.response_id
    vendor.forget(str(two.response_id))
    with pytest.raises(UnknownResponseError, match="response_store=False"):
        await lm.respond_async("three")


async def test_a_branch_moves_between_backends() -> None:
    """Start on one, go on with another, and back: each gets what the others said."""
    store = MemoryStore()
    there = ScriptedVendor([echo] * 9)
    here = ScriptedVendor([echo] * 9, api="harmony")
    hosted, local = (
        LM("gpt", vendor=there, response_store=store),
        LM("oss", vendor=here, response_store=store),
    )
    one = await local.respond_async("Be terse.", "one")
    two = await hosted.respond_async("two", previous_response_id=one.response_id)
    assert said(there.requests[-1]) == ["one", "re: one", "two"]
    assert there.requests[-1].instructions == "Be terse."
    assert two.replayed
    assert "another backend" in str(two.replay_reason)
    three = await local.respond_async("three", previous_response_id=two.response_id)
    assert said(here.requests[-1]) == ["one", "re: one", "two", "re: two", "three"]
    assert not three.replayed
    four = await hosted.respond_async("four", previous_response_id=three.response_id)
    assert len(said(there.requests[-1])) == 7
    assert four.replayed
    five = await hosted.respond_async("five")
    assert not five.replayed
    assert there.requests[-1].previous_response_id == four.response_id


async def test_an_output_for_a_call_that_nobody_made_is_refused() -> None:
    """A mistyped call id is told before anything is sent, with the calls there are."""
    lm = LM("m", vendor=ScriptedVendor([tool_call("look", call_id="call_1")]))
    await lm.respond_async("Hi")
    with pytest.raises(RequestError, match="call_1"):
        await lm.respond_async(tool_outputs={"call_2": "x", "call_1": "y"})
