"""The public cases: what gpt-oss has really emitted, and the answer that a user should get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harmony.samples import CASES, case_ids, finish_reason, joined, streamed, whole
from synth_ai.harmony import Completion, parse

FIELDS = ("final", "preamble", "reasoning", "tool_calls", "finish")


def answer(completion: Completion) -> dict[str, Any]:
    calls = [
        {"name": call.name, "arguments": loaded(call.arguments)} for call in completion.tool_calls
    ]
    return {**{field: getattr(completion, field) for field in FIELDS}, "tool_calls": calls}


def loaded(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def fits(got: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Reasoning counts as right when it holds what is expected: the cases shorten it."""
    rest = all(got[field] == wanted[field] for field in FIELDS if field != "reasoning")
    if wanted["reasoning"] is None:
        return rest and got["reasoning"] is None
    return rest and wanted["reasoning"] in (got["reasoning"] or "")


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    """Each completion gives the answer that is expected, or one of those that are as good."""
    got = answer(parse(case_ids(case), tools=case["offered"], finish_reason=finish_reason(case)))
    expected = case["expected"]
    wanted = [
        expected,
        *({**expected, **other} for other in case.get("alt") or expected.get("alt", [])),
    ]
    assert any(fits(got, one) for one in wanted), got


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_deltas_of_every_split(case: dict[str, Any]) -> None:
    """Wherever the stream is cut in two, and id by id, the deltas add up to the whole."""
    ids, reason = case_ids(case), finish_reason(case)
    want = parse(ids, finish_reason=reason)
    splits = [[ids[:at], ids[at:]] for at in range(len(ids) + 1)] + [[[token] for token in ids]]
    for chunks in splits:
        events, completion = streamed(chunks, finish_reason=reason)
        assert completion == want
        assert joined(events, want) == whole(want)
