"""A backend in front of an LM in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from backend.conftest import StartBackend
from backend.test_upstream import make_keys, read_events, wait_for
from servers.openai_fake import OpenAIServer
from store.turns import make_turn
from synth_ai import LM, VLLMEngine
from synth_ai.backend import UsageRecord
from synth_ai.backend.owned_store import OwnedStore
from synth_ai.store.memory import MemoryStore
from synth_ai.testing import ScriptedVendor

http = pytest.importorskip("httpx2" if openai.__version__ >= "3" else "httpx")


@pytest.fixture
def lm() -> Iterator[LM]:
    with LM("m", vendor=ScriptedVendor([f"answer {number}" for number in range(20)])) as made:
        yield made


def test_the_routes_answer_from_the_lm(start_backend: StartBackend, lm: LM) -> None:
    records: list[UsageRecord] = []
    url = start_backend(lm=lm, on_usage=records.append)
    with openai.OpenAI(base_url=url, api_key="sk-any") as client:
        first = client.responses.create(model="m", input="Hi")
        second = client.responses.create(model="m", input="On", previous_response_id=first.id)
        chat = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        )
        events = list(client.responses.create(model="m", input="Hi", stream=True))

        assert (first.output_text, second.output_text) == ("answer 0", "answer 1")
        assert second.previous_response_id == first.id
        assert chat.choices[0].message.content == "answer 2"
        assert events[-1].type == "response.completed"
        assert client.responses.retrieve(second.id).output_text == "answer 1"
        assert len(client.responses.input_items.list(second.id).data) == 3
        assert [model.id for model in client.models.list()] == ["m"]
        client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(second.id)

    wait_for(lambda: len(records) == 4)
    assert [record.status for record in records] == ["completed"] * 4
    assert [record.is_stream for record in records] == [False, False, False, True]


def test_keys_see_their_own_responses_alone(
    start_backend: StartBackend, lm: LM, tmp_path: Path
) -> None:
    url = start_backend(lm=lm, keys=make_keys(tmp_path))
    ada = {"authorization": f"Bearer {(tmp_path / 'ada').read_text()}"}
    bob = {"authorization": f"Bearer {(tmp_path / 'bob').read_text()}"}
    body = {"model": "m", "input": "My name is Ada."}
    first = http.post(f"{url}/responses", json=body, headers=ada).json()

    one = f"{url}/responses/{first['id']}"
    follow_up = {**body, "previous_response_id": first["id"]}
    refused = [
        http.get(one, headers=bob),
        http.delete(one, headers=bob),
        http.get(f"{one}/input_items", headers=bob),
        http.post(f"{url}/responses", json=follow_up, headers=bob),
        http.post(f"{url}/responses", json={**follow_up, "stream": True}, headers=bob),
    ]

    assert [answer.status_code for answer in refused] == [404] * 5
    assert http.get(one, headers=ada).json()["output"] == first["output"]
    assert http.post(f"{url}/responses", json=follow_up, headers=ada).status_code == 200
    assert http.get(one).status_code == 401


async def test_a_history_that_another_key_sent_continues_nothing_of_theirs() -> None:
    store = MemoryStore()
    ada, bob = OwnedStore(store, "ada"), OwnedStore(store, "bob")
    first = make_turn("resp_1", fingerprint="ab" * 16, request_key="cd" * 16)
    await ada.put(first)

    assert [turn.id for turn in await ada.find_all("ab" * 16, 5)] == ["resp_1"]
    assert await bob.find_all("ab" * 16, 5) == []
    assert await bob.find_answer("cd" * 16) is None
    assert await bob.list() == await bob.search({}) == []
    assert not await bob.delete("resp_1")
    assert await bob.chain("resp_1") is None
    found = await ada.find_answer("cd" * 16)
    assert found is not None


def test_an_id_of_another_key_never_reaches_the_server_behind_the_lm(
    start_backend: StartBackend, openai_server: OpenAIServer, tmp_path: Path
) -> None:
    with LM("gpt-5", base_url=openai_server.base_url, api="responses", api_key="sk-x") as lm:
        url = start_backend(lm=lm, keys=make_keys(tmp_path))
        ada = {"authorization": f"Bearer {(tmp_path / 'ada').read_text()}"}
        bob = {"authorization": f"Bearer {(tmp_path / 'bob').read_text()}"}
        body = {"model": "gpt-5", "input": "My name is Ada."}
        first = http.post(f"{url}/responses", json=body, headers=ada).json()
        sent = len(openai_server.requests)

        one = f"{url}/responses/{first['id']}"
        follow_up = {**body, "previous_response_id": first["id"]}
        refused = [
            http.get(one, headers=bob),
            http.delete(one, headers=bob),
            http.get(f"{one}/input_items", headers=bob),
            http.post(f"{url}/responses", json=follow_up, headers=bob),
        ]

        assert [answer.status_code for answer in refused] == [404] * 4
        assert len(openai_server.requests) == sent


def test_wrong_requests_are_refused_in_openai_s_shape(start_backend: StartBackend, lm: LM) -> None:
    url = start_backend(lm=lm)
    answers = [
        http.post(f"{url}/responses", content=b"{"),
        http.post(f"{url}/responses", json={"model": "gpt-9", "input": "Hi"}),
        http.post(f"{url}/responses", json={"model": "m", "input": "Hi", "top_k": 5}),
        http.put(f"{url}/responses", content=b""),
    ]
    assert [answer.status_code for answer in answers] == [400, 404, 400, 405]
    for answer in answers:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.vllm
def test_a_chained_turn_begins_with_the_ids_of_the_one_before(
    start_backend: StartBackend, tiny_engine: VLLMEngine
) -> None:
    lm = LM("gpt-oss-20b", engine=tiny_engine, temperature=0, max_tokens=32)
    url = start_backend(lm=lm)
    first = http.post(
        f"{url}/responses", json={"model": "gpt-oss-20b", "input": "Count to 3."}, timeout=120
    ).json()
    follow_up = {
        "model": "gpt-oss-20b",
        "input": "Count to 4.",
        "previous_response_id": first["id"],
        "stream": True,
    }
    streamed = http.post(f"{url}/responses", json=follow_up, timeout=120)

    last = read_events(streamed.text)[-1]["response"]
    [one, two] = asyncio.run(read_turns(lm, last["id"]))
    assert last["status"] in ("completed", "incomplete")
    assert json.dumps(two.input).count("Count to 4.") == 1
    assert one.output_token_ids
    assert two.parent_id == first["id"]


async def read_turns(lm: LM, response_id: str) -> list[Any]:
    chain = await lm._config.store.chain(response_id)
    assert chain is not None
    return chain
