"""Bodies as servers other than OpenAI's send them: gateways, proxies, other makers' models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM, Completed, MemoryStore, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.errors import MalformedAnswerError, OverloadedError, RateLimitError, ServerError
from synth_ai.testing import ScriptedEngine, final_text

Hosted = Callable[..., LM]


def completion(message: dict[str, Any], finish_reason: str = "stop", **choice: Any) -> Raw:
    """A chat completion with this message."""
    whole = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", **message},
        **choice,
    }
    return Raw(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [whole],
        }
    )


def events(*data: Any) -> Raw:
    """A stream of server-sent events."""
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in data) + "data: [DONE]\n\n"
    return Raw(body, headers={"content-type": "text/event-stream"})


def chunk(
    delta: dict[str, Any] | None = None, finish_reason: str | None = None, **choice: Any
) -> dict[str, Any]:
    """A chunk of a chat completion."""
    whole = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason, **choice}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [whole],
    }


def response(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A response of the Responses API."""
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": status,
        "output": list(output),
        **fields,
    }


def message(text: str) -> dict[str, Any]:
    """A message of the Responses API."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


async def streamed(lm: LM) -> list[Any]:
    """The events of a streamed call."""
    return [event async for event in lm.stream_async("Hi", auto_store=False)]


# --- calls in streams -------------------------------------------------------------------------


def called(index: int, id: str, name: str | None, arguments: str, **more: Any) -> dict[str, Any]:
    """A chunk with a tool call."""
    function = {"name": name, "arguments": arguments}
    return chunk(
        {
            "tool_calls": [
                {"index": index, "id": id, "type": "function", "function": function, **more}
            ]
        }
    )


def end(finish_reason: str = "tool_calls") -> dict[str, Any]:
    """The chunk that ends an answer."""
    return chunk(None, finish_reason)


async def test_calls_that_all_have_the_index_0_are_told_apart(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Gemini numbers every call of a turn so; a new id is a new call, and the id again is not."""
    sent = (
        called(0, "a", "f", '{"x": 1}'),
        called(0, "b", "g", '{"y":'),
        called(0, "b", None, " 2}"),
    )
    openai_server.enqueue(events(*sent, end()))
    *found, done = await streamed(hosted("chat"))
    assert found == [
        ToolCallDelta(0, "f", '{"x": 1}', "a"),
        ToolCallDelta(1, "g", '{"y":', "b"),
        ToolCallDelta(1, None, " 2}"),
    ]
    assert [(call["id"], *call["function"].values()) for call in done.response.tool_calls] == [
        ("a", "f", '{"x": 1}'),
        ("b", "g", '{"y": 2}'),
    ]


async def test_a_null_beside_the_function_is_nothing(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Servers that dump every field of a call send `custom` as null."""
    openai_server.enqueue(events(called(0, "a", "f", "{}", custom=None), end()))
    *found, done = await streamed(hosted("chat"))
    assert found == [ToolCallDelta(0, "f", "{}", "a")]
    assert done.response.tool_calls[0]["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("name", ["", None])
async def test_a_name_may_come_late(
    openai_server: OpenAIServer, hosted: Hosted, name: str | None
) -> None:
    """The first delta of the call that is shown has it."""
    openai_server.enqueue(
        events(called(0, "a", name, ""), called(0, "", "f", "{"), called(0, "", None, "}"), end())
    )
    *found, done = await streamed(hosted("chat"))
    assert found == [ToolCallDelta(0, "f", "{", "a"), ToolCallDelta(0, None, "}")]
    assert done.response.tool_calls == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


# --- other shapes -----------------------------------------------------------------------------

THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_content_in_parts_is_read(
    openai_server: OpenAIServer, hosted: Hosted, stream: bool
) -> None:
    """Mistral's thinking models answer so: the thinking is reasoning, the texts are the answer."""
    parts = [THINKING, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    lm = hosted("chat")
    if stream:
        openai_server.enqueue(
            events(chunk({"content": parts[:1]}), chunk({"content": parts[1:]}), end("stop"))
        )
        *found, done = await streamed(lm)
        assert found == [ReasoningDelta("Hm."), TextDelta("Hello")]
        answer = done.response
    else:
        openai_server.enqueue(completion({"content": parts}))
        answer = await lm.respond_async("Hi")
    assert (answer.text, answer.reasoning) == ("Hello", "Hm.")


BROKEN: dict[str, tuple[str, list[Any]]] = {
    "a choice that is a text": ("chat", [{"choices": ["x"]}, end("stop")]),
    "choices that are a number": ("chat", [{"choices": 1}]),
    "a delta that is a text": ("chat", [{"choices": [{"delta": "x"}]}]),
    "content that is a number": ("chat", [chunk({"content": 5}), end("stop")]),
    "a part without a type": ("chat", [chunk({"content": [{"text": "x"}]}), end("stop")]),
    "calls that are no list": ("chat", [chunk({"tool_calls": {"a": 1}}), end()]),
    "calls that are texts": ("chat", [chunk({"tool_calls": ["x"]}), end()]),
    "a call without a name": ("chat", [called(0, "a", None, "{}"), end()]),
    "a finish reason that is a list": (
        "chat",
        [chunk({"content": "x"}, ["stop"])],  # type: ignore[arg-type]
    ),
    "sound that is none": (
        "chat",
        [chunk({"audio": {"id": "a", "data": piece}}) for piece in ("a=", "b=")] + [end("stop")],
    ),
    "a delta without one": (
        "responses",
        [{"type": "response.output_text.delta", "output_index": 0}],
    ),
    "a delta that is null": (
        "responses",
        [{"type": "response.reasoning_text.delta", "delta": None}],
    ),
    "no item": ("responses", [{"type": "response.output_item.added", "output_index": 0}]),
    "an item that is a text": ("responses", [{"type": "response.output_item.done", "item": "x"}]),
    "no response": ("responses", [{"type": "response.completed"}]),
    "a response that is null": ("responses", [{"type": "response.completed", "response": None}]),
    "a place that is a list": (
        "responses",
        [{"type": "response.output_text.delta", "delta": "x", "output_index": [1]}],
    ),
}


@pytest.mark.parametrize(("api", "sent"), BROKEN.values(), ids=BROKEN)
async def test_a_stream_of_another_shape(
    openai_server: OpenAIServer, hosted: Hosted, api: str, sent: list[Any]
) -> None:
    """It is the server's mistake, and a typed error; nobody has to catch a KeyError."""
    openai_server.enqueue(events(*sent))
    with pytest.raises(MalformedAnswerError):
        await streamed(hosted(api, retry=False))


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    "body", [{"models": []}, {"data": ["m"]}, {"data": None}, {"data": [{"id": None}]}]
)
async def test_a_list_of_models_of_another_shape(
    openai_server: OpenAIServer, hosted: Hosted, api: str, body: dict[str, Any]
) -> None:
    """The same where the models are asked for."""
    openai_server.enqueue(Raw(body), on="models")
    with pytest.raises(MalformedAnswerError, match="not a list of models"):
        await hosted(api, retry=False).models_async()


FAILED: dict[str, tuple[dict[str, Any], type[ServerError], str]] = {
    "a gateway": (
        {"error": {"code": 502, "message": "Provider died"}},
        OverloadedError,
        "Provider died",
    ),
    "a limit": ({"error": {"code": 429, "message": "Slow down"}}, RateLimitError, "Slow down"),
    "a text": ({"error": "Provider died"}, OverloadedError, "Provider died"),
    "no reason": ({}, OverloadedError, "does not say why"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("choice", "kind", "words"), FAILED.values(), ids=FAILED)
async def test_an_answer_that_ends_with_an_error(
    openai_server: OpenAIServer,
    hosted: Hosted,
    choice: dict[str, Any],
    kind: type[ServerError],
    words: str,
    stream: bool,
) -> None:
    """OpenRouter tells so of the provider behind it; it is no answer of nothing."""
    lm = hosted("chat", retry=False)
    if stream:
        openai_server.enqueue(
            events(chunk({"content": "par"}), chunk({"content": ""}, "error", **choice))
        )
    else:
        openai_server.enqueue(completion({"content": ""}, "error", **choice))
    with pytest.raises(kind, match=words):
        await (streamed(lm) if stream else lm.respond_async("Hi"))


async def test_a_stream_whose_final_response_is_empty(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Some proxies leave the output out of it, having told the items one by one."""
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }
    openai_server.enqueue(
        events(
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Hello"},
            {"type": "response.output_item.done", "output_index": 1, "item": call},
            {"type": "response.output_item.done", "output_index": 0, "item": message("Hello")},
            {"type": "response.completed", "response": response()},
        )
    )
    found = await streamed(hosted())
    assert isinstance(found[-1], Completed)
    assert found[-1].response.text == "Hello"
    assert found[-1].response.output == [message("Hello"), call]
    assert [call["id"] for call in found[-1].response.tool_calls or ()] == ["call_1"]


# --- answers that stop short ------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_was_cut_off_is_in_no_response(
    openai_server: OpenAIServer, hosted: Hosted, stream: bool
) -> None:
    """On Chat, the call before it stays, and the warning says which one was cut off."""
    texts = ('{"x": 1}', '{"y": ')
    calls = [
        {
            "index": at,
            "id": f"call_{at}",
            "type": "function",
            "function": {"name": "f", "arguments": text},
        }
        for at, text in enumerate(texts)
    ]
    lm = hosted("chat")
    if stream:
        unnamed = {"index": 2, "id": "call_2", "type": "function"}
        openai_server.enqueue(
            events(*(chunk({"tool_calls": [call]}) for call in (*calls, unnamed)), end("length"))
        )
        cut = (await streamed(lm))[-1].response
    else:
        openai_server.enqueue(completion({"content": None, "tool_calls": calls}, "length"))
        cut = await lm.respond_async("Hi")
    assert (cut.status, [call["id"] for call in cut.tool_calls or ()]) == ("incomplete", ["call_0"])
    assert [item["call_id"] for item in cut.output] == ["call_0"]
    assert cut.warnings == ["The call call_1 of 'f' was cut off and is left out."]


async def test_a_custom_tool_s_call_at_the_cut_is_left_out(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Half a query is a query too, so its text does not say that it was cut off; the place does."""
    calls = [
        {"id": id, "type": "custom", "custom": {"name": "sql", "input": "delete from t"}}
        for id in ("call_1", "call_2")
    ]
    openai_server.enqueue(completion({"content": None, "tool_calls": calls}, "length"))
    cut = await hosted("chat").respond_async("Hi")
    assert cut.tool_calls == calls[:1]
    assert cut.warnings == ["The call call_2 of 'sql' was cut off and is left out."]


async def test_a_call_that_was_cut_off_on_responses(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The branch goes on from its own items, as the server would wait for the output of it."""
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
    }
    half = call | {"id": "fc_2", "call_id": "call_2", "arguments": '{"x": ', "status": "incomplete"}
    custom = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_3",
        "name": "sql",
        "input": "select",
    }
    details = {"incomplete_details": {"reason": "max_output_tokens"}}
    output = [message("Hello"), half, custom | {"status": "incomplete"}]
    openai_server.enqueue(Raw(response(*output, status="incomplete", **details)))
    lm = hosted()
    cut = await lm.respond_async("Hi")
    assert (cut.text, cut.tool_calls, cut.status) == ("Hello", None, "incomplete")
    assert [warning.split()[2] for warning in cut.warnings] == ["call_2", "call_3"]
    more = await lm.respond_async("more")
    assert more.text == "You said: more"
    assert "previous_response_id" not in openai_server.bodies[-1]
    assert [item.get("role") for item in openai_server.bodies[-1]["input"]] == [
        "user",
        "assistant",
        "user",
    ]

    openai_server.enqueue(
        Raw(response(call | {"status": "incomplete"}, status="incomplete", **details))
    )
    complete = await hosted().respond_async("Hi")
    assert [call["id"] for call in complete.tool_calls or ()] == ["call_1"]
    assert complete.warnings == []


# --- what messages have besides ---------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_one_call_of_an_older_server(
    openai_server: OpenAIServer, hosted: Hosted, stream: bool
) -> None:
    """As `function_call`, without an id; it is a call like any other."""
    call = {"name": "f", "arguments": '{"x": 1}'}
    if stream:
        pieces = {"name": "f", "arguments": '{"x":'}, {"arguments": " 1}"}
        sent = [chunk({"function_call": piece}) for piece in pieces]
        openai_server.enqueue(events(*sent, end("function_call")))
        answer = (await streamed(hosted("chat")))[-1].response
    else:
        openai_server.enqueue(completion({"content": None, "function_call": call}, "function_call"))
        answer = await hosted("chat").respond_async("Hi")
    assert [found["function"] for found in answer.tool_calls or ()] == [call]


@pytest.mark.parametrize("stream", [False, True])
async def test_annotations_are_in_the_text(
    openai_server: OpenAIServer, hosted: Hosted, stream: bool
) -> None:
    """At the place and in the shape that they have on the Responses API."""
    cited = {"url": "https://x.test", "title": "X", "start_index": 0, "end_index": 3}
    sent = {"content": "see", "annotations": [{"type": "url_citation", "url_citation": cited}]}
    if stream:
        openai_server.enqueue(
            events(chunk({"content": "see"}), chunk(sent | {"content": ""}), end("stop"))
        )
        answer = (await streamed(hosted("chat")))[-1].response
    else:
        openai_server.enqueue(completion(sent))
        answer = await hosted("chat").respond_async("Hi")
    part = {
        "type": "output_text",
        "text": "see",
        "annotations": [{"type": "url_citation", **cited}],
    }
    assert answer.output[0]["content"] == [part]


EXTRA = {"google": {"thought_signature": "abc"}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_signature_goes_back_to_its_server_alone(
    openai_server: OpenAIServer, hosted: Hosted, stream: bool
) -> None:
    """Gemini refuses a conversation without it, and no other server knows it."""
    store = MemoryStore()
    lm = hosted("chat", response_store=store)
    if stream:
        openai_server.enqueue(
            events(called(0, "a", "f", "{}", extra_content=EXTRA), called(0, "a", None, ""), end())
        )
        asking = lm.stream_async("Hi")
        _ = [event async for event in asking]
        asked = asking.response
    else:
        call = {
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
            "extra_content": EXTRA,
        }
        openai_server.enqueue(completion({"content": None, "tool_calls": [call]}, "tool_calls"))
        asked = await lm.respond_async("Hi")
    answered = {"tool_outputs": {"a": "1"}, "previous_response_id": asked.response_id}
    await lm.respond_async(**answered)
    assert openai_server.bodies[-1]["messages"][1]["tool_calls"][0]["extra_content"] == EXTRA

    elsewhere = openai_server.base_url.replace("127.0.0.1", "localhost")
    for api in ("chat", "responses"):
        await LM("m", api=api, base_url=elsewhere, response_store=store).respond_async(**answered)
        assert "abc" not in json.dumps(openai_server.bodies[-1])
    here = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("Done.")]), response_store=store)
    assert (await here.respond_async(**answered)).text == "Done."
    # The field is in no type of the SDK.
    assert all("extra_content" in violation for violation in openai_server.violations)
    openai_server.violations.clear()


async def test_names_and_empty_answers_of_a_history(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Chat gets who said it; the Responses API and gpt-oss know no names of speakers."""
    history = [
        {"role": "user", "name": "Ada", "content": "Hi"},
        {"role": "assistant", "name": "Bob", "content": ""},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "name": "Ada", "content": [{"type": "text", "text": "Please."}]},
    ]
    await hosted("chat").respond_async(messages=history)
    said = [(each.get("name"), each["content"]) for each in openai_server.bodies[-1]["messages"]]
    assert said[:4] == [("Ada", "Hi"), ("Bob", ""), (None, "Why?"), (None, "No.")]
    assert said[4] == ("Ada", [{"type": "text", "text": "Please."}])
    await hosted().respond_async(messages=history)
    assert [each["content"] for each in openai_server.bodies[-1]["input"][:4]] == [
        "Hi",
        "",
        "Why?",
        "No.",
    ]
    here = LM("gpt-oss-20b", engine=ScriptedEngine([final_text("Fine.")]))
    assert (await here.respond_async(messages=history)).text == "Fine."


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_half_a_character_in_an_answer(
    openai_server: OpenAIServer, hosted: Hosted, api: str, transport: str, tmp_path: Path
) -> None:
    """A model that was cut off in one leaves half of it, which nothing could print or store."""
    answer = completion({"content": "Hi \ud83d"}, "length")
    if api == "responses":
        answer = Raw(response(message("Hi \ud83d"), status="incomplete"))
    openai_server.enqueue(answer)

    store = str(tmp_path / "turns.db")
    async with hosted(api, transport=transport, response_store=store) as lm:
        got = await lm.respond_async("Hi")
        print(got)
        assert got.text == "Hi \ufffd"
        assert got.response_id is not None
        kept = await lm.responses.retrieve_async(got.response_id)
        assert kept.text == got.text
