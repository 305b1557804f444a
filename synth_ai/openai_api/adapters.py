"""Answers and streams of an LM in OpenAI's shapes, for those who have them already."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from synth_ai.lm.streams import ResponseStream
from synth_ai.openai_api.chat_body import make_chat_body
from synth_ai.openai_api.chat_chunks import ChatChunkWriter
from synth_ai.openai_api.item_events import ServerEvent
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.replies import EventWriter
from synth_ai.openai_api.responses_body import make_response_body
from synth_ai.openai_api.responses_events import ResponseEventWriter
from synth_ai.openai_api.streaming import TranslatedStream
from synth_ai.response import BaseLMResponse

_NO_MODEL = "unknown"


def response(answer: BaseLMResponse) -> JSONObject:
    """Make the body of a response of the Responses API.

    Args:
        answer: the answer of an LM.

    Returns:
        The body; `openai.types.responses.Response.model_validate` takes it.
    """
    request = {"previous_response_id": answer.previous_response_id}
    return make_response_body(answer, request, model=_NO_MODEL)


def chat_completion(answer: BaseLMResponse) -> JSONObject:
    """Make the body of a chat completion.

    Args:
        answer: the answer of an LM.

    Returns:
        The body; `openai.types.chat.ChatCompletion.model_validate` takes it.
    """
    return make_chat_body(answer, model=_NO_MODEL)


async def events(stream: ResponseStream) -> AsyncIterator[ServerEvent]:
    """Yield the events of a stream as those of the Responses API.

    Args:
        stream: the stream, from `lm.stream_async`. It is opened here if it is not open yet.

    Raises:
        SynthAIError: the stream was refused, or broke off.
    """
    make_writer = partial(ResponseEventWriter, request={}, model=_NO_MODEL, created_at=time.time())
    async for event in _translate(stream, make_writer):
        yield event


async def chunks(stream: ResponseStream) -> AsyncIterator[ServerEvent]:
    """Yield the events of a stream as chunks of a chat completion.

    Args:
        stream: the stream, from `lm.stream_async`. It is opened here if it is not open yet.

    Raises:
        SynthAIError: the stream was refused, or broke off.
    """
    make_writer = partial(ChatChunkWriter, request={}, model=_NO_MODEL, created_at=time.time())
    async for chunk in _translate(stream, make_writer):
        yield chunk


async def _translate(
    stream: ResponseStream, make_writer: Callable[[str], EventWriter]
) -> AsyncIterator[ServerEvent]:
    translated = TranslatedStream(stream, make_writer)
    while (written := await translated.next()) is not None:
        for event in written:
            yield event
