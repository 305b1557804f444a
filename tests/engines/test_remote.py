"""The remote engine against servers that answer as vLLM does, or otherwise."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from servers.connections import count_connections
from servers.sockets import SentRequest, reply, serve
from synth_ai import LM, RemoteEngine
from synth_ai.engines.base import Sampling, TokenDelta
from synth_ai.errors import MalformedAnswerError, NotFoundError, SynthAIError, TimedOutError

Serving = Callable[..., str]


def models(*names: str) -> bytes:
    """A list of models of these names, as vLLM has it."""
    listing = {"data": [{"id": name, "max_model_len": 4096} for name in names]}
    return json.dumps(listing).encode()


def stream(*events: object) -> bytes:
    """A stream of these events."""
    frames = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*frames, "data: [DONE]\n\n"]).encode()


@contextmanager
def serving(
    listing: bytes, completion: bytes = b"", *, ready: threading.Event | None = None
) -> Iterator[str]:
    """The address of a server that has these answers, and gives them when it is ready."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if ready is not None:
                ready.wait(60)
            self.answer(listing if self.path == "/v1/models" else b"", "application/json")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(completion, "text/event-stream" if asked["stream"] else "application/json")

        def answer(self, body: bytes, content_type: str) -> None:
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # A caller who gave up is no longer there.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            if ready is not None:
                ready.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def served() -> Iterator[Serving]:
    """Starts such servers for the length of the test."""
    with ExitStack() as servers:
        yield lambda *answers, **how: servers.enter_context(serving(*answers, **how))


@pytest.mark.parametrize(
    ("asked", "names", "found"),
    [
        ("gpt-oss-20b", ["openai/gpt-oss-20b"], "openai/gpt-oss-20b"),
        ("openai/gpt-oss-20b", ["gpt-oss-20b"], "gpt-oss-20b"),
        ("gpt-oss-20b", ["openai/gpt-oss-20b", "gpt-oss-20b"], "gpt-oss-20b"),
        ("gpt-oss-120b", ["openai/gpt-oss-20b", "openai/gpt-oss-120b"], "openai/gpt-oss-120b"),
        (None, ["mine", "gpt-oss-20b"], "mine"),
    ],
)
async def test_names_of_the_published_models(
    served: Serving, asked: str | None, names: list[str], found: str
) -> None:
    """A published model is found by its short name and its full one; the very name comes first."""
    engine = RemoteEngine(served(models(*names)), asked)
    assert (await engine.facts()).context_length == 4096
    assert engine.model == found
    await engine.aclose()


@pytest.mark.parametrize("asked", ["gpt-oss-20b", "20b", "openai/20b"])
async def test_a_model_that_is_not_served(served: Serving, asked: str) -> None:
    """Another model is not taken for it, and the error says what there is."""
    engine = RemoteEngine(served(models("openai/gpt-oss-120b")), asked)
    with pytest.raises(
        NotFoundError, match=f"does not serve '{asked}'; it serves 'openai/gpt-oss-120b'"
    ):
        await engine.facts()
    await engine.aclose()


async def test_an_lm_finds_the_model_by_its_short_name(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `base_url=` and by the environment's address alike."""
    address = served(models("openai/gpt-oss-20b"))
    monkeypatch.setenv("SYNTH_GPU_HARMONY_ENDPOINT", address)
    for lm in (LM("gpt-oss-20b", api="harmony", base_url=address), LM("gpt-oss-20b")):
        async with lm:
            assert lm.engine is not None
            await lm.engine.facts()
            assert lm.engine.model == "openai/gpt-oss-20b"


async def test_the_timeout_is_for_the_list_of_models_too(served: Serving) -> None:
    """The first call of an engine asks for it, and a server may be there and not answer."""
    address = served(models("gpt-oss-20b"), ready=threading.Event())
    engine = RemoteEngine(address, timeout=0.2)
    before = time.monotonic()
    with pytest.raises(TimedOutError):
        await engine.facts()
    assert time.monotonic() - before < 10
    await engine.aclose()


@pytest.mark.parametrize(
    "listing", [{"data": "gpt-oss-20b"}, {"data": ["gpt-oss-20b"]}, {"data": [{"name": "x"}]}]
)
async def test_a_list_of_models_of_another_shape(served: Serving, listing: object) -> None:
    """Something else than vLLM answers, and the error says so."""
    engine = RemoteEngine(served(json.dumps(listing).encode()))
    with pytest.raises(MalformedAnswerError, match="needs a vLLM server"):
        await engine.facts()
    await engine.aclose()


@pytest.mark.parametrize("length", [-5, 0, True, 1e4, "4096", 10**30, None, [4096]])
async def test_a_context_that_is_none(served: Serving, length: object) -> None:
    """A length that is no whole number above 0 is said to be wrong, and not counted with."""
    listing = {"data": [{"id": "gpt-oss-20b", "max_model_len": length}]}
    engine = RemoteEngine(served(json.dumps(listing).encode()))
    with pytest.raises(MalformedAnswerError, match="max_model_len"):
        await engine.facts()
    await engine.aclose()


@pytest.mark.parametrize("nothing", [{}, {"max_model_len": None}])
@pytest.mark.parametrize("parent", ["gpt-oss-20b", "openai/gpt-oss-20b"])
async def test_an_adapter_has_the_context_of_its_model(
    served: Serving, parent: str, nothing: dict[str, Any]
) -> None:
    """vLLM lists LoRA adapters with their model, and without a context length."""
    base = {"id": "gpt-oss-20b", "max_model_len": 4096, "parent": None}
    listing = {"data": [base, {"id": "poet", "root": "/a", "parent": parent, **nothing}]}
    engine = RemoteEngine(served(json.dumps(listing).encode()), "poet")
    assert (await engine.facts()).context_length == 4096
    assert engine.model == "poet"
    await engine.aclose()


async def test_an_adapter_whose_model_is_not_listed(served: Serving) -> None:
    """Its context is not known, and not guessed."""
    listing = {"data": [{"id": "poet", "parent": "gpt-oss-20b"}]}
    engine = RemoteEngine(served(json.dumps(listing).encode()), "poet")
    with pytest.raises(MalformedAnswerError, match="'poet' as an adapter for 'gpt-oss-20b'"):
        await engine.facts()
    await engine.aclose()


def usage(cached_tokens: int) -> dict[str, Any]:
    """What an answer or an event says of the cache."""
    return {"usage": {"prompt_tokens_details": {"cached_tokens": cached_tokens}}}


def tokens(*ids: int, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """An answer or an event with these tokens."""
    return {"choices": [{"token_ids": ids, "finish_reason": finish_reason}], **more}


async def read(engine: RemoteEngine, *, stream: bool) -> list[TokenDelta]:
    """The deltas of a completion."""
    try:
        sampling = Sampling(logprobs=0)
        return [delta async for delta in engine.generate([17360], sampling, stream=stream)]
    finally:
        await engine.aclose()


@pytest.mark.parametrize(
    ("events", "cached"),
    [
        ([tokens(7), tokens(8, finish_reason="stop"), {"choices": [], **usage(16)}], 16),
        ([tokens(7), tokens(8, finish_reason="stop", **usage(16))], 16),
        (
            [tokens(7), tokens(8, finish_reason="stop", **usage(0)), {"choices": [], **usage(16)}],
            16,
        ),
        ([tokens(7), tokens(8, finish_reason="stop", **usage(16)), {"choices": []}], 16),
        ([tokens(7), tokens(8, finish_reason="stop")], None),
    ],
)
async def test_cached_tokens_of_a_stream(
    served: Serving, events: list[object], cached: int | None
) -> None:
    """They come behind the last tokens or with them; an event without them takes nothing away."""
    engine = RemoteEngine(served(models("gpt-oss-20b"), stream(*events)))
    first, last = await read(engine, stream=True)
    assert first == TokenDelta((7,))
    assert last == TokenDelta((8,), "stop", cached_tokens=cached)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts files as Linux shows them")
async def test_streams_one_after_another_share_a_connection(transport: str) -> None:
    """Each is read to its end, also where the usage comes behind its last tokens."""
    usage = {"usage": {"prompt_tokens_details": {"cached_tokens": 3}}}

    def answer(request: SentRequest, connection: socket.socket) -> None:
        if request.method == "GET":
            reply(connection, models("gpt-oss-20b"))
        else:
            events = stream(tokens(7), tokens(8, finish_reason="stop"), usage)
            reply(connection, events, content_type="text/event-stream")

    with serve(answer) as server:
        engine = RemoteEngine(server.base_url)
        for _ in range(3):
            deltas = [delta async for delta in engine.generate([1], Sampling(), stream=True)]
            assert deltas[-1].cached_tokens == 3
            assert count_connections(server.base_url) == 1
        await engine.aclose()


async def test_a_stream_that_ends_too_early(served: Serving) -> None:
    """It is no completion."""
    engine = RemoteEngine(served(models("gpt-oss-20b"), stream(tokens(7))))
    with pytest.raises(MalformedAnswerError, match="before the completion was finished"):
        await read(engine, stream=True)


STRANGE_IDS = (-1, 201_088, 2**32, 2**70, 1.5, True, None, "7", [7])


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "choice",
    [
        "text",
        {"token_ids": 7},
        {"token_ids": "789", "finish_reason": "stop"},
        {"token_ids": {"7": 7}, "finish_reason": "stop"},
        *({"token_ids": [7, id_], "finish_reason": "stop"} for id_ in STRANGE_IDS),
        {"token_ids": [7], "finish_reason": ["stop"]},
        {"token_ids": [7], "finish_reason": {"stop": True}},
        {"token_ids": [7], "finish_reason": "stop", "logprobs": {}},
        {
            "token_ids": [7],
            "finish_reason": "stop",
            "logprobs": {"token_logprobs": [], "top_logprobs": []},
        },
    ],
)
async def test_a_completion_of_another_shape(
    served: Serving, choice: object, streamed: bool
) -> None:
    """Whatever is wrong with it, the error is one of the server's."""
    body = {"choices": [choice]}
    completion = stream(body) if streamed else json.dumps(body).encode()
    engine = RemoteEngine(served(models("gpt-oss-20b"), completion))
    with pytest.raises(MalformedAnswerError, match="not a completion as vLLM sends it"):
        await read(engine, stream=streamed)


@pytest.mark.parametrize("cached", [-1, True, 1.5, "16", None, [16]])
async def test_cached_tokens_that_are_no_count(served: Serving, cached: Any) -> None:
    """What cannot be counted counts as not reported."""
    answer = tokens(7, finish_reason="stop", **usage(cached))
    engine = RemoteEngine(served(models("gpt-oss-20b"), json.dumps(answer).encode()))
    assert await read(engine, stream=False) == [TokenDelta((7,), "stop")]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "logprobs",
    [
        {"token_logprobs": "x", "top_logprobs": [{}]},
        {"token_logprobs": ["x"], "top_logprobs": [{}]},
        {"token_logprobs": [-1.0], "top_logprobs": [5]},
        {"token_logprobs": [-1.0], "top_logprobs": [{"token_id:7": "x"}]},
        {"token_logprobs": [-1.0], "top_logprobs": [{"seven": -1.0}]},
        {"token_logprobs": [None], "top_logprobs": [None]},
        [1],
    ],
)
async def test_log_probabilities_of_another_shape(
    served: Serving, logprobs: object, streamed: bool
) -> None:
    """They are checked where they were asked for."""
    body = {"choices": [{"token_ids": [7], "finish_reason": "stop", "logprobs": logprobs}]}
    completion = stream(body) if streamed else json.dumps(body).encode()
    engine = RemoteEngine(served(models("gpt-oss-20b"), completion))
    with pytest.raises(MalformedAnswerError, match="not a completion as vLLM sends it"):
        async for _ in engine.generate([1], Sampling(logprobs=1), stream=streamed):
            pass
    await engine.aclose()


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("body", [[], 5, "text", None, {"choices": 5}, {"choices": {"a": 1}}])
async def test_an_answer_that_is_no_object(served: Serving, body: object, streamed: bool) -> None:
    """Whatever JSON comes, the error is one of this library's."""
    completion = stream(body) if streamed else json.dumps(body).encode()
    engine = RemoteEngine(served(models("gpt-oss-20b"), completion))
    with pytest.raises(SynthAIError):
        await read(engine, stream=streamed)
