"""`LM(vendor="synth")` through a backend in front of a real `vllm serve`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("vllm")

from backend.conftest import StartBackend
from backend.test_upstream import make_keys
from servers.vllm import VLLMServer
from synth_ai import LM
from synth_ai.errors import UnknownResponseError

pytestmark = pytest.mark.vllm


async def test_a_conversation_goes_on_over_a_server_that_keeps_nothing(
    start_backend: StartBackend, vllm_server: VLLMServer, tmp_path: Path
) -> None:
    url = start_backend(
        upstream=vllm_server.base_url,
        upstream_key="none",
        models=(vllm_server.model,),
        store=tmp_path / "turns.db",
        keys=make_keys(tmp_path),
    )
    key = (tmp_path / "ada").read_text()

    async with LM(
        vllm_server.model, vendor="synth", base_url=url, api_key=key, temperature=0, max_tokens=48
    ) as lm:
        first = await lm.respond_async("You are terse.", "Count to 3.")
        second = await lm.respond_async("Count to 4.")
        async with lm.stream_async("Count to 5.") as stream:
            texts = [event async for event in stream]

        assert (first.api_type, second.previous_response_id) == ("responses", first.response_id)
        assert not second.replayed
        assert texts
        assert stream.response.previous_response_id == second.response_id
        # It saw the whole conversation: the prompt grew by what was said.
        assert first.usage
        assert second.usage
        assert second.usage.input_tokens > first.usage.input_tokens

    # Another process, which has nothing of it: all is on the server.
    async with LM(vllm_server.model, vendor="synth", base_url=url, api_key=key) as other:
        kept = await other.responses.retrieve_async(second.response_id)
        items = await other.responses.input_items_async(second.response_id)
        assert kept.text == second.text
        assert [item.get("role") for item in items].count("user") == 2
        last_id = stream.response.response_id
        await other.responses.delete_async(last_id)
        with pytest.raises(UnknownResponseError):
            await other.responses.retrieve_async(last_id)
