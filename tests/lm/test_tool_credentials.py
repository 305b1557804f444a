"""Credentials inside tools go to the server that they were given for, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.openai_fake import OpenAIServer
from synth_ai import LM, ResponseStore, SQLiteStore, VendorBase
from synth_ai.lm.vendors.base import API, BaseLMResponse, LMRequest
from synth_ai.store.credentials import open_tools, seal_tools
from synth_ai.store.memory import MemoryStore

SECRETS = ("TOKEN-1", "HEADER-2", "PASSWORD-3", "DOMAIN-4")
TOOLS: list[dict[str, Any]] = [
    {
        "type": "mcp",
        "server_label": "crm",
        "server_url": "https://crm.internal/mcp",
        "authorization": "TOKEN-1",
        "headers": {"X-Key": "HEADER-2"},
    },
    {"type": "mcp", "server_label": "wiki", "server_url": "https://ada:PASSWORD-3@wiki/mcp"},
    {
        "type": "shell",
        "environment": {
            "type": "container_auto",
            "network_policy": {
                "type": "allowlist",
                "allowed_domains": ["x.example"],
                "domain_secrets": [{"domain": "x.example", "name": "KEY", "value": "DOMAIN-4"}],
            },
        },
    },
    {"type": "mcp", "server_label": "open", "server_url": "https://open.example/mcp"},
]


@pytest.fixture
def other_server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    server.start()
    yield server
    server.stop()


def responses_lm(server: OpenAIServer, store: ResponseStore, **options: Any) -> LM:
    return LM(
        "gpt-5",
        api="responses",
        base_url=server.base_url,
        api_key="sk-test",
        response_store=store,
        **options,
    )


def last_tools(server: OpenAIServer) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = server.requests[-1].body.get("tools", [])
    return tools


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
def test_credentials_of_tools_stay_with_their_server(
    kind: str,
    transport: str,
    tmp_path: Path,
    openai_server: OpenAIServer,
    other_server: OpenAIServer,
) -> None:
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "t.db")
    first = responses_lm(openai_server, store, transport=transport)
    second = responses_lm(other_server, store, transport=transport)

    asked = first.respond("question", tools=TOOLS)
    assert last_tools(openai_server) == TOOLS

    moved = second.respond("and now?", previous_response_id=asked.response_id)
    assert last_tools(other_server) == TOOLS[3:]
    assert [name for name in ("crm", "wiki", "shell") if name in str(moved.warnings)] == [
        "crm",
        "wiki",
        "shell",
    ]

    first.respond("and here?", previous_response_id=moved.response_id)
    assert last_tools(openai_server) == TOOLS

    stream = second.stream_sync("and again?", previous_response_id=moved.response_id)
    list(stream)
    assert last_tools(other_server) == TOOLS[3:]

    first.responses.export(tmp_path / "export.jsonl")
    tree = first.tree()
    written = [tree.to_json(), tree.to_html(), tree.to_mermaid(), str(tree)]
    written += [file.read_bytes().decode("latin-1") for file in tmp_path.iterdir()]
    assert [secret for secret in SECRETS if any(secret in text for text in written)] == []


def test_a_tool_whose_credentials_are_gone_is_taken_from_the_lm(
    tmp_path: Path, openai_server: OpenAIServer
) -> None:
    """A program that starts again continues its branches with the tools that it gives to LM."""
    store = MemoryStore()
    lm = responses_lm(openai_server, store, tools=TOOLS)
    asked = lm.respond("question")
    path = tmp_path / "export.jsonl"
    lm.responses.export(path)

    # Another process has other names for what it keeps in memory.
    text = path.read_text()
    for number, sealed in enumerate(sorted(set(text.split("[kept in memory: ")[1:]))):
        text = text.replace(sealed[:32], f"{number:032x}")
    path.write_text(text)

    without = responses_lm(openai_server, MemoryStore())
    without.responses.import_(path)
    response = without.respond("go on", previous_response_id=asked.response_id)
    assert last_tools(openai_server) == TOOLS[3:]
    assert len(response.warnings) == 3

    again = responses_lm(openai_server, MemoryStore(), tools=TOOLS)
    again.responses.import_(path)
    response = again.respond("go on", previous_response_id=asked.response_id)
    assert last_tools(openai_server) == TOOLS
    assert response.warnings == []


class Recorder(VendorBase):
    """A backend that has no name, as a user may write one."""

    api = API(name="recorder")

    def __init__(self) -> None:
        self.tools: list[tuple[Any, ...]] = []

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        self.tools.append(request.tools)
        return BaseLMResponse(raw_response="ok")


def test_backends_without_a_name_share_no_credentials() -> None:
    store = MemoryStore()
    first, second = Recorder(), Recorder()
    asked = LM("m", vendor=first, response_store=store).respond("question", tools=TOOLS)
    LM("m", vendor=second, response_store=store).respond(
        "go on", previous_response_id=asked.response_id
    )
    LM("m", vendor=first, response_store=store).respond(
        "go on", previous_response_id=asked.response_id
    )

    assert first.tools == [tuple(TOOLS), tuple(TOOLS)]
    assert second.tools == [tuple(TOOLS[3:])]


def test_the_parameters_of_functions_are_no_credentials() -> None:
    function = {
        "type": "function",
        "name": "log_in",
        "parameters": {"type": "object", "properties": {"password": {"type": "string"}}},
    }
    namespace = {"type": "namespace", "name": "n", "tools": [function]}
    sealed = seal_tools([function, namespace], "here")

    assert sealed == (function, namespace)
    assert open_tools(sealed, "elsewhere") == ((function, namespace), [])


def test_the_same_credential_is_kept_once() -> None:
    assert json.dumps(seal_tools(TOOLS, "a")) == json.dumps(seal_tools(TOOLS, "a"))
    assert seal_tools(seal_tools(TOOLS, "a"), "b") == seal_tools(TOOLS, "a")
