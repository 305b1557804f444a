"""An error page is read in linear time and up to a length, whatever a server makes of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from servers.sockets import reply, serve
from synth_ai import LM
from synth_ai.errors import OverloadedError, ServerError, SynthAIError
from synth_ai.http.error_mapping import error_from_body, error_from_status
from synth_ai.http.rate_limits import read_duration
from synth_ai.lm.structured_output import ResponseFormat

LENGTH = 2_000_000

#: Texts in which a careless expression looks at each character once for every other one.
PIECES = ("<script ", "<", "a<b ", "<head>", "<style></", "</script>", "<script></head>", "\n", " ")


def _message(page: str) -> str:
    error = error_from_status(502, body=page, headers={}, address="x", default_message="nothing")
    return str(error)


@pytest.mark.parametrize("piece", PIECES)
def test_a_page_is_read_in_linear_time(piece: str) -> None:
    """Millions of characters take no longer than a page."""
    started = time.perf_counter()
    message = _message(piece * (LENGTH // len(piece)))
    assert time.perf_counter() - started < 0.5
    assert len(message) < 400


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<h1>Bad Gateway</h1><hr>", "Bad Gateway"),
        ("<style>h1 {color: red}</style>Oops", "Oops"),
        ('<SCRIPT src="a.js">f(1 < 2)</SCRIPT >Oops', "Oops"),
        ("<header>Oops</header>", "Oops"),
        ("<style>h1 {}", "h1 {}"),
        ("<head><style>a</style><title>502</title></head><p>Oops</p>", "Oops"),
        ("<head><style>a</style><p>Oops</p>", "Oops"),
        ("<script>1</script>A<script>2</script>B", "A B"),
        ("</script>Oops<script>", "Oops"),
    ],
)
def test_what_a_page_says(page: str, words: str) -> None:
    """The words without the markup, and without the elements that are not shown."""
    assert _message(page) == f"502: {words}"


BODIES = {
    "no JSON": b"x" * 3_000_000,
    "no object": b"[" + b'"xxxxxxxx",' * 300_000 + b"1]",
    "an object of another shape": b'{"choices": [{"message": "' + b"x" * 3_000_000 + b'"}]}',
    "many keys": b'{"choices": 1, ' + b", ".join(b'"%d": []' % n for n in range(200_000)) + b"}",
    "an error inside": b'{"error": {"message": "' + b"x" * 3_000_000 + b'"}}',
}


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_the_body_of_an_error_has_an_end(api: str, name: str, transport: Any) -> None:
    """An answer that cannot be read may be as long as any; of it the beginning is on the error."""
    with (
        serve(lambda request, connection: reply(connection, BODIES[name])) as server,
        LM("m", api=api, base_url=server.base_url, retry=False, transport=transport) as lm,
        pytest.raises(ServerError) as error,
    ):
        lm.respond("x")
    assert 1000 < len(repr(error.value.body)) < 2_000_000
    assert len(str(error.value)) < 1000


def test_what_a_body_holds_stays() -> None:
    """Copied at any depth; what goes round in a circle has an end, too."""
    body: dict[str, Any] = {"error": {"code": 7, "detail": [None, True, 1.5, "x", {"a": []}]}}
    assert ServerError("m", body=body).body == body
    body["error"]["self"] = body
    assert "x" in repr(ServerError("m", body=body).body)
    assert ServerError("m", body=b"bytes").body == b"bytes"


@pytest.mark.parametrize("body", [{"error": {"x": "y" * LENGTH}}, {"message": "y" * LENGTH}])
def test_a_message_has_a_length(body: dict[str, Any]) -> None:
    """With a status and without one."""
    error = error_from_status(400, body=body, headers={}, address="x", default_message="")
    assert len(str(error)) < 400
    assert len(str(error_from_body(body, "It failed"))) < 400


@pytest.mark.parametrize("header", ["1" * 65_536, "1m" * 40_000, "1." * 40_000, "Mon, " * 20_000])
def test_a_header_is_read_in_linear_time(header: str) -> None:
    """What is too long for a number, a duration or a date is none."""
    started = time.perf_counter()
    assert read_duration(header) is None
    for name in ("retry-after", "retry-after-ms"):
        error = error_from_status(
            429, body=None, headers={name: header}, address="x", default_message=""
        )
        assert error.retry_after is None
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("start", ["", "```", "<|channel|>final<|message|>"])
@pytest.mark.parametrize("piece", ["\n", " ", "```", "a", "<|end|> ", "```json\n", "\n "])
def test_a_structured_answer_is_read_in_linear_time(start: str, piece: str) -> None:
    """One that is not JSON, with what may stand around it."""
    shape = ResponseFormat.of(dict[str, int])
    started = time.perf_counter()
    with pytest.raises((SynthAIError, ValueError)):
        shape.parse(start + piece * (200_000 // len(piece)) + "x")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_a_broken_page_holds_nobody_up(transport: Any) -> None:
    """The error is there at once."""
    page = "<script " * 16_000
    with serve(lambda _, connection: reply(connection, page, "502 Bad Gateway")) as server:
        lm = LM("m", base_url=server.base_url, retry=False, transport=transport)
        for _ in range(2):
            started = time.perf_counter()
            with pytest.raises(OverloadedError):
                lm.respond("x")
    assert time.perf_counter() - started < 1
