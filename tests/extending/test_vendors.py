"""What every vendor does, those of the package and one from outside alike."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from extending.backends import Backend, HarmonyBackend, HostedBackend, MessagesBackend, Reply
from extending.messages import MessagesServer, MessagesVendor
from servers.openai_fake import OpenAIServer
from synth_ai import API, LM, BaseLMResponse, LMRequest, MemoryStore, VendorBase, register_vendor
from synth_ai.content import text_of
from synth_ai.errors import (
    MissingKeyError,
    MissingToolOutputError,
    OptionError,
    RoutingError,
    UnknownResponseError,
)
from synth_ai.events import Completed, TextDelta, ToolCallDelta
from synth_ai.lm.vendors import registry

APIS = ("chat", "responses", "harmony", "messages")


class City(BaseModel):
    name: str


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves a vendor behind for the others."""
    monkeypatch.setattr(registry, "_VENDORS", dict(registry._VENDORS))


@pytest.fixture(params=APIS)
def backend(request: pytest.FixtureRequest, openai_server: OpenAIServer) -> Iterator[Backend]:
    """Each vendor in turn."""
    made = make_backend(request.param, openai_server)
    yield made
    for lm in made.lms:
        lm.close()


def make_backend(api: str, service: OpenAIServer) -> Backend:
    if api == "harmony":
        return HarmonyBackend()
    if api == "messages":
        backend = MessagesBackend()
        register_vendor("messages-test", {"messages": backend.make_vendor})
        return backend
    return HostedBackend(service, api)


async def test_an_answer(backend: Backend) -> None:
    """The one response type, with an id to continue from."""
    backend.script(Reply("Hello Ada.", reasoning="Greet her."))
    response = await backend.lm().respond_async("Be terse.", "I am Ada.")
    assert (response.text, response.reasoning) == ("Hello Ada.", "Greet her.")
    assert (response.api_type, response.status) == (backend.api, "completed")
    assert response.response_id
    assert response.usage is not None
    assert "Be terse." in backend.seen()


async def test_forks_see_their_own_past(backend: Backend) -> None:
    """Two branches of one response do not see each other, and both inherit the system message."""
    backend.script("Hello Ada.", "Bonjour.", "Hallo.", "Ja.")
    lm = backend.lm()
    root = await lm.respond_async("Be terse.", "I am Ada.", auto_store=True)
    await lm.respond_async("In French?", previous_response_id=root.response_id)
    german = await lm.respond_async("In German?", previous_response_id=root.response_id)
    assert german.previous_response_id == root.response_id

    await lm.respond_async("Really?", previous_response_id=german.response_id)
    for text in ("Be terse.", "I am Ada.", "Hello Ada.", "In German?", "Hallo.", "Really?"):
        assert text in backend.seen()
    assert "French" not in backend.seen()


async def test_handles_continue_by_themselves(backend: Backend) -> None:
    """`fork()` gives a head of its own on every API, the ones that never chain included."""
    backend.script("one", "two", "three")
    lm = backend.lm()
    first = await lm.respond_async("first")
    branch = lm.fork(first.response_id)
    await branch.respond_async("second")
    third = await branch.respond_async("third")
    assert branch.head == third.response_id
    assert "second" in backend.seen()
    assert (lm.head == first.response_id) is lm.auto_store_responses


async def test_tools(backend: Backend) -> None:
    """A call, its output and the answer from it; a call without its output is told at once."""
    backend.script(Reply(call=("get_weather", {"city": "Oslo"})), "It is sunny.")
    lm = backend.lm(tools=[get_weather])
    asked = await lm.respond_async("The weather in Oslo?")
    [call] = asked.tool_calls or []
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}

    with pytest.raises(MissingToolOutputError, match="get_weather"):
        await lm.respond_async("Well?", previous_response_id=asked.response_id)
    answer = await lm.respond_async(
        tool_outputs={call["id"]: "21 degrees"}, previous_response_id=asked.response_id
    )
    assert answer.text == "It is sunny."
    assert "21 degrees" in backend.seen()


async def test_a_whole_run_of_tools(backend: Backend) -> None:
    """The functions are run until the model answers."""
    backend.script(Reply(call=("get_weather", {"city": "Rome"})), "Sunny.")
    run = await backend.lm(tools=[get_weather]).run_tools_async("The weather in Rome?")
    assert (run.text, len(run.steps)) == ("Sunny.", 1)
    assert "sunny in Rome" in backend.seen()


async def test_streams(backend: Backend) -> None:
    """Deltas make the text, the last event is the response, and it can be continued."""
    backend.script("Hello Ada.", Reply(call=("get_weather", {"city": "Oslo"})))
    lm = backend.lm(tools=[get_weather])
    async with lm.stream_async("Hi") as stream:
        events = [event async for event in stream]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == stream.response.text == "Hello Ada."
    assert isinstance(events[-1], Completed)

    continued = lm.stream_async("Weather?", previous_response_id=stream.response.response_id)
    calls = [event async for event in continued if isinstance(event, ToolCallDelta)]
    assert "".join(call.arguments for call in calls) == '{"city": "Oslo"}'
    assert "Hello Ada." in backend.seen()


async def test_a_shaped_answer(backend: Backend) -> None:
    """The text becomes an object."""
    backend.script('{"name": "Oslo"}')
    response = await backend.lm().respond_async("Norway's capital?", response_model=City)
    assert response.structured_output == City(name="Oslo")


async def test_a_batch_stands_alone(backend: Backend) -> None:
    """No prompt sees another, and the head stays."""
    backend.script("a", "b", "c")
    lm = backend.lm()
    responses = await lm.respond_batch_async(["one", "two", "three"])
    assert sorted(response.text for response in responses) == ["a", "b", "c"]
    assert lm.head is None
    assert all(response.previous_response_id is None for response in responses)


async def test_options_are_checked_by_the_api(backend: Backend) -> None:
    """Known ones go along; unknown ones are an error before anything is sent."""
    backend.script("warm")
    lm = backend.lm(temperature=0.5)
    await lm.respond_async("Hi", max_tokens=9)
    with pytest.raises(OptionError, match=f"not an option of the {backend.api} API"):
        lm.respond("Hi", temprature=1)
    with pytest.raises(OptionError, match="temperature must be a number from 0 to 2"):
        backend.lm(temperature=3)


async def test_an_unknown_id(backend: Backend) -> None:
    """An error where no server could know it; one that keeps responses is asked."""
    lm = backend.lm()
    if backend.keeps:
        return
    with pytest.raises(UnknownResponseError, match=f"On the {backend.api} API no server keeps"):
        await lm.respond_async("Hi", previous_response_id="resp_nobody")


async def test_a_forgotten_id_is_replayed(backend: Backend) -> None:
    """A server that lost the parent gets the whole conversation, and the response says so."""
    backend.script("Hello Ada.", "You are Ada.")
    lm = backend.lm(retry=False)
    first = await lm.respond_async("I am Ada.")
    if backend.keeps:
        backend.forget(first.response_id or "")
    second = await lm.respond_async("Who am I?", previous_response_id=first.response_id)
    assert second.text == "You are Ada."
    assert second.replayed is backend.keeps
    assert "I am Ada." in backend.seen()


@pytest.mark.parametrize("other_api", APIS)
async def test_a_branch_moves_there_and_back(
    backend: Backend, other_api: str, openai_server: OpenAIServer
) -> None:
    """Three turns on three backends: each sees all that came before."""
    if other_api == backend.api:
        return
    other = make_backend(other_api, openai_server)
    store = MemoryStore()
    here, there = backend.lm(response_store=store), other.lm(response_store=store)

    backend.script(Reply("I keep 7 in mind.", reasoning="A number."))
    first = await here.respond_async("Be exact.", "Remember 7.")
    other.script(Reply("And now 8.", reasoning="Another."))
    second = await there.respond_async("Now 8.", previous_response_id=first.response_id)
    assert second.api_type == other_api
    assert "I keep 7 in mind." in other.seen()
    assert "Be exact." in other.seen()

    backend.script("7 and 8.")
    third = await here.respond_async("Which?", previous_response_id=second.response_id)
    assert third.text == "7 and 8."
    for text in ("Remember 7.", "I keep 7 in mind.", "Now 8.", "And now 8."):
        assert text in backend.seen()
    other.lms[0].close()


async def test_stored_responses(backend: Backend) -> None:
    """Retrieve, items put in, and delete, on the server that keeps it too."""
    backend.script("Hello.", "Bye.")
    lm = backend.lm()
    first = await lm.respond_async("Hi")
    assert first.response_id is not None
    again = await lm.responses.retrieve_async(first.response_id)
    assert (again.text, again.api_type) == ("Hello.", backend.api)
    items = await lm.responses.input_items_async(first.response_id)
    assert [text_of(item) for item in items] == ["Hi"]

    await lm.responses.delete_async(first.response_id)
    with pytest.raises(UnknownResponseError):
        await lm.responses.retrieve_async(first.response_id)


# --- the registry -----------------------------------------------------------------------------


def messages_lm(**options: object) -> tuple[LM, MessagesServer]:
    service = MessagesServer()
    register_vendor("acme", {"messages": lambda endpoint: MessagesVendor(service)})
    return LM("m-1", vendor="acme", **options), service  # type: ignore[arg-type]


async def test_an_option_of_its_own() -> None:
    """It is checked by its own check, merged and sent; another API does not have it."""
    lm, service = messages_lm(thinking={"budget": 1}, top_k=5)
    service.answers.append([{"type": "text", "text": "ok"}])
    await lm.respond_async("Hi", thinking={"budget": 2})
    assert service.requests[0]["options"] == {"thinking": {"budget": 2}, "top_k": 5}

    with pytest.raises(OptionError, match=r"thinking must be a dictionary such as .*not 5"):
        lm.respond("Hi", thinking=5)
    with pytest.raises(OptionError, match="thinking= is not an option of the responses API"):
        LM("gpt-5", api_key="k", thinking={})


async def test_deletion_reaches_its_server() -> None:
    """Its server keeps responses, so it is told to forget them."""
    lm, service = messages_lm()
    service.answers.append([{"type": "text", "text": "ok"}])
    response = await lm.respond_async("Hi")
    assert list(service.kept) == [response.response_id]
    await lm.responses.delete_async(response.response_id or "")
    assert service.kept == {}


def test_its_api_is_chosen_by_name() -> None:
    """`api=` takes what the row has, and nothing else."""
    lm, _ = messages_lm(api="messages")
    assert lm.api_type == "messages"
    assert repr(lm) == "LM('m-1', api='messages', head=None)"
    with pytest.raises(RoutingError, match="'acme' speaks messages, not 'chat'"):
        LM("m-1", vendor="acme", api="chat")
    with pytest.raises(RoutingError, match="'openai' speaks responses, chat, not 'messages'"):
        LM("gpt-5", api="messages", api_key="k")


def test_its_address_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of its own; the key goes to its own address alone."""
    endpoints = []

    def make(endpoint: registry.Endpoint) -> MessagesVendor:
        endpoints.append(endpoint)
        return MessagesVendor(MessagesServer())

    register_vendor(
        "acme",
        {"messages": make},
        base_url="https://acme.test/v1",
        base_url_variable="ACME_BASE_URL",
        api_key_variable="ACME_API_KEY",
    )
    with pytest.raises(MissingKeyError, match=r"no API key for acme\.test: set ACME_API_KEY"):
        LM("m-1", vendor="acme")

    monkeypatch.setenv("ACME_API_KEY", "secret-key")
    LM("m-1", vendor="acme")
    monkeypatch.setenv("ACME_BASE_URL", "https://proxy.test/v1/")
    LM("m-1", vendor="acme")
    assert [endpoint.base_url for endpoint in endpoints] == [
        "https://acme.test/v1",
        "https://proxy.test/v1",
    ]
    assert {endpoint.api_key for endpoint in endpoints} == {"secret-key"}
    assert "secret-key" not in repr(endpoints)
    with pytest.raises(MissingKeyError, match=r"no API key for elsewhere\.test"):
        LM("m-1", vendor="acme", base_url="https://elsewhere.test/v1")


@pytest.mark.parametrize(
    ("name", "apis", "message"),
    [
        ("openai", {"chat": MessagesVendor}, "'openai' is built in"),
        ("", {"chat": MessagesVendor}, "must be a string that is not empty, not ''"),
        ("acme", {}, "apis must be a dictionary from the name of an API"),
        ("acme", {"messages": 5}, r"apis\['messages'\] must be a function.*not 5"),
    ],
)
def test_rows_that_cannot_be(name: str, apis: object, message: str) -> None:
    """They are told when they are registered."""
    with pytest.raises(OptionError, match=message):
        register_vendor(name, apis)  # type: ignore[arg-type]


def test_what_a_row_makes_must_be_a_vendor() -> None:
    """Else the first call would fail in an unclear way."""
    register_vendor("acme", {"messages": lambda endpoint: "no vendor"})  # type: ignore[arg-type, return-value]
    with pytest.raises(OptionError, match="'acme' makes for the messages API must be a VendorBase"):
        LM("m-1", vendor="acme")


# --- the smallest vendor ----------------------------------------------------------------------


class Echo(VendorBase):
    """Only `respond` is written."""

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        return BaseLMResponse(raw_response=text_of(request.input[-1]))


async def test_only_respond_must_be_written() -> None:
    """Streams, ids, history, common options and closing have working defaults."""
    async with LM("any", vendor=Echo(), temperature=1, stop="END") as lm:
        response = await lm.respond_async("Hi")
        assert (response.text, response.api_type) == ("Hi", "custom")
        events = [event async for event in lm.stream_async("there")]
        assert [type(event) for event in events] == [TextDelta, Completed]
        assert await lm.models_async() == []
        with pytest.raises(
            OptionError, match="top_k= is an option of harmony, which the custom API"
        ):
            lm.respond("Hi", top_k=3)


def test_an_api_is_an_object_not_a_name() -> None:
    """`api_type` of a class is said to be `api`."""
    with pytest.raises(TypeError, match="api = API\\(name='grpc'"):
        type("Old", (Echo,), {"api_type": "grpc"})


def test_apis_compare_by_what_they_are() -> None:
    """Two objects of one API are equal, so a vendor may make its own."""
    assert API(name="grpc") == API(name="grpc")
    assert API(name="grpc").accepts("timeout")
    assert not API(name="grpc").accepts("top_k")
