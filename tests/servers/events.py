"""The server-sent events of a streamed Response, in the documented order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from servers.answers import Answer
from servers.bodies import Body, pieces


def response_events(answer: Answer, response: Body) -> Iterator[Body]:
    """Every event of the stream that ends with `response`, numbered."""
    for number, event in enumerate(_unnumbered(answer, response)):
        yield {**event, "sequence_number": number}


def _unnumbered(answer: Answer, response: Body) -> Iterator[Body]:
    started = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "error": None,
        "incomplete_details": None,
    }
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    yield from (dict(event) for event in answer.stray_events)
    for index, item in enumerate(response["output"]):
        yield from _item_events(item, index)
        if answer.stream_error:
            yield {
                "type": "error",
                "code": answer.stream_error,
                "message": "The model failed.",
                "param": None,
            }
            return
    yield {"type": f"response.{response['status']}", "response": response}


def _item_events(item: Body, index: int) -> Iterator[Body]:
    place = {"output_index": index, "item_id": item["id"]}
    yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
    if item["type"] == "function_call":
        for piece in pieces(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        # The name is required by the types of SDK 2.x and gone from those of 3.x.
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **place, **done}
    elif item["type"] == "reasoning":
        for number, part in enumerate(item["summary"]):
            yield from _summary_events(part, {**place, "summary_index": number})
    else:
        for number, part in enumerate(item["content"]):
            yield from _part_events(part, {**place, "content_index": number})
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _summary_events(part: Body, place: dict[str, Any]) -> Iterator[Body]:
    yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _part_events(part: Body, place: dict[str, Any]) -> Iterator[Body]:
    kind = "refusal" if part["type"] == "refusal" else "text"
    name = "refusal" if kind == "refusal" else "output_text"
    more: Body = {} if kind == "refusal" else {"logprobs": []}
    blank = {**part, kind: ""} | ({"logprobs": []} if kind == "text" else {})
    yield {"type": "response.content_part.added", **place, "part": blank}
    for number, piece in enumerate(pieces(part[kind])):
        likelihood = {"logprobs": part["logprobs"][number : number + 1]} if kind == "text" else {}
        yield {"type": f"response.{name}.delta", **place, "delta": piece, **likelihood}
    yield {"type": f"response.{name}.done", **place, kind: part[kind], **more}
    yield {"type": "response.content_part.done", **place, "part": part}


def _empty(item: Body) -> Body:
    """An item as it is announced, before any of its content."""
    if item["type"] == "function_call":
        return {**item, "arguments": "", "status": "in_progress"}
    if item["type"] == "message":
        return {**item, "content": [], "status": "in_progress"}
    # The ciphertext of an announced item is not the final one, and is refused when it is sent back.
    early = {"encrypted_content": "gAAAAAtoo-early=="} if "encrypted_content" in item else {}
    return {**item, "summary": [], **early}
