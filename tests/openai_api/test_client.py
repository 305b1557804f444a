"""The SDK's own client over LMs of every API, awaited and not."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from openai_api.backends import APIS, ARGUMENTS, CALL, FLAT_TOOL, NESTED_TOOL, make_lm
from servers.openai_fake import OpenAIServer
from synth_ai import LM, openai_api
from synth_ai.content import refusal_message
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text

USER: Any = [{"role": "user", "content": "Hi"}]


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@pytest.mark.parametrize("api", APIS)
async def test_a_response_and_its_stream_say_the_same(api: str) -> None:
    """The SDK's accumulator gives what `create` gives, item by item."""
    client = openai_api.client(make_lm(api, "Hello there", "Hello there"))
    plain = await client.responses.create(model="m", input="Hi")
    async with client.responses.stream(model="m", input="Hi") as stream:
        kinds = [event.type async for event in stream]
        streamed = await stream.get_final_response()

    assert plain.output_text == streamed.output_text == "Hello there"
    assert [item.type for item in plain.output] == ["reasoning", "message"]
    assert _without_ids(streamed) == _without_ids(plain)
    assert kinds.count("response.output_text.delta") > 1
    assert kinds.count("response.reasoning_text.delta") >= 1
    assert kinds[-1] == "response.completed"


@pytest.mark.parametrize("api", APIS)
async def test_a_completion_and_its_stream_say_the_same(api: str) -> None:
    """Reasoning included, which stands where vLLM has it."""
    client = openai_api.client(make_lm(api, "Hello there", "Hello there"))
    plain = await client.chat.completions.create(model="m", messages=USER)
    async with client.chat.completions.stream(
        model="m", messages=USER, stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()

    message, other = plain.choices[0].message, streamed.choices[0].message
    assert message.content == other.content == "Hello there"
    assert message.model_extra == {"reasoning": "I think."}
    assert (other.model_extra or {})["reasoning"] == "I think."
    assert plain.choices[0].finish_reason == streamed.choices[0].finish_reason == "stop"
    assert plain.usage == streamed.usage


@pytest.mark.parametrize("api", APIS)
async def test_a_conversation_with_a_tool_by_response_id(api: str) -> None:
    """The call's id is the one to answer to, and the next turn knows the one before."""
    lm = make_lm(api, CALL, "Sunny.")
    client = openai_api.client(lm)
    asked = await client.responses.create(model="m", input="Weather?", tools=[FLAT_TOOL])
    call = asked.output[-1]
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", ARGUMENTS)

    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    answered = await client.responses.create(
        model="m", input=[output], tools=[FLAT_TOOL], previous_response_id=asked.id
    )
    assert answered.output_text == "Sunny."
    assert answered.previous_response_id == asked.id
    assert lm.head is None


@pytest.mark.parametrize("api", APIS)
async def test_a_conversation_with_a_tool_sent_whole(api: str) -> None:
    """Items and messages that came from here are taken back as they came."""
    client = openai_api.client(make_lm(api, CALL, "Sunny.", CALL, "Sunny."))
    conversation: list[Any] = [{"role": "user", "content": "Weather?"}]
    asked = await client.responses.create(model="m", input=conversation, tools=[FLAT_TOOL])
    conversation += [item.model_dump(exclude_none=True) for item in asked.output]
    call_id = asked.output[-1].model_dump()["call_id"]
    conversation.append({"type": "function_call_output", "call_id": call_id, "output": "sunny"})
    answered = await client.responses.create(model="m", input=conversation, tools=[FLAT_TOOL])
    assert answered.output_text == "Sunny."

    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    completion = await client.chat.completions.create(
        model="m", messages=messages, tools=[NESTED_TOOL]
    )
    assert completion.choices[0].finish_reason == "tool_calls"
    message = completion.choices[0].message
    assert message.tool_calls is not None
    messages.append(message.model_dump(exclude_none=True))
    call_id = message.tool_calls[0].id
    messages.append({"role": "tool", "tool_call_id": call_id, "content": "sunny"})
    completion = await client.chat.completions.create(
        model="m", messages=messages, tools=[NESTED_TOOL]
    )
    assert completion.choices[0].message.content == "Sunny."


@pytest.mark.parametrize("api", APIS)
async def test_streamed_calls_are_those_of_the_answer(api: str) -> None:
    """On both APIs, with the ids to answer to."""
    client = openai_api.client(make_lm(api, CALL, CALL))
    async with client.responses.stream(model="m", input="Hi", tools=[FLAT_TOOL]) as stream:
        done = [event async for event in stream if event.type == "response.output_item.done"]
        final = await stream.get_final_response()
    assert final.output[-1].type == "function_call"
    assert final.output[-1].arguments == ARGUMENTS
    assert final.output[-1].parsed_arguments == {"city": "Oslo"}
    assert done[-1].item.model_dump()["call_id"] == final.output[-1].call_id

    async with client.chat.completions.stream(
        model="m", messages=USER, tools=[NESTED_TOOL]
    ) as chunks:
        completion = await chunks.get_final_completion()
    assert completion.choices[0].finish_reason == "tool_calls"
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].id.startswith("call_")
    assert (calls[0].function.name, calls[0].function.arguments) == ("weather", ARGUMENTS)


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_of_a_shape_is_parsed(api: str) -> None:
    """`parse` of both APIs, and their streams."""
    text = '{"name": "Oslo", "inhabitants": 700000}'
    oslo = City(name="Oslo", inhabitants=700_000)
    client = openai_api.client(make_lm(api, text, text, text, text))

    parsed = await client.responses.parse(model="m", input="Hi", text_format=City)
    assert parsed.output_parsed == oslo
    completion = await client.chat.completions.parse(model="m", messages=USER, response_format=City)
    assert completion.choices[0].message.parsed == oslo

    async with client.responses.stream(model="m", input="Hi", text_format=City) as stream:
        assert (await stream.get_final_response()).output_parsed == oslo
    async with client.chat.completions.stream(
        model="m", messages=USER, response_format=City
    ) as chunks:
        final = await chunks.get_final_completion()
    assert final.choices[0].message.parsed == oslo


@pytest.mark.parametrize("api", APIS)
async def test_a_stored_response_is_retrieved_listed_and_deleted(api: str) -> None:
    """It says what it said, and what it was asked with."""
    client = openai_api.client(make_lm(api, "One.", "Two."))
    made = await client.responses.create(
        model="m", input="Hi", instructions="Be terse.", temperature=0.5, tools=[FLAT_TOOL]
    )
    found = await client.responses.retrieve(made.id)
    assert found.output == made.output
    assert (found.instructions, found.temperature) == ("Be terse.", 0.5)
    assert found.tools == made.tools
    assert (found.created_at, found.completed_at) == (made.created_at, made.completed_at)

    second = await client.responses.create(model="m", input="On", previous_response_id=made.id)
    listed = [item async for item in await client.responses.input_items.list(second.id, limit=1)]
    texts = [item.model_dump()["content"][0]["text"] for item in listed if item.type == "message"]
    assert texts == ["On", "One.", "Hi"]
    assert len({item.model_dump()["id"] for item in listed}) == len(listed)
    oldest = await client.responses.input_items.list(second.id, order="asc")
    assert [item.model_dump()["id"] for item in oldest.data] == [
        item.model_dump()["id"] for item in reversed(listed)
    ]

    await client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        await client.responses.retrieve(second.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        await client.responses.input_items.list(second.id)


async def test_the_model_is_listed() -> None:
    """By the name that requests give."""
    client = openai_api.client(LM("my/model", vendor=ScriptedVendor()))
    models = await client.models.list()
    assert [model.id for model in models.data] == ["my/model"]
    assert (await client.models.retrieve("my/model")).object == "model"
    with pytest.raises(openai.NotFoundError, match="there is 'my/model'"):
        await client.models.retrieve("gpt-5")


@pytest.mark.parametrize("api", APIS)
def test_without_await(api: str) -> None:
    """The same on `openai.OpenAI`."""
    lm = make_lm(api, "Hello there", "Hello there", "Hello there", "Hello there")
    client = openai_api.sync_client(lm)
    assert client.responses.create(model="m", input="Hi").output_text == "Hello there"
    with client.responses.stream(model="m", input="Hi") as stream:
        assert stream.get_final_response().output_text == "Hello there"
    completion = client.chat.completions.create(model="m", messages=USER)
    assert completion.choices[0].message.content == "Hello there"
    chunks = client.chat.completions.create(model="m", messages=USER, stream=True)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "Hello there"
    assert [model.id for model in client.models.list()] == ["m"]
    client.close()
    lm.close()


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_pictures_go_along(openai_server: OpenAIServer, hosted: Any, api: str) -> None:
    """From either shape to either API; the stand-in refuses what the SDK's types forbid."""
    client = openai_api.client(hosted(api))
    url = "data:image/png;base64,iVBORw0KGgo="
    flat: Any = {"type": "input_image", "image_url": url, "detail": "low"}
    text: Any = {"type": "input_text", "text": "What is it?"}
    await client.responses.create(model="gpt-5", input=[{"role": "user", "content": [text, flat]}])
    nested: Any = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    await client.chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": [nested]}]
    )
    assert all(url in str(body) and "low" in str(body) for body in openai_server.bodies)
    assert len(openai_server.bodies) == 2


def test_the_other_ways_to_ask() -> None:
    """Raw responses, other options, and many threads."""
    answers: list[Any] = [lambda request: request.input[-1]["content"]] * 60
    client = openai_api.sync_client(LM("m", vendor=ScriptedVendor(answers)))
    raw = client.responses.with_raw_response.create(model="m", input="Hi")
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().output_text == "Hi"
    other = client.with_options(timeout=30)
    assert other.responses.create(model="m", input="On").output_text == "On"

    def ask(text: str) -> str:
        return client.responses.create(model="m", input=text).output_text

    texts = [str(number) for number in range(50)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ask, texts)) == texts


async def test_closing_the_client_leaves_the_lm_open() -> None:
    """Others may have it."""
    lm = make_lm("responses", "One.", "Two.")
    async with openai_api.client(lm) as client:
        await client.responses.create(model="m", input="Hi")
    assert (await lm.respond_async("Hi")).text == "Two."


async def test_a_cancelled_request_cancels_the_call() -> None:
    """Nothing goes on behind a task that has ended."""
    entered = asyncio.Event()
    cancelled = asyncio.Event()

    async def never(_: object) -> str:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    client = openai_api.client(LM("m", vendor=ScriptedVendor([never])))
    task = asyncio.ensure_future(client.responses.create(model="m", input="Hi"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 10)


@pytest.mark.parametrize("leave", ["close", "break"])
async def test_a_stream_that_is_left_aborts_the_call(leave: str) -> None:
    """As the connection to a server would be closed."""
    engine = ScriptedEngine([final_text("word " * 50)])
    client = openai_api.client(LM("m", engine=engine))
    stream = await client.chat.completions.create(model="m", messages=USER, stream=True)
    if leave == "close":
        await anext(aiter(stream))
        await stream.close()
    else:
        async for _ in stream:
            break
        await stream.response.aclose()
    assert engine.aborted == 1


def test_a_stream_that_is_left_without_await() -> None:
    """Leaving the block is enough."""
    engine = ScriptedEngine([final_text("word " * 50)])
    client = openai_api.sync_client(LM("m", engine=engine))
    with client.responses.create(model="m", input="Hi", stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    assert engine.aborted == 1


def test_a_request_inside_of_a_stream_has_its_place() -> None:
    """With `max_concurrency=1` the reader of a stream may ask on."""
    lm = make_lm("responses", "one two three", "Inner.", max_concurrency=1)
    client = openai_api.sync_client(lm)
    inner = None
    for event in client.responses.create(model="m", input="Hi", stream=True):
        if event.type == "response.output_text.delta" and inner is None:
            inner = client.responses.create(model="m", input="Hi", timeout=10)
    assert inner is not None
    assert inner.output_text == "Inner."


async def test_a_request_inside_of_an_awaited_stream_has_its_place() -> None:
    """The same on the other client."""
    lm = make_lm("responses", "one two three", "Inner.", max_concurrency=1)
    client = openai_api.client(lm)
    inner = None
    async for event in await client.responses.create(model="m", input="Hi", stream=True):
        if event.type == "response.output_text.delta" and inner is None:
            inner = await client.responses.create(model="m", input="Hi", timeout=10)
    assert inner is not None
    assert inner.output_text == "Inner."


async def test_the_sync_client_where_a_loop_is_running() -> None:
    """As in a notebook."""
    client = openai_api.sync_client(make_lm("harmony", "One.", "Two."))
    assert client.responses.create(model="m", input="Hi").output_text == "One."
    with client.responses.stream(model="m", input="Hi") as stream:
        assert stream.get_final_response().output_text == "Two."


async def test_half_a_character_goes_through() -> None:
    """A model may be cut off in the middle of one."""
    answers = ["\ud83d", "\ud83d"]
    client = openai_api.client(LM("m", vendor=ScriptedVendor(answers), response_store=False))
    response = await client.responses.create(model="m", input="Hi")
    assert response.output_text == "\ud83d"
    async with client.responses.stream(model="m", input="Hi") as stream:
        assert (await stream.get_final_response()).output_text == "\ud83d"


async def test_the_client_s_time_limit_holds() -> None:
    """It is the time until the next bytes, as with a server."""

    async def slow(_: object) -> str:
        await asyncio.sleep(60)
        return ""

    client = openai_api.client(LM("m", vendor=ScriptedVendor([slow])))
    with pytest.raises(openai.APITimeoutError):
        await client.responses.create(model="m", input="Hi", timeout=0.05)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_refusal_is_one(api: str) -> None:
    """It is no text, on either API, streamed or not."""
    answers = [[refusal_message("No.")] for _ in range(4)]
    client = openai_api.client(LM("m", vendor=ScriptedVendor(answers, api=api)))
    plain = await client.responses.create(model="m", input="Hi")
    async with client.responses.stream(model="m", input="Hi") as stream:
        streamed = await stream.get_final_response()
    for response in (plain, streamed):
        part = response.output[0].model_dump()["content"][0]
        assert (part["type"], part["refusal"]) == ("refusal", "No.")

    completion = await client.chat.completions.create(model="m", messages=USER)
    async with client.chat.completions.stream(model="m", messages=USER) as chunks:
        assembled = await chunks.get_final_completion()
    for message in (completion.choices[0].message, assembled.choices[0].message):
        assert (message.content, message.refusal) == (None, "No.")


def _without_ids(response: Any) -> list[dict[str, Any]]:
    items = []
    for item in response.output:
        dumped = item.model_dump(exclude_none=True)
        dumped.pop("id")
        items.append(dumped)
    return items
