"""A malformed turn is refused at import, so that no reader meets it; and names that no file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synth_ai import LM, SQLiteStore
from synth_ai.errors import StoreImportError, StoreUnavailableError
from synth_ai.store.sqlite.readonly import read_turns
from synth_ai.testing import ScriptedVendor

TURN: dict[str, Any] = {
    "id": "r",
    "parent_id": None,
    "api_type": "chat",
    "model": "m",
    "input": [{"type": "message", "role": "user", "content": "hi"}],
    "output": [],
}


def assistant(content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": content}


def nest(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


MALFORMED: list[dict[str, Any]] = [
    {"output": [assistant([5])]},
    {"output": [assistant({"type": "output_text", "text": "x"})]},
    {"output": [assistant([{"type": "output_text", "text": 5}])]},
    {"output": [assistant([{"type": "output_text"}])]},
    {"output": [assistant([{"type": "refusal"}])]},
    {"output": [assistant([{"text": "x"}])]},
    {"output": [assistant([{"type": ["output_text"], "text": "x"}])]},
    {"output": [{"type": "message", "role": ["user"], "content": "x"}]},
    {"output": [{"type": "function_call"}]},
    {"output": [{"type": "function_call", "call_id": 5, "name": "f", "arguments": "{}"}]},
    {"output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
    {"output": [{"type": "custom_tool_call", "call_id": "c", "name": "f"}]},
    {"output": [{"type": "reasoning", "content": [5]}]},
    {"output": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": 5}]}]},
    {"output": [{"type": ["message"]}]},
    {"output": [5]},
    {"output": [{"type": "x", "a": nest(200)}]},
    {"input": [{"type": "function_call_output", "call_id": 5, "output": "x"}]},
    {"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]},
    {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": 5}]}]},
    {"tools": [{"type": "function", "name": 5}]},
    {"tools": [{"type": ["mcp"]}]},
    {"created_at": float("inf")},
    {"created_at": 10**400},
    {"usage": {"input_tokens": 10**400}},
    {"settings": {"a": nest(200)}},
    {"tags": ["run"]},
    {"tags": None},
    {"tags": {"score": float("nan")}},
    {"tags": {"a": nest(200)}},
    {"reward": "good"},
    {"reward": True},
    {"reward": float("nan")},
    {"latency": "fast"},
    {"time_to_first_token": float("inf")},
    {"cached": "yes"},
    {"fingerprint": "ABCD"},
    {"fingerprint": "abc"},
    {"fingerprint": 12},
    {"request_key": ""},
    {"prompt_hash": "00 11"},
    {"temperature": "warm"},
    {"logprobs_mode": 1},
    {"output_logprobs": "ab"},
    {"output_logprobs": [None]},
    {"output_logprobs": [float("nan")]},
    {"output_logprobs": [1e300]},
    {"output_token_ids": [1, 2], "output_logprobs": [-0.5]},
    {"compaction": []},
    {"compaction": {"first_kept": "a"}},
    {"compaction": {"first_kept": "", "items": []}},
    {"compaction": {"first_kept": "a", "items": [5]}},
]


@pytest.mark.parametrize("change", MALFORMED, ids=str)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_malformed_turn_is_refused_at_import(
    kind: str, change: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "export.jsonl"
    header = {"format": "synth-ai turns", "version": 4, "turns": 2}
    lines = [header, {**TURN, "id": "good"}, TURN | change]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    store = None if kind == "memory" else tmp_path / "turns.db"
    lm = LM("m", vendor=ScriptedVendor(), response_store=store)
    with pytest.raises(StoreImportError, match="Line 3"):
        lm.responses.import_(path)
    assert lm.responses.list() == []


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "~nobody-of-this-name/x", "x" * 300])
def test_a_name_that_no_file_can_have_is_a_typed_error(name: str, tmp_path: Path) -> None:
    where = name if name.startswith("~") else str(tmp_path / name)
    lm = LM("m", vendor=ScriptedVendor())
    for use in (
        SQLiteStore,
        read_turns,
        lm.responses.export,
        lm.responses.import_,
        lm.tree().save_html,
    ):
        with pytest.raises(StoreUnavailableError):
            use(where)
