"""The bodies of OpenAI's answers, built from what a test asked for: plain data, no I/O."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from servers.answers import Answer, new_id

Body = dict[str, Any]


def pieces(text: str) -> list[str]:
    """A text in the pieces it is streamed in: words with the space before them."""
    return [" " + word if i else word for i, word in enumerate(text.split(" "))] if text else []


def count_tokens(value: Any) -> int:
    """A stand-in for a tokenizer: the words of all texts in a value."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return sum(count_tokens(part) for part in value.values())
    return sum(count_tokens(part) for part in value) if isinstance(value, list | tuple) else 0


def as_items(given: str | list[Body]) -> list[Body]:
    """The `input` of a create call as items with a type each."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [item if "type" in item else {"type": "message", **item} for item in given]


# --- Responses ------------------------------------------------------------------------------------


def output_items(answer: Answer, request: Body) -> list[Body]:
    """The output items of an answer, finished."""
    status = "incomplete" if answer.incomplete else "completed"
    items: list[Body] = []
    if answer.reasoning is not None:
        items.append(_reasoning_item(answer.reasoning, request))
    if answer.preamble is not None:
        items.append(
            _message(_text_part(answer.preamble, request), "completed", phase="commentary")
        )
    items += [
        {
            "type": "function_call",
            "id": new_id("fc"),
            "call_id": tool_call.call_id,
            "name": tool_call.name,
            "arguments": tool_call.arguments,
            "status": status,
        }
        for tool_call in answer.tool_calls
    ]
    if answer.refusal is not None:
        items.append(_message({"type": "refusal", "refusal": answer.refusal}, status))
    elif answer.text is not None:
        items.append(_message(_text_part(answer.text, request), status, phase="final_answer"))
    return items


def response(answer: Answer, request: Body, output: list[Body], input_tokens: int) -> Body:
    """A whole Response, finished as `answer` says."""
    status = "failed" if answer.failed else "incomplete" if answer.incomplete else "completed"
    return {
        **response_started(request),
        "status": status,
        "output": output,
        "error": {"code": answer.failed, "message": "The model failed."} if answer.failed else None,
        "incomplete_details": {"reason": answer.incomplete} if answer.incomplete else None,
        "usage": _responses_usage(answer, input_tokens, output),
    }


def response_started(request: Body) -> Body:
    """A Response before its first output; it repeats the request's parameters and defaults."""
    text = request.get("text") or {}
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "model": request.get("model", "gpt-5"),
        "output": [],
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None, **(request.get("reasoning") or {})},
        "service_tier": "default",
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **text},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools", []),
        "top_logprobs": request.get("top_logprobs", 0),
        "top_p": request.get("top_p", 1.0),
        "truncation": request.get("truncation", "disabled"),
        "usage": None,
        "user": None,
    }


def input_item_page(listed: list[Body], query: dict[str, str]) -> Body:
    """A page of `GET /v1/responses/{id}/input_items`: 20, the newest first, unless asked."""
    order = query.get("order", "desc")
    items = listed if order == "asc" else listed[::-1]
    if "after" in query:
        ids = [item["id"] for item in items]
        items = items[ids.index(query["after"]) + 1 :]

    limit = int(query.get("limit", 20))
    assert 1 <= limit <= 100, f"the service gives 1 to 100 items, not {limit}"
    data = items[:limit]
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    has_more = len(items) > limit
    return {
        "object": "list",
        "data": data,
        "first_id": first,
        "last_id": last,
        "has_more": has_more,
    }


def listed_item(item: Body) -> Body:
    prefix = {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
        "function_call_output": "fc",
    }[item["type"]]
    listed = {"id": new_id(prefix), "status": "completed", **item}
    if item["type"] == "message" and isinstance(item["content"], str):
        listed["content"] = [{"type": "input_text", "text": item["content"]}]
    return listed


def _reasoning_item(reasoning: str, request: Body) -> Body:
    item: Body = {"type": "reasoning", "id": new_id("rs"), "summary": []}
    if (request.get("reasoning") or {}).get("summary"):
        item["summary"] = [{"type": "summary_text", "text": reasoning}]
    if "reasoning.encrypted_content" in (request.get("include") or []):
        item["encrypted_content"] = f"gAAAAA{item['id']}=="
    return item


def _message(part: Body, status: str, **fields: Any) -> Body:
    return {
        "type": "message",
        "id": new_id("msg"),
        "role": "assistant",
        "status": status,
        "content": [part],
        **fields,
    }


def _text_part(text: str, request: Body) -> Body:
    wanted = "message.output_text.logprobs" in (request.get("include") or [])
    return {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": logprobs(text) if wanted else [],
    }


def _responses_usage(answer: Answer, input_tokens: int, output: list[Body]) -> Body:
    reasoning_tokens = count_tokens(answer.reasoning or "")
    output_tokens = (
        count_tokens([item for item in output if item["type"] != "reasoning"]) + reasoning_tokens
    )
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }


def logprobs(text: str) -> list[Body]:
    """One entry per streamed piece, all equally likely."""
    return [
        {"token": piece, "bytes": list(piece.encode()), "logprob": -0.5, "top_logprobs": []}
        for piece in pieces(text)
    ]


# --- Chat Completions -----------------------------------------------------------------------------


def chat_completion(answer: Answer, request: Body) -> Body:
    """A whole ChatCompletion."""
    message: Body = {
        "role": "assistant",
        "content": answer.text,
        "refusal": answer.refusal,
        "annotations": [],
    }
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": tool_call.call_id,
                "type": "function",
                "function": {"name": tool_call.name, "arguments": tool_call.arguments},
            }
            for tool_call in answer.tool_calls
        ]
    if answer.reasoning is not None:
        message[answer.reasoning_field] = answer.reasoning
    wanted = request.get("logprobs") and answer.text
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": logprobs(answer.text or ""), "refusal": None} if wanted else None,
        "finish_reason": _finish_reason(answer),
    }
    return {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [choice],
        "usage": _chat_usage(answer, request),
        "service_tier": "default",
        "system_fingerprint": None,
    }


def chat_chunks(answer: Answer, request: Body) -> Iterator[Body]:
    """The chunks of a streamed ChatCompletion, the usage chunk last where it was asked for."""
    with_usage = (request.get("stream_options") or {}).get("include_usage", False)
    head = {
        "id": new_id("chatcmpl"),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": None,
    } | ({"usage": None} if with_usage else {})

    def chunk(delta: Body, finish_reason: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**head, "choices": [choice]}

    yield chunk(
        {"role": "assistant", "content": None if answer.tool_calls else "", "refusal": None}
    )
    for piece in pieces(answer.reasoning or ""):
        yield chunk({answer.reasoning_field: piece})
    for piece in pieces(answer.text or ""):
        content = chunk({"content": piece})
        if request.get("logprobs"):
            content["choices"][0]["logprobs"] = {"content": logprobs(piece), "refusal": None}
        yield content
    for piece in pieces(answer.refusal or ""):
        yield chunk({"refusal": piece})
    for index, tool_call in enumerate(answer.tool_calls):
        function = {"name": tool_call.name, "arguments": ""}
        start = {"index": index, "id": tool_call.call_id, "type": "function", "function": function}
        yield chunk({"tool_calls": [start]})
        for piece in pieces(tool_call.arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _finish_reason(answer))
    if with_usage:
        yield {**head, "choices": [], "usage": _chat_usage(answer, request)}


def _finish_reason(answer: Answer) -> str:
    if answer.incomplete:
        return {"max_output_tokens": "length", "content_filter": "content_filter"}[
            answer.incomplete
        ]
    return "tool_calls" if answer.tool_calls else "stop"


def _chat_usage(answer: Answer, request: Body) -> Body:
    prompt_tokens = count_tokens([message.get("content") for message in request["messages"]])
    reasoning_tokens = count_tokens(answer.reasoning or "")
    said = [answer.text, answer.refusal, [tool_call.arguments for tool_call in answer.tool_calls]]
    completion_tokens = count_tokens(said) + reasoning_tokens
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens, "audio_tokens": 0},
    }


# --- Models ---------------------------------------------------------------------------------------


def model_list(names: list[str]) -> Body:
    """The body of `GET /v1/models`."""
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> Body:
    """One entry of the list of models."""
    return {"id": name, "object": "model", "created": 1_750_000_000, "owned_by": "openai"}
