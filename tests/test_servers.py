"""The stand-in for OpenAI's service, proved against the real SDK.

Its bodies, its events, its memory, and its errors.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from servers import errors
from servers.answers import Answer, Raw, call, calls, connection_reset, truncated_json
from servers.checks import answer_problems, request_problems
from servers.openai_fake import OpenAIServer

Body = dict[str, Any]

WEATHER: Body = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": False,
}

ANSWERS = {
    "text": Answer(text="Hello, dear  user."),
    "reasoning": Answer(text="Hello.", reasoning="The user greets me."),
    "parallel calls": calls(
        call("get_weather", city="Paris"), call("get_weather", city="New York"), preamble="Wait."
    ),
    "refusal": Answer(refusal="I cannot help with that."),
    "incomplete": Answer(text="Once upon a", incomplete="max_output_tokens"),
    "nothing": Answer(reasoning="Thinking took all.", incomplete="max_output_tokens"),
    "failed": Answer(failed="server_error"),
    "stray events": Answer(text="Hi.", stray_events=({"type": "response.novelty", "novelty": 1},)),
}


@pytest.fixture
def client(openai_server: OpenAIServer) -> Iterator[openai.OpenAI]:
    """The real SDK without retries of its own."""
    with openai.OpenAI(
        base_url=openai_server.base_url, api_key=openai_server.api_key, max_retries=0, timeout=10
    ) as client:
        yield client


def post(server: OpenAIServer, path: str, body: Body) -> bytes:
    """The answer to a plain POST, byte for byte."""
    request = urllib.request.Request(
        server.base_url + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: bytes = answer.read()
        return content


def sent_events(stream: bytes) -> list[Body]:
    """The data of each server-sent event, `[DONE]` left out."""
    lines = [
        line.removeprefix("data: ")
        for line in stream.decode().splitlines()
        if line.startswith("data: ")
    ]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_the_check_of_requests_finds_what_the_types_do_not_allow() -> None:
    """The check must look into lists, at every depth, or it would wave everything through."""
    good = {
        "model": "gpt-5",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "tools": [WEATHER],
    }
    assert request_problems("/v1/responses", good) == []
    assert "bogus" in request_problems("/v1/responses", {**good, "bogus": 1})[0]
    assert (
        request_problems("/v1/responses", {**good, "bogus": 1}, allowed=frozenset({"bogus"})) == []
    )
    nested = {**WEATHER, "function": {"name": "get_weather"}}
    assert "function" in request_problems("/v1/responses", {**good, "tools": [nested]})[0]
    of_chat = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert request_problems("/v1/responses", {**good, "input": of_chat})
    assert request_problems("/v1/chat/completions", {"model": "gpt-5", "messages": of_chat}) == []
    assert request_problems(
        "/v1/chat/completions", {"model": "gpt-5", "messages": of_chat, "temperature": "hot"}
    )
    assert request_problems(
        "/v1/chat/completions", {"model": "gpt-5", "messages": [{"role": "user"}]}
    )


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_responses_have_the_shape_of_the_sdk(openai_server: OpenAIServer, answer: Answer) -> None:
    """Every body and every event must fit the SDK's models, or tests would pass on fiction."""
    body: Body = {
        "model": "gpt-5",
        "input": "Hi",
        "reasoning": {"summary": "auto"},
        "tools": [WEATHER],
    }
    body["include"] = ["reasoning.encrypted_content", "message.output_text.logprobs"]
    openai_server.enqueue(answer, answer)

    whole = json.loads(post(openai_server, "/responses", body))
    events = sent_events(post(openai_server, "/responses", {**body, "stream": True}))

    assert answer_problems("response", whole) == []
    documented = [event for event in events if event["type"] != "response.novelty"]
    assert [
        problem for event in documented for problem in answer_problems("response event", event)
    ] == []
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == f"response.{whole['status']}"
    assert [item["type"] for item in events[-1]["response"]["output"]] == [
        item["type"] for item in whole["output"]
    ]
    deltas = "".join(
        event["delta"] for event in events if event["type"] == "response.output_text.delta"
    )
    assert deltas == (answer.preamble or "") + (answer.text or "")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_chat_completions_have_the_shape_of_the_sdk(
    openai_server: OpenAIServer, answer: Answer
) -> None:
    """The same answers as Chat Completions: whole, and as chunks that add up to the same."""
    messages = [{"role": "user", "content": "Hi"}]
    body: Body = {"model": "gpt-5", "messages": messages, "logprobs": True}
    openai_server.enqueue(answer, answer)

    whole = json.loads(post(openai_server, "/chat/completions", body))
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    chunks = sent_events(post(openai_server, "/chat/completions", streamed))

    assert answer_problems("chat completion", whole) == []
    assert [problem for chunk in chunks for problem in answer_problems("chat chunk", chunk)] == []
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    said = "".join(delta.get("content") or "" for delta in deltas)
    assert said == (whole["choices"][0]["message"]["content"] or "")
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


def test_the_sdk_streams_a_response(openai_server: OpenAIServer, client: openai.OpenAI) -> None:
    """The SDK's own accumulator ends with the text, the calls and the usage that were scripted."""
    openai_server.enqueue(
        calls(call("get_weather", city="New York"), reasoning="I look it up.", text="One moment.")
    )
    with client.responses.stream(
        model="gpt-5",
        input="Weather?",
        tools=[WEATHER],  # type: ignore[list-item]
        reasoning={"summary": "auto"},
    ) as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert response.output_text == "One moment."
    assert "response.reasoning_summary_text.delta" in kinds
    assert "response.function_call_arguments.done" in kinds
    assert [item.type for item in response.output] == ["reasoning", "function_call", "message"]
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == 4


def test_the_sdk_streams_a_chat_completion(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """The SDK's own accumulator puts the tool calls together again."""
    openai_server.enqueue(
        calls(call("get_weather", city="New York"), call("get_weather", city="Rome"))
    )
    with client.chat.completions.stream(
        model="gpt-5",
        messages=[{"role": "user", "content": "Weather?"}],
        stream_options={"include_usage": True},
    ) as stream:
        completion = stream.get_final_completion()
    tool_calls = completion.choices[0].message.tool_calls or []
    assert [json.loads(tool_call.function.arguments) for tool_call in tool_calls] == [
        {"city": "New York"},
        {"city": "Rome"},
    ]
    assert completion.usage is not None


def test_a_chain_sees_the_history_but_not_the_instructions(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """`previous_response_id` brings back the items alone; one response can be continued twice."""
    first = client.responses.create(
        model="gpt-5", input="My name is Ada.", instructions="Be terse."
    )
    branches = [
        client.responses.create(model="gpt-5", input=name, previous_response_id=first.id)
        for name in ("A", "B")
    ]
    for name, branch in zip(("A", "B"), branches, strict=True):
        context = openai_server.context_of(branch.id)
        assert [item["type"] for item in context] == ["message", "reasoning", "message", "message"]
        assert [context[0]["content"], context[-1]["content"]] == ["My name is Ada.", name]
        assert branch.instructions is None
        assert branch.previous_response_id == first.id
        assert branch.output_text == f"You said: {name}"
    assert "instructions" not in openai_server.bodies[1]


def test_responses_are_stored_listed_and_deleted(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """The routes around create answer from the store.

    A deleted or unstored response is gone for all of them.
    """
    stored = client.responses.create(model="gpt-5", input="Hi")
    unstored = client.responses.create(model="gpt-5", input="Hi", store=False)
    assert client.responses.retrieve(stored.id).output_text == "You said: Hi"
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{openai_server.base_url}/responses/{stored.id}/input_items",
            headers={"Authorization": f"Bearer {openai_server.api_key}"},
        ),
        timeout=10,
    ) as answer:
        assert answer_problems("input items", json.load(answer)) == []
    items = list(client.responses.input_items.list(stored.id))
    assert [item.type for item in items] == ["message"]

    client.responses.delete(stored.id)

    assert openai_server.stored() == []
    for missing in (stored.id, unstored.id):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(missing)
        with pytest.raises(openai.BadRequestError) as refusal:
            client.responses.create(model="gpt-5", input="Hi", previous_response_id=missing)
        assert (refusal.value.code, refusal.value.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )


def test_every_parallel_call_needs_an_output(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """A chained turn is refused until each call of the turn before has its output."""
    paris, rome = call("get_weather", city="Paris"), call("get_weather", city="Rome")
    openai_server.enqueue(calls(paris, rome))
    asked = client.responses.create(model="gpt-5", input="Weather?", tools=[WEATHER])  # type: ignore[list-item]
    outputs: list[Any] = [
        {"type": "function_call_output", "call_id": each.call_id, "output": "sunny"}
        for each in (paris, rome)
    ]

    with pytest.raises(
        openai.BadRequestError, match=f"No tool output found for function call {rome.call_id}"
    ):
        client.responses.create(model="gpt-5", input=outputs[:1], previous_response_id=asked.id)
    with pytest.raises(
        openai.BadRequestError, match="No tool call found for function call output with call_id"
    ):
        client.responses.create(model="gpt-5", input=outputs)
    answered = client.responses.create(model="gpt-5", input=outputs, previous_response_id=asked.id)

    assert answered.output_text == "You said: sunny"


def test_replayed_items_must_be_whole(openai_server: OpenAIServer, client: openai.OpenAI) -> None:
    """Reasoning comes back with the true ciphertext and with what followed it.

    The real service insists on it.
    """
    openai_server.enqueue(Answer(text="Hello.", reasoning="The user greets me."))
    first = client.responses.create(
        model="gpt-5", input="Hi", store=False, include=["reasoning.encrypted_content"]
    )
    reasoning, message = [item.to_dict() for item in first.output]
    question: Body = {"role": "user", "content": "And?"}

    def replay(*items: Body) -> str:
        history: Any = [{"role": "user", "content": "Hi"}, *items, question]
        return client.responses.create(model="gpt-5", input=history, store=False).output_text

    assert replay(reasoning, message) == "You said: And?"
    with pytest.raises(openai.BadRequestError, match="could not be verified") as refusal:
        replay({**reasoning, "encrypted_content": "gAAAAAtoo-early=="}, message)
    assert refusal.value.code == "invalid_encrypted_content"
    with pytest.raises(openai.BadRequestError, match="without its required following item"):
        replay(reasoning)
    with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
        replay(
            {key: value for key, value in reasoning.items() if key != "encrypted_content"}, message
        )


def test_chat_wants_tool_messages_after_tool_calls(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """A chat history with an unanswered call is refused and the call named."""
    function = {"name": "get_weather", "arguments": "{}"}
    asked = {
        "role": "assistant",
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    messages: list[Any] = [{"role": "user", "content": "Weather?"}, asked]
    with pytest.raises(openai.BadRequestError, match="did not have response messages: call_1"):
        client.chat.completions.create(
            model="gpt-5", messages=[*messages, {"role": "user", "content": "Well?"}]
        )
    messages.append({"role": "tool", "tool_call_id": "call_1", "content": "sunny"})
    assert (
        client.chat.completions.create(model="gpt-5", messages=messages).choices[0].message.content
    )


ERRORS: dict[str, tuple[Raw, type[openai.APIStatusError], str | None]] = {
    "invalid key": (errors.invalid_api_key(), openai.AuthenticationError, "invalid_api_key"),
    "model not found": (errors.model_not_found("gpt-9"), openai.NotFoundError, "model_not_found"),
    "context": (
        errors.context_length_exceeded(),
        openai.BadRequestError,
        "context_length_exceeded",
    ),
    "parameter": (
        errors.unsupported_parameter("max_tokens"),
        openai.BadRequestError,
        "unsupported_parameter",
    ),
    "rate limit": (
        errors.rate_limited(retry_after_ms=20),
        openai.RateLimitError,
        "rate_limit_exceeded",
    ),
    "quota": (errors.insufficient_quota(), openai.RateLimitError, "insufficient_quota"),
    "500": (errors.server_error(), openai.InternalServerError, None),
    "503": (errors.server_error(503), openai.InternalServerError, None),
    "502 in HTML": (errors.bad_gateway(), openai.InternalServerError, None),
}


@pytest.mark.parametrize(("answer", "kind", "code"), ERRORS.values(), ids=ERRORS)
def test_scripted_errors_reach_the_caller(
    openai_server: OpenAIServer,
    client: openai.OpenAI,
    answer: Raw,
    kind: type[openai.APIStatusError],
    code: str | None,
) -> None:
    """The SDK reads status, code, request id and headers out of each error."""
    openai_server.enqueue(answer)
    with pytest.raises(kind) as raised:
        client.responses.create(model="gpt-5", input="Hi")
    assert raised.value.status_code == answer.status
    assert raised.value.code == code
    assert raised.value.request_id is not None
    for name, value in answer.headers.items():
        assert raised.value.response.headers[name] == value


def test_zero_data_retention_refuses_chains_and_stores_nothing(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """An organisation without storage gets answers, and a 400 when it tries to continue one."""
    openai_server.zero_data_retention = True
    first = client.responses.create(model="gpt-5", input="Hi")
    with pytest.raises(openai.BadRequestError, match="Zero Data Retention"):
        client.responses.create(model="gpt-5", input="And?", previous_response_id=first.id)
    assert openai_server.stored() == []


def test_keys_are_asked_for(openai_server: OpenAIServer) -> None:
    """A wrong key is refused without a script, and the request is recorded all the same."""
    with (
        openai.OpenAI(base_url=openai_server.base_url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"),
    ):
        client.models.list()
    assert openai_server.requests[0].headers["authorization"] == "Bearer sk-wrong"


def test_models_are_listed(openai_server: OpenAIServer, client: openai.OpenAI) -> None:
    """The list of models has the service's shape."""
    models = list(client.models.list())
    assert [model.id for model in models] == openai_server.models
    assert [
        problem for model in models for problem in answer_problems("model", model.to_dict())
    ] == []


BROKEN: dict[str, tuple[Answer, Callable[[openai.OpenAI], object], type[Exception]]] = {
    "reset": (
        connection_reset(),
        lambda client: client.responses.create(model="gpt-5", input="Hi"),
        openai.APIConnectionError,
    ),
    "truncated": (
        truncated_json(),
        lambda client: client.responses.create(model="gpt-5", input="Hi"),
        json.JSONDecodeError,
    ),
    "late": (
        Answer(text="Hi", hold=threading.Event()),
        lambda client: client.with_options(timeout=0.1).responses.create(model="gpt-5", input="Hi"),
        openai.APITimeoutError,
    ),
    "stream reset": (
        Answer(text="a b c d", cut_after=5, reset=True),
        lambda client: list(client.responses.create(model="gpt-5", input="Hi", stream=True)),
        Exception,  # an error of the SDK's HTTP library, another one in each major version
    ),
    "chat stream error": (
        Answer(text="a b c d", stream_error="server_error"),
        lambda client: list(
            client.chat.completions.create(
                model="gpt-5", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
        ),
        openai.APIError,
    ),
}


@pytest.mark.parametrize(("answer", "use", "kind"), BROKEN.values(), ids=BROKEN)
def test_broken_deliveries(
    openai_server: OpenAIServer,
    client: openai.OpenAI,
    answer: Answer,
    use: Callable[[openai.OpenAI], object],
    kind: type[Exception],
) -> None:
    """Every way that an answer can break on its way shows at the caller as what it is."""
    openai_server.enqueue(answer)
    with pytest.raises(kind):
        use(client)
    assert openai_server.unused == []


def test_a_stream_may_end_without_its_last_event(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """An orderly end in the middle raises nothing in the SDK, so whoever reads must notice it."""
    openai_server.enqueue(Answer(text="a b c d", cut_after=5))
    events = list(client.responses.create(model="gpt-5", input="Hi", stream=True))
    assert [event.type for event in events][-1] == "response.output_text.delta"


def test_a_stream_may_end_with_an_error_event(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """On Responses the SDK takes an `error` event for one among others, so readers must raise."""
    openai_server.enqueue(Answer(text="a b c d", stream_error="server_error"))
    last = list(client.responses.create(model="gpt-5", input="Hi", stream=True))[-1]
    assert last.type == "error"
    assert last.code == "server_error"


def test_an_error_body_with_status_200(openai_server: OpenAIServer, client: openai.OpenAI) -> None:
    """The SDK takes an error body under status 200 for a response without an id.

    So whoever reads must notice it.
    """
    openai_server.enqueue(errors.error_with_status_200())
    response = client.responses.create(model="gpt-5", input="Hi")
    assert response.error is not None
    assert not getattr(response, "id", None)


def test_a_held_stream_goes_on_or_is_abandoned(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """A test can stop a stream between two events, let it go on, and see that a client left."""
    for leave in (False, True):
        hold = threading.Event()
        openai_server.enqueue(Answer(text="a b c d", hold=hold, hold_at=6))
        stream = client.responses.create(model="gpt-5", input="Hi", stream=True)
        read = [next(stream).type for _ in range(6)]
        request = openai_server.requests[-1]
        assert read[-2:] == ["response.output_text.delta", "response.output_text.delta"]
        assert not request.delivered.is_set()
        if leave:
            stream.close()
            assert request.abandoned.wait(5)
        else:
            hold.set()
            assert [event.type for event in stream][-1] == "response.completed"
            assert request.delivered.wait(5)


def test_violations_are_told(openai_server: OpenAIServer, client: openai.OpenAI) -> None:
    """What the SDK's types do not allow is recorded, unless the test says that it is meant."""
    client.responses.create(model="gpt-5", input="Hi", extra_body={"top_k": 5})
    assert "top_k" in openai_server.violations.pop()
    openai_server.allowed.add("top_k")
    client.responses.create(model="gpt-5", input="Hi", extra_body={"top_k": 5})
    assert openai_server.violations == []
    assert openai_server.bodies[-1]["top_k"] == 5


def test_parallel_calls_are_answered_by_a_function(
    openai_server: OpenAIServer, client: openai.OpenAI
) -> None:
    """Calls that arrive in any order can each get their own answer."""
    openai_server.respond_with(lambda request: Answer(text=request.body["input"].upper()))
    answers: dict[str, str] = {}

    def ask(word: str) -> None:
        answers[word] = client.responses.create(model="gpt-5", input=word).output_text

    threads = [threading.Thread(target=ask, args=(f"word {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == {f"word {number}": f"WORD {number}" for number in range(8)}


def test_an_answer_takes_a_few_milliseconds(openai_server: OpenAIServer) -> None:
    """Hundreds of tests lean on this server, so an answer must cost next to nothing."""
    body = {"model": "gpt-5", "input": "Hi"}
    post(openai_server, "/responses", body)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        post(openai_server, "/responses", body)
        took.append(time.perf_counter() - start)
    assert sorted(took)[10] < 0.02
