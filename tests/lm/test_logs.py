"""Logs and reprs: not a word of what was said, in one line, whatever a server sends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM, RetryPolicy
from synth_ai.errors import SynthAIError

Hosted = Callable[..., LM]

SECRET = "My diagnosis"
EVIL = "x\nCRITICAL root logged in\n\x1b[2J\x1b]0;pwned\x07"


def completion(text: str | None, model: str = "m", **message: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text, **message}}
    return {"id": "c", "object": "chat.completion", "model": model, "choices": [choice]}


ANSWERS = {
    "no JSON": Raw(f"{SECRET} is not JSON"),
    "another shape": Raw({"choices": [{"text": SECRET}]}),
    "an error that quotes the prompt": Raw({"error": {"message": SECRET}}, status=500),
    "an error that quotes it in its code": Raw(
        {"error": {"message": "x", "code": f"{SECRET} {EVIL}"}}, status=500
    ),
    "an error in a 200": Raw({"error": {"message": SECRET + EVIL, "code": "server_error"}}),
    "a model's name": Raw(completion("Fine.", model=f"m{EVIL}")),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_log_has_no_word_and_no_forged_line(
    openai_server: OpenAIServer,
    hosted: Hosted,
    caplog: pytest.LogCaptureFixture,
    name: str,
    stream: bool,
) -> None:
    """Of the prompt, of the answer, or of a server that wants to write into the log."""
    caplog.set_level(logging.DEBUG, "synth_ai")
    openai_server.enqueue(ANSWERS[name], ANSWERS[name])
    lm = hosted("chat", retry=RetryPolicy(attempts=2, wait_initial=0))
    try:
        if stream:
            async with lm.stream_async(SECRET) as events:
                async for _ in events:
                    pass
        else:
            await lm.respond_async(SECRET)
    except SynthAIError:
        pass

    lines = [record.getMessage() for record in caplog.records if record.name == "synth_ai"]
    assert lines
    assert all(SECRET not in line and line.isprintable() for line in lines)


async def test_a_replay_is_logged_without_the_server_s_words(
    openai_server: OpenAIServer, hosted: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    """The response has them, the log has the reason alone."""
    caplog.set_level(logging.INFO, "synth_ai")
    lm = hosted()
    await lm.respond_async("one")
    forgotten = {"message": f"{SECRET}\n is lost", "code": "previous_response_not_found"}
    openai_server.enqueue(Raw({"error": forgotten}, status=400))
    response = await lm.respond_async("two")
    assert SECRET in str(response.replay_reason)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "synth_ai"]
    assert "was answered from a replay: The server cannot continue from" in line
    assert SECRET not in line
    assert line.isprintable()


async def test_a_repr_is_one_line_without_control_characters(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Names of tools and errors are the server's to choose."""
    function = {"name": f"f{EVIL}", "arguments": "{}"}
    call = {"id": "c", "type": "function", "function": function}
    openai_server.enqueue(Raw(completion(None, tool_calls=[call])))
    response = await hosted("chat").respond_async("Hi")
    assert repr(response).isprintable()
    assert str(response).isprintable()

    body = {"id": "resp_1", "object": "response", "status": "failed", "output": []}
    openai_server.enqueue(Raw({**body, "error": {"code": EVIL, "message": EVIL}}))
    assert repr(await hosted().respond_async("Hi")).isprintable()
