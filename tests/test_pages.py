"""The pages of the docs about one job each: their code runs, and does what they say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from servers.answers import Answer, Raw, call, calls
from servers.delivery import Received
from servers.openai_fake import OpenAIServer, echo
from test_guide import BLOCK, DOCS

KEY = "sk-of-the-service-0123456789"

http = pytest.importorskip("httpx2" if openai.__version__ >= "3" else "httpx")


@pytest.fixture(autouse=True)
def openai_is_the_fake(
    openai_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def run_page(name: str) -> dict[str, Any]:
    """Run the blocks of a page from the top to the end, and return the names that they made."""
    names: dict[str, Any] = {}
    for no_run, code in BLOCK.findall((DOCS / name).read_text(encoding="utf-8")):
        compiled = compile(code, name, "exec")
        if not no_run:
            exec(compiled, names)
    return names


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a thread, and give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="asyncio", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture
def service() -> Iterator[str]:
    # FastAPI resolves annotations in the module of a function, which a page does not have.
    names = run_page("web-services.md")
    with serve(names["app"]) as url:
        yield url


def test_a_service_answers_and_continues_each_user_s_conversation(service: str) -> None:
    first = http.post(f"{service}/answer", json={"text": "My name is Ada."}).json()
    other = http.post(f"{service}/answer", json={"text": "My name is Bob."}).json()

    again = {"text": "And now?", "previous_response_id": first["response_id"]}
    second = http.post(f"{service}/answer", json=again).json()

    assert first["text"] == "You said: My name is Ada."
    assert second["text"] == "You said: And now?"
    assert len({first["response_id"], other["response_id"], second["response_id"]}) == 3


def test_a_service_streams(service: str, openai_server: OpenAIServer) -> None:
    openai_server.enqueue(Answer(text="one two three"))

    with http.stream("POST", f"{service}/stream", json={"text": "Count."}) as answer:
        texts = list(answer.iter_text())

    assert answer.status_code == 200
    assert "".join(texts) == "one two three"


@pytest.mark.parametrize("path", ["answer", "stream"])
@pytest.mark.parametrize(("status", "shown"), [(400, 502), (401, 502), (429, 429), (503, 503)])
def test_what_the_server_refuses_is_a_status_before_the_first_byte(
    service: str, openai_server: OpenAIServer, path: str, status: int, shown: int
) -> None:
    refusal = Raw({"error": {"message": f"No. {KEY}"}}, status=status)
    openai_server.enqueue(*[refusal] * 5)

    answer = http.post(f"{service}/{path}", json={"text": "Hello."}, timeout=60)

    openai_server.respond_with(echo)
    openai_server._queues.clear()
    assert answer.status_code == shown
    assert KEY not in answer.text


def test_an_unknown_id_is_not_found_and_an_empty_prompt_is_a_bad_request(service: str) -> None:
    unknown = {"text": "Hello.", "previous_response_id": ""}

    answer = http.post(f"{service}/answer", json=unknown)

    assert answer.status_code == 400
    assert "previous_response_id" in answer.json()["error"]


def test_a_client_that_leaves_aborts_the_call(service: str, openai_server: OpenAIServer) -> None:
    hold = threading.Event()
    openai_server.enqueue(Answer(text="one two three four", hold=hold, hold_at=6))

    with http.stream("POST", f"{service}/stream", json={"text": "Count."}) as answer:
        next(answer.iter_text())

    try:
        assert openai_server.requests[-1].abandoned.wait(10)
    finally:
        hold.set()


def test_the_chat_loops_run(
    openai_server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(received: Received) -> Answer | Raw:
        is_first = isinstance(received.body.get("input"), str)
        if received.body.get("tools") and is_first and "wear" in received.body["input"]:
            return calls(call("get_weather", city="Oslo"))
        return echo(received)

    openai_server.respond_with(answer)

    run_page("chat-loops.md")

    printed = capsys.readouterr().out.splitlines()
    assert printed.count("You said: What is my name?") == 3
    assert "You said: And why?" in printed


def answer_in_shape(received: Received) -> Answer | Raw:
    """What the page on typed answers asks for; of Atlantis nobody knows how many live there."""
    question = received.body["input"]
    shape = received.body.get("text", {}).get("format", {}).get("name")
    if shape is None:
        return echo(received)
    if shape == "City" and ("Atlantis" in question or "inhabitants" in question):
        return Answer(text='{"name": "Atlantis", "inhabitants": 0}')

    oslo = '{"name": "Oslo", "inhabitants": 700000}'
    if question.startswith("Three"):
        return Answer(text=f'{{"value": [{oslo}]}}')
    if question == "A name?":
        return Answer(text='{"name": "Oslo"}')
    return Answer(text=oslo)


def test_the_typed_answers_are_typed(
    openai_server: OpenAIServer, capsys: pytest.CaptureFixture[str]
) -> None:
    openai_server.respond_with(answer_in_shape)

    names = run_page("typed-answers.md")

    city = names["City"](name="Oslo", inhabitants=700_000)
    assert names["city"] == names["oslo"] == names["again"].answer.structured_output == city
    assert names["cities"] == [city]
    assert names["plain"] == {"name": "Oslo"}
    assert [answer.structured_output for answer in names["answers"]] == [city, city]
    assert names["text"] == "You said: Tell me more."
    assert names["checked"].tries == 1
    printed = capsys.readouterr().out
    assert "has no JSON schema" in printed
    assert printed.count('"name": "Atlantis"') == 2
    assert "\nOs\n" in printed or "\nOslo\n" in printed


def call_tools(received: Received) -> Answer | Raw:
    """The tools that a question of the page is about, then what they gave."""
    question = received.body.get("input")
    if not received.body.get("tools") or not isinstance(question, str):
        return echo(received)
    if question == "Tidy up.":
        return calls(call("delete", path="/tmp/a"), call("delete", path="/etc/passwd"))
    if question.startswith("Delete"):
        return calls(call("delete", path="/tmp/notes"))
    if question.startswith("What will"):
        return calls(call("forecast", city="Oslo", days=2))
    return calls(call("get_weather", city="Oslo"))


def test_the_tool_runs_run(openai_server: OpenAIServer, capsys: pytest.CaptureFixture[str]) -> None:
    openai_server.respond_with(call_tools)

    names = run_page("tool-runs.md")

    printed = capsys.readouterr().out
    assert "You said: 21 degrees and sunny in Oslo" in printed
    assert 'get_weather runs with {"city": "Oslo"}' in printed
    assert names["streamed"].responses[-1].text == "You said: 21 degrees and sunny in Oslo"
    assert "You said: deleted by hand" in printed
    assert names["run"].steps[0].results[0].output == "sunny: {'city': 'Oslo', 'days': 2}"
    told = [
        item["output"]
        for received in openai_server.requests
        if isinstance(received.body["input"], list)
        for item in received.body["input"]
    ]
    assert "deleted /trash/tmp/a" in told
    assert "Nothing below /etc may be deleted." in told
