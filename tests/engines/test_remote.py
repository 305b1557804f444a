"""The remote engine's ways with a server's list of models."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from synth_ai import LM, RemoteEngine
from synth_ai.errors import NotFoundError

Serving = Callable[..., str]


@contextmanager
def serving(*names: str) -> Iterator[str]:
    """The address of a server that lists models of these names, as vLLM does."""
    listing = json.dumps({"data": [{"id": name, "max_model_len": 4096} for name in names]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(listing)))
            self.end_headers()
            self.wfile.write(listing)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def served() -> Iterator[Serving]:
    """Starts such servers for the length of the test."""
    with ExitStack() as servers:
        yield lambda *names: servers.enter_context(serving(*names))


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
    """`vllm serve openai/gpt-oss-20b` is found by the short name and the other way round; the very name comes first."""
    engine = RemoteEngine(served(*names), asked)
    assert (await engine.facts()).context_length == 4096
    assert engine.model == found
    await engine.aclose()


@pytest.mark.parametrize("asked", ["gpt-oss-20b", "20b", "openai/20b"])
async def test_a_model_that_is_not_served(served: Serving, asked: str) -> None:
    """Another model is not taken for it, and the error says what there is."""
    engine = RemoteEngine(served("openai/gpt-oss-120b"), asked)
    with pytest.raises(
        NotFoundError, match=f"does not serve '{asked}'; it serves 'openai/gpt-oss-120b'"
    ):
        await engine.facts()
    await engine.aclose()


async def test_an_lm_finds_the_model_by_its_short_name(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `base_url=` and by the environment's address alike."""
    address = served("openai/gpt-oss-20b")
    monkeypatch.setenv("SYNTH_GPU_HARMONY_ENDPOINT", address)
    for lm in (LM("gpt-oss-20b", api="harmony", base_url=address), LM("gpt-oss-20b")):
        async with lm:
            assert lm.engine is not None
            await lm.engine.facts()
            assert lm.engine.model == "openai/gpt-oss-20b"
