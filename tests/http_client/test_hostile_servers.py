"""Answers that no server should give: typed errors, on both transports, streamed or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM
from synth_ai.errors import MalformedAnswerError, ServerError, StructuredOutputError

Hosted = Callable[..., LM]

JSON = {"content-type": "application/json"}
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def completion(**message: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Hi", **message}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def page(charset: str, status: int = 500) -> Raw:
    """An error page of a charset."""
    return Raw(
        "\xff\xfe<p>No." * 10,
        status=status,
        headers={"content-type": f"text/html; charset={charset}"},
    )


async def call(lm: LM, stream: bool, **options: Any) -> None:
    """Call in one of the two ways."""
    if not stream:
        await lm.respond_async("Hi", **options)
        return
    async with lm.stream_async("Hi", **options) as events:
        async for _ in events:
            pass


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize(
    "answer",
    [
        *(page(each) for each in ("idna", "zlib", "hex", "undefined", "rot13", "no-such")),
        page("idna", 404),
        page("zlib", 429),
        Raw(DEEP, headers=JSON),
        Raw(DEEP, status=400, headers=JSON),
        Raw("[" * 100_000 + "]" * 100_000, status=400, headers=JSON),
        Raw(f"data: {DEEP}\n\n", headers={"content-type": "text/event-stream"}),
        Raw("no gzip", headers={"content-encoding": "gzip", **JSON}),
        Raw(json.dumps([completion()]), headers=JSON),
        Raw('{"choices": ' + "9" * 5000 + "}", headers=JSON),
    ],
    ids=lambda answer: f"{answer.status} {dict(answer.headers)} {str(answer.body)[:12]}",
)
async def test_what_no_server_should_send_is_a_server_error(
    openai_server: OpenAIServer, hosted: Hosted, answer: Raw, transport: str, stream: bool
) -> None:
    """No RecursionError, UnicodeError, AssertionError or LookupError."""
    openai_server.enqueue(answer)
    async with hosted("chat", retry=False, transport=transport) as lm:
        with pytest.raises(ServerError):
            await call(lm, stream)


@pytest.mark.parametrize("number", [10**400, -5, 1.5, "7", None, True, []])
async def test_counts_that_are_none_cost_no_answer(
    openai_server: OpenAIServer, hosted: Hosted, number: Any
) -> None:
    """Whoever counts wrongly has answered all the same; the limits still count with it."""
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), number)
    openai_server.enqueue(Raw({**completion(), "usage": usage}))
    async with hosted("chat", retry=False, tokens_per_minute=10**6) as lm:
        response = await lm.respond_async("Hi")
    assert response.text == "Hi"
    assert response.usage is not None
    assert 0 <= response.usage.total_tokens <= 2


async def test_deep_arguments_and_answers_are_refused_where_they_are_read(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """They are texts, so that the body around them is not deep."""
    deep = "[" * 100_000 + "]" * 100_000
    function = {"name": "pay", "arguments": deep}
    call = {"id": "call_1", "type": "function", "function": function}
    openai_server.enqueue(Raw(completion(content=None, tool_calls=[call])))

    def pay(to: str) -> str:
        """Pay somebody."""
        raise AssertionError(to)

    async with hosted("chat", retry=False) as lm:
        run = await lm.run_tools_async("Pay.", tools=[pay])
        assert "Error" in run.steps[0].results[0].output

        openai_server.enqueue(Raw(completion(content=deep)))
        with pytest.raises(StructuredOutputError, match="nested too deep"):
            await lm.respond_async("Hi", response_model=dict[str, int])

        cut = completion(content=None, tool_calls=[call])
        cut["choices"][0]["finish_reason"] = "length"
        openai_server.enqueue(Raw(cut))
        assert "was cut off" in (await lm.respond_async("Hi")).warnings[0]

        nested: Any = 1
        for _ in range(300):
            nested = {"a": nested}
        openai_server.enqueue(Raw(completion(annotations=[nested])))
        with pytest.raises(MalformedAnswerError, match="levels deep"):
            await lm.respond_async("Hi")
