"""Fingerprints: what makes two histories the same conversation, and what does not."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from synth_ai import content
from synth_ai.content import Item
from synth_ai.lm.fingerprints import beginnings, fingerprint
from synth_ai.lm.prompt import read_messages
from synth_ai.lm.same_conversation import is_same_conversation

TEXTS = st.text(min_size=1, max_size=12)


def turn_items(number: int, user: str, answer: str, *, calls: int, reasoning: str) -> list[Item]:
    """One turn as a backend leaves it: reasoning, calls with their outputs, an answer."""
    items: list[Item] = [content.user_item(user)]
    if reasoning:
        items.append(content.reasoning_item(reasoning))
    for call in range(calls):
        call_id = f"call_{number}_{call}"
        items.append(content.function_call(call_id, "add", json.dumps({"a": call, "b": user})))
        items.append(content.function_call_output(call_id, str(call)))
    items.append(content.assistant_message(answer, phase="final_answer"))
    return content.complete_items(items, f"resp_{number}")


@st.composite
def conversations(draw: st.DrawFn) -> list[Item]:
    items: list[Item] = []
    for number in range(draw(st.integers(1, 4))):
        items += turn_items(
            number,
            draw(TEXTS),
            draw(TEXTS),
            calls=draw(st.integers(0, 2)),
            reasoning=draw(st.sampled_from(["", "I think."])),
        )
    return items


def as_chat(items: list[Item]) -> list[dict[str, Any]]:
    """The conversation as messages of Chat Completions, as people keep them."""
    messages: list[dict[str, Any]] = []
    for item in items:
        if content.is_call(item):
            message = {"role": "assistant", "content": None}
            messages.append({**message, "tool_calls": [content.chat_call(item)]})
        elif content.is_call_output(item):
            output = {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
            messages.append(output)
        elif content.is_message(item):
            messages.append({"role": item["role"], "content": content.text_of(item)})
    return messages


# --- the same ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(conversations())
def test_a_conversation_is_the_same_in_both_shapes(items: list[Item]) -> None:
    """Items with their ids, without, and messages of Chat Completions are one conversation."""
    bare = [{name: item[name] for name in item if name not in ("id", "status")} for item in items]
    from_chat, _ = read_messages(as_chat(items))
    back, _ = read_messages(items)

    for other in (deepcopy(items), bare, back, from_chat):
        assert fingerprint(other) == fingerprint(items)
        assert is_same_conversation(items, other)


@settings(deadline=None)
@given(conversations(), st.data())
def test_a_fingerprint_goes_on_from_turn_to_turn(items: list[Item], data: st.DataObject) -> None:
    """However a conversation was cut into turns, its fingerprint is that of all its items."""
    cuts = [index for index, item in enumerate(items) if not content.is_model_item(item)]
    cut = data.draw(st.sampled_from(cuts))
    before = fingerprint(items[:cut]) if cut else None

    assert fingerprint(items[cut:], after=before) == fingerprint(items)


def test_a_framework_may_write_the_arguments_anew() -> None:
    """JSON with other blanks, escapes or order of keys says the same."""
    one = [content.function_call("call_1", "add", '{"a":1,"b":"é"}')]
    two = [content.function_call("call_1", "add", '{"b": "\\u00e9", "a": 1}')]
    assert is_same_conversation(one, two)


def test_a_preamble_may_be_missing_where_there_is_no_place_for_it() -> None:
    """Before a call, a message of Chat Completions has the preamble as its text, or none."""
    stored = [
        content.user_item("Add"),
        content.assistant_message("Let me see.", phase="commentary"),
        content.function_call("call_1", "add", "{}"),
    ]
    call = content.chat_call(stored[2])
    for text, is_same in ((None, True), ("Let me see.", True), ("Let me add.", False)):
        message = {"role": "assistant", "content": text, "tool_calls": [call]}
        history, _ = read_messages([{"role": "user", "content": "Add"}, message])
        assert is_same_conversation(stored, history) is is_same, text


def test_a_preamble_of_which_the_call_was_cut_off() -> None:
    """It is all that the model said, so a message of Chat Completions has it as its text."""
    stored = [
        content.user_item("Add"),
        content.assistant_message("Let me see.", phase="commentary"),
    ]
    answer = {"role": "assistant", "content": "Let me see."}
    history, _ = read_messages([{"role": "user", "content": "Add"}, answer])
    assert is_same_conversation(stored, history)

    stored.append(content.assistant_message("It is 3.", phase="final_answer"))
    history, _ = read_messages(
        [{"role": "user", "content": "Add"}, {**answer, "content": "It is 3."}]
    )
    assert is_same_conversation(stored, history)


def test_reasoning_counts_where_it_comes_back() -> None:
    """Text, ciphertext or id: what a history has of the reasoning must be that of the turn."""
    stored = content.complete_items(
        [content.user_item("Hi"), content.reasoning_item("I greet."), content.user_item("x")],
        "resp_1",
    )

    def with_reasoning(**fields: Any) -> list[Item]:
        return [stored[0], {**stored[1], **fields}, stored[2]]

    assert is_same_conversation(stored, with_reasoning())
    assert is_same_conversation(stored, with_reasoning(content=None))
    assert not is_same_conversation(stored, with_reasoning(content=None, id="rs_other"))
    edited = content.reasoning_item("I do not greet.")["content"]
    assert not is_same_conversation(stored, with_reasoning(content=edited))
    # With ids it is made of items, so one that is missing was taken out.
    answer = {**content.assistant_message("Hello"), "id": "msg_1"}
    assert not is_same_conversation([stored[0], stored[1], answer], [stored[0], answer])
    del answer["id"]
    assert is_same_conversation([stored[0], stored[1], answer], [stored[0], answer])


# --- not the same -----------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(conversations(), st.data())
def test_any_change_is_seen(items: list[Item], data: st.DataObject) -> None:
    """An item that was edited, left out, doubled or moved makes another conversation."""
    changed: list[Any] = deepcopy(items)
    index = data.draw(st.integers(0, len(items) - 1))
    match data.draw(st.sampled_from(["edit", "filter", "trim", "double", "swap"])):
        case "edit":
            changed[index] = edit(changed[index], data)
        case "filter":
            del changed[index]
        case "trim":
            del changed[index:]
        case "double":
            changed.insert(index, deepcopy(changed[index]))
        case "swap":
            other = data.draw(st.integers(0, len(items) - 1))
            changed[index], changed[other] = changed[other], changed[index]

    # Items that say the same may change places.
    is_same = [without_id(item) for item in changed] == [without_id(item) for item in items]
    assert is_same_conversation(items, changed) is is_same


def without_id(item: Any) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


def edit(item: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Change one character of what an item says."""
    if content.is_call(item):
        return {**item, "name": edit_text(item["name"], data)}
    if content.is_call_output(item):
        return {**item, "output": edit_text(item["output"], data)}
    if isinstance(item["content"], str):
        return {**item, "content": edit_text(item["content"], data)}
    part = item["content"][0]
    return {**item, "content": [{**part, "text": edit_text(part["text"], data)}]}


def edit_text(text: str, data: st.DataObject) -> str:
    index = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters().filter(lambda letter: letter != text[index]))
    return text[:index] + letter + text[index + 1 :]


def test_beginnings_end_where_the_model_did() -> None:
    """Each may be a stored turn; the whole history is none, as the call has to add something."""
    items = turn_items(1, "Hi", "Hello", calls=1, reasoning="I add.")
    counts = [count for count, _ in beginnings([*items, content.user_item("Bye")])]
    assert counts == [2, 3, 5]
    # A turn of which nothing was left leaves two messages of the user behind each other.
    twice = [content.user_item("Hi"), content.user_item("Hi?")]
    assert [count for count, _ in beginnings(twice)] == [1]
    assert [count for count, _ in beginnings(items)] == [2, 3]
    for count, digest in beginnings(items):
        assert digest == fingerprint(items[:count])


def test_what_json_cannot_hold_has_no_fingerprint() -> None:
    """It is no error: such a history is just sent as it is."""
    odd: Any = {"role": "user", "content": [{"type": "input_text", "text": b"bytes"}]}
    assert fingerprint([odd]) is None
    assert fingerprint([content.user_item("Hi")], after="no digest") is None
    assert beginnings([odd, content.assistant_message("Hello"), content.user_item("x")]) == []
    half_a_pair = [content.user_item("\ud83d")]
    assert fingerprint(half_a_pair) is not None
