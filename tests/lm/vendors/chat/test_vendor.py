"""Chat Completions through the real SDK: what goes over the wire, calls and outputs, streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from servers import errors
from servers.answers import Answer, Raw, call, calls
from servers.cuts import TIMES
from servers.openai_fake import OpenAIServer
from synth_ai import LM, Completed, MemoryStore, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai import content as items
from synth_ai.errors import RejectedError
from synth_ai.testing import ScriptedVendor

Hosted = Callable[..., LM]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class City(BaseModel):
    name: str


async def test_calls_do_not_see_each_other(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """A loop over a data set sends each question alone."""
    lm = hosted("chat")
    for text in ("one", "two"):
        response = await lm.respond_async("Be terse.", text)
        assert response.raw_response == f"You said: {text}"
    assert [body["messages"] for body in openai_server.bodies] == [
        [{"role": "system", "content": "Be terse."}, {"role": "user", "content": text}]
        for text in ("one", "two")
    ]
    assert {request.path for request in openai_server.requests} == {"/v1/chat/completions"}


async def test_a_chain_sends_the_conversation(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """The server keeps nothing, so the turns before go along; ids are made here."""
    lm = hosted("chat")
    one = await lm.respond_async("Be terse.", "one", tools=[get_weather])
    two = await lm.respond_async("two", previous_response_id=one.response_id)
    body = openai_server.bodies[-1]
    assert [(message["role"], message["content"]) for message in body["messages"]] == [
        ("system", "Be terse."),
        ("user", "one"),
        ("assistant", "You said: one"),
        ("user", "two"),
    ]
    assert body["tools"][0]["function"]["name"] == "get_weather"
    assert str(two.response_id).startswith("resp_")
    assert (two.previous_response_id, two.replayed) == (one.response_id, False)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_parallel_calls_and_their_outputs(
    openai_server: OpenAIServer, hosted: Hosted, field: str
) -> None:
    """Tool messages follow the calls, and the reasoning goes back with them, as gpt-oss needs."""
    asking = calls(call("get_weather", city="Rome"), call("get_weather", city="Oslo"))
    openai_server.enqueue(
        Answer(**{**vars(asking), "reasoning": "I look it up.", "reasoning_field": field})
    )
    lm = hosted("chat", tools=[get_weather])
    asked = await lm.respond_async("Weather?")
    assert asked.reasoning == "I look it up."
    ids = [tool_call["id"] for tool_call in asked.tool_calls or ()]
    done = await lm.respond_async(
        tool_outputs=dict.fromkeys(ids, "sunny"), previous_response_id=asked.response_id
    )
    said = openai_server.bodies[-1]["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "tool"]
    assert said[1][field] == "I look it up."
    assert said[1].keys().isdisjoint({"reasoning", "reasoning_content"} - {field})
    assert done.raw_response == "You said: sunny"
    # The reasoning of open models is in no type of the SDK.
    assert all("reasoning" in violation for violation in openai_server.violations)
    openai_server.violations.clear()


async def test_the_openai_service_gets_no_reasoning_back(
    openai_server: OpenAIServer, hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no field for it; the body stays within the SDK's types."""
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    openai_server.enqueue(calls(call("get_weather", city="Rome"), reasoning="I look it up."))
    lm = LM("gpt-5", api="chat", api_key="sk-test", tools=[get_weather], max_tokens=50)
    asked = await lm.respond_async("Weather?")
    outputs = {tool_call["id"]: "sunny" for tool_call in asked.tool_calls or ()}
    await lm.respond_async(tool_outputs=outputs, previous_response_id=asked.response_id)
    assert set(openai_server.bodies[-1]["messages"][1]) == {"role", "content", "tool_calls"}
    assert openai_server.bodies[-1]["max_completion_tokens"] == 50


async def test_options_reach_the_body(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """By their own names, with the extras beside them."""
    openai_server.allowed.add("top_k")
    await hosted("chat", temperature=0.5).respond_async(
        "Hi",
        stop="END",
        seed=7,
        max_tokens=50,
        extra_body={"top_k": 5},
        extra_headers={"x-trace": "t1"},
    )
    body = openai_server.bodies[0]
    assert {
        name: body[name] for name in ("temperature", "stop", "seed", "max_tokens", "top_k")
    } == {
        "temperature": 0.5,
        "stop": ["END"],
        "seed": 7,
        "max_tokens": 50,
        "top_k": 5,
    }
    assert openai_server.requests[0].headers["x-trace"] == "t1"


async def test_an_answer_is_whole(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Text, usage, logprobs, and the SDK's typed object when asked for."""
    openai_server.enqueue(Answer(text="two words", cached_tokens=1))
    response = await hosted("chat").respond_async("Hi", logprobs=True)
    assert (response.raw_response, response.api_type, response.status) == (
        "two words",
        "chat",
        "completed",
    )
    assert [entry["token"] for entry in response.logprobs or ()] == ["two", " words"]
    assert response.usage is not None
    assert response.usage.cached_tokens == 1
    assert type(response.raw).__name__ == "ChatCompletion"
    assert response.raw.choices[0].message.content == "two words"


async def test_images_and_a_structured_answer(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """In chat's own words on the wire."""
    openai_server.enqueue(Answer(text='{"name": "Rome"}'))
    response = await hosted("chat").respond_async("Where?", images=[PNG], response_model=City)
    assert response.structured_output == City(name="Rome")
    body = openai_server.bodies[0]
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url"]
    assert body["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (Answer(text="Once", incomplete="max_output_tokens"), "incomplete", "max_output_tokens"),
        (Answer(text="Once", incomplete="content_filter"), "incomplete", "content_filter"),
        (Answer(refusal="No."), "completed", None),
    ],
)
async def test_how_an_answer_ends(
    openai_server: OpenAIServer, hosted: Hosted, answer: Answer, status: str, reason: str | None
) -> None:
    """In the words of the Responses API, whatever API answered; the conversation goes on."""
    openai_server.enqueue(answer)
    lm = hosted("chat")
    response = await lm.respond_async("Hi")
    assert (response.status, response.incomplete_reason, response.refusal) == (
        status,
        reason,
        answer.refusal,
    )
    more = await lm.respond_async("more", previous_response_id=response.response_id)
    assert more.raw_response == "You said: more"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(text="It is three.", reasoning="I add."),
        calls(
            call("get_weather", city="Rome"), call("get_weather", city="Oslo"), reasoning="I look."
        ),
        Answer(refusal="I cannot."),
        Answer(text="Once upon", incomplete="max_output_tokens"),
    ],
    ids=["text", "calls", "refusal", "cut"],
)
async def test_a_stream_ends_with_the_same_response(
    openai_server: OpenAIServer, hosted: Hosted, answer: Answer
) -> None:
    """Deltas that add up, then what an unstreamed call would have answered, its usage included."""
    openai_server.enqueue(answer, answer)
    stream = hosted("chat").stream_async("Hi")
    events: list[Any] = [event async for event in stream]
    whole = await hosted("chat").respond_async("Hi")
    left_out = {"response_id", "request_id", "output", *TIMES}
    assert stream.response.model_dump(exclude=left_out) == whole.model_dump(exclude=left_out)
    # Each response has its own ids.
    assert list(map(items.without_local_id, stream.response.output)) == (
        list(map(items.without_local_id, whole.output))
    )
    assert stream.response.usage is not None
    assert isinstance(events[-1], Completed)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    reasoning = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert (text, reasoning or None) == (whole.raw_response, whole.reasoning)
    starts = [event for event in events if isinstance(event, ToolCallDelta) and event.name]
    assert [start.call_id for start in starts] == [
        tool_call["id"] for tool_call in whole.tool_calls or ()
    ]


async def test_a_stream_of_a_server_without_usage(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """`stream_options` of the caller's own beat ours."""
    stream = hosted("chat").stream_async("Hi", stream_options={"include_usage": False})
    _ = [event async for event in stream]
    assert openai_server.bodies[0]["stream_options"] == {"include_usage": False}
    assert stream.response.usage is None


async def test_a_model_that_refuses_tools_on_chat_is_explained(
    openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer models refuse tools on Chat unless the effort is none; the error says the way out."""
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    openai_server.enqueue(errors.unsupported_parameter("tools"))
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    async with LM("gpt-5.5", api="chat") as lm:
        with pytest.raises(RejectedError, match="reasoning_effort='none'"):
            await lm.respond_async("Hi", tools=[tool])


# --- what Chat has besides text ---------------------------------------------------------------


def completion(message: dict[str, Any]) -> Raw:
    """A chat completion with this message."""
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": None, **message},
    }
    return Raw(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-5",
            "choices": [choice],
        }
    )


async def test_a_spoken_conversation(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """The answer is its transcript, `raw` has the sound, and the next turn names it by its id."""
    audio = {
        "id": "audio_1",
        "data": "AAAA",
        "transcript": "Hello Ada",
        "expires_at": 10_000_000_000,
    }
    openai_server.enqueue(completion({"audio": audio}))
    store = MemoryStore()
    lm = hosted(
        "chat",
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
        response_store=store,
    )
    spoken = await lm.respond_async("My name is Ada.")
    assert spoken.text == "Hello Ada"
    assert spoken.raw.choices[0].message.audio.data == "AAAA"
    more = await lm.respond_async("Again", previous_response_id=spoken.response_id)
    assert openai_server.bodies[-1]["messages"] == [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
        {"role": "user", "content": "Again"},
    ]
    assert more.warnings == []
    elsewhere = LM(
        "gpt-5",
        base_url=openai_server.base_url.replace("127.0.0.1", "localhost"),
        response_store=store,
    )
    moved = await elsewhere.respond_async("Again", previous_response_id=spoken.response_id)
    assert openai_server.bodies[-1]["messages"][1] == {"role": "assistant", "content": "Hello Ada"}
    assert moved.warnings == [
        "1 spoken answer(s) that the server does not have went as their transcripts."
    ]


async def test_a_custom_tool_is_called_and_answered(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Like a function, by `tool_outputs=`."""
    asked_for = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    openai_server.enqueue(completion({"tool_calls": [asked_for]}))
    lm = hosted("chat", tools=[{"type": "custom", "name": "sql"}])
    asked = await lm.respond_async("Hi")
    assert asked.tool_calls == [asked_for]
    done = await lm.respond_async(
        tool_outputs={"call_1": "1"}, previous_response_id=asked.response_id
    )
    assert openai_server.bodies[0]["tools"] == [{"type": "custom", "custom": {"name": "sql"}}]
    assert openai_server.bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [asked_for]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    assert done.text == "You said: 1"


async def test_a_stream_tells_its_usage_whatever_else_is_asked_of_it(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """A `stream_options` of the caller's own about something else used to lose it."""
    stream = hosted("chat").stream_async("Hi", stream_options={"include_obfuscation": False})
    _ = [event async for event in stream]
    assert openai_server.bodies[0]["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }
    assert stream.response.usage is not None


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_branch_that_comes_from_elsewhere_says_what_it_lost(
    openai_server: OpenAIServer, hosted: Hosted, streamed: bool
) -> None:
    """In the response's warnings, streamed or not."""
    store = MemoryStore()
    here = LM(
        "x",
        vendor=ScriptedVendor([[items.reasoning_item("Hm"), items.assistant_message("Hi")]]),
        response_store=store,
    )
    begun = await here.respond_async("Hello")
    lm = hosted("chat", response_store=store)
    if streamed:
        stream = lm.stream_async("more", previous_response_id=begun.response_id)
        _ = [event async for event in stream]
        response = stream.response
    else:
        response = await lm.respond_async("more", previous_response_id=begun.response_id)
    assert [warning[:19] for warning in response.warnings] == ["1 reasoning item(s)"]
