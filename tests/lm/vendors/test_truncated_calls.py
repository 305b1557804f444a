"""Calls that were cut off with their answer."""

from __future__ import annotations

from synth_ai import content
from synth_ai.lm.vendors.truncated_calls import drop_truncated_calls

TEXT = content.assistant_message("Wait.")
WHOLE = content.function_call("call_1", "add", '{"a": 1}')
HALF = content.function_call("call_2", "add", '{"a": ')
SQL = content.custom_tool_call("call_3", "sql", "select")


def test_a_function_is_cut_off_if_its_arguments_are_not_json() -> None:
    """Wherever it is; the other items stay in their order."""
    kept, warnings = drop_truncated_calls([TEXT, HALF, WHOLE])
    assert kept == [TEXT, WHOLE]
    assert warnings == ["The call call_2 of 'add' was cut off and is left out."]


def test_line_breaks_in_arguments_are_no_cut() -> None:
    """Models write them into JSON strings, and the call can be run."""
    call = content.function_call("call_1", "add", '{"a": "1\n2"}')
    assert drop_truncated_calls([call]) == ([call], [])


def test_a_custom_tool_is_cut_off_if_its_status_says_so() -> None:
    """Its input is any text, which cannot tell."""
    kept, warnings = drop_truncated_calls([SQL, {**SQL, "status": "incomplete"}])
    assert kept == [SQL]
    assert len(warnings) == 1


def test_a_custom_tool_is_cut_off_at_the_end_without_a_status() -> None:
    """On Chat Completions, where it may be whole but must not be run if it is not."""
    other = {**SQL, "call_id": "call_4"}
    assert drop_truncated_calls([SQL, other], has_statuses=False)[0] == [SQL]
    assert drop_truncated_calls([SQL, TEXT], has_statuses=False)[0] == [SQL, TEXT]
