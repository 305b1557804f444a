"""Streams of any order of events: what goes out is always a stream that the SDK takes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openai_api.asking import stream_completion, stream_response
from openai_api.shapes import assemble, check_chunks, check_events, check_response
from synth_ai import (
    LM,
    BaseLMResponse,
    Completed,
    LMRequest,
    PreambleDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    VendorBase,
)
from synth_ai.api import API
from synth_ai.content import Item, assistant_message, function_call, reasoning_item
from synth_ai.content import refusal_message as refusal
from synth_ai.testing import ScriptedEngine

TEXTS = st.text(min_size=1, max_size=8)
PIECES = st.lists(TEXTS, min_size=1, max_size=3)

#: What a model may write, piece by piece.
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), PIECES),
        st.tuples(st.just("reasoning"), PIECES),
        st.tuples(st.just("preamble"), PIECES),
        st.tuples(st.just("call"), PIECES),
        st.tuples(st.just("call begun anew"), PIECES),
        st.tuples(st.just("call cut off"), PIECES),
        st.tuples(st.just("refusal"), PIECES),
    ),
    max_size=6,
)


class Replay(VendorBase):
    """Streams what it is given; the items of a kind that follow each other are one stream."""

    api = API(name="replay")

    def __init__(self, parts: list[tuple[str, list[str]]], *, tells_ids: bool) -> None:
        self.parts = parts
        self.tells_ids = tells_ids
        self.output: list[Item] = []
        self.was_cut_off = bool(parts) and parts[-1][0] == "call cut off"
        self.status = "incomplete" if self.was_cut_off else "completed"
        if any(kind == "call begun anew" for kind, _ in parts):
            # Calls that may begin anew are those of an engine.
            self.engine = ScriptedEngine()

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        raise AssertionError("only streams are asked for")

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        self.output = []
        index = 0
        for number, (kind, pieces) in enumerate(self.parts):
            text = "".join(pieces)
            call_id = f"call_{number}"
            told = call_id if self.tells_ids else None
            if kind == "text":
                self.output.append(assistant_message(text))
                for piece in pieces:
                    yield TextDelta(piece)
            elif kind == "reasoning":
                self.output.append(reasoning_item(text))
                for piece in pieces:
                    yield ReasoningDelta(piece)
            elif kind == "preamble":
                self.output.append(assistant_message(text, phase="commentary"))
                for piece in pieces:
                    yield PreambleDelta(piece)
            elif kind == "refusal":
                self.output.append(refusal(text))
            elif kind == "call cut off" and number == len(self.parts) - 1:
                yield ToolCallDelta(index, "add", text, told)
            else:
                if kind == "call begun anew":
                    yield ToolCallDelta(index, "add", '{"broken', f"call_first_{number}")
                self.output.append(function_call(call_id, "add", json.dumps(pieces)))
                yield ToolCallDelta(index, "add", "", told)
                yield ToolCallDelta(index, None, json.dumps(pieces))
                index += 1

        yield Completed(BaseLMResponse.of_output(self.output, status=self.status))


@settings(max_examples=60, deadline=None)
@given(parts=PARTS, tells_ids=st.booleans())
async def test_the_events_are_a_stream_of_the_sdk_s(parts: Any, tells_ids: bool) -> None:
    """Items in order, deltas that add up, and in the end the calls and the text of the answer."""
    vendor = Replay(parts, tells_ids=tells_ids)
    lm = LM("m", vendor=vendor, response_store=False)
    events = await stream_response(lm)
    check_events(events)
    response = events[-1]["response"]
    check_response(response)

    answer = BaseLMResponse.of_output(vendor.output)
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    wanted = [call["function"]["arguments"] for call in answer.tool_calls or ()]  # type: ignore[typeddict-item]
    assert [call["arguments"] for call in calls] == wanted
    shown = BaseLMResponse.of_output(response["output"])
    assert shown.text == answer.text
    assert shown.refusal == answer.refusal

    chunks = await stream_completion(lm)
    check_chunks(chunks)
    message = assemble(chunks).choices[0].message
    arguments = [call.function.arguments for call in message.tool_calls or ()]
    # One that was cut off has gone out, as on OpenAI.
    assert arguments == wanted or (vendor.was_cut_off and arguments[:-1] == wanted)
    assert message.refusal == answer.refusal
