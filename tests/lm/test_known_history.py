"""Histories that come back whole: they continue the longest stored conversation they begin with."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, MemoryStore, SQLiteStore
from synth_ai import content as items
from synth_ai.errors import RequestError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


SCRIPT = [
    call_text("get_weather", city="Oslo", reasoning="I have to look."),
    final_text("It is sunny.", reasoning="The tool says so."),
    # A header that rendering would write in another way than it was sampled.
    '<|channel|>commentary to=functions.get_weather<|constrain|>json<|message|>{"city":"Rome"}'
    "<|call|>",
    final_text("There too."),
]


def harmony_lm(count: int = 1, **options: Any) -> tuple[LM, ScriptedEngine]:
    engine = ScriptedEngine(SCRIPT * count)
    return LM("gpt-oss-20b", engine=engine, tools=[get_weather], **options), engine


async def talk(lm: LM) -> list[BaseLMResponse]:
    """A conversation of two questions, each with a call of a tool."""
    responses = []
    for question in ("What is the weather in Oslo?", "And in Rome?"):
        asked = await lm.respond_async(question)
        assert asked.tool_calls is not None
        outputs = {call["id"]: "sunny" for call in asked.tool_calls}
        responses += [asked, await lm.respond_async(tool_outputs=outputs)]
    return responses


async def history_of(lm: LM, response: BaseLMResponse) -> list[Any]:
    return [*await lm.responses.input_items_async(response.response_id), *response.output]


def as_chat(history: list[Any]) -> list[dict[str, Any]]:
    """The history as people keep it in the shape of Chat Completions, one message a turn."""
    messages: list[dict[str, Any]] = []
    for item in history:
        if items.is_call(item):
            message = {"role": "assistant", "content": None, "tool_calls": [items.chat_call(item)]}
            messages.append(message)
        elif items.is_call_output(item):
            output = {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
            messages.append(output)
        elif items.is_message(item):
            messages.append({"role": item["role"], "content": items.text_of(item)})
    return messages


def next_items(response: BaseLMResponse) -> list[Any]:
    """What a caller adds to a history that ends with a response."""
    if response.tool_calls is None:
        return [{"role": "user", "content": "Go on."}]
    return [items.function_call_output(call["id"], "rainy") for call in response.tool_calls]


# --- found ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["items", "bare", "chat"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_history_is_continued_by_the_ids_that_were_sampled(
    shape: str, kind: str, tmp_path: Path
) -> None:
    """At every turn, in every shape, the prompt is that of the chained call."""
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "turns.db")
    lm, engine = harmony_lm(response_store=store)
    for response in await talk(lm):
        history = await history_of(lm, response)
        if shape == "bare":
            bare = [{key: item[key] for key in item if key != "id"} for item in history]
            history = [item for item in bare if item.get("type") != "reasoning"]
        elif shape == "chat":
            history = as_chat(history)
        added = next_items(response)

        engine.add(final_text("One."), final_text("Two."))
        chained = await lm.respond_async(
            messages=added, previous_response_id=response.response_id, auto_store=False
        )
        known = await lm.respond_async(
            messages=[*history, *added], continue_known=True, auto_store=False
        )
        assert known.prompt_token_ids == chained.prompt_token_ids
        assert known.previous_response_id == response.response_id
    await store.aclose()


async def test_it_goes_on_from_there() -> None:
    """The turn is one like any: it moves the head, streams, runs tools, and is found again."""
    lm, engine = harmony_lm(2)
    (_, second, _, _) = await talk(lm)
    history = [*await history_of(lm, second), {"role": "user", "content": "And in Rome?"}]

    run = await lm.detached().run_tools_async(messages=history, continue_known=True)
    assert run.steps[0].response.previous_response_id == second.response_id

    engine.add(final_text("Bye."), final_text("Bye."))
    async with lm.stream_async(messages=history, continue_known=True) as stream:
        async for _ in stream:
            pass
    assert stream.response.previous_response_id == second.response_id
    assert lm.head == stream.response.response_id

    [answer] = await lm.respond_batch_async([{"messages": history}], continue_known=True)
    assert answer.previous_response_id == second.response_id


async def test_a_first_message_begins_a_conversation() -> None:
    """The messages are the whole conversation, so the head has no part in it."""
    lm, engine = harmony_lm()
    await talk(lm)
    engine.add(final_text("Hello."))
    hello = await lm.respond_async(
        messages=[{"role": "user", "content": "Hi"}], continue_known=True
    )
    assert hello.previous_response_id is None


async def test_of_samples_that_say_the_same_the_right_one_is_found() -> None:
    """Their reasoning and their system messages tell them apart."""
    lm, engine = harmony_lm(0, auto_store_responses=False)
    engine.add(*[final_text("Yes.", reasoning=f"Reason {number}.") for number in range(3)])
    samples = [await lm.respond_async("You are terse.", "Well?") for _ in range(3)]
    engine.add(final_text("Yes.", reasoning="Reason 1."))
    await lm.respond_async("You are verbose.", "Well?")

    history = [
        {"role": "system", "content": "You are terse."},
        *await history_of(lm, samples[1]),
        {"role": "user", "content": "Why?"},
    ]
    engine.add(final_text("So."))
    answer = await lm.respond_async(messages=history, continue_known=True)
    assert answer.previous_response_id == samples[1].response_id


async def test_ids_tell_equal_conversations_apart() -> None:
    """Of turns that say just the same, a history continues the one whose items it names."""
    lm = LM("x", vendor=ScriptedVendor(["Yes."] * 3 + ["So."] * 3, api="harmony")).detached()
    samples = [await lm.respond_async("Well?") for _ in range(3)]
    for sample in samples:
        history = [items.user_item("Well?"), *sample.output, items.user_item("Why?")]
        answer = await lm.respond_async(messages=history, continue_known=True)
        assert answer.previous_response_id == sample.response_id


async def test_reasoning_that_was_not_shown_need_not_come_back() -> None:
    """`include_reasoning=False` hides it from the caller, and the turn keeps it."""
    lm, _ = harmony_lm(include_reasoning=False)
    asked = await lm.respond_async("What is the weather in Oslo?")
    assert [item["type"] for item in asked.output] == ["function_call"]
    history = [items.user_item("What is the weather in Oslo?"), *asked.output, *next_items(asked)]
    answer = await lm.respond_async(messages=history, continue_known=True)
    assert answer.previous_response_id == asked.response_id


async def test_responses_continue_by_id(
    hosted: Callable[..., LM], openai_server: OpenAIServer
) -> None:
    """Only what is new goes to a server that keeps the conversation."""
    lm = hosted("responses")
    first = await lm.respond_async("Hi")
    history = [{"role": "user", "content": "Hi"}, *first.output, {"role": "user", "content": "Bye"}]

    for messages in (history, as_chat(history)):
        answer = await lm.respond_async(messages=messages, continue_known=True, auto_store=False)
        assert answer.previous_response_id == first.response_id
        assert openai_server.bodies[-1]["input"] == "Bye"
        assert openai_server.bodies[-1]["previous_response_id"] == first.response_id


async def test_a_branch_may_have_moved() -> None:
    """A history that one backend began goes on with another on the same store."""
    store = MemoryStore()
    lm, _ = harmony_lm(response_store=store)
    *_, last = await talk(lm)
    vendor = ScriptedVendor(["Goodbye."], api="chat")
    other = LM("any", vendor=vendor, response_store=store)
    messages = [*as_chat(await history_of(lm, last)), {"role": "user", "content": "Bye"}]
    answer = await other.respond_async(messages=messages, continue_known=True)
    assert answer.previous_response_id == last.response_id
    assert len(vendor.requests[0].history) == 4


# --- not found --------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(6))
async def test_an_edited_history_is_rendered_from_there_on(index: int) -> None:
    """Turns before the edit are continued from; the rest is rendered as it came."""
    lm, engine = harmony_lm()
    responses = await talk(lm)
    history = [*await history_of(lm, responses[3]), {"role": "user", "content": "Go on."}]
    texts = [at for at, item in enumerate(history) if not items.is_reasoning(item)]
    at = texts[index]
    edited = [*deepcopy(history[:at]), edit(history[at]), *deepcopy(history[at + 1 :])]

    # The last turn of which nothing was edited.
    ends = [len(await history_of(lm, response)) for response in responses]
    known = [response for end, response in zip(ends, responses, strict=True) if end <= at]
    kept = max((end for end in ends if end <= at), default=0)

    engine.add(final_text("One."), final_text("Two."))
    answer = await lm.respond_async(messages=edited, continue_known=True, auto_store=False)
    parent_id = known[-1].response_id if known else None
    by_hand = await lm.respond_async(
        messages=edited[kept:], previous_response_id=parent_id, auto_store=False
    )
    assert answer.previous_response_id == parent_id
    assert answer.prompt_token_ids == by_hand.prompt_token_ids


def edit(item: Any) -> Any:
    if items.is_call(item):
        return {**item, "arguments": item["arguments"].replace("o", "0").replace("R", "B")}
    if items.is_call_output(item):
        return {**item, "output": item["output"] + "."}
    if isinstance(item["content"], str):
        return {**item, "content": item["content"] + "."}
    return {**item, "content": [{**item["content"][0], "text": "It is raining."}]}


async def test_another_system_message_is_a_change_like_any() -> None:
    """Not given, it is that of the branch; None is none; another one is found nowhere."""
    vendor = ScriptedVendor(["Hello."] * 6)
    lm = LM("any", vendor=vendor)
    first = await lm.respond_async("You are terse.", "Hi")
    history = [{"role": "user", "content": "Hi"}, *first.output, {"role": "user", "content": "?"}]

    for system, is_known in (
        ({}, True),
        ({"system_message": "You are terse."}, True),
        ({"system_message": "You are terse!"}, False),
        ({"system_message": None}, False),
    ):
        given: Any = system
        answer = await lm.respond_async(messages=history, continue_known=True, **given)
        assert (answer.previous_response_id == first.response_id) is is_known
        expected = given.get("system_message", "You are terse.")
        assert vendor.requests[-1].instructions == expected


async def test_redacted_and_deleted_turns_are_not_found() -> None:
    """Neither the turn itself nor those behind it."""
    vendor = ScriptedVendor(["One.", "Two.", "Three.", "Four."], api="harmony")
    lm = LM("any", vendor=vendor)
    first = await lm.respond_async("1")
    second = await lm.respond_async("2")
    history = [*await history_of(lm, second), {"role": "user", "content": "3"}]

    await lm.responses.redact_async(first.response_id)
    answer = await lm.respond_async(messages=history, continue_known=True)
    assert answer.previous_response_id is None

    redacted = [*await history_of(lm, second), {"role": "user", "content": "4"}]
    assert items.text_of(redacted[0]) == "[redacted]"
    answer = await lm.respond_async(messages=redacted, continue_known=True)
    assert answer.previous_response_id is None


async def test_a_whole_history_that_is_known_leaves_its_last_answer_to_be_sent() -> None:
    """A call must bring something."""
    vendor = ScriptedVendor(["One.", "Two."], api="chat")
    lm = LM("any", vendor=vendor)
    first = await lm.respond_async("1")
    history = [{"role": "user", "content": "1"}, *first.output]
    answer = await lm.respond_async(messages=history, continue_known=True)
    assert answer.previous_response_id is None
    assert len(vendor.requests[-1].input) == 2


async def test_another_store_knows_nothing() -> None:
    """Only turns that this LM may read are continued."""
    lm, engine = harmony_lm()
    *_, last = await talk(lm)
    history = [*await history_of(lm, last), {"role": "user", "content": "Go on."}]
    for store in (None, False):
        other = LM("gpt-oss-20b", engine=engine, response_store=store)
        engine.add(final_text("One."))
        answer = await other.respond_async(messages=history, continue_known=True)
        assert answer.previous_response_id is None


# --- what it does not go with -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"user_message": "Hi", "continue_known": True}, "messages="),
        ({"tool_outputs": {"call_1": "x"}, "continue_known": True}, "messages="),
        (
            {
                "messages": [{"role": "user", "content": "Hi"}],
                "continue_known": True,
                "previous_response_id": "resp_1",
            },
            "give one of them",
        ),
        ({"user_message": "Hi", "continue_known": "yes"}, "True or False, not 'yes'"),
    ],
)
async def test_what_continue_known_does_not_go_with(arguments: Any, says: str) -> None:
    """It is an error that says so, and nothing is sent."""
    vendor = ScriptedVendor([])
    with pytest.raises(RequestError, match=says):
        await LM("any", vendor=vendor).respond_async(**arguments)
    assert vendor.requests == []


async def test_outputs_beside_a_history_answer_its_calls() -> None:
    """They come behind the history, whose calls they answer."""
    vendor = ScriptedVendor([tool_call("get_weather", city="Oslo"), "Sunny.", "Sunny."], api="chat")
    lm = LM("any", vendor=vendor, tools=[get_weather])
    asked = await lm.respond_async("What is the weather?")
    assert asked.tool_calls is not None
    history = [{"role": "user", "content": "What is the weather?"}, *asked.output]
    outputs = {asked.tool_calls[0]["id"]: "sunny"}

    for continue_known in (True, False):
        await lm.respond_async(
            messages=history, tool_outputs=outputs, continue_known=continue_known
        )
        assert vendor.requests[-1].items()[-1]["type"] == "function_call_output"


@pytest.mark.parametrize(
    "cut",
    [
        "<|channel|>analysis<|message|>I wonder about much more of the same",
        call_text("get_weather", city="Oslo" * 9),
    ],
)
async def test_a_turn_of_which_nothing_can_come_back(cut: str) -> None:
    """What the model wrote was cut off, and a message of Chat Completions has no place for it."""
    engine = ScriptedEngine([cut, final_text("One.")])
    lm = LM("gpt-oss-20b", engine=engine, tools=[get_weather])
    first = await lm.respond_async("Well?", max_tokens=6)
    assert (first.status, first.text) == ("incomplete", "")
    messages = [{"role": "user", "content": "Well?"}, {"role": "user", "content": "And?"}]
    chained = await lm.respond_async("And?", previous_response_id=first.response_id)
    engine.add(final_text("One."))
    known = await lm.respond_async(messages=messages, continue_known=True)
    assert known.previous_response_id == first.response_id
    assert known.prompt_token_ids == chained.prompt_token_ids
