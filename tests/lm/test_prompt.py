"""What people write, turned into items, and what is refused.

Prompts, messages of both APIs, images, and tool outputs.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import BaseLMResponse, ToolCallDelta
from synth_ai import content as items
from synth_ai.errors import RequestError
from synth_ai.lm import prompt
from synth_ai.lm.prompt import NOT_GIVEN, SystemMessage, build_prompt
from synth_ai.lm.vendors.base import whole_response_events

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
CALLS = [
    items.function_call("call_1", "get_weather", "{}"),
    items.function_call("call_2", "get_time", "{}"),
]


def user(text: str) -> dict[str, Any]:
    """A user's message as an item."""
    return {"type": "message", "role": "user", "content": text}


# --- prompts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "named", "instructions", "said"),
    [
        (("Hi",), {}, NOT_GIVEN, "Hi"),
        (("Hi",), {"system_message": None}, None, "Hi"),
        (("Be terse.", "Hi"), {}, "Be terse.", "Hi"),
        ((), {"user_message": "Hi"}, NOT_GIVEN, "Hi"),
        (("Hi",), {"system_message": "Be terse."}, "Be terse.", "Hi"),
        ((), {"system_message": "Be terse.", "user_message": "Hi"}, "Be terse.", "Hi"),
        (("", "Hi"), {}, "", "Hi"),
    ],
)
def test_one_string_is_the_user_two_are_system_and_user(
    texts: tuple[str, ...], named: dict[str, Any], instructions: SystemMessage, said: str
) -> None:
    """Every way to write the same prompt gives the same items.

    An empty system message takes the branch's away.
    """
    prompt = build_prompt(texts, **named)
    assert prompt.items == (user(said),)
    assert prompt.instructions == instructions
    assert not prompt.is_history


MISTAKES: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "nothing": ((), {}, "nothing to send: give a prompt string, messages= or tool_outputs="),
    "empty": (("",), {}, "prompt is empty"),
    "blank": (("  \n",), {}, "prompt is empty"),
    "empty user of two": (("Be terse.", ""), {}, "prompt is empty"),
    "empty named": ((), {"user_message": ""}, "prompt is empty"),
    "system alone": (
        (),
        {"system_message": "Be terse."},
        "system message alone.*give the user's message",
    ),
    "three": (("a", "b", "c"), {}, "3 prompt strings.*two are .system, user."),
    "twice the user": (
        ("a",),
        {"user_message": "b"},
        "positional string or as user_message=, not both",
    ),
    "twice the system": (("a", "b"), {"system_message": "c"}, "system_message= is one too many"),
    "both": (
        ("a",),
        {"messages": [{"role": "user", "content": "b"}]},
        "messages= or as prompt strings, not both",
    ),
    "both, named": (
        (),
        {"user_message": "a", "messages": [{"role": "user", "content": "b"}]},
        "not both",
    ),
    "a list": (([{"role": "user", "content": "b"}],), {}, "string, not list.*use messages="),
    "a number": ((1,), {}, "string, not int"),
    "system twice": (
        (),
        {
            "system_message": "a",
            "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "c"}],
        },
        "two system messages",
    ),
    "no messages": ((), {"messages": []}, "nothing to send"),
    "messages of system alone": (
        (),
        {"messages": [{"role": "system", "content": "b"}]},
        "system message alone",
    ),
    "messages is a string": ((), {"messages": "Hi"}, "list of messages, not str"),
    "messages is a dict": (
        (),
        {"messages": {"role": "user", "content": "Hi"}},
        "list of messages, not dict",
    ),
    "a message is a string": ((), {"messages": ["Hi"]}, "dict with a role and content, not 'Hi'"),
    "no role": ((), {"messages": [{"content": "Hi"}]}, "one of user, assistant, .* not None"),
    "a wrong role": (
        (),
        {"messages": [{"role": "usr", "content": "Hi"}]},
        "not 'usr'.*mean 'user'",
    ),
    "no content": ((), {"messages": [{"role": "user"}]}, "user message must have content"),
    "content None": (
        (),
        {"messages": [{"role": "user", "content": None}]},
        "string or a list of parts, not None",
    ),
    "content bytes": (
        (),
        {"messages": [{"role": "user", "content": b"Hi"}]},
        "string or a list of parts",
    ),
    "a part is a number": (
        (),
        {"messages": [{"role": "user", "content": [1]}]},
        "part of a message.*not 1",
    ),
    "a part without text": (
        (),
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "part of a message",
    ),
    "an image part without url": (
        (),
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "part of a message",
    ),
    "an assistant of nothing": (
        (),
        {"messages": [{"role": "assistant", "content": None}]},
        "must have content or tool calls",
    ),
    "an assistant's part is a number": (
        (),
        {"messages": [{"role": "assistant", "content": [1]}]},
        "part of a message",
    ),
    "an assistant of a number": (
        (),
        {"messages": [{"role": "assistant", "content": 1}]},
        "string or a list of parts",
    ),
    "a broken tool call": (
        (),
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "call_1"}]}]},
        "tool call.*id.*function.*name.*arguments",
    ),
    "a sound that is none": (
        (),
        {"messages": [{"role": "assistant", "audio": "AAAA"}]},
        "audio of an assistant message must be .*id.*not 'AAAA'",
    ),
    "a tool without its call": (
        (),
        {"messages": [{"role": "tool", "content": "5"}]},
        "by its id, not by None",
    ),
    "an output without its call": ((), {"tool_outputs": {"": "5"}}, "by its id, not by ''"),
    "an output of another shape": (
        (),
        {"tool_outputs": [{"id": "call_1"}]},
        "'call_id': ..., 'output': ...",
    ),
    "outputs as a string": ((), {"tool_outputs": "5"}, "'call_id': ..., 'output': ..."),
}


@pytest.mark.parametrize(("texts", "named", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_before_anything_is_sent(
    texts: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    """A prompt that cannot be meant is a RequestError that says what to write."""
    with pytest.raises(RequestError, match=message):
        build_prompt(texts, **named)


# --- messages ---------------------------------------------------------------------------------


def test_leading_system_messages_are_the_instructions() -> None:
    """Several of them, by either name, are one system message; one in the middle stays there."""
    prompt = build_prompt(
        (),
        messages=[
            {"role": "system", "content": "Be terse."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Now be loud."},
        ],
    )
    assert prompt.instructions == "Be terse.\n\nBe kind."
    assert prompt.items == (
        user("Hi"),
        {"type": "message", "role": "system", "content": "Now be loud."},
    )
    assert not prompt.is_history


def test_user_and_tool_messages_alone_are_no_history() -> None:
    """They continue the conversation like a string does."""
    prompt = build_prompt(
        (),
        messages=[
            {"role": "tool", "tool_call_id": "call_1", "content": "5"},
            {"role": "user", "content": "And?"},
        ],
    )
    assert prompt.items == (items.function_call_output("call_1", "5"), user("And?"))
    assert not prompt.is_history


def test_an_assistant_s_turn_makes_a_history() -> None:
    """A whole conversation in the shape of Chat, its reasoning and tool calls included."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    prompt = build_prompt(
        (),
        messages=[
            {"role": "user", "content": "Add."},
            {
                "role": "assistant",
                "content": "Let me see.",
                "reasoning_content": "I add.",
                "tool_calls": [call],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "5"},
        ],
    )
    assert prompt.is_history
    assert prompt.items == (
        user("Add."),
        {**items.reasoning_item("I add."), "chat_field": "reasoning_content"},
        items.assistant_message("Let me see."),
        items.function_call("call_1", "add", '{"a": 1}'),
        items.function_call_output("call_1", "5"),
    )


def test_items_of_the_responses_api_pass_as_they_are() -> None:
    """What came out of one response can go into another call, mixed with messages of Chat."""
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    answer = items.assistant_message("Hi!", id="msg_1", phase="final_answer")
    prompt = build_prompt(
        (), messages=[{"role": "user", "content": "Hi"}, reasoning, answer, user("More")]
    )
    assert prompt.items == (user("Hi"), reasoning, answer, user("More"))
    assert prompt.is_history


def test_an_assistant_s_parts_of_either_api() -> None:
    """Text parts become output text, whatever they were called; refusals and ids stay."""
    refusal = {"type": "refusal", "refusal": "No."}
    parts = [
        {"type": "text", "text": "a"},
        "b",
        {"type": "output_text", "text": "c", "annotations": []},
        refusal,
    ]
    (item,) = build_prompt(
        (), messages=[{"role": "assistant", "id": "msg_1", "content": parts}]
    ).items
    assert item["content"] == [*map(items.output_text, "abc"), refusal]
    assert item["id"] == "msg_1"


def test_given_messages_are_not_changed() -> None:
    """A caller's list may be used again."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    before = repr(messages)
    build_prompt((), messages=messages, images=[PNG])
    assert repr(messages) == before


def test_a_spoken_answer_keeps_its_transcript_and_its_id() -> None:
    """As Chat answers it, as its next turn wants it, and as an item of ours; no sound is kept."""
    audio = {"id": "audio_1", "data": "AAAA", "transcript": "Hello", "expires_at": 9}
    spoken = items.spoken_message(audio)
    assert items.text_of(spoken) == "Hello"
    assert spoken["audio"] == {"id": "audio_1", "expires_at": 9}
    whole, by_id, again = build_prompt(
        (),
        messages=[
            {"role": "assistant", "content": None, "audio": audio},
            {"role": "assistant", "audio": {"id": "audio_1"}},
            spoken,
        ],
    ).items
    assert whole == again == spoken
    assert by_id["audio"] == {"id": "audio_1"}
    assert items.spoken_message({"transcript": "Hello"}) == items.assistant_message("Hello")


# --- images -----------------------------------------------------------------------------------


def test_images_travel_as_bytes_paths_and_urls(tmp_path: Path) -> None:
    """Files and bytes are inlined with their media type; addresses are left to the server."""
    path = tmp_path / "picture.bin"
    path.write_bytes(b"\xff\xd8\xff" + bytes(8))
    webp = b"RIFF" + bytes(4) + b"WEBP"
    images = [
        PNG,
        path,
        str(path),
        webp,
        b"GIF89a",
        "https://example.com/a.png",
        "data:image/png;base64,AA==",
    ]
    (item,) = build_prompt(("Look",), images=images).items
    assert item["content"][0] == {"type": "input_text", "text": "Look"}
    urls = [part["image_url"] for part in item["content"][1:]]
    jpeg = f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    assert urls == [
        f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
        jpeg,
        jpeg,
        f"data:image/webp;base64,{base64.b64encode(webp).decode()}",
        f"data:image/gif;base64,{base64.b64encode(b'GIF89a').decode()}",
        "https://example.com/a.png",
        "data:image/png;base64,AA==",
    ]


def test_images_join_the_last_user_message() -> None:
    """With messages=, the pictures belong to what the user said last; alone, they are a message."""
    given = [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]
    first, last = build_prompt((), messages=given, images=[PNG]).items
    assert first == user("One")
    assert [part["type"] for part in last["content"]] == ["input_text", "input_image"]
    (alone,) = build_prompt((), images=[PNG]).items
    assert [part["type"] for part in alone["content"]] == ["input_image"]


def test_images_that_are_none(tmp_path: Path) -> None:
    """A missing file and a file of another kind are named."""
    with pytest.raises(RequestError, match=r"image '/no/such\.png' cannot be read: No such file"):
        build_prompt(("Look",), images=["/no/such.png"])
    with pytest.raises(RequestError, match="image given as bytes must be a PNG, JPEG, GIF or WebP"):
        build_prompt(("Look",), images=[b"%PDF-1.7"])


def test_one_image_is_not_a_list_of_them() -> None:
    """A string or bytes would be taken letter by letter."""
    for image in ("https://example.com/a.png", PNG):
        with pytest.raises(RequestError, match="images= must be a list"):
            build_prompt(("Look",), images=image)  # type: ignore[arg-type]


# --- tool outputs -----------------------------------------------------------------------------


def test_tool_outputs_of_both_shapes() -> None:
    """Objects go as JSON, strings as they are, pydantic models by their fields, parts as parts."""

    class Weather(BaseModel):
        degrees: int

    outputs = {"call_1": "sunny", "call_2": {"ä": 1}, "call_3": Weather(degrees=3), "call_4": None}
    as_list = [{"call_id": call_id, "output": output} for call_id, output in outputs.items()]
    expected = [
        ("call_1", "sunny"),
        ("call_2", '{"ä": 1}'),
        ("call_3", '{"degrees":3}'),
        ("call_4", "null"),
    ]
    for given in (outputs, as_list):
        prompt = build_prompt((), tool_outputs=given)
        assert prompt.items == tuple(items.function_call_output(*pair) for pair in expected)
    (picture,) = build_prompt((), tool_outputs={"call_1": [{"type": "text", "text": "a"}]}).items
    assert picture["output"] == [{"type": "input_text", "text": "a"}]
    custom = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a"}
    assert build_prompt((), tool_outputs=[custom]).items == (custom,)


def test_a_user_s_message_may_come_with_tool_outputs() -> None:
    """The outputs stand first, as the APIs want them right behind their calls."""
    prompt = build_prompt(("And?",), tool_outputs={"call_1": "5"})
    assert [item["type"] for item in prompt.items] == ["function_call_output", "message"]


# --- reading ----------------------------------------------------------------------------------


def test_texts_of_a_turn() -> None:
    """Answer, reasoning and preamble are told apart; summaries stand in for hidden reasoning."""
    output = [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "One."}],
            "encrypted_content": "x",
        },
        items.reasoning_item("Two."),
        items.assistant_message("Wait.", phase="commentary"),
        items.assistant_message("Hi ", phase="final_answer"),
        items.assistant_message("there."),
        {"type": "novelty", "content": "skipped"},
    ]
    assert items.answer_of(output) == ("Hi there.", "One.\n\nTwo.", "Wait.")
    assert items.answer_of([]) == ("", None, None)


def test_tool_calls_have_the_shape_of_chat() -> None:
    """`id` is the call id, which is what outputs are addressed to."""
    call = items.function_call("call_1", "add", '{"a": 1}', id="fc_1")
    assert items.tool_calls_of([call, items.assistant_message("Hi")]) == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert items.tool_calls_of([items.assistant_message("Hi")]) is None


def test_a_custom_tool_s_call_is_one_of_the_calls() -> None:
    """It has text where a function has JSON, in the shape of either API.

    It shows and streams like any call.
    """
    item = items.custom_tool_call("call_1", "sql", "select 1")
    chat = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    response = BaseLMResponse.of_output([item])
    assert response.tool_calls == [chat]
    assert "calls sql" in repr(response)
    assert "sql(select 1)" in response._repr_markdown_()
    assert whole_response_events(response)[0] == ToolCallDelta(0, "sql", "select 1", "call_1")
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [chat]},
    ]
    assert build_prompt((), messages=messages).items[1] == item


def test_a_refusal_is_found() -> None:
    """It is no answer, and it is not lost."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    assert items.refusal_of([items.assistant_message("Hi"), refusal]) == "No."
    assert items.refusal_of([items.assistant_message("Hi")]) is None


def test_what_a_model_writes() -> None:
    """Only a model's items make a history."""
    assert items.is_model_item(items.assistant_message("Hi"))
    assert items.is_model_item({"role": "assistant", "content": "Hi"})
    assert items.is_model_item(items.reasoning_item("Hm"))
    assert items.is_model_item(CALLS[0])
    assert items.is_model_item({"type": "web_search_call", "id": "ws_1"})
    assert not items.is_model_item(user("Hi"))
    assert not items.is_model_item(items.function_call_output("call_1", "5"))
    assert not items.is_model_item({"type": "mcp_approval_response", "approve": True})


def test_ids_are_never_the_same() -> None:
    """Two turns with one id would overwrite each other."""
    ids = {items.new_response_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(id.startswith("resp_") for id in ids)


# --- what Chat's messages may have besides ----------------------------------------------------


def test_an_assistant_may_have_said_nothing() -> None:
    """Servers answer so, and a history that holds such an answer is no mistake."""
    for content in ("", []):
        read, _ = prompt.read_messages([{"role": "assistant", "content": content}])
        assert read == [items.assistant_message("")]


def test_an_assistant_may_have_refused() -> None:
    """As a refusal, beside what it said before."""
    given = {"role": "assistant", "content": None, "refusal": "No."}
    read, _ = prompt.read_messages([given, given | {"content": "Well"}])
    assert read == [
        items.refusal_message("No."),
        items.assistant_message("Well"),
        items.refusal_message("No."),
    ]
    assert items.refusal_of(read) == "No."


def test_names_of_speakers_are_kept() -> None:
    """Users in a group, and the assistant among others."""
    read, _ = prompt.read_messages(
        [
            {"role": role, "name": "Ada", "content": "Hi"}
            for role in ("user", "assistant", "developer")
        ]
    )
    assert [item.get("name") for item in read] == ["Ada"] * 3


def test_the_extras_of_a_call_come_and_go_with_it() -> None:
    """A history kept by hand from `tool_calls` has what the server wants back."""
    extra = {"google": {"thought_signature": "abc"}}
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": extra,
    }
    read, _ = prompt.read_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert read[0]["extra_content"] == extra
    assert items.tool_calls_of(read) == [call]
