"""A history on its way to a Responses server: what only another can read is dropped and listed."""

from __future__ import annotations

from typing import Any

import pytest

from servers.checks import request_problems
from synth_ai import Turn, content
from synth_ai.lm import prompt
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.responses.encode import encode_request
from synth_ai.lm.vendors.responses.history import adapt_history

HERE = "https://here.test/v1"
USER = {"type": "message", "role": "user", "content": "Hi"}
BARE = {"type": "reasoning", "id": "rs_1", "summary": []}
ANSWER = content.assistant_message("Found.", id="msg_1")
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
KINDS = (
    "1 web_search_call, 1 code_interpreter_call, 1 mcp_call, 1 image_generation_call, "
    "1 file_search_call"
)


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
    request, notes = adapt_history(
        LMRequest(model="gpt-5", input=(USER,), history=history, **fields), HERE
    )
    body = encode_request(request)
    assert request_problems("/v1/responses", body) == []
    return body, notes


@pytest.mark.parametrize(
    "before",
    [turn(BARE, *HOSTED, ANSWER), turn(*HOSTED, ANSWER, server="https://elsewhere.test/v1")],
)
def test_items_of_hosted_tools_stay_with_their_server(before: Turn) -> None:
    """The API demands their ids, which mean nothing elsewhere, nor without their reasoning."""
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
        content.function_call_output("call_2", "5"),
    )
    call = content.function_call("call_2", "add", "{}", id="fc_1")
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
    """A branch from there may have its built-in ones; functions and hosted tools stay."""
    add = {
        "type": "function",
        "name": "add",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    }
    tools: Any = ({"type": "python"}, {"type": "browser"}, add, {"type": "web_search"})
    begun = turn(content.assistant_message("Hello"), api="harmony", server=None, tools=tools)
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
    body, notes = sent(turn(content.assistant_message("Seen."), given=tuple(given), api="chat"))
    part = {
        "type": "input_file",
        "file_data": "data:application/pdf;base64,AAAA",
        "filename": "a.pdf",
    }
    assert body["input"][0] == {"role": "user", "content": [part]}
    assert notes == [
        "Left out of the history, as the responses API has no counterpart: 1 input_audio."
    ]


# --- ids and reasoning ------------------------------------------------------------------------

LOST = "1 reasoning item(s) that this server does not take back were left out of the history."
OUTPUT: tuple[dict[str, Any], ...] = (
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    content.function_call("call_1", "add", "{}", id="fc_1"),
    content.assistant_message("Hello", id="msg_1", phase="final_answer"),
)


def test_history_of_this_server_keeps_what_it_made() -> None:
    """Ids, phase and encrypted reasoning go back whole and in order, so the replay is accepted."""
    body, warnings = sent(turn(*OUTPUT))
    assert body["input"] == [
        {"role": "user", "content": "Hi"},
        *OUTPUT,
        {"role": "user", "content": "Hi"},
    ]
    assert warnings == []


@pytest.mark.parametrize("server", ["https://elsewhere.test/v1", None])
def test_history_of_elsewhere_loses_ids_and_reasoning(server: str | None) -> None:
    """Another server knows neither the ids nor the cipher; what was said and called stays."""
    body, warnings = sent(turn(*OUTPUT, server=server))
    assert body["input"] == [
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"},
        {"role": "assistant", "content": "Hello", "phase": "final_answer"},
        {"role": "user", "content": "Hi"},
    ]
    without_reasoning, _ = sent(turn(*OUTPUT[1:], server=server))
    assert without_reasoning == body
    assert warnings == [LOST]

    same_server = LMRequest(model="gpt-5", input=(USER,), history=(turn(*OUTPUT, server=server),))
    assert adapt_history(same_server, server)[1] == []


def test_replayed_reasoning_that_the_server_has_lost_is_left_out() -> None:
    """Without ciphertext it is a name for what only its server kept, and that may have lost it."""
    bare = {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "Hm"}]}
    body, warnings = sent(turn(bare, content.assistant_message("Hello", id="msg_2")))
    assert body["input"][1] == {"role": "assistant", "content": "Hello"}
    assert len(body["input"]) == 3
    assert warnings == [LOST]


def test_reasoning_in_the_open_goes_back_to_its_server() -> None:
    """vLLM takes it, and gpt-oss needs it with the tool calls it led to."""
    reasoning = content.reasoning_item("Hm", id="rs_3")
    request, _ = adapt_history(
        LMRequest(model="gpt-5", input=(USER,), history=(turn(reasoning, OUTPUT[1]),)), HERE
    )
    assert encode_request(request)["input"][1:3] == [reasoning, OUTPUT[1]]


def test_reasoning_that_a_chat_call_left_here_is_counted() -> None:
    """One address may serve both APIs; this one takes no reasoning without an id of the server."""
    reasoning = content.reasoning_item("Hm")
    body, warnings = sent(turn(reasoning, content.assistant_message("Hello")))
    assert warnings == [LOST]
    assert len(body["input"]) == 3
