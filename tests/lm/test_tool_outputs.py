"""Tool outputs against their calls: none missing, none stray, each of the type of its call."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai import LM, MemoryStore
from synth_ai import content as items
from synth_ai.errors import MissingToolOutputError, RequestError
from synth_ai.lm.tool_outputs import check_tool_outputs, match_output_types
from synth_ai.testing import ScriptedVendor

CALLS = [
    items.function_call("call_1", "get_weather", "{}"),
    items.function_call("call_2", "get_time", "{}"),
]
CUSTOM = items.custom_tool_call("call_3", "sql", "select 1")


def user(text: str) -> dict[str, Any]:
    """A user's message as an item."""
    return {"type": "message", "role": "user", "content": text}


def test_every_call_needs_an_output() -> None:
    """The missing ones are named, by function and by id; complete sets pass."""
    outputs = [items.function_call_output(call["call_id"], "ok") for call in CALLS]
    check_tool_outputs(CALLS, outputs)
    check_tool_outputs([items.assistant_message("Hi")], [user("Hi")])
    with pytest.raises(
        MissingToolOutputError, match=r"no output yet: get_time \(call_2\).*tool_outputs="
    ) as raised:
        check_tool_outputs(CALLS, outputs[:1])
    assert raised.value.call_ids == ("call_2",)
    with pytest.raises(
        MissingToolOutputError, match=r"get_weather \(call_1\), get_time \(call_2\)"
    ):
        check_tool_outputs(CALLS, [user("Never mind")])


def test_calls_inside_a_history_need_their_outputs_too() -> None:
    """A history given by hand is checked like a stored one."""
    history = [user("Hi"), *CALLS, items.function_call_output("call_1", "ok"), user("And?")]
    with pytest.raises(MissingToolOutputError, match=r"get_time \(call_2\)"):
        check_tool_outputs((), history)


def test_outputs_are_of_the_type_of_their_calls() -> None:
    """A caller answers functions and custom tools alike, by call id."""
    outputs = [items.function_call_output(call_id, "ok") for call_id in ("call_1", "call_3")]
    typed = [outputs[0], {**outputs[1], "type": "custom_tool_call_output"}]
    assert match_output_types([CALLS[0], CUSTOM], outputs) == tuple(typed)
    assert match_output_types((), [CUSTOM, outputs[1]]) == (CUSTOM, typed[1])


def test_an_output_without_a_call_id() -> None:
    """A history of the caller's own may have one: it answers no call, which is said."""
    output: Any = {"type": "function_call_output", "output": "ok"}
    assert match_output_types((), [output]) == (output,)
    with pytest.raises(RequestError, match=r"output for None, .*its calls: call_1"):
        check_tool_outputs((), [CALLS[0], output])


async def test_a_custom_call_is_answered_like_any_other() -> None:
    """Its output is demanded before the conversation goes on, and goes out as what it is."""
    vendor = ScriptedVendor([[CUSTOM], "done"])
    lm = LM("x", vendor=vendor, response_store=MemoryStore())
    asked = await lm.respond_async("Hi")
    with pytest.raises(MissingToolOutputError, match=r"sql \(call_3\)"):
        await lm.respond_async("more")
    with pytest.raises(RequestError, match="output for 'call_9'"):
        await lm.respond_async(tool_outputs={"call_3": "1", "call_9": "1"})
    assert asked.tool_calls is not None
    await lm.respond_async(tool_outputs={asked.tool_calls[0]["id"]: "1"})
    assert vendor.requests[-1].input == (
        {"type": "custom_tool_call_output", "call_id": "call_3", "output": "1"},
    )
