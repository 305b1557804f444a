"""The Responses API through the real SDK: what goes over the wire, chains, replays, streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from servers import errors as failures
from servers.answers import Answer, Raw, call, calls
from servers.cuts import TIMES
from servers.openai_fake import OpenAIServer
from synth_ai import (
    LM,
    Completed,
    PreambleDelta,
    ReasoningDelta,
    RetryPolicy,
    TextDelta,
    ToolCallDelta,
)
from synth_ai.errors import (
    ConnectionFailedError,
    ForgottenResponseError,
    MissingToolOutputError,
    OverloadedError,
    RejectedError,
    RequestError,
    ServerError,
    SynthAIError,
    TimedOutError,
    UnknownResponseError,
)
from synth_ai.lm.vendors.responses import background

Hosted = Callable[..., LM]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class City(BaseModel):
    name: str


# --- what goes over the wire ------------------------------------------------------------------


async def test_a_chained_call_sends_what_is_new_and_what_would_be_lost(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The new input, the id before, and again instructions and tools, which the service drops."""
    lm = hosted()
    one = await lm.respond_async("Be terse.", "one", tools=[get_weather])
    two = await lm.respond_async("two")
    first, second = openai_server.bodies
    assert set(first) == {"model", "input", "instructions", "tools"}
    assert second == {
        "model": "gpt-5",
        "input": "two",
        "previous_response_id": one.response_id,
        "instructions": "Be terse.",
        "tools": first["tools"],
    }
    assert [request.path for request in openai_server.requests] == ["/v1/responses"] * 2
    seen = [
        item for item in openai_server.context_of(str(two.response_id)) if item["type"] == "message"
    ]
    assert len(seen) == 3


async def test_the_server_s_id_is_the_response_s(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """It can be kept anywhere and used with any client."""
    one = await hosted().respond_async("Hi")
    assert openai_server.stored() == [one.response_id]
    elsewhere = await hosted().respond_async("more", previous_response_id=one.response_id)
    assert openai_server.bodies[-1]["previous_response_id"] == one.response_id
    assert elsewhere.previous_response_id == one.response_id


async def test_two_forks_of_one_id(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """At the same time; each model saw its own branch alone."""
    lm = hosted()
    one = await lm.respond_async("one")
    a, b = await asyncio.gather(
        *(lm.fork(one.response_id).respond_async(text) for text in ("a", "b"))
    )
    for response, text in ((a, "a"), (b, "b")):
        said = [
            item["content"]
            for item in openai_server.context_of(str(response.response_id))
            if "role" in item
        ]
        assert said[0] == "one"
        assert said[-1] == text
        assert response.raw_response == f"You said: {text}"


async def test_an_answer_is_whole(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Text, reasoning, usage, status, the SDK's typed object when asked for."""
    openai_server.enqueue(Answer(text="Hello", reasoning="I greet.", cached_tokens=1))
    response = await hosted().respond_async("Hi", reasoning={"summary": "auto"})
    assert (response.raw_response, response.reasoning, response.api_type) == (
        "Hello",
        "I greet.",
        "responses",
    )
    assert (response.status, response.model, response.attempts, response.replayed) == (
        "completed",
        "gpt-5",
        1,
        False,
    )
    assert response.usage is not None
    assert (response.usage.cached_tokens, response.usage.reasoning_tokens) == (1, 2)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (
        response.raw.usage.input_tokens,
        response.raw.usage.output_tokens,
    )
    assert type(response.raw).__name__ == "Response"
    assert response.raw.output_text == "Hello"


async def test_options_reach_the_body_headers_and_query(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """By their own names; what the SDK does not know goes through the extras."""
    openai_server.allowed.add("top_k")
    await hosted(max_tokens=50).respond_async(
        "Hi",
        reasoning_effort="low",
        service_tier="flex",
        metadata={"a": "b"},
        extra_body={"top_k": 5},
        extra_headers={"x-trace": "t1"},
        extra_query={"v": "2"},
    )
    body, request = openai_server.bodies[0], openai_server.requests[0]
    assert (body["max_output_tokens"], body["reasoning"], body["service_tier"]) == (
        50,
        {"effort": "low"},
        "flex",
    )
    assert (body["metadata"], body["top_k"]) == ({"a": "b"}, 5)
    assert (request.headers["x-trace"], request.query) == ("t1", {"v": "2"})
    assert request.headers["authorization"] == f"Bearer {openai_server.api_key}"


async def test_images(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """A picture and an address, beside the words."""
    await hosted().respond_async("Look", images=[PNG, "https://x.test/a.png"])
    (message,) = openai_server.bodies[0]["input"]
    assert [part["type"] for part in message["content"]] == [
        "input_text",
        "input_image",
        "input_image",
    ]
    assert message["content"][1]["image_url"].startswith("data:image/png;base64,")


async def test_a_structured_answer(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Asked for as a strict schema, read into the model."""
    openai_server.enqueue(Answer(text='{"name": "Rome"}'))
    response = await hosted().respond_async("Which?", response_model=City)
    assert response.structured_output == City(name="Rome")
    asked = openai_server.bodies[0]["text"]["format"]
    assert (asked["type"], asked["name"], asked["strict"]) == ("json_schema", "City", True)


async def test_logprobs(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """One entry per token."""
    openai_server.enqueue(Answer(text="two words"))
    response = await hosted().respond_async("Hi", include=["message.output_text.logprobs"])
    assert [entry["token"] for entry in response.logprobs or ()] == ["two", " words"]


# --- tools ------------------------------------------------------------------------------------


async def test_parallel_calls_and_their_outputs(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """One output is missing, then all are given: the last body has the outputs and the id alone."""
    openai_server.enqueue(
        calls(call("get_weather", city="Rome"), call("get_weather", city="Oslo"), preamble="Wait.")
    )
    lm = hosted(tools=[get_weather])
    asked = await lm.respond_async("Weather?")
    assert (asked.preamble, asked.raw_response) == ("Wait.", "")
    first, second = (tool_call["id"] for tool_call in asked.tool_calls or ())
    with pytest.raises(MissingToolOutputError, match=second):
        await lm.respond_async(tool_outputs={first: "sunny"})
    assert len(openai_server.requests) == 1
    done = await lm.respond_async(tool_outputs={first: "sunny", second: {"snow": True}})
    body = openai_server.bodies[-1]
    assert body["previous_response_id"] == asked.response_id
    assert body["input"] == [
        {"type": "function_call_output", "call_id": first, "output": "sunny"},
        {"type": "function_call_output", "call_id": second, "output": '{"snow": true}'},
    ]
    assert done.raw_response == 'You said: {"snow": true}'


# --- replays ----------------------------------------------------------------------------------


async def hold_a_conversation(lm: LM) -> Any:
    """Two turns with a tool call and reasoning in them; returns the response of the last."""
    asked = await lm.respond_async("Be terse.", "Weather?", tools=[get_weather])
    assert asked.tool_calls
    return await lm.respond_async(tool_outputs={asked.tool_calls[0]["id"]: "sunny"})


WEATHER = calls(call("get_weather", city="Rome"), reasoning="I look it up.")


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_expired_id_is_replayed(
    openai_server: OpenAIServer, hosted: Hosted, include: list[str], streamed: bool
) -> None:
    """The service answers `previous_response_not_found`; the whole conversation is sent."""
    openai_server.enqueue(WEATHER)
    lm = hosted(include=include)
    two = await hold_a_conversation(lm)
    for id in openai_server.stored():
        openai_server.forget(id)
    if streamed:
        stream = lm.stream_async("And now?")
        _ = [event async for event in stream]
        three = stream.response
    else:
        three = await lm.respond_async("And now?")
    assert three.raw_response == "You said: And now?"
    assert three.replayed
    assert "not found" in str(three.replay_reason)
    assert (three.attempts, three.previous_response_id) == (2, two.response_id)
    sent = openai_server.bodies[-1]
    assert "previous_response_id" not in sent
    assert (sent["instructions"], sent["tools"][0]["name"]) == ("Be terse.", "get_weather")
    kinds = [item.get("type", item.get("role")) for item in sent["input"]]
    assert [kind for kind in kinds if kind != "reasoning"] == [
        "user",
        "function_call",
        "function_call_output",
        "assistant" if not include else "message",
        "user",
    ]
    assert kinds.count("reasoning") == (2 if include else 0)
    assert bool(three.warnings) is not bool(include)

    four = await lm.respond_async("more")
    assert openai_server.bodies[-1]["previous_response_id"] == three.response_id
    assert not four.replayed


async def test_one_expired_turn_of_a_conversation(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The service still knows the items of the others; links to them must not make it refuse."""
    openai_server.enqueue(WEATHER)
    lm = hosted()
    two = await hold_a_conversation(lm)
    openai_server.forget(str(two.response_id))
    three = await lm.respond_async("And now?")
    assert three.replayed
    assert three.raw_response == "You said: And now?"


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
async def test_zero_data_retention(
    openai_server: OpenAIServer, hosted: Hosted, include: list[str]
) -> None:
    """The service says so in its answer; the conversation goes on all the same, at once."""
    openai_server.zero_data_retention = True
    openai_server.enqueue(WEATHER)
    two = await hold_a_conversation(hosted(include=include))
    assert two.raw_response == "You said: sunny"
    assert two.replayed
    assert two.replay_reason == "the server does not keep this conversation"
    assert two.attempts == 1


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
async def test_store_false(openai_server: OpenAIServer, hosted: Hosted, include: list[str]) -> None:
    """What the service was told not to keep is sent again at once, without asking for it first."""
    openai_server.enqueue(WEATHER)
    lm = hosted(store=False, include=include)
    two = await hold_a_conversation(lm)
    assert two.raw_response == "You said: sunny"
    assert (two.attempts, two.replayed) == (1, True)
    assert [body["store"] for body in openai_server.bodies] == [False, False]
    assert "previous_response_id" not in openai_server.bodies[-1]


@pytest.mark.parametrize("mark", ["input_messages", "kv_transfer_params"])
async def test_a_vllm_server_is_never_continued_by_id(
    openai_server: OpenAIServer, hosted: Hosted, mark: str
) -> None:
    """It ignores instructions and tools of chained turns, so the conversation is sent in full."""
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    output = [{**message, "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}]
    openai_server.enqueue(Raw({"id": "resp_1", "object": "response", "output": output, mark: None}))
    lm = hosted()
    one = await lm.respond_async("Hi")
    two = await lm.respond_async("Be loud.", "more")
    assert (two.previous_response_id, two.replayed, two.attempts) == (one.response_id, True, 1)
    assert "previous_response_id" not in openai_server.bodies[-1]
    assert openai_server.bodies[-1]["instructions"] == "Be loud."
    assert [item["role"] for item in openai_server.bodies[-1]["input"]] == [
        "user",
        "assistant",
        "user",
    ]


async def test_a_prompt_of_the_server_s_own(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """It is one by itself: nothing has to be added, and `input` is left out."""
    lm = hosted()
    prompt = {"id": "pmpt_1", "variables": {"city": "Oslo"}}
    openai_server.enqueue(Answer(text="Hello."), Answer(text="Bye."), Answer(text="Yes."))
    assert (await lm.respond_async(prompt=prompt)).text == "Hello."
    body = openai_server.bodies[-1]
    assert body["prompt"] == prompt
    assert "input" not in body

    with_system = await lm.respond_async(system_message="Be terse.", prompt=prompt)
    assert with_system.text == "Bye."
    assert (await hosted(prompt=prompt).respond_async("And you?")).text == "Yes."
    with pytest.raises(RequestError, match="nothing to send"):
        await lm.respond_async()


async def test_an_id_that_nobody_has(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """The error names it, and has the service's own as its cause."""
    with pytest.raises(UnknownResponseError, match="resp_nobody") as raised:
        await hosted().respond_async("Hi", previous_response_id="resp_nobody")
    cause = raised.value.__cause__ or raised.value.__context__
    assert isinstance(cause, ForgottenResponseError)
    assert cause.code == "previous_response_not_found"
    assert len(openai_server.requests) == 1


async def test_an_error_that_is_not_about_the_id_is_no_reason_to_replay(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """A wrong parameter or model on a chained call is told as it is."""
    lm = hosted()
    await lm.respond_async("one")
    openai_server.enqueue(failures.unsupported_parameter("temperature"))
    with pytest.raises(RejectedError, match="'temperature' is not supported"):
        await lm.respond_async("two")
    openai_server.enqueue(failures.model_not_found("gpt-5"))
    with pytest.raises(SynthAIError, match="gpt-5"):
        await lm.respond_async("two")
    assert len(openai_server.requests) == 3


async def test_a_conversation_moves_from_chat(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """And back: each API gets what was said on the other, in its own shape."""
    openai_server.enqueue(WEATHER)
    chat = hosted("chat")
    responses = hosted(response_store=chat._config.store)
    asked = await responses.respond_async("Be terse.", "Weather?", tools=[get_weather])
    outputs = {tool_call["id"]: "sunny" for tool_call in asked.tool_calls or ()}
    answered = await chat.respond_async(
        previous_response_id=asked.response_id, tool_outputs=outputs
    )
    assert [message["role"] for message in openai_server.bodies[-1]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert openai_server.bodies[-1]["tools"][0]["function"]["name"] == "get_weather"
    back = await responses.respond_async("Thanks", previous_response_id=answered.response_id)
    assert back.replayed
    assert [item.get("type", item.get("role")) for item in openai_server.bodies[-1]["input"]] == [
        "user",
        "function_call",
        "function_call_output",
        "assistant",
        "user",
    ]


# --- stored responses -------------------------------------------------------------------------


async def test_delete_deletes_on_the_service(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Also what was never here; what neither has is an error."""
    lm = hosted()
    one, two = await lm.respond_async("one"), await hosted().respond_async("two")
    await lm.responses.delete_async(str(one.response_id))
    await lm.responses.delete_async(str(two.response_id))
    assert openai_server.stored() == []
    with pytest.raises(UnknownResponseError, match="resp_nobody"):
        await lm.responses.delete_async("resp_nobody")


async def test_models_are_listed(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """On either API."""
    assert await hosted().models_async() == openai_server.models
    assert await hosted("chat").models_async() == openai_server.models


async def test_deleting_and_listing_are_tried_again(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """They are as safe to repeat as a call, and fail as often."""
    lm = hosted()
    one = await lm.respond_async("one")
    openai_server.enqueue(failures.server_error(), on="delete")
    openai_server.enqueue(failures.server_error(), on="models")
    await lm.responses.delete_async(str(one.response_id))
    assert openai_server.stored() == []
    assert await lm.models_async() == openai_server.models


# --- how answers end --------------------------------------------------------------------------


async def test_an_answer_that_was_cut(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """It says why, and the conversation can go on from it."""
    openai_server.enqueue(Answer(text="Once upon", incomplete="max_output_tokens"))
    lm = hosted()
    cut = await lm.respond_async("A story", max_tokens=16)
    assert (cut.status, cut.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert lm.head == cut.response_id


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_failed(
    openai_server: OpenAIServer, hosted: Hosted, streamed: bool
) -> None:
    """It says why, and leaves the head where it was."""
    openai_server.enqueue(Answer(failed="server_error"))
    lm = hosted()
    if streamed:
        stream = lm.stream_async("Hi")
        _ = [event async for event in stream]
        failed = stream.response
    else:
        failed = await lm.respond_async("Hi")
    assert failed.status == "failed"
    assert "server_error" in str(failed.error)
    assert lm.head is None


async def test_a_refusal(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """It is no answer and no error; the next turn is accepted."""
    openai_server.enqueue(Answer(refusal="I cannot."))
    lm = hosted()
    refused = await lm.respond_async("Hi", response_model=City)
    assert (refused.refusal, refused.raw_response, refused.structured_output) == (
        "I cannot.",
        "",
        None,
    )
    assert (await lm.respond_async("Why?")).raw_response == "You said: Why?"


# --- streams ----------------------------------------------------------------------------------

FULL = Answer(
    text="It is three.",
    reasoning="I add.",
    preamble="One moment.",
    tool_calls=(call("get_weather", city="Rome"),),
)


async def test_events_of_a_stream(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """Reasoning, preamble, calls and text, then the same response as without streaming."""
    stray = ({"type": "response.novelty", "novelty": 1},)
    openai_server.enqueue(Answer(**{**vars(FULL), "stray_events": stray}), FULL)
    stream = hosted().stream_async("Hi", reasoning={"summary": "auto"})
    events = [event async for event in stream]

    def joined(kind: Any, name: str = "text") -> str:
        return "".join(getattr(event, name) for event in events if isinstance(event, kind))

    assert joined(ReasoningDelta) == "I add."
    assert joined(PreambleDelta) == "One moment."
    assert joined(TextDelta) == "It is three."
    assert joined(ToolCallDelta, "arguments") == '{"city": "Rome"}'
    assert isinstance(events[-1], Completed)
    assert openai_server.bodies[0]["stream"] is True
    whole = await hosted().respond_async("Hi", reasoning={"summary": "auto"})
    left_out = {"response_id", "output", *TIMES}
    assert stream.response.model_dump(exclude=left_out) == whole.model_dump(exclude=left_out) | {
        "request_id": stream.response.request_id
    }
    assert [item["type"] for item in stream.response.output] == [
        item["type"] for item in whole.output
    ]


async def test_leaving_a_stream_early_closes_the_connection(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The service sees the caller go, so it can stop generating; nothing is recorded."""
    hold = threading.Event()
    openai_server.enqueue(Answer(text="a b c d", hold=hold, hold_at=6))
    lm = hosted()
    async with lm.stream_async("Hi") as stream:
        async for event in stream:
            assert event == TextDelta("a")
            break
    assert await asyncio.to_thread(openai_server.requests[0].abandoned.wait, 10)
    assert lm.head is None
    assert await lm.responses.list_async() == []


def test_leaving_a_sync_stream_early_closes_the_connection(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The same for callers without an event loop."""
    openai_server.enqueue(Answer(text="a b c d", hold=threading.Event(), hold_at=6))
    for _ in hosted().stream_sync("Hi"):
        break
    assert openai_server.requests[0].abandoned.wait(10)


async def test_cancelling_a_call_closes_the_connection(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """A call that nobody waits for any more is not left running."""
    openai_server.enqueue(Answer(text="late", hold=threading.Event()))
    lm = hosted()
    task = asyncio.create_task(lm.respond_async("Hi"))
    while not openai_server.requests:  # noqa: ASYNC110 - the server is on another thread
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(openai_server.requests[0].abandoned.wait, 10)
    assert lm.head is None


# --- responses made in the background ---------------------------------------------------------


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(background, "_RETRY", RetryPolicy(attempts=3, wait_initial=0))


@pytest.mark.usefixtures("no_wait")
async def test_a_background_response_is_waited_for(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The server is asked until it is done, though it may fail once; the conversation goes on."""
    openai_server.enqueue(failures.server_error(), on="retrieve")
    lm = hosted()
    response = await lm.respond_async("Think long.", background=True)
    assert (response.status, response.text) == ("completed", "You said: Think long.")
    assert [request.method for request in openai_server.requests] == [
        "POST",
        "GET",
        "GET",
        "GET",
        "GET",
    ]
    assert (await lm.respond_async("And then?")).previous_response_id == response.response_id


@pytest.mark.usefixtures("no_wait")
async def test_a_background_response_is_cancelled_with_its_call(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """A call that is given up does not leave the server working."""
    openai_server.background_looks = 10**6
    with pytest.raises(TimedOutError):
        await hosted().respond_async("Think long.", background=True, timeout=0.3)
    assert openai_server.cancelled == openai_server.stored()


@pytest.mark.usefixtures("no_wait")
async def test_a_background_response_is_asked_for_as_it_was_sent(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """With the headers and the query of the call, which a gateway may need; not with its body."""
    lm = hosted(
        extra_headers={"x-gate": "1"}, extra_query={"v": "2"}, extra_body={"metadata": {"a": "b"}}
    )
    await lm.respond_async("Think long.", background=True)
    openai_server.background_looks = 10**6
    with pytest.raises(TimedOutError):
        await lm.respond_async("Think long.", background=True, timeout=0.3)
    assert openai_server.requests[-1].path.endswith("/cancel")
    assert {request.method for request in openai_server.requests} == {"POST", "GET"}
    assert {
        (request.headers["x-gate"], request.query["v"]) for request in openai_server.requests
    } == {("1", "2")}
    assert openai_server.requests[-1].body == {}


@pytest.mark.usefixtures("no_wait")
async def test_a_background_response_that_is_lost_from_sight(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """It is not asked for a second time, as the first may still run."""
    openai_server.enqueue(*[failures.server_error()] * 3, on="retrieve")
    with pytest.raises(ServerError, match=r"made in the background.*cannot be asked"):
        await hosted(retry=5).respond_async("Think long.", background=True)
    assert [request.method for request in openai_server.requests] == ["POST", "GET", "GET", "GET"]


EVENTS = 12


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_stream_cut_anywhere(
    openai_server: OpenAIServer, hosted: Hosted, api: str, reset: bool
) -> None:
    """After any number of events: a right prefix and then a typed error, or the whole."""
    whole = "a b c d"
    outcomes = set()
    shared = hosted(api, retry=False)
    for cut in range(EVENTS + 4):
        openai_server.enqueue(Answer(text=whole, cut_after=cut, reset=reset))
        lm = shared.fork()
        stream = lm.stream_async("Hi")
        shown, error = await shown_by(stream)
        assert whole.startswith(shown)
        if error is None:
            assert (shown, stream.response.raw_response) == (whole, whole)
        else:
            assert isinstance(error, ServerError), repr(error)
            assert lm.head is None
        outcomes.add(error is None)
    assert outcomes == {True, False}


async def shown_by(stream: Any) -> tuple[str, Exception | None]:
    """The text that a stream showed, and the error that it ended with."""
    shown = ""
    try:
        async for event in stream:
            if isinstance(event, TextDelta):
                shown += event.text
    except SynthAIError as error:
        return shown, error
    return shown, None


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_an_error_event_inside_a_stream(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """The service's words reach the caller in a ServerError; the call is not sent again."""
    openai_server.enqueue(Answer(text="a b c d", stream_error="server_error"))
    shown, error = await shown_by(hosted(api).stream_async("Hi"))
    assert shown
    assert isinstance(error, OverloadedError)
    assert error.code == "server_error"
    assert "The model failed." in str(error)
    assert len(openai_server.requests) == 1


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_stream_that_fails_before_it_begins_is_tried_again(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """Nothing was shown yet, so the caller need not know."""
    openai_server.enqueue(
        failures.server_error(), failures.rate_limited(retry_after_ms=1), Answer(text="done")
    )
    stream = hosted(api).stream_async("Hi")
    _ = [event async for event in stream]
    assert (stream.response.raw_response, stream.response.attempts) == ("done", 3)
    assert len(openai_server.requests) == 3


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_no_retry_after_a_stream_has_begun(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """Counted by the service."""
    openai_server.enqueue(
        Answer(text="a b c d", cut_after=7, reset=True), Answer(text="never asked for")
    )
    shown, error = await shown_by(hosted(api).stream_async("Hi"))
    assert shown
    assert isinstance(error, ConnectionFailedError)
    assert len(openai_server.requests) == 1


# --- options that other APIs have too ---------------------------------------------------------


async def test_logprobs_come_as_on_chat(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """The same option asks for them, and they have the same shape."""
    found = []
    for api in ("chat", "responses"):
        openai_server.enqueue(Answer(text="two words"))
        found.append(
            (await hosted(api).respond_async("Hi", logprobs=True, verbosity="low")).logprobs
        )
    assert found[0] == found[1]
    assert found[0] is not None
    assert [entry["token"] for entry in found[0]] == ["two", " words"]
    assert openai_server.bodies[1]["text"] == {"verbosity": "low"}


async def test_a_custom_tool_s_output_is_typed(openai_server: OpenAIServer, hosted: Hosted) -> None:
    """`tool_outputs=` names the call, and the output goes out as that of a custom tool."""
    asked_for = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_1",
        "name": "sql",
        "input": "select 1",
    }
    body = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "status": "completed",
        "output": [asked_for],
    }
    openai_server.enqueue(Raw(body), Raw(body | {"id": "resp_2", "output": []}))
    lm = hosted(tools=[{"type": "custom", "name": "sql"}])
    asked = await lm.respond_async("Hi")
    assert asked.tool_calls == [
        {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    ]
    await lm.respond_async(tool_outputs={"call_1": "1"})
    assert openai_server.bodies[-1]["input"] == [
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"}
    ]
