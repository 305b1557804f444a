"""Options of an LM on calls that they do not fit: left out where they say nothing, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.errors import OptionError

Hosted = Callable[..., LM]
APIS = pytest.mark.parametrize("api", ["chat", "responses"])
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


@APIS
async def test_stream_options_go_with_streams_alone(
    openai_server: OpenAIServer, hosted: Hosted, api: str
) -> None:
    """The service refuses them on a call that is not streamed."""
    wanted = {"include_obfuscation": False}
    lm = hosted(api, stream_options=wanted)
    await lm.respond_async("Hi")
    _ = [event async for event in lm.fork().stream_async("Hi")]
    plain, streamed = openai_server.bodies
    assert "stream_options" not in plain
    assert wanted.items() <= streamed["stream_options"].items()


@APIS
@pytest.mark.parametrize("choice", ["auto", "none"])
async def test_a_call_without_tools_says_nothing_about_them(
    openai_server: OpenAIServer, hosted: Hosted, api: str, choice: str
) -> None:
    """The service refuses `tool_choice` and `parallel_tool_calls` there.

    Where there are tools, both are sent.
    """
    lm = hosted(api, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    await lm.respond_async("Hi")
    await lm.fork().respond_async("Hi", tools=None)
    about = [
        {key: body[key] for key in body if "tool" in key and key != "tools"}
        for body in openai_server.bodies
    ]
    assert about == [{"tool_choice": choice, "parallel_tool_calls": False}, {}]


@APIS
@pytest.mark.parametrize("choice", ["required", "f", {"type": "function", "name": "f"}])
async def test_a_choice_that_wants_a_tool_needs_one(
    openai_server: OpenAIServer, hosted: Hosted, api: str, choice: Any
) -> None:
    """As with gpt-oss here: an error that names it, before anything is sent."""
    with pytest.raises(OptionError, match=r"tool_choice=.*cannot be met: this call has no tools"):
        await hosted(api, tool_choice=choice).respond_async("Hi")
    assert openai_server.requests == []


@pytest.mark.parametrize(
    "brought", [{"prompt": {"id": "pmpt_1"}}, {"extra_body": {"tools": [{"strict": True, **TOOL}]}}]
)
async def test_tools_that_come_another_way(
    openai_server: OpenAIServer, hosted: Hosted, brought: dict[str, Any]
) -> None:
    """A prompt that the service keeps may have tools, and `extra_body` may bring them."""
    await hosted(tool_choice="required").respond_async("Hi", **brought)
    assert openai_server.bodies[0]["tool_choice"] == "required"
