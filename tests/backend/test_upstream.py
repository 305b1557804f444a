"""A backend in front of a server: bodies pass byte for byte, and what it answers is kept."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from backend.conftest import StartBackend
from servers.answers import Answer, Raw, call, calls
from servers.openai_fake import OpenAIServer
from synth_ai.backend import KeyFile, Limits, UsageRecord

http = pytest.importorskip("httpx2" if openai.__version__ >= "3" else "httpx")

KEY = {"authorization": "Bearer sk-test"}


def ask(url: str, text: str = "Hello.", headers: Any = KEY, **fields: Any) -> Any:
    body = {"model": "gpt-oss-20b", "input": text, **fields}
    return http.post(f"{url}/responses", json=body, headers=headers)


def test_bodies_pass_byte_for_byte_in_both_directions(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    body = b'{ "model" : "gpt-oss-20b","input":"Hi",  "unknown_field": 1.50 }'
    openai_server.allowed = {"unknown_field"}
    answer = b'{"id": "resp_1",  "object": "response", "output": [], "status":"completed" }'
    openai_server.enqueue(Raw(answer))

    got = http.post(f"{url}/responses", content=body, headers=KEY)

    assert got.content == answer
    assert openai_server.requests[-1].body == json.loads(body)
    assert openai_server.requests[-1].headers["authorization"] == "Bearer sk-test"


def test_a_conversation_continues_by_id_where_the_server_keeps_it(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    first = ask(url, "My name is Ada.").json()

    second = ask(url, "And now?", previous_response_id=first["id"]).json()

    assert second["previous_response_id"] == first["id"]
    assert openai_server.bodies[-1]["previous_response_id"] == first["id"]
    assert openai_server.bodies[-1]["input"] == "And now?"


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_the_server_forgot_goes_out_whole(
    start_backend: StartBackend, openai_server: OpenAIServer, stream: bool
) -> None:
    url = start_backend()
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": False}
    first = ask(url, "My name is Ada.", instructions="Be brief.", tools=[tool]).json()
    openai_server.forget(first["id"])

    answer = ask(url, "And now?", previous_response_id=first["id"], stream=stream)

    second = read_response(answer.text) if stream else answer.json()
    assert second["previous_response_id"] == first["id"]
    sent = openai_server.bodies[-1]
    assert "previous_response_id" not in sent
    assert sent["instructions"] == "Be brief."
    assert [each["name"] for each in sent["tools"]] == ["f"]
    roles = [item["role"] for item in sent["input"] if "role" in item]
    assert roles == ["user", "assistant", "user"]

    # And on from there, by the id of a response that the server never heard of in this form.
    third = ask(url, "Again?", previous_response_id=second["id"]).json()
    assert third["previous_response_id"] == second["id"]


def test_a_server_that_says_it_keeps_nothing_is_believed(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    kept_nothing = make_body("resp_1", "Hi Ada.", store=False)
    openai_server.enqueue(Raw(kept_nothing))
    ask(url, "My name is Ada.")

    ask(url, "And now?", previous_response_id="resp_1")

    assert "previous_response_id" not in openai_server.bodies[-1]
    roles = [item["role"] for item in openai_server.bodies[-1]["input"]]
    assert roles == ["user", "assistant", "user"]


def test_streams_pass_byte_for_byte_as_they_come(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    hold = threading.Event()
    openai_server.enqueue(Answer(text="one two three", hold=hold, hold_at=5))

    body = {"model": "gpt-oss-20b", "input": "Count.", "stream": True}
    with http.stream("POST", f"{url}/responses", json=body, headers=KEY) as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        assert b"response.created" in first
        hold.set()
        content = first + b"".join(pieces)

    assert answer.headers["content-type"].startswith("text/event-stream")
    response = read_response(content.decode())
    stored = http.get(f"{url}/responses/{response['id']}", headers=KEY).json()
    assert stored["output"][0]["content"][0]["text"] == "one two three"
    assert stored["id"] == response["id"]


def test_the_query_asks_for_a_stream_too(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    body = {"model": "gpt-oss-20b", "input": "Hi"}

    answer = http.post(f"{url}/responses?stream=true", json=body, headers=KEY)

    assert openai_server.bodies[-1]["stream"] is True
    assert read_response(answer.text)["status"] == "completed"


def test_responses_are_retrieved_listed_and_deleted(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    first = ask(url, "My name is Ada.").json()
    second = ask(url, "And now?", previous_response_id=first["id"]).json()

    items = http.get(f"{url}/responses/{second['id']}/input_items?order=asc", headers=KEY).json()
    assert [item["type"] for item in items["data"] if item["type"] != "reasoning"] == [
        "message"
    ] * 3
    assert items["data"][-1]["content"] == [{"type": "input_text", "text": "And now?"}]
    page = http.get(f"{url}/responses/{second['id']}/input_items?limit=1", headers=KEY).json()
    assert (len(page["data"]), page["has_more"]) == (1, True)

    gone = http.delete(f"{url}/responses/{second['id']}", headers=KEY).json()
    assert gone == {"id": second["id"], "object": "response", "deleted": True}
    assert openai_server.stored() == [first["id"]]
    assert http.get(f"{url}/responses/{second['id']}", headers=KEY).status_code == 404


def test_a_response_that_is_made_in_the_background_is_asked_for_by_its_key_alone(
    start_backend: StartBackend, openai_server: OpenAIServer, tmp_path: Path
) -> None:
    url = start_backend(keys=make_keys(tmp_path), upstream_key="sk-test")
    ada = {"authorization": f"Bearer {(tmp_path / 'ada').read_text()}"}
    bob = {"authorization": f"Bearer {(tmp_path / 'bob').read_text()}"}
    begun = ask(url, "Think.", ada, background=True).json()
    assert begun["status"] in ("queued", "in_progress")

    one = f"{url}/responses/{begun['id']}"
    assert http.get(one, headers=bob).status_code == 404
    statuses = [http.get(one, headers=ada).json()["status"] for _ in range(4)]
    assert statuses[-1] == "completed"

    asked = len(openai_server.requests)
    kept = http.get(one, headers=ada).json()
    assert kept["output"]
    assert len(openai_server.requests) == asked


def test_a_response_that_others_continue_is_deleted_nowhere(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    first = ask(url, "My name is Ada.").json()
    ask(url, "And now?", previous_response_id=first["id"])

    refused = http.delete(f"{url}/responses/{first['id']}", headers=KEY)

    assert refused.status_code == 409
    assert first["id"] in openai_server.stored()


@pytest.mark.parametrize("response_id", ["..", "%2e%2e", "..%2Fmodels", "a%2Fb", "%00", "a%3Fb=c"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_id_is_one_segment_of_the_server_s_path(
    start_backend: StartBackend, openai_server: OpenAIServer, method: str, response_id: str
) -> None:
    url = start_backend()
    host, port = url.removeprefix("http://").removesuffix("/api/v1").split(":")
    path = f"/api/v1/responses/{response_id}"
    with socket.create_connection((host, int(port))) as connection:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\n"
        connection.sendall(f"{head}connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.split(b" ")[1] in (b"400", b"404")
    for request in openai_server.requests:
        assert request.path.startswith("/v1/responses/")


def test_store_false_keeps_nothing(
    start_backend: StartBackend, openai_server: OpenAIServer, tmp_path: Path
) -> None:
    url = start_backend(store=tmp_path / "turns.db", keys=make_keys(tmp_path))
    headers = {"authorization": f"Bearer {(tmp_path / 'ada').read_text()}"}

    answer = ask(url, "Secret.", headers, store=False).json()

    assert http.get(f"{url}/responses/{answer['id']}", headers=headers).status_code == 404


def test_the_models_are_the_two_whatever_the_server_lists(
    start_backend: StartBackend,
) -> None:
    url = start_backend()
    models = http.get(f"{url}/models", headers=KEY).json()
    assert [model["id"] for model in models["data"]] == ["gpt-oss-20b", "gpt-oss-120b"]

    answer = http.post(f"{url}/responses", json={"model": "gpt-5", "input": "Hi"}, headers=KEY)
    assert answer.status_code == 404
    assert "gpt-oss-20b and gpt-oss-120b" in answer.json()["error"]["message"]


def test_chat_completions_go_the_same_way(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    records: list[UsageRecord] = []
    url = start_backend(on_usage=records.append)
    body = {"model": "gpt-oss-20b", "messages": [{"role": "user", "content": "Hi"}]}

    whole = http.post(f"{url}/chat/completions", json=body, headers=KEY).json()
    streamed = http.post(
        f"{url}/chat/completions",
        json={**body, "stream": True, "stream_options": {"include_usage": True}},
        headers=KEY,
    )

    assert whole["choices"][0]["message"]["content"] == "You said: Hi"
    assert streamed.text.rstrip().endswith("data: [DONE]")
    wait_for(lambda: len(records) == 2)
    assert [(record.api, record.status) for record in records] == [("chat", "completed")] * 2
    assert all(record.input_tokens and record.output_tokens for record in records)


def test_the_openai_sdk_takes_it_as_its_base_url(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    openai_server.enqueue(calls(call("get_weather", city="Oslo")), Answer(text="Mild."))
    with openai.OpenAI(base_url=url, api_key="sk-test") as client:
        asked = client.responses.create(model="gpt-oss-20b", input="Weather?")
        assert asked.output[0].type == "function_call"
        output: Any = {
            "type": "function_call_output",
            "call_id": asked.output[0].call_id,
            "output": "sunny",
        }
        answer = client.responses.create(
            model="gpt-oss-20b", input=[output], previous_response_id=asked.id
        )
        assert answer.output_text == "Mild."
        assert client.responses.retrieve(answer.id).output_text == "Mild."
        client.responses.delete(answer.id)


# --- keys, limits, usage ------------------------------------------------------------------------


def test_a_key_is_needed_and_a_wrong_one_says_so(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    url = start_backend(keys=make_keys(tmp_path))

    missing = ask(url, headers={})
    wrong = ask(url, headers={"authorization": "Bearer sk-synth-wrong"})

    assert (missing.status_code, wrong.status_code) == (401, 401)
    assert missing.json()["error"]["code"] == "missing_api_key"
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert "sk-synth-wrong" not in wrong.text


def test_keys_see_their_own_responses_alone(
    start_backend: StartBackend, openai_server: OpenAIServer, tmp_path: Path
) -> None:
    url = start_backend(keys=make_keys(tmp_path))
    ada = {"authorization": f"Bearer {(tmp_path / 'ada').read_text()}"}
    bob = {"authorization": f"Bearer {(tmp_path / 'bob').read_text()}"}
    first = ask(url, "My name is Ada.", ada).json()
    item_id = first["output"][0]["id"]
    sent = len(openai_server.requests)

    one = f"{url}/responses/{first['id']}"
    refused = [
        http.get(one, headers=bob),
        http.delete(one, headers=bob),
        http.get(f"{one}/input_items", headers=bob),
        ask(url, "And?", bob, previous_response_id=first["id"]),
        ask(url, headers=bob, input=[{"type": "item_reference", "id": item_id}]),
        http.get(f"{url}/responses/resp_unknown", headers=bob),
        ask(url, headers=bob, previous_response_id="resp_unknown"),
    ]

    assert [answer.status_code for answer in refused] == [404] * 7
    assert len(openai_server.requests) == sent
    assert http.get(one, headers=ada).json()["id"] == first["id"]
    assert ask(url, "And?", ada, previous_response_id=first["id"]).status_code == 200


def test_callers_whose_keys_go_on_do_not_see_each_other_either(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    url = start_backend()
    first = ask(url, "My name is Ada.").json()

    other = {"authorization": "Bearer sk-other"}
    assert http.get(f"{url}/responses/{first['id']}", headers=other).status_code == 404
    assert ask(url, "And?", other, previous_response_id=first["id"]).status_code == 404


def test_limits_are_kept_and_told(start_backend: StartBackend) -> None:
    url = start_backend(limits=Limits(requests_per_minute=2, tokens_per_minute=100_000))

    first, second, third = ask(url), ask(url), ask(url)

    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(second.headers["x-ratelimit-remaining-tokens"]) < 100_000
    assert third.status_code == 429
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(third.headers["retry-after"]) <= 30


def test_a_body_that_is_too_long_is_refused_unread(start_backend: StartBackend) -> None:
    url = start_backend(limits=Limits(max_body_bytes=1000))
    answer = ask(url, "x" * 2000)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_usage_is_recorded_once_for_each_response(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    records: list[UsageRecord] = []
    url = start_backend(on_usage=records.append)
    openai_server.enqueue(Answer(text="cut", incomplete="max_output_tokens"))
    ask(url, stream=True)
    ask(url)
    openai_server.enqueue(Raw({"error": {"message": "No."}}, status=400))
    assert ask(url).status_code == 400

    wait_for(lambda: len(records) == 2)
    assert [record.status for record in records] == ["incomplete", "completed"]
    assert all(record.total_tokens for record in records)
    assert len({record.id for record in records}) == 2


def test_a_client_that_leaves_cancels_the_server_s_work(
    start_backend: StartBackend, openai_server: OpenAIServer
) -> None:
    records: list[UsageRecord] = []
    is_recorded = threading.Event()

    def note(record: UsageRecord) -> None:
        records.append(record)
        is_recorded.set()

    url = start_backend(on_usage=note)
    hold = threading.Event()
    openai_server.enqueue(Answer(text="one two three four", hold=hold, hold_at=6))
    body = {"model": "gpt-oss-20b", "input": "Count.", "stream": True}

    with http.stream("POST", f"{url}/responses", json=body, headers=KEY) as answer:
        next(answer.iter_bytes())
    try:
        assert openai_server.requests[-1].abandoned.wait(10)
        assert is_recorded.wait(10)
    finally:
        hold.set()

    assert [record.status for record in records] == ["aborted"]
    assert records[0].response_id is not None


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b'{"model": 5, "input": "Hi"}', 404)],
)
def test_bodies_that_cannot_be_read_are_refused_in_openai_s_shape(
    start_backend: StartBackend, content: bytes, status: int
) -> None:
    url = start_backend()
    answer = http.post(f"{url}/responses", content=content, headers=KEY)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/nothing", "/responses/a/b/c", "/"])
def test_unknown_routes_are_not_found(start_backend: StartBackend, path: str) -> None:
    url = start_backend()
    answer = http.get(f"{url}{path}", headers=KEY)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_a_server_that_is_down_is_told_without_its_address(start_backend: StartBackend) -> None:
    url = start_backend(upstream="http://127.0.0.1:1/v1")
    answer = ask(url)
    assert answer.status_code == 503
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_that_breaks_off_is_not_taken_for_whole(
    start_backend: StartBackend, openai_server: OpenAIServer, tmp_path: Path, reset: bool
) -> None:
    records: list[UsageRecord] = []
    url = start_backend(on_usage=records.append, keys=make_keys(tmp_path))
    headers = {"authorization": f"Bearer {(tmp_path / 'ada').read_text()}"}
    openai_server.enqueue(Answer(text="one two three", cut_after=4, reset=reset))

    body = {"model": "gpt-oss-20b", "input": "Count.", "stream": True}
    answer = http.post(f"{url}/responses", json=body, headers=headers)

    assert "response.completed" not in answer.text
    *_, last = read_events(answer.text)
    assert (last["type"], last["code"]) == ("error", "server_error")
    response_id = read_response(answer.text).get("id", "resp_unknown")
    assert http.get(f"{url}/responses/{response_id}", headers=headers).status_code == 404
    wait_for(lambda: len(records) == 1)
    assert [record.status for record in records] == ["aborted"]


def test_health_and_metrics(start_backend: StartBackend) -> None:
    url = start_backend()
    ask(url)
    base = url.removesuffix("/api/v1")

    assert http.get(f"{base}/health").json()["status"] == "ok"
    text = http.get(f"{base}/metrics").text
    assert 'synth_requests_total{route="/responses",status="200"} 1.0' in text
    assert 'synth_responses_total{status="completed"} 1.0' in text
    document = http.get(f"{base}/openapi.json").json()
    tags = document["paths"]["/api/v1/responses"]["post"]["tags"]
    assert tags == ["learning-v2", "responses"]


# --- helpers --------------------------------------------------------------------------------------


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait for what comes just after the last byte of an answer, such as its record."""
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)


def make_keys(folder: Path) -> KeyFile:
    """Two keys, each of which is in a file of its owner's name, too."""
    keys = KeyFile(folder / "keys")
    for name in ("ada", "bob"):
        (folder / name).write_text(keys.add(name))
    return keys


def make_body(response_id: str, text: str, **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {
        "type": "message",
        "id": f"msg_{response_id}",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": response_id,
        "object": "response",
        "status": "completed",
        "model": "gpt-oss-20b",
        "output": [message],
        **fields,
    }


def read_events(text: str) -> list[dict[str, Any]]:
    """The events of a stream that are whole."""
    events = []
    for event in text.split("\n\n"):
        _, _, data = event.partition("data: ")
        if data.endswith("}"):
            events.append(json.loads(data))
    return events


def read_response(text: str) -> dict[str, Any]:
    """The response that the last event with one has."""
    response: dict[str, Any] = {}
    for event in read_events(text):
        response = event.get("response") or response
    return response
