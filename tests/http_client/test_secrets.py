"""A key, wherever a caller puts it or an error repeats it, is not shown, logged or stored."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from servers import errors as failures
from servers.answers import Answer, Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, RetryPolicy
from synth_ai.errors import AuthenticationFailedError, SynthAIError
from synth_ai.http.secrets import Secrets

Hosted = Callable[..., LM]
APIS = ("chat", "responses")
KEY = "sk-secret-0123456789abcdef"


async def test_a_word_that_serves_as_a_key_stays_in_answers(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Local servers take any word for a key; an answer with that word in it is not garbled."""
    openai_server.enqueue(Answer(text="Ask me anything, Shakespeare."))
    lm = hosted("chat", api_key="anything", extra_headers={"X-Author": "Shakespeare 1564"})
    assert (await lm.respond_async("Hi")).text == "Ask me anything, Shakespeare."


# --- places ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the key is, besides in the LM's own `api_key`.

    Attributes:
        answers: what the server says, before it answers as always.
        call: more arguments of the call.
        own: the LM is given the key as `api_key`; otherwise the key is only in `call` or in the
            environment.
        environment: variables to set.
        lm: more arguments of the LM.
        streamed: the call is a stream.
        sent: the key goes out at all.
    """

    answers: tuple[Raw | Answer, ...] = ()
    call: Mapping[str, Any] = field(default_factory=dict)
    own: bool = True
    environment: tuple[str, ...] = ()
    lm: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = False
    sent: bool = True


def _refusal(status: int, **fields: Any) -> Raw:
    return Raw(
        {"error": {"message": "Refused.", "type": "x", "param": None, "code": None, **fields}},
        status,
    )


def _event_stream(*data: str, **delivery: Any) -> Raw:
    """A stream that says all of this as events."""
    body = "".join(f"data: {event}\n\n" for event in data)
    return Raw(body, headers={"content-type": "text/event-stream"}, **delivery)


HTML = {"content-type": "text/html"}
TEXT = {"content-type": "text/plain"}
STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503)
BEARER = {"Authorization": f"Bearer {KEY}"}
REPEATED = f"Bad key {KEY}."
FAILED_EVENT = {"type": "error", "message": REPEATED, "code": KEY, "param": KEY}
FAILED_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "failed",
    "output": [],
    "model": "gpt-5",
    "error": {"code": KEY, "message": REPEATED},
}
FAILED_STREAM = json.dumps({"type": "response.failed", "response": FAILED_RESPONSE})
HALF_STREAM = (
    json.dumps({"type": "response.output_text.delta", "output_index": 0, "delta": KEY}),
    json.dumps({"id": KEY, "choices": [{"index": 0, "delta": {"content": KEY}}]}),
)
PLACES = {
    # The ways in.
    "api_key": Place(),
    "OPENAI_API_KEY": Place(own=False, environment=("OPENAI_API_KEY",)),
    "SYNTH_API_KEY": Place(own=False, environment=("SYNTH_API_KEY",), lm={"vendor": "synth"}),
    "both in the environment": Place(own=False, environment=("OPENAI_API_KEY", "SYNTH_API_KEY")),
    "api_key with blanks around": Place(own=False, lm={"api_key": f" {KEY}\n"}),
    "extra_headers of the call": Place(own=False, call={"extra_headers": BEARER}),
    "extra_headers of the LM": Place(own=False, lm={"extra_headers": BEARER}),
    "another header of the call": Place(own=False, call={"extra_headers": {"X-Api-Key": KEY}}),
    "a header that cannot be sent": Place(
        own=False, call={"extra_headers": {"X-Api-Key": f"{KEY}\n"}}, sent=False
    ),
    "a header beyond ASCII": Place(
        own=False, call={"extra_headers": {"X-Api-Key": f"{KEY}\u00e9"}}, sent=False
    ),
    # Error bodies that repeat it.
    **{
        f"message of a {status}": Place((_refusal(status, message=REPEATED),))
        for status in STATUSES
    },
    **{
        f"code of a {status}": Place((_refusal(status, code=KEY),))
        for status in (400, 401, 429, 500)
    },
    "type": Place((_refusal(400, type=KEY),)),
    "param": Place((_refusal(400, param=KEY),)),
    "a nested object": Place((_refusal(400, details={"seen": {"key": KEY}}),)),
    "a name in an object": Place((_refusal(400, details={KEY: 1}),)),
    "a list": Place((_refusal(500, details=[[KEY], {"key": [KEY]}]),)),
    "an error that is a text": Place((Raw({"error": REPEATED}, 400),)),
    "an error without an envelope": Place((Raw({"message": REPEATED}, 401),)),
    "plain text": Place((Raw(REPEATED, 401, headers=TEXT),)),
    "HTML": Place((Raw(f"<p>{REPEATED}</p>", 502, headers=HTML),)),
    "a body that is no UTF-8": Place((Raw(b"\xff" + REPEATED.encode(), 400),)),
    "an error under another key's header": Place(
        (_refusal(401, message=REPEATED),), own=False, call={"extra_headers": BEARER}
    ),
    "an error under another header": Place(
        (_refusal(401, message=REPEATED),), own=False, call={"extra_headers": {"X-Api-Key": KEY}}
    ),
    "a conversation that is gone": Place(
        (_refusal(404, code="previous_response_not_found", message=REPEATED),)
    ),
    # Answers that are none.
    "200 with an error": Place((_refusal(200, message=REPEATED, code=KEY),)),
    "200, no JSON": Place((Raw(REPEATED),)),
    "200, half of a JSON": Place((Raw(f'{{"id": "{KEY}", "output": ['),)),
    "200, no UTF-8": Place((Raw(b'{"id": "\xff' + KEY.encode() + b'"}'),)),
    "200, no object": Place((Raw([KEY]),)),
    "200, another object": Place((Raw({"object": "list", "data": [KEY]}),)),
    "200, HTML": Place((Raw(f"<p>{KEY}</p>", headers=HTML),)),
    "a body that breaks off": Place(
        (Raw(f'{{"id": "{KEY}", "output": [', cut_after=40, reset=True),)
    ),
    "a failed response": Place((Raw(FAILED_RESPONSE),)),
    # Headers of answers.
    "x-request-id of an error": Place(
        (Raw({"error": {"message": "No."}}, 400, headers={"x-request-id": KEY}),)
    ),
    "retry-after": Place((Raw({"error": {"message": "No."}}, 429, headers={"retry-after": KEY}),)),
    "set-cookie": Place((Answer(text="Hello", headers={"set-cookie": f"key={KEY}"}),)),
    "Location": Place((Raw("", 307, headers={"location": f"/v1/{KEY}"}),)),
    "Location that is none": Place((Raw("", 307, headers={"location": f"{KEY}://nowhere"}),)),
    "Location with a bad port": Place((Raw("", 307, headers={"location": f"http://{KEY}:port/"}),)),
    # Streams.
    "an error event": Place((_event_stream(json.dumps(FAILED_EVENT)),), streamed=True),
    "an error chunk": Place((_event_stream(json.dumps({"error": FAILED_EVENT})),), streamed=True),
    "an error chunk of text": Place(
        (_event_stream(json.dumps({"error": REPEATED})),), streamed=True
    ),
    "an event that is no JSON": Place((_event_stream(f"{{{KEY}"),), streamed=True),
    "a failed response of a stream": Place((_event_stream(FAILED_STREAM),), streamed=True),
    "half of a stream": Place((_event_stream(*HALF_STREAM),), streamed=True),
    "half of a stream, reset": Place(
        (_event_stream(*HALF_STREAM, cut_after=200, reset=True),), streamed=True
    ),
    "a stream cut inside of a character": Place(
        (Raw(f"data: {KEY}é".encode()[:-1], headers=TEXT),), streamed=True
    ),
    "a stream in one piece": Place((_refusal(200, message=REPEATED),), streamed=True),
    "an error before a stream": Place((_refusal(500, message=REPEATED),), streamed=True),
}


# --- what is shown, logged and kept ---------------------------------------------------------------


async def outcome_of(lm: LM, place: Place) -> tuple[list[Any], BaseLMResponse | Exception]:
    """The events and what the call came to."""
    events: list[Any] = []
    try:
        if not place.streamed:
            return events, await lm.respond_async("Hi", **place.call)
        stream = lm.stream_async("Hi", **place.call)
        events += [event async for event in stream]
        return events, stream.response
    except Exception as error:
        return events, error


def chain_of(error: BaseException | None) -> list[BaseException]:
    """An error with its causes and contexts."""
    if error is None:
        return []
    return [
        error,
        *chain_of(error.__cause__),
        *([] if error.__cause__ else chain_of(error.__context__)),
    ]


def shown_by(outcome: BaseLMResponse | Exception) -> list[str]:
    """All that can be seen of a response or an error, and of what led to it."""
    if isinstance(outcome, BaseLMResponse):
        texts = [
            repr(outcome),
            str(outcome),
            outcome.model_dump_json(),
            repr(outcome.raw),
            repr(vars(outcome)),
        ]
        return [*texts, outcome._repr_markdown_(), repr(pickle.dumps(outcome))]
    texts = [
        "".join(traceback.format_exception(outcome)),
        repr(pickle.dumps(outcome)),
        repr(vars(outcome)),
    ]
    return texts + [f"{error!r} {error} {error.args!r}" for error in chain_of(outcome)]


async def kept_by(lm: LM, folder: Path) -> list[str]:
    """All that is in a store: as objects, as an export, and the bytes of its files."""
    turns = await lm.responses.list_async()
    await lm.responses.export_async(folder / "turns.jsonl")
    return [
        repr(turns),
        repr(pickle.dumps(turns)),
        *(repr(file.read_bytes()) for file in folder.iterdir()),
    ]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_key_is_found_nowhere(
    openai_server: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    api: str,
    place: Place,
) -> None:
    """Not in an LM, an answer, an error with its causes, the logs, the store, or a warning."""
    caplog.set_level(logging.DEBUG)
    for variable in place.environment:
        monkeypatch.setenv(variable, KEY)
        monkeypatch.setenv(variable.replace("API_KEY", "BASE_URL"), openai_server.base_url)
    own: dict[str, Any] = (
        {} if place.environment else {"base_url": openai_server.base_url, "api_key": "sk-test"}
    )
    own |= {"api_key": KEY} if place.own else {}
    own |= {
        "retry": RetryPolicy(attempts=2, wait_initial=0),
        "response_store": tmp_path / "turns.db",
        **place.lm,
    }
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        lm = LM("gpt-5", api=api, **own)
        first = await lm.respond_async("One")
        openai_server.enqueue(*place.answers * 2)
        events, outcome = await outcome_of(lm, place)
        branch = lm.fork(first.response_id)
        shown = [
            repr(each)
            for each in (
                lm,
                branch,
                lm.responses,
                lm._config.vendor,
                vars(lm._config.vendor),
                events,
            )
        ]
        shown += shown_by(outcome)
        async with aclosing(lm):
            shown += await kept_by(lm, tmp_path)
    shown += [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
    shown += [str(warning.message) for warning in warned]
    assert [text for text in shown if KEY in text] == []
    received = [value for request in openai_server.requests for value in request.headers.values()]
    assert any(KEY in value for value in received) is place.sent


def test_there_are_thirty_places() -> None:
    """So many ways must a key be kept from showing."""
    assert len(PLACES) >= 30


# --- the pieces -----------------------------------------------------------------------------------


async def test_an_error_says_nothing_of_the_key_that_was_refused(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The service masks it, and so do we."""
    with pytest.raises(AuthenticationFailedError, match="Incorrect API key") as raised:
        await hosted(api_key="sk-wrong").respond_async("Hi")
    assert "sk-wrong" not in f"{raised.value!r} {vars(raised.value)}"
    assert isinstance(raised.value, SynthAIError)


def test_what_is_masked() -> None:
    """Texts, bytes and plain data of them. What is short is not secret; longer secrets go first."""
    secrets = Secrets(["short", KEY, f"{KEY}-and-more"])
    given = {KEY: [f"a {KEY}-and-more", b"b " + KEY.encode(), (KEY, 1, None)], "short": "short"}
    assert secrets.mask(given) == {"***": ["a ***", b"b ***", ("***", 1, None)], "short": "short"}
    failed = failures.error(400, KEY)
    assert secrets.mask(failed) is failed


def test_an_error_is_masked_with_all_that_led_to_it() -> None:
    """Also where an error goes round in a circle."""
    first, second = ValueError(KEY), RuntimeError(f"no {KEY}")
    second.__cause__, first.__context__ = first, second
    second.add_note(KEY)
    Secrets([KEY]).mask_error(second)
    assert (str(first), str(second), second.__notes__) == ("***", "no ***", ["***"])
