"""What is wrong with a request is said in OpenAI's words, by the SDK's own errors."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from openai_api.asking import USER, ask
from openai_api.backends import APIS, FLAT_TOOL, make_lm
from servers.answers import Answer
from servers.errors import invalid_api_key, rate_limited
from servers.openai_fake import OpenAIServer
from synth_ai import LM, Price, openai_api
from synth_ai.testing import ScriptedVendor

RESPONSES = "/responses"
CHAT = "/chat/completions"


async def refused(path: str, body: Any, *, api: str = "harmony") -> tuple[int, dict[str, Any]]:
    """Send a request that is refused, and return the status and the error."""
    lm = make_lm(api)
    status, answer = await ask(lm, "POST", path, body)
    error = answer["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    return status, error


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"Hi"', b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}']
)
async def test_a_body_that_is_no_object(path: str, body: bytes) -> None:
    """Whatever the bytes are."""
    status, error = await refused(path, body)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert "JSON" in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": ["Hi"]}, "input"),
        ({"input": "Hi", "instructions": ["a"]}, "instructions"),
        ({"input": "Hi", "tools": {}}, "tools"),
        ({"input": "Hi", "stream": "yes"}, "stream"),
        ({"input": "Hi", "store": 1}, "store"),
        ({"input": "Hi", "metadata": {"a": 1}}, "metadata"),
        ({"input": "Hi", "previous_response_id": 5}, "previous_response_id"),
        ({"input": "Hi", "temperature": "hot"}, "temperature"),
        ({"input": "Hi", "temperature": 3}, "temperature"),
        ({"input": "Hi", "top_p": []}, "top_p"),
        ({"input": "Hi", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "Hi", "max_output_tokens": 1.5}, "max_output_tokens"),
        ({"input": "Hi", "reasoning": "low"}, "reasoning"),
        ({"input": "Hi", "reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"input": "Hi", "text": {"format": "json"}}, "text.format"),
        ({"input": "Hi", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "Hi", "text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"input": "Hi", "tool_choice": {"type": "function"}}, "tool_choice"),
        (
            {"input": "Hi", "stream_options": {"include_usage": True}},
            "stream_options.include_usage",
        ),
        ({"input": "Hi", "model": 5}, "model"),
    ],
)
async def test_a_field_of_a_wrong_type_or_value_is_named(body: Any, param: str) -> None:
    """Nothing is sent to the model."""
    status, error = await refused(RESPONSES, body)
    assert (status, error["param"]) == (400, param)
    assert param in error["message"]


@pytest.mark.parametrize(
    ("api", "path", "field", "value"),
    [
        ("harmony", RESPONSES, "user", "u1"),
        ("harmony", RESPONSES, "conversation", "conv_1"),
        ("harmony", RESPONSES, "background", True),
        ("harmony", RESPONSES, "prompt", {"id": "pmpt_1"}),
        ("harmony", RESPONSES, "include", ["file_search_call.results"]),
        ("harmony", RESPONSES, "no_such_field", 1),
        ("harmony", CHAT, "logit_bias", {"5": 1}),
        ("harmony", CHAT, "n", 2),
        ("harmony", CHAT, "functions", [{"name": "f"}]),
        ("responses", CHAT, "seed", 5),
        ("responses", CHAT, "stop", ["x"]),
        ("chat", RESPONSES, "max_tool_calls", 3),
        ("chat", RESPONSES, "extra_headers", {"authorization": "x"}),
    ],
)
async def test_what_the_lm_does_not_take_is_named(
    api: str, path: str, field: str, value: Any
) -> None:
    """No option is accepted and then ignored."""
    body = {"input": "Hi"} if path == RESPONSES else {"messages": USER}
    status, error = await refused(path, {**body, field: value}, api=api)
    assert (status, error["code"], error["param"]) == (400, "unsupported_parameter", field)
    assert f"'{field}'" in error["message"]


@pytest.mark.parametrize("api", APIS)
async def test_values_that_ask_for_nothing_pass(api: str) -> None:
    """Frameworks send defaults, which mean the same as nothing."""
    lm = make_lm(api, "One.", "Two.")
    defaults = {
        "background": False,
        "include": ["reasoning.encrypted_content"],
        "parallel_tool_calls": True,
        "prompt": None,
        "service_tier": "auto",
        "store": True,
        "stream": False,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tools": [],
        "truncation": "disabled",
        "user": None,
    }
    if api == "responses":
        # Told to leave it out, the stand-in would not know it.
        defaults.pop("include")
    status, _ = await ask(lm, "POST", RESPONSES, {"input": "Hi", **defaults})
    assert status == 200

    more = {"n": 1, "presence_penalty": 0, "frequency_penalty": 0, "modalities": ["text"]}
    status, answer = await ask(lm, "POST", CHAT, {"messages": USER, "logprobs": False, **more})
    assert status == 200, answer


async def test_another_model_is_not_found() -> None:
    """And the error says which there is."""
    client = openai_api.client(make_lm("harmony"))
    with pytest.raises(openai.NotFoundError, match="'gpt-9' does not exist here; there is 'm'"):
        await client.responses.create(model="gpt-9", input="Hi")
    with pytest.raises(openai.NotFoundError) as raised:
        await client.chat.completions.create(model="gpt-9", messages=USER)  # type: ignore[arg-type]
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize("api", ["chat", "harmony"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_previous_response(api: str, stream: bool) -> None:
    """With OpenAI's code, before a stream begins."""
    client = openai_api.client(make_lm(api, "One."))
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(
            model="m", input="Hi", previous_response_id="resp_none", stream=stream
        )
    assert raised.value.code == "previous_response_not_found"
    assert raised.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        await client.responses.delete("resp_none")


@pytest.mark.parametrize("api", ["chat", "harmony"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_is_not_kept(api: str, stream: bool) -> None:
    """`store=False` continues from what is there, and leaves nothing to continue from."""
    lm = make_lm(api, "One.", "Two.")
    client = openai_api.client(lm)
    first = await client.responses.create(model="m", input="Hi")
    second: Any = await client.responses.create(
        model="m", input="On", previous_response_id=first.id, store=False, stream=stream
    )
    if stream:
        events = [event async for event in second]
        second = events[-1].response

    assert second.store is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(second.id)
    with pytest.raises(openai.BadRequestError, match=second.id):
        await client.responses.create(model="m", input="On", previous_response_id=second.id)
    assert [stored.response_id for stored in await lm.responses.list_async()] == [first.id]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_previous_response_that_the_server_has_not(
    openai_server: OpenAIServer, hosted: Any, stream: bool
) -> None:
    """The server's own code comes through, and the field is named."""
    client = openai_api.client(hosted("responses", retry=False))
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(
            model="gpt-5", input="Hi", previous_response_id="resp_none", stream=stream
        )
    assert raised.value.code == "previous_response_not_found"
    assert raised.value.param == "previous_response_id"


async def test_a_picture_for_a_model_that_reads_text_alone() -> None:
    """It is refused, on both APIs."""
    url = "data:image/png;base64,iVBORw0KGgo="
    flat = [{"type": "input_image", "image_url": url, "detail": "auto"}]
    status, error = await refused(RESPONSES, {"input": [{"role": "user", "content": flat}]})
    assert (status, error["type"]) == (400, "invalid_request_error")
    nested = [{"type": "image_url", "image_url": {"url": url}}]
    status, error = await refused(CHAT, {"messages": [{"role": "user", "content": nested}]})
    assert status == 400
    assert "input_image" in error["message"]


async def test_a_call_without_its_output() -> None:
    """The id of the call is named."""
    client = openai_api.client(make_lm("responses", ("weather", {"city": "Oslo"})))
    asked = await client.responses.create(model="m", input="Hi", tools=[FLAT_TOOL])
    call_id = asked.output[-1].model_dump()["call_id"]
    with pytest.raises(openai.BadRequestError, match=call_id):
        await client.responses.create(model="m", input="On", previous_response_id=asked.id)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/embeddings", 404),
        ("GET", "/responses/a/b/c", 404),
        ("PUT", "/responses", 405),
        ("DELETE", "/models", 405),
        ("GET", "/responses/resp_none", 404),
        ("GET", "/responses/..%2F..%2Fmodels", 404),
        ("GET", "/responses/resp_none/input_items", 404),
        ("GET", "/responses/%20", 400),
    ],
)
async def test_routes_that_are_not_there(method: str, path: str, status: int) -> None:
    """In the same shape as every other error."""
    found, body = await ask(make_lm("harmony"), method, path, {})
    assert found == status
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"order": "up"}, {"after": "x"}])
async def test_a_page_that_there_is_not(query: dict[str, str]) -> None:
    """The field is named."""
    lm = make_lm("harmony", "One.")
    answer = await lm.respond_async("Hi")
    path = f"/responses/{answer.response_id}/input_items"
    status, body = await ask(lm, "GET", path, None, **query)
    assert (status, body["error"]["param"]) == (400, next(iter(query)))


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_the_server_s_own_errors_keep_their_status(
    openai_server: OpenAIServer, hosted: Any, api: str
) -> None:
    """With the waiting time, and without the key."""
    lm = hosted(api, retry=False)
    client = openai_api.client(lm)
    openai_server.enqueue(rate_limited(retry_after_ms=70))
    with pytest.raises(openai.RateLimitError) as limited:
        await client.responses.create(model="gpt-5", input="Hi")
    assert limited.value.response.headers["retry-after-ms"] == "70"
    assert limited.value.response.headers["retry-after"] == "1"

    key = openai_server.api_key
    openai_server.enqueue(invalid_api_key(key))
    with pytest.raises(openai.AuthenticationError) as denied:
        await client.responses.create(model="gpt-5", input="Hi", stream=True)
    assert key not in str(denied.value.body)


async def test_a_spending_cap_is_a_quota() -> None:
    """That is used up: the SDK does not try again."""
    vendor = ScriptedVendor(["one"])
    lm = LM("m", vendor=vendor, prices={"m": Price(1e6, 1e6)}, max_cost=0.001)
    client = openai_api.client(lm)
    await client.responses.create(model="m", input="Hi")
    with pytest.raises(openai.RateLimitError) as capped:
        await client.responses.create(model="m", input="Hi")
    assert capped.value.code == "insufficient_quota"
    assert capped.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_stream_that_breaks_off_is_an_error(
    openai_server: OpenAIServer, hosted: Any, api: str
) -> None:
    """It is no answer, on either API."""
    client = openai_api.client(hosted(api, retry=False))
    openai_server.enqueue(Answer(text="one two three four", cut_after=5))
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in await client.responses.create(model="gpt-5", input="Hi", stream=True):
            pass
    openai_server.enqueue(Answer(text="one two three four", cut_after=5))
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in await client.chat.completions.create(
            model="gpt-5",
            messages=USER,  # type: ignore[arg-type]
            stream=True,
        ):
            pass


async def test_a_closed_lm_answers_no_request() -> None:
    """As a request that cannot be made."""
    lm = LM("m", vendor=ScriptedVendor(["One."]))
    client = openai_api.client(lm)
    await lm.aclose()
    with pytest.raises(openai.BadRequestError, match="closed"):
        await client.responses.create(model="m", input="Hi")
