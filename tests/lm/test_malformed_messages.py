"""Messages and exports of strangers raise errors of this library, or nothing at all.

The long form is benchmarks/soak/malformed.py.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.malformed import make_lm, make_message, try_import, try_messages
from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.errors import RequestError
from synth_ai.testing import ScriptedVendor

APIS = ["chat", "responses", "harmony"]


@pytest.mark.parametrize("api", APIS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_malformed_messages_raise_only_errors_of_this_library(
    api: str, seed: int, openai_server: OpenAIServer
) -> None:
    async def send() -> None:
        rng = random.Random(seed)
        messages = [make_message(rng) for _ in range(rng.randint(1, 3))]
        async with make_lm(api, openai_server) as lm:
            await try_messages(lm, openai_server, messages)

    asyncio.run(send())


@pytest.mark.parametrize("api", APIS)
def test_mutated_imports_raise_only_errors_of_this_library(
    api: str, tmp_path: Path, openai_server: OpenAIServer
) -> None:
    imported = [
        try_import(api, openai_server, tmp_path, random.Random(seed)) for seed in range(100)
    ]
    assert 5 < sum(imported) < 95


def nest(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


def make_cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {"type": "x"}
    cycle["cycle"] = cycle
    return cycle


@pytest.mark.parametrize("number", range(9))
def test_values_that_cannot_be_shown_are_typed_errors(number: int) -> None:
    """Too deep to be written, endless, or of more digits than Python writes."""
    messages: Any = [
        [{"role": "user", "content": nest(5000)}],
        [{"role": "user", "content": [{"type": "x", "a": nest(5000)}]}],
        [make_cycle()],
        [{"role": 10**5000, "content": "x"}],
        [{"role": "user", "content": 10**5000}],
        [{"role": "assistant", "tool_calls": 5}],
        [{"role": "assistant", "tool_calls": [nest(5000)]}],
        [{"type": "function_call", "call_id": "c", "name": 10**5000, "arguments": "{}"}],
        5,
    ][number]
    with pytest.raises(RequestError):
        LM("m", vendor=ScriptedVendor(["ok"])).respond(messages=messages)


@pytest.mark.parametrize("outputs", [5, "call_1", [5], [{"call_id": 5, "output": "x"}]])
def test_malformed_tool_outputs_are_typed_errors(outputs: Any) -> None:
    with pytest.raises(RequestError):
        LM("m", vendor=ScriptedVendor(["ok"])).respond(tool_outputs=outputs)
