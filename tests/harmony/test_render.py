"""Rendering: against the ids of openai-harmony 0.0.8, and where this project decides itself."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from harmony.conversations import ANSWER, CALL, OUTPUT, READABLE, THOUGHT, USER, WEATHER
from synth_ai.errors import OptionError, RequestError, ToolError
from synth_ai.harmony import SystemPrompt, decode, encode, render

GOLDEN = Path(__file__).parent / "golden"
with (GOLDEN / "ids.jsonl").open(encoding="utf-8") as file:
    ROWS = [json.loads(row) for row in file]


def shown(ids: list[int]) -> str:
    """The prompt as the golden files show it: a line break after each message."""
    text = decode(ids).replace("<|end|><|start|>", "<|end|>\n<|start|>")
    return text.replace("<|call|><|start|>", "<|call|>\n<|start|>") + "\n"


@pytest.mark.parametrize("name", READABLE)
def test_readable_prompts(name: str) -> None:
    """The prompt of a conversation is the one in the golden file, which a person can read."""
    conversation = READABLE[name]
    wanted = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert shown(render(conversation.items, **conversation.settings)) == wanted


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_golden_ids(row: dict[str, Any]) -> None:
    """The ids are those of openai-harmony 0.0.8."""
    got = render(row["items"], **row["settings"])
    assert got == row["ids"], f"\ngot:\n{shown(got)}\nwanted:\n{shown(row['ids'])}"


def test_unnamed_message_type() -> None:
    """`type` may be left out of a message, and content may be a string or parts."""
    parts = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": USER["content"]}],
    }
    assert render([USER]) == render([parts])


def test_date() -> None:
    """The date is today's unless given; an empty one leaves the line out."""
    today = datetime.date.today()
    assert render([USER]) == render([USER], date=today) == render([USER], date=today.isoformat())
    assert "Current date" not in decode(render([USER], date=""))
    assert render([USER], date=False) == render([USER], date="")


def test_date_is_fixed_when_the_settings_are_made() -> None:
    """A conversation that goes on past midnight keeps its prefix."""
    assert SystemPrompt().date == datetime.date.today().isoformat()


@pytest.mark.parametrize(
    "response_format",
    [
        {
            "type": "json_schema",
            "name": "shopping_list",
            "schema": {"type": "object"},
            "description": "What\nto buy",
        },
        {
            "type": "json_schema",
            "json_schema": {
                "name": "shopping_list",
                "schema": {"type": "object"},
                "description": "What\nto buy",
            },
        },
        {"title": "shopping_list", "type": "object", "description": "What\nto buy"},
    ],
)
def test_response_format(response_format: dict[str, Any]) -> None:
    """The schema of the answer ends the developer message, in each of the shapes it is given in."""
    ids = render([USER], instructions="Help.", tools=[WEATHER], response_format=response_format)
    developer = decode(ids).split("<|start|>developer<|message|>")[1].split("<|end|>")[0]
    assert developer.startswith("# Instructions\n\nHelp.\n\n# Tools\n\n## functions")
    end = developer.split("} // namespace functions\n\n")[1]
    assert end.startswith("# Response Formats\n\n## shopping_list\n\n// What to buy\n{")
    assert json.loads(end.splitlines()[-1])["type"] == "object"


@pytest.mark.parametrize(
    "response_format", [{"type": "json_schema", "json_schema": 5}, {"properties": {1, 2}}]
)
def test_bad_response_format(response_format: dict[str, Any]) -> None:
    """A format that is not a JSON schema is refused."""
    with pytest.raises(OptionError, match="response_format"):
        render([USER], response_format=response_format)


def test_a_phase_that_is_not_known_is_an_answer() -> None:
    """Whatever it is: only commentary is a preamble."""
    answer = {"role": "assistant", "content": "x"}
    assert render([{**answer, "phase": ["commentary"]}]) == render([answer])


def test_text_format_is_no_format() -> None:
    """Plain text, the default of the Responses API, adds nothing."""
    assert render([USER], response_format={"type": "text"}) == render([USER])


def test_name_of_a_call_with_its_namespace() -> None:
    """A call may carry the name as Harmony spells it; a tool with a namespace keeps it."""
    assert render([{**CALL, "name": "functions.get_current_weather"}]) == render([CALL])
    assert " to=math.sum<|channel|>commentary" in decode(render([{**CALL, "name": "math.sum"}]))


def test_function_named_python() -> None:
    """A function that is called python takes JSON, which tells it from the built-in."""
    function = {**CALL, "name": "python", "arguments": '{"code": "1"}'}
    assert " to=functions.python<|channel|>commentary <|constrain|>json<|message|>" in decode(
        render([function])
    )
    assert " to=python<|channel|>analysis code<|message|>" in decode(
        render([{**function, "arguments": "1 + 1"}])
    )


def test_refusals_and_summaries() -> None:
    """A refusal of another model is an answer here, and a summary stands in for reasoning."""
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    summary = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Thought."}],
        "content": None,
    }
    hidden = {"type": "reasoning", "summary": [], "encrypted_content": "..."}
    text = decode(render([refusal, USER, summary, hidden, CALL, OUTPUT]))
    assert "<|channel|>final<|message|>I cannot.<|end|>" in text
    assert text.count("<|channel|>analysis<|message|>") == 1


def test_output_with_parts_and_name() -> None:
    """An output may be text parts, and may name its tool if its call is not in the transcript."""
    output = {
        **OUTPUT,
        "name": "get_current_weather",
        "output": [{"type": "input_text", "text": OUTPUT["output"]}],
    }
    assert render([output])[-20:] == render([CALL, OUTPUT])[-20:]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}, "input_image"),
        ({"role": "tool", "content": "x"}, "'tool'"),
        ({"role": "user", "content": 5}, "5"),
        ({"type": "item_reference", "id": "x"}, "item_reference"),
        ({"type": "function_call_output", "call_id": "call_9", "output": "x"}, "call_9"),
        ({**CALL, "arguments": {"a": 1}}, "must be text"),
        ("Hello", "mapping"),
        ({"role": ["user"], "content": "x"}, "role"),
        ({"type": ["message"], "content": "x"}, "cannot be rendered"),
    ],
)
def test_bad_items(item: Any, said: str) -> None:
    """What cannot be rendered is named."""
    with pytest.raises(RequestError, match=said):
        render([USER, item])


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"type": "function", "name": "two words"}, "two words"),
        ({"type": "function", "name": "f" * 65}, "64"),
        ({"type": "function", "name": "x\n"}, "letters"),
        ({"type": "function"}, "None"),
        ({"type": "web_search"}, "web_search"),
        ("get_weather", "get_weather"),
        ({"type": "function", "name": "f", "parameters": {"$ref": "#/$defs/X"}}, "X"),
        ({"type": "function", "name": "f", "parameters": {"$ref": "http://x"}}, "http://x"),
        ({"type": "function", "name": "f", "parameters": "string"}, "string"),
        ({"type": "function", "name": "f", "description": 5}, "5"),
        ({"type": "function", "function": "f"}, "must be a dict, not 'f'"),
        (5, "not 5"),
    ],
)
def test_bad_tools(tool: Any, said: str) -> None:
    """A tool that cannot be declared is named, with the reason."""
    with pytest.raises(ToolError, match=said):
        render([USER], tools=[tool])


def test_two_tools_of_one_name() -> None:
    """Two functions of one name could not be told apart in a call."""
    with pytest.raises(ToolError, match="get_current_weather"):
        render([USER], tools=[WEATHER, WEATHER])


@pytest.mark.parametrize(
    "settings", [{"reasoning_effort": "max"}, {"date": "today\n"}, {"knowledge_cutoff": "a\rb"}]
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    """A setting that is out of range, or breaks out of its line, is refused."""
    with pytest.raises(OptionError, match=next(iter(settings))):
        render([USER], **settings)


def test_reasoning_before_the_last_answer_goes() -> None:
    """Reasoning goes with the final answer that follows it, and stays while a tool turn is open."""
    turn = [USER, THOUGHT, CALL, OUTPUT]
    assert decode(render([*turn, ANSWER, *turn])).count("analysis<|message|>") == 1
    assert decode(render([*turn, THOUGHT, ANSWER, USER])).count("analysis<|message|>") == 0
    assert decode(render([*turn, USER])).count("analysis<|message|>") == 1


def test_generation_prompt() -> None:
    """A prompt ends with the start of an assistant message."""
    assert render([])[-2:] == [200006, 173781] == encode("<|start|>assistant", control_tokens=True)
