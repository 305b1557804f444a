"""`lm.count_tokens`: exact where the prompt is rendered here, an estimate elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse
from synth_ai.errors import OptionError, RequestError, UnknownResponseError
from synth_ai.lm.token_count import TokenCount
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text


def get_weather(city: str) -> str:
    """The weather in a city."""
    return "sunny"


CALLS: list[dict[str, Any]] = [
    {"user_message": "Hi"},
    {"user_message": "Hi", "system_message": "Be terse.", "tools": [get_weather]},
    {"user_message": "Hi", "reasoning_effort": "high"},
    {"user_message": "Hi", "tools": [get_weather], "tool_choice": "get_weather"},
    {"user_message": "Hi", "response_model": list[int]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
]


@pytest.mark.parametrize("arguments", CALLS)
async def test_on_harmony_the_count_is_that_of_the_call(arguments: dict[str, Any]) -> None:
    """The same arguments, the same prompt; nothing is sent, and no head moves."""
    engine = ScriptedEngine([final_text("One.", reasoning="Hm.")] * 2)
    lm = LM("gpt-oss-20b", engine=engine)
    await lm.respond_async("First.")
    head = lm.head

    count = await lm.count_tokens_async(**arguments)
    assert lm.head == head
    assert len(engine.prompts) == 1
    try:
        response = await lm.respond_async(**arguments)
    except Exception as error:  # the scripted answer has another shape
        response = error.response  # type: ignore[attr-defined]
    assert isinstance(response, BaseLMResponse)
    assert count == TokenCount(len(response.prompt_token_ids or ()), is_exact=True)


def test_a_known_history_is_counted_as_it_was_sampled() -> None:
    """`continue_known=` counts as in the call itself."""
    engine = ScriptedEngine([call_text("get_weather", city="Oslo", reasoning="I look.")])
    lm = LM("gpt-oss-20b", engine=engine, tools=[get_weather])
    asked = lm.respond("The weather in Oslo?")
    assert asked.tool_calls is not None
    output = {"role": "tool", "tool_call_id": asked.tool_calls[0]["id"], "content": "sunny"}
    history = [{"role": "user", "content": "The weather in Oslo?"}, *asked.output, output]

    chained = lm.count_tokens(tool_outputs={asked.tool_calls[0]["id"]: "sunny"})
    assert lm.count_tokens(messages=history, continue_known=True) == chained


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_elsewhere_it_is_an_estimate(
    hosted: Callable[..., LM], openai_server: OpenAIServer, api: str
) -> None:
    """Of the whole conversation, also where the server has the turns before."""
    lm = hosted(api)
    text = "The quick brown fox jumps over the lazy dog. " * 100
    first = await lm.respond_async(text)
    sent = len(openai_server.requests)

    alone = await lm.detached().count_tokens_async(text)
    both = await lm.count_tokens_async(text, previous_response_id=first.response_id)
    with_tools = await lm.detached().count_tokens_async("Be terse.", text, tools=[get_weather])
    assert not alone.is_exact
    # Ten tokens a sentence, as OpenAI's vocabularies have it.
    assert 700 < alone.tokens < 1400
    assert both.tokens > 2 * alone.tokens
    assert with_tools.tokens > alone.tokens
    assert len(openai_server.requests) == sent


async def test_what_cannot_be_counted() -> None:
    """A call that cannot be made cannot be counted; nor what only a server has."""
    lm = LM("x", vendor=ScriptedVendor())
    with pytest.raises(RequestError, match="nothing to send"):
        await lm.count_tokens_async()
    with pytest.raises(OptionError, match="temperature"):
        await lm.count_tokens_async("Hi", temperature=5)
    with pytest.raises(UnknownResponseError, match="resp_elsewhere"):
        await lm.count_tokens_async("Hi", previous_response_id="resp_elsewhere")
