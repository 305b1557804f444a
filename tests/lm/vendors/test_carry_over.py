"""A history from another API: what has no counterpart is left out and listed, and nothing else."""

from __future__ import annotations

from typing import Any

from synth_ai import Turn, content
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.carry_over import OUTPUT_PLACEHOLDER, Supports, drop_unsupported

SUPPORTS = Supports(
    "chat",
    items=frozenset({"message", "reasoning", "function_call", "function_call_output"}),
    parts=frozenset({"input_text", "input_image", "output_text"}),
    tools=frozenset({"function"}),
)
USER = {"type": "message", "role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "name": "add", "parameters": {}}
SEARCH = {"type": "web_search"}
TEXT = {"type": "input_text", "text": "see"}
STORED = {"type": "input_image", "file_id": "file_1"}


def turn(*output: dict[str, Any], api: str = "responses", **fields: Any) -> Turn:
    """A turn made on `api`."""
    return Turn("resp_1", None, api, "gpt-5", fields.pop("input", (USER,)), output, **fields)


def request(*history: Turn, **fields: Any) -> LMRequest:
    """A request that goes on from these turns."""
    return LMRequest(model="x", input=(USER,), history=history, **fields)


def test_items_without_a_counterpart_are_left_out_and_counted() -> None:
    """Searches, programs and compactions of a hosted model; its texts and calls stay."""
    search, compaction = (
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "compaction", "id": "cmp_1"},
    )
    answer = content.assistant_message("Found")
    asked, notes = drop_unsupported(request(turn(search, compaction, search, answer)), SUPPORTS)
    assert asked.items() == [USER, answer, USER]
    assert notes == [
        "Left out of the history, as the chat API has no counterpart: "
        "2 web_search_call, 1 compaction."
    ]


def test_parts_without_a_counterpart_are_left_out_too() -> None:
    """A message of which nothing is left goes; a tool's output stays, as its call needs one."""
    call = content.function_call("call_1", "look", "{}")
    mixed = {**USER, "content": [TEXT, STORED]}
    output = content.function_call_output("call_1", [STORED])
    asked, notes = drop_unsupported(
        request(turn(call, input=({**USER, "content": [STORED]}, mixed)), turn(input=(output,))),
        SUPPORTS,
    )
    assert asked.items() == [
        {**USER, "content": [TEXT]},
        call,
        {**output, "output": OUTPUT_PLACEHOLDER},
        USER,
    ]
    assert notes == ["Left out of the history, as the chat API has no counterpart: 3 input_image."]


def test_tools_of_the_branch_that_are_foreign_are_left_out() -> None:
    """They came down the branch; a tool that this call names is the caller's to answer for."""
    inherited = turn(tools=(FUNCTION, SEARCH))
    asked, notes = drop_unsupported(request(inherited, tools=(FUNCTION, SEARCH)), SUPPORTS)
    assert asked.tools == (FUNCTION,)
    assert notes == [
        "Tools of the branch that the chat API does not have were left out: web_search."
    ]
    given, notes = drop_unsupported(request(turn(tools=(FUNCTION,)), tools=(SEARCH,)), SUPPORTS)
    assert (given.tools, notes) == ((SEARCH,), [])


def test_a_history_of_this_api_is_not_touched() -> None:
    """What it has said once it can say again; the very same request goes on."""
    own = request(turn({"type": "web_search_call"}, api="chat"))
    assert drop_unsupported(own, SUPPORTS) == (own, [])
    assert drop_unsupported(own, SUPPORTS)[0] is own
