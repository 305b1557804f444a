"""What the installed SDK's types say of bodies and events, and the SDK's own accumulators."""

from __future__ import annotations

from typing import Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from servers.checks import answer_problems

# The SDK has no type for a streamed call of a custom tool, which OpenAI sends all the same.
NO_TYPE_FOR = ".type: Input should be 'function'"

WHOLE_TEXTS = ("text", "refusal", "arguments", "input")


def check_response(body: dict[str, Any]) -> None:
    """Check the body of a response."""
    assert answer_problems("response", body) == []
    for item in body["output"]:
        assert item["id"]
        assert item["status"]


def check_completion(body: dict[str, Any]) -> None:
    """Check the body of a chat completion."""
    assert answer_problems("chat completion", body) == []


def check_events(events: list[dict[str, Any]]) -> None:
    """Check the events of a response: their types, their order, and what belongs together."""
    for event in events:
        assert answer_problems("response event", event) == [], event
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]

    ids = {event["response"]["id"] for event in events if "response" in event}
    assert len(ids) == 1
    check_items(events)


def check_items(events: list[dict[str, Any]]) -> None:
    """Check that each item begins once and ends once, and that its deltas add up to it."""
    added: dict[int, str] = {}
    done: dict[int, str] = {}
    texts: dict[tuple[int, int, int], str] = {}
    for event in events:
        index = event.get("output_index")
        if index is None:
            continue

        kind = event["type"]
        if kind == "response.output_item.added":
            assert index == len(added)
            added[index] = event["item"]["id"]
        elif kind == "response.output_item.done":
            assert index not in done
            done[index] = event["item"]["id"]
        else:
            assert event["item_id"] == added[index]
            assert index not in done
            check_text(event, texts)

    assert done == added
    output = events[-1].get("response", {}).get("output", ())
    final_ids = [item["id"] for item in output]
    assert set(final_ids) <= set(added.values())
    assert len(set(final_ids)) == len(final_ids)


def check_text(event: dict[str, Any], texts: dict[tuple[int, int, int], str]) -> None:
    """Add a delta to the text of its part, or compare the text with what ends it."""
    part = (event["output_index"], event.get("content_index", 0), event.get("summary_index", 0))
    if event["type"].endswith(".delta"):
        texts[part] = texts.get(part, "") + event["delta"]

    for field in WHOLE_TEXTS:
        if field in event:
            assert texts.get(part, "") == event[field]


def check_chunks(chunks: list[dict[str, Any]]) -> None:
    """Check the chunks of a chat completion."""
    for chunk in chunks:
        problems = answer_problems("chat chunk", chunk)
        assert [each for each in problems if NO_TYPE_FOR not in each] == [], chunk
    assert len({chunk["id"] for chunk in chunks}) == 1


def assemble(chunks: list[dict[str, Any]]) -> Any:
    """Put chunks together as the SDK does."""
    state: Any = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    # The final completion of an answer that was cut off is an error to the SDK.
    return state.current_completion_snapshot
