"""A history on its way to a Responses server: what only another server can read stays behind, and is listed."""

from __future__ import annotations

from typing import Any

import pytest

from servers.checks import request_problems
from synth_ai import Turn
from synth_ai import content as items
from synth_ai.lm import prompt
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.responses import encode as responses
from synth_ai.lm.vendors.responses.history import prepared

HERE = "https://here.test/v1"
USER = {"type": "message", "role": "user", "content": "Hi"}
BARE = {"type": "reasoning", "id": "rs_1", "summary": []}
ANSWER = items.assistant_message("Found.", id="msg_1")
HOSTED: tuple[dict[str, Any], ...] = (
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    },
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": "c",
        "outputs": None,
        "status": "completed",
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "name": "n",
        "arguments": "{}",
        "server_label": "l",
        "output": "o",
    },
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="},
    {"type": "file_search_call", "id": "fs_1", "queries": ["q"], "status": "completed"},
)
KINDS = "1 web_search_call, 1 code_interpreter_call, 1 mcp_call, 1 image_generation_call, 1 file_search_call"


def turn(
    *output: dict[str, Any],
    given: tuple[Any, ...] = (USER,),
    server: str | None = HERE,
    **fields: Any,
) -> Turn:
    """A turn of this server's, unless another is named."""
    api: str = fields.pop("api", "responses")
    return Turn("resp_1", None, api, "gpt-5", given, output, server=server, **fields)


def sent(*history: Turn, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The body of a request that goes on from these turns here, and its warnings."""
    request, notes = prepared(
        LMRequest(model="gpt-5", input=(USER,), history=history, **fields), HERE
    )
    body = responses.request_body(request)
    assert request_problems("/v1/responses", body) == []
    return body, notes


@pytest.mark.parametrize(
    "before",
    [turn(BARE, *HOSTED, ANSWER), turn(*HOSTED, ANSWER, server="https://elsewhere.test/v1")],
)
def test_items_of_hosted_tools_stay_with_their_server(before: Turn) -> None:
    """The API demands their ids, which mean nothing elsewhere, nor here without the reasoning before them."""
    body, notes = sent(before)
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        "user",
        "assistant",
        "user",
    ]
    assert (
        notes[-1]
        == f"5 item(s) of hosted tools that this server does not take back were left out: {KINDS}."
    )


def test_items_of_hosted_tools_go_back_to_their_server() -> None:
    """Whole, ids included, where nothing of their turn has to stay out."""
    body, notes = sent(turn(*HOSTED, ANSWER))
    assert body["input"][1:-1] == [*HOSTED, ANSWER]
    assert notes == []


def test_answers_to_what_was_left_out_are_left_out() -> None:
    """An output without its call, or an approval of nothing, would be refused."""
    asking = {
        "type": "mcp_approval_request",
        "id": "mcpr_1",
        "name": "n",
        "arguments": "{}",
        "server_label": "l",
    }
    screen = {
        "type": "computer_call",
        "id": "cu_1",
        "call_id": "call_1",
        "pending_safety_checks": [],
        "status": "completed",
    }
    answers = (
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
        {
            "type": "computer_call_output",
            "call_id": "call_1",
            "output": {"type": "computer_screenshot"},
        },
        items.function_call_output("call_2", "5"),
    )
    call = items.function_call("call_2", "add", "{}", id="fc_1")
    body, notes = sent(
        turn(asking, screen, call, server="https://elsewhere.test/v1"), turn(ANSWER, given=answers)
    )
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        "user",
        "function_call",
        "function_call_output",
        "message",
        "user",
    ]
    assert len(notes) == 1


def test_reasoning_whose_call_was_cut_off_is_left_out() -> None:
    """OpenAI refuses ciphertext without the item that it led to."""
    cipher = BARE | {"encrypted_content": "gAAA"}
    body, notes = sent(turn(ANSWER, cipher, status="incomplete"))
    assert [item.get("role") for item in body["input"]] == ["user", "assistant", "user"]
    assert len(notes) == 1
    assert sent(turn(cipher, ANSWER))[0]["input"][1:-1] == [cipher, ANSWER]


def test_tools_of_gpt_oss_are_left_out() -> None:
    """A branch that comes from here may have its built-in ones; the functions and hosted tools of a branch stay."""
    add = {
        "type": "function",
        "name": "add",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    }
    tools: Any = ({"type": "python"}, {"type": "browser"}, add, {"type": "web_search"})
    begun = turn(items.assistant_message("Hello"), api="harmony", server=None, tools=tools)
    body, notes = sent(begun, tools=tools)
    assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]
    assert notes == [
        "Tools of the branch that the responses API does not have were left out: python, browser."
    ]


def test_a_file_goes_on_and_a_sound_is_left_out() -> None:
    """A conversation that began on Chat with both of them."""
    file = {
        "type": "file",
        "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
    }
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    given, _ = prompt.read_messages([{"role": "user", "content": [file, sound]}])
    body, notes = sent(turn(items.assistant_message("Seen."), given=tuple(given), api="chat"))
    part = {
        "type": "input_file",
        "file_data": "data:application/pdf;base64,AAAA",
        "filename": "a.pdf",
    }
    assert body["input"][0] == {"role": "user", "content": [part]}
    assert notes == [
        "Left out of the history, as the responses API has no counterpart: 1 input_audio."
    ]
