"""A history on its way to a chat server: what it cannot take stays behind, and is listed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from servers.checks import request_problems
from synth_ai import Turn, content
from synth_ai.errors import RequestError
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.chat.encode import COMPATIBLE, OPENAI, Dialect, encode_request
from synth_ai.lm.vendors.chat.history import adapt_history

USER = {"type": "message", "role": "user", "content": "Hi"}


def request(*new: dict[str, Any], **fields: Any) -> LMRequest:
    """A request with these new items, or with a plain greeting; options by their names."""
    names = {field.name for field in dataclasses.fields(LMRequest)}
    options = {name: fields.pop(name) for name in fields.keys() - names}
    options |= fields.pop("options", {})
    return LMRequest(model="gpt-5", input=new or (USER,), options=options, **fields)


# --- spoken answers ---------------------------------------------------------------------------

AUDIO = {"id": "audio_1", "data": "AAAA", "transcript": "Hello Ada", "expires_at": 100}


def spoken_turn(origin: str) -> Turn:
    """A turn that was answered aloud by the server at `origin`."""
    output = content.spoken_message(AUDIO)
    return Turn("resp_1", None, "chat", "gpt-audio", (USER,), (output,), server=origin)


@pytest.mark.parametrize(
    ("origin", "now", "said"),
    [
        ("here", 99, {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}),
        ("here", 101, {"role": "assistant", "content": "Hello Ada"}),
        ("there", 99, {"role": "assistant", "content": "Hello Ada"}),
    ],
)
def test_a_spoken_answer_goes_back_by_its_id_where_it_is_known(
    origin: str, now: float, said: dict[str, Any]
) -> None:
    """Elsewhere, or once it has expired, its transcript goes instead, and the response says so."""
    asked, notes = adapt_history(request(history=(spoken_turn(origin),)), server="here", now=now)
    body = encode_request(asked)
    assert body["messages"][1] == said
    assert bool(notes) is ("audio" not in said)
    assert all("1 spoken answer(s)" in note for note in notes)
    assert request_problems("/v1/chat/completions", body) == []


# --- conversations from elsewhere -------------------------------------------------------------


def moved(
    *output: dict[str, Any], dialect: Dialect = COMPATIBLE, api: str = "responses"
) -> list[str]:
    """The warnings of a call that goes on from a turn with this output, made on another API."""
    turn = Turn("resp_1", None, api, "gpt-5", (USER,), output)
    return adapt_history(request(history=(turn,)), dialect)[1]


def test_reasoning_that_a_chat_server_does_not_get_is_listed() -> None:
    """Ciphertext, what led to a finished answer, and on OpenAI's service all of it."""
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    plain = content.reasoning_item("Hm")
    call, answer = content.function_call("call_1", "add", "{}"), content.assistant_message("Hi")
    assert moved(plain, call) == []
    (unreadable,) = moved(secret, call)
    assert unreadable.startswith("1 reasoning item(s) of another backend were left out")
    assert "only the server that made it can read it" in unreadable
    (finished,) = moved(plain, plain, answer, api="harmony")
    assert finished.startswith("2 reasoning item(s)")
    (hosted,) = moved(plain, call, dialect=OPENAI)
    assert "OpenAI's chat API has no field for it" in hosted
    assert moved(plain, answer, api="chat") == []


# --- files ------------------------------------------------------------------------------------

FILE = {
    "type": "file",
    "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
}


INPUT_FILE = {
    "type": "input_file",
    "file_data": "data:application/pdf;base64,AAAA",
    "filename": "a.pdf",
}


def test_a_file_by_its_address_is_refused() -> None:
    """Chat Completions takes no address; in a history from elsewhere such a file is left out."""
    by_url = {
        **USER,
        "content": [{"type": "input_file", "file_url": "https://x.test/a.pdf"}, INPUT_FILE],
    }
    with pytest.raises(RequestError, match="file by URL"):
        encode_request(request(by_url))
    turn = Turn(
        "resp_1", None, "responses", "gpt-5", (by_url,), (content.assistant_message("Seen."),)
    )
    moved, notes = adapt_history(request(USER, history=(turn,)))
    assert encode_request(moved)["messages"][0]["content"] == [FILE]
    assert notes == ["Left out of the history, as the chat API has no counterpart: 1 input_file."]
