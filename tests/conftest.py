"""What the tests stand on: a clean environment, the tiny gpt-oss, and the servers they talk to."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers.openai_fake import OpenAIServer
    from servers.postgres import PostgreSQLServer
    from servers.vllm import VLLMServer
    from synth_ai import LM, VLLMEngine

BUILD = Path(__file__).resolve().parent.parent / ".build"

OURS = ("OPENAI_", "SYNTH_", "LEARNING_V2_MODAL_URL")

# Read when these libraries are first imported, so set before any test: nothing is fetched and
# nothing reported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["VLLM_NO_USAGE_STATS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need vLLM where it is not installed."""
    if find_spec("vllm"):
        return
    for item in items:
        if "vllm" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="vLLM is not installed"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the developer's keys or addresses, so none can reach a real service."""
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The folder of the tiny gpt-oss, built once and kept between runs."""
    if not find_spec("torch"):
        pytest.skip("building the tiny gpt-oss needs torch, which comes with vLLM")
    from tiny_gpt_oss.build import build

    return build(BUILD / "tiny-gpt-oss")


@pytest.fixture(scope="session")
def tiny_engine_args() -> dict[str, Any]:
    """Arguments of `VLLMEngine` for the tiny gpt-oss; tests with the same ones share one engine."""
    return {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 4096,
        "kv_cache_memory_bytes": 256 * 2**20,
    }


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: Path, tiny_engine_args: dict[str, Any]) -> Iterator[VLLMEngine]:
    """The tiny gpt-oss on vLLM in this process, from its first use until after the last test."""
    import asyncio

    from synth_ai import VLLMEngine

    engine = VLLMEngine(str(tiny_model), **tiny_engine_args)
    yield engine
    asyncio.run(engine.aclose())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server of the tests' own, from its first use until after the last test."""
    from servers.postgres import PostgreSQLServer, find_programs

    if not find_spec("psycopg"):
        pytest.skip("psycopg is not installed")
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server program is on PATH or in /usr/lib/postgresql/*/bin")

    server = PostgreSQLServer(programs)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgreSQLServer) -> str:
    """The URL of an empty database."""
    return postgres_server.make_database(f"test_{secrets.token_hex(8)}")


@pytest.fixture(scope="session")
def vllm_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMServer]:
    """A real vLLM server of the tiny gpt-oss, with its Responses store and tool calls on."""
    from servers.vllm import serve

    with serve(tiny_model, tmp_path_factory.mktemp("vllm") / "server.log") as server:
        yield server


@pytest.fixture(scope="session")
def openai_service() -> Iterator[OpenAIServer]:
    """The thread behind `openai_server`; tests use that one, which forgets the test before."""
    from servers.openai_fake import OpenAIServer

    server = OpenAIServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["aiohttp", "httpx"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What calls to a server go over by default; every test of such calls runs on both."""
    name: str = request.param
    monkeypatch.setattr("synth_ai.http.registry.DEFAULT_TRANSPORT", name)
    return name


@pytest.fixture
def openai_server(openai_service: OpenAIServer, transport: str) -> Iterator[OpenAIServer]:
    """A stand-in for OpenAI's service; fails the test that sends what the SDK's types forbid."""
    openai_service.reset()
    yield openai_service
    assert openai_service.violations == []


@pytest.fixture
def hosted(openai_server: OpenAIServer) -> Callable[..., LM]:
    """Make an LM on the stand-in: `hosted("responses")`, with any options; it never waits."""

    from synth_ai import LM, RetryPolicy

    def make(api: str = "responses", **options: Any) -> LM:
        return LM(
            "gpt-5",
            base_url=openai_server.base_url,
            **{
                "api": api,
                "api_key": openai_server.api_key,
                "retry": RetryPolicy(wait_initial=0),
                **options,
            },
        )

    return make
