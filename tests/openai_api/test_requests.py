"""Requests of both APIs as calls of an LM, on each of the built-in APIs."""

from __future__ import annotations

from typing import Any

import pytest

from openai_api.backends import FLAT_TOOL
from synth_ai.api import API
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.vendors.apis import BUILT_IN
from synth_ai.openai_api.chat_request import read_chat_request
from synth_ai.openai_api.refusals import RefusedRequestError
from synth_ai.openai_api.responses_request import read_responses_request

USER = [{"role": "user", "content": "Hi"}]


def read(api: str, **body: Any) -> dict[str, Any]:
    """The arguments of a request of the Responses API, but for those that every call has."""
    call = read_responses_request(BUILT_IN[api], {"input": "Hi", **body})
    return without_common(call.arguments)


def read_chat(api: str, **body: Any) -> dict[str, Any]:
    """The arguments of a request of Chat Completions, but for those that every call has."""
    call = read_chat_request(BUILT_IN[api], {"messages": USER, **body})
    return without_common(call.arguments)


def without_common(arguments: Any) -> dict[str, Any]:
    common = {
        "messages": USER,
        "continue_known": True,
        "tools": None,
        "system_message": None,
        "response_model": None,
    }
    continues = {"previous_response_id", "continue_known"} & arguments.keys()
    assert common.keys() - {"continue_known"} <= arguments.keys()
    assert len(continues) == 1
    return {
        name: value
        for name, value in arguments.items()
        if name not in common or value != common[name]
    }


@pytest.mark.parametrize("api", BUILT_IN)
def test_a_bare_request_clears_what_the_lm_has(api: str) -> None:
    """Tools, system message and shape are the request's own."""
    assert read(api) == {}
    assert read_chat(api) == {}


@pytest.mark.parametrize("api", BUILT_IN)
def test_options_get_the_lm_s_names(api: str) -> None:
    """Each API has the same few under names of its own."""
    given = {"temperature": 0.5, "top_p": 0.9}
    read_here = read(api, **given, max_output_tokens=5, reasoning={"effort": "low"})
    limit = "max_output_tokens" if api == "responses" else "max_tokens"
    assert read_here == {**given, limit: 5, "reasoning_effort": "low"}

    limit = "max_completion_tokens" if api == "chat" else "max_tokens"
    read_here = read_chat(api, **given, max_completion_tokens=5, reasoning_effort="low")
    assert read_here == {**given, limit: 5, "reasoning_effort": "low"}
    assert read_chat(api, max_tokens=5) == {"max_tokens": 5}


@pytest.mark.parametrize("api", ["responses", "harmony"])
def test_two_names_of_one_option(api: str) -> None:
    """Neither of them wins in silence."""
    with pytest.raises(RefusedRequestError, match="max_completion_tokens"):
        read_chat(api, max_tokens=5, max_completion_tokens=6)


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "weather"}, "weather"),
        ({"type": "function", "function": {"name": "weather"}}, "weather"),
        ({"type": "custom", "name": "sql"}, "sql"),
        ({"type": "custom", "custom": {"name": "sql"}}, "sql"),
        ({"type": "allowed_tools", "mode": "auto"}, {"type": "allowed_tools", "mode": "auto"}),
    ],
)
def test_a_tool_is_chosen_by_its_name(choice: Any, name: Any) -> None:
    """On every API an LM takes that."""
    assert read("responses", tool_choice=choice)["tool_choice"] == name
    assert read_chat("chat", tool_choice=choice)["tool_choice"] == name


def test_instructions_go_beside_the_input() -> None:
    """System messages of the input stay in it."""
    developer = {"role": "developer", "content": "Be kind."}
    call = read_responses_request(
        BUILT_IN["harmony"], {"input": [developer, *USER], "instructions": "Be terse."}
    )
    assert call.arguments["system_message"] == "Be terse."
    assert call.arguments["messages"] == [developer, *USER]


def test_the_continued_response_and_the_tools_go_along() -> None:
    """As they are written."""
    arguments = read("harmony", previous_response_id="resp_1", tools=[FLAT_TOOL])
    assert arguments == {"previous_response_id": "resp_1", "tools": [FLAT_TOOL]}


@pytest.mark.parametrize("api", BUILT_IN)
def test_a_schema_is_the_shape_of_the_answer(api: str) -> None:
    """Under the name that the request gives it."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    described = {"name": "city", "schema": schema, "strict": True, "description": "A city."}
    flat = read(api, text={"format": {"type": "json_schema", **described}})["response_model"]
    nested = read_chat(api, response_format={"type": "json_schema", "json_schema": described})[
        "response_model"
    ]
    for shape in (flat, nested):
        assert isinstance(shape, ResponseFormat)
        assert (shape.name, shape.strict) == ("city", True)
        assert shape.schema == {**schema, "description": "A city."}


def test_any_object_in_the_words_of_each_api() -> None:
    """Where there is no word for it, it is a schema."""
    wanted = {"type": "json_object"}
    assert read("chat", text={"format": wanted}) == {"response_format": wanted}
    assert read("responses", text={"format": wanted}) == {"text": {"format": wanted}}
    shape = read("harmony", text={"format": wanted})["response_model"]
    assert shape.schema == {"type": "object"}


def test_what_a_server_keeps_goes_to_it_alone() -> None:
    """`store` means the LM's own store elsewhere."""
    assert read("responses", store=False) == {"store": False}
    assert read("harmony", store=False) == {}
    assert not read_responses_request(BUILT_IN["harmony"], {"input": "Hi", "store": False}).is_kept
    assert read("chat", metadata={"a": "b"}) == {"metadata": {"a": "b"}}
    assert read("harmony", metadata={"a": "b"}) == {"tags": {"a": "b"}}


def test_what_an_answer_brings_along() -> None:
    """One API has an option for it, the others have log probabilities."""
    wanted = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert read("responses", include=wanted) == {"include": wanted}
    assert read("harmony", include=wanted) == {"logprobs": True}
    assert read("chat", include=["reasoning.encrypted_content"]) == {}


def test_a_summary_of_the_reasoning_is_for_the_api_that_has_one() -> None:
    """Elsewhere the reasoning comes in the open, and asking for a summary is refused."""
    reasoning = {"effort": "low", "summary": "auto"}
    assert read("responses", reasoning=reasoning) == {
        "reasoning_effort": "low",
        "reasoning": {"summary": "auto"},
    }
    with pytest.raises(RefusedRequestError, match=r"reasoning\.summary"):
        read("harmony", reasoning=reasoning)


def test_an_api_of_your_own_takes_what_it_says() -> None:
    """Nothing here knows an API by its name."""
    own = API(name="own")
    call = read_chat_request(own, {"messages": USER, "stop": ["x"], "temperature": 1})
    assert without_common(call.arguments) == {"stop": ["x"], "temperature": 1}
    with pytest.raises(RefusedRequestError, match="top_p"):
        read_chat_request(own, {"messages": USER, "top_p": 1})


@pytest.mark.parametrize("parallel", [True, False])
def test_calls_one_at_a_time_where_there_are_never_more(parallel: bool) -> None:
    """gpt-oss ends its turn with its first call; of another API nobody knows."""
    assert read("harmony", parallel_tool_calls=parallel) == {}
    own = API(name="own")
    body = {"messages": USER, "parallel_tool_calls": parallel}
    if parallel:
        assert without_common(read_chat_request(own, body).arguments) == {}
    else:
        with pytest.raises(RefusedRequestError, match="parallel_tool_calls"):
            read_chat_request(own, body)
