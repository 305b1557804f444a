"""Why an answer stops short: one word for it on every API, whatever the server's is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from synth_ai import LM, harmony
from synth_ai.engines.base import Engine, EngineFacts, FinishReason, Sampling, TokenDelta
from synth_ai.errors import MalformedAnswerError
from synth_ai.lm.vendors.chat import decode as chat
from synth_ai.lm.vendors.chat.stream import ChunkReader
from synth_ai.lm.vendors.responses import decode as responses

WORDS = [
    ("length", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("MAX_TOKENS", "max_output_tokens"),
    ("max_output_tokens", "max_output_tokens"),
    ("model_length", "max_output_tokens"),
    ("content_filter", "content_filter"),
    ("sensitive", "content_filter"),
    ("abort", "interrupted"),
    ("insufficient_system_resource", "interrupted"),
]


@pytest.mark.parametrize(("word", "reason"), WORDS)
def test_chat(word: str, reason: str) -> None:
    """A body, and a stream of the same."""
    body = {"choices": [{"message": {"content": "A"}, "finish_reason": word}]}
    response = chat.decode_response(body)
    assert (response.status, response.incomplete_reason) == ("incomplete", reason)

    reader = ChunkReader()
    list(reader.read({"choices": [{"delta": {"content": "A"}, "finish_reason": word}]}))
    list(reader.read({}))
    streamed = reader.body()
    assert streamed is not None
    response = chat.decode_response(streamed)
    assert (response.text, response.incomplete_reason) == ("A", reason)


@pytest.mark.parametrize("word", ["stop", "tool_calls", "eos", "", None])
def test_a_chat_answer_that_is_complete(word: object) -> None:
    """Servers have words of their own for that too."""
    body = {"choices": [{"message": {"content": "A"}, "finish_reason": word}]}
    response = chat.decode_response(body)
    assert (response.status, response.incomplete_reason) == ("completed", None)


@pytest.mark.parametrize("word", [5, ["length"], {"type": "length"}])
def test_a_reason_that_is_no_word(word: object) -> None:
    """It is the server's mistake, on both APIs."""
    choice = {"message": {"content": "A"}, "finish_reason": word}
    with pytest.raises(MalformedAnswerError):
        chat.decode_response({"choices": [choice]})

    body = {"id": "r", "status": "incomplete", "output": [], "incomplete_details": {"reason": word}}
    with pytest.raises(MalformedAnswerError):
        responses.decode_response(body)


@pytest.mark.parametrize(("word", "reason"), [*WORDS, ("novelty", "novelty"), (None, None)])
def test_responses(word: str | None, reason: str | None) -> None:
    """A word that nobody knows is passed on, as the status says that there is a reason."""
    body = {
        "id": "resp_1",
        "status": "incomplete",
        "output": [],
        "incomplete_details": {"reason": word},
    }
    response = responses.decode_response(body)
    assert (response.status, response.incomplete_reason) == ("incomplete", reason)


class EndingEngine(Engine):
    """An engine whose completions end for one reason."""

    def __init__(self, text: str, reason: FinishReason) -> None:
        self.model = "gpt-oss-20b"
        self._ids = harmony.encode(text, control_tokens=True)
        self._reason = reason

    async def facts(self) -> EngineFacts:
        return EngineFacts(context_length=4096, vocabulary_size=harmony.VOCABULARY_SIZE)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        yield TokenDelta(self._ids, self._reason)

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("abort", "interrupted")]
)
async def test_harmony(finish_reason: FinishReason, reason: str) -> None:
    """An answer that the engine gave up is no whole one; one with its end is."""
    text = "<|channel|>final<|message|>It is"
    response = await LM("x", engine=EndingEngine(text, finish_reason)).respond_async("Hi")
    assert (response.status, response.incomplete_reason) == ("incomplete", reason)
    assert response.text == "It is"

    whole = EndingEngine(f"{text}<|return|>", finish_reason)
    response = await LM("x", engine=whole).respond_async("Hi")
    assert (response.status, response.incomplete_reason) == ("completed", None)
