"""Chat Completions' chunks: events as they come, and the body that they add up to."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import pytest

from synth_ai import ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.events import StreamEvent
from synth_ai.lm.vendors.chat.decode import decode_response
from synth_ai.lm.vendors.chat.stream import ChunkReader
from synth_ai.response import BaseLMResponse


def test_chunks_add_up() -> None:
    """Events as the chunks come, and in the end the body that an unstreamed call would have had."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"reasoning": "Hm"},
        {"reasoning_content": "."},
        {"content": "Hel"},
        {"content": "lo"},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "function": {"name": "add", "arguments": ""}}
            ]
        },
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "function": {"name": "sub", "arguments": '{"b"'}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": ": 2}"}}]},
    ]
    chunks: list[dict[str, Any]] = [
        {
            "id": "chatcmpl-1",
            "model": "gpt-5-x",
            "choices": [{"delta": delta, "finish_reason": None}],
        }
        for delta in deltas
    ]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    reader = ChunkReader()
    events = [event for chunk in chunks[:-2] for event in reader.read(chunk)]
    assert reader.body() is None, "the answer is not finished before its finish_reason"
    events += [event for chunk in chunks[-2:] for event in reader.read(chunk)]
    assert events == [
        ReasoningDelta("Hm"),
        ReasoningDelta("."),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallDelta(0, "add", "", "call_1"),
        ToolCallDelta(1, "sub", '{"b"', "call_2"),
        ToolCallDelta(0, None, '{"a": 1}'),
        ToolCallDelta(1, None, ": 2}"),
    ]
    whole = reader.body()
    assert whole is not None
    response = decode_response(whole)
    assert (response.reasoning, response.raw_response, response.model) == (
        "Hm.",
        "Hello",
        "gpt-5-x",
    )
    assert [call["function"]["arguments"] for call in response.tool_calls or ()] == [
        '{"a": 1}',
        '{"b": 2}',
    ]
    assert response.usage is not None
    assert response.usage.total_tokens == 3


def streamed(*deltas: dict[str, Any]) -> tuple[list[StreamEvent], dict[str, Any], BaseLMResponse]:
    """The events of a stream of these deltas, its body, and the response in it."""
    reader = ChunkReader()
    events = [event for delta in deltas for event in reader.read({"choices": [{"delta": delta}]})]
    list(reader.read({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
    list(reader.read({}))
    body = reader.body()
    assert body is not None
    return events, body, decode_response(body)


def piece(arguments: str, name: str | None = None, **where: Any) -> dict[str, Any]:
    """A delta of one tool call."""
    return {**where, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "deltas",
    [
        [[piece('{"a": 1}', "f", id="c1")], [piece('{"b": 2}', "g", id="c2")]],
        [[piece('{"a": 1}', "f", id="c1"), piece('{"b": 2}', "g", id="c2")]],
        [
            [piece('{"a":', "f", id="c1")],
            [piece(" 1}")],
            [piece('{"b":', "g", id="c2")],
            [piece(" 2}", id="c2")],
        ],
        [
            [piece('{"a":', "f", id="c1"), piece('{"b":', "g", id="c2")],
            [piece(" 1}", id="c1"), piece(" 2}", id="c2")],
        ],
        [[piece('{"a": 1}', "f")], [piece('{"b": 2}', "g")]],
        [[piece('{"a": 1}', "f"), piece('{"b": 2}', "g")]],
    ],
    ids=[
        "by id",
        "in one chunk",
        "continued",
        "interleaved",
        "without ids",
        "without ids in one chunk",
    ],
)
def test_calls_without_an_index_are_told_apart(deltas: list[list[dict[str, Any]]]) -> None:
    """Some servers leave it out; two calls must not become one."""
    events, _, response = streamed(*({"tool_calls": calls} for calls in deltas))
    called = [call["function"] for call in response.tool_calls or ()]
    assert called == [
        {"name": "f", "arguments": '{"a": 1}'},
        {"name": "g", "arguments": '{"b": 2}'},
    ]
    starts = [
        (event.index, event.name)
        for event in events
        if isinstance(event, ToolCallDelta) and event.name
    ]
    assert starts == [(0, "f"), (1, "g")]


def test_a_custom_tool_s_call_is_streamed() -> None:
    """Its input comes like a function's arguments."""
    first = {
        "index": 0,
        "id": "call_1",
        "type": "custom",
        "custom": {"name": "sql", "input": "select"},
    }
    more = {"index": 0, "custom": {"input": " 1"}}
    events, _, response = streamed({"tool_calls": [first]}, {"tool_calls": [more]})
    assert events == [ToolCallDelta(0, "sql", "select", "call_1"), ToolCallDelta(0, None, " 1")]
    assert response.tool_calls == [
        {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    ]


@pytest.mark.parametrize("pieces", [[b"ab", b"cde", b"f"], [b"abc", b"def"]])
def test_a_spoken_answer_is_streamed_as_its_transcript(pieces: list[bytes]) -> None:
    """The sound is in the body, whole, whether its pieces were encoded one by one or not."""
    sound = [{"audio": {"data": b64encode(data).decode()}} for data in pieces]
    words = [{"audio": {"id": "audio_1", "transcript": "Hello"}}, {"audio": {"transcript": " Ada"}}]
    events, body, response = streamed(*words, *sound, {"audio": {"expires_at": 100}})
    assert events == [TextDelta("Hello"), TextDelta(" Ada")]
    assert response.raw_response == "Hello Ada"
    assert response.output[0]["audio"] == {"id": "audio_1", "expires_at": 100}
    assert b64decode(body["choices"][0]["message"]["audio"]["data"]) == b"abcdef"


def test_a_refusal_has_no_text() -> None:
    """What `TextDelta`s add up to is the text of the response, which a refusal is not."""
    events, _, response = streamed({"refusal": "I "}, {"refusal": "cannot."})
    assert events == []
    assert (response.raw_response, response.refusal) == ("", "I cannot.")


def test_halves_of_a_character_find_together() -> None:
    """Each text by itself, however the others come in between."""
    first, second = "\ud83d", "\ude00"
    details = [
        {"type": "reasoning.text", "index": 0, "text": text} for text in (f"x{first}", f"{second}y")
    ]
    deltas: list[dict[str, Any]] = [
        {"reasoning_details": [details[0]]},
        {"content": f"a{first}", "refusal": first},
        {"reasoning_details": [details[1]]},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": first}}]},
        {"tool_calls": [{"index": 1, "id": "d", "function": {"name": "g", "arguments": second}}]},
        {"refusal": f"{second}no"},
        {"content": f"{second}b"},
        {"tool_calls": [{"index": 0, "function": {"arguments": second}}]},
    ]
    events, _, response = streamed(*deltas)
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert ("".join(texts), response.text) == ("a\N{GRINNING FACE}b",) * 2
    assert response.refusal == "\N{GRINNING FACE}no"
    assert response.reasoning == "x\N{GRINNING FACE}y"
    assert response.tool_calls is not None
    arguments = [call["function"]["arguments"] for call in response.tool_calls]
    assert arguments == ["\N{GRINNING FACE}", "\ufffd"]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a\ud83d", "", "\ude00"], "a\N{GRINNING FACE}"),
        (["\ude00b"], "\ufffdb"),
        (["\ud83d\ud83d", "\ude00"], "\ufffd\N{GRINNING FACE}"),
        (["a", "\ud83d"], "a"),
    ],
)
def test_half_a_character_alone_can_be_printed(pieces: list[str], text: str) -> None:
    """The text and its deltas have UTF-8, whatever came."""
    events, _, response = streamed(*({"content": piece} for piece in pieces))
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert ("".join(deltas), response.text) == (text, text)
    assert response.text.encode()
