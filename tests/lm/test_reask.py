"""`reask=`: an answer that does not fit is shown to the model, which tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator

from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM, BaseLMResponse, LMRequest, MemoryStore, Timeout, VLLMEngine, harmony
from synth_ai import content as items
from synth_ai.errors import (
    ContextLengthError,
    OptionError,
    OverloadedError,
    StructuredOutputError,
    TimedOutError,
)
from synth_ai.testing import ScriptedEngine, ScriptedVendor, final_text, tool_call

APIS = ("chat", "responses", "harmony")


class City(BaseModel):
    name: str
    inhabitants: int

    @field_validator("name")
    @classmethod
    def is_capitalized(cls, name: str) -> str:
        if not name[:1].isupper():
            raise ValueError("a name begins with a capital letter")
        return name


ROME = '{"name": "Rome", "inhabitants": 3}'
NO_NUMBER = '{"name": "Rome", "inhabitants": "many"}'
SMALL = '{"name": "rome", "inhabitants": 3}'


@pytest.mark.parametrize("api", APIS)
async def test_the_model_sees_what_did_not_fit(api: str) -> None:
    """Each try is a turn of the branch, and the next one says what was wrong with it."""
    vendor = ScriptedVendor([NO_NUMBER, SMALL, ROME], api=api, remembers=False)
    lm = LM("x", vendor=vendor)
    response = await lm.respond_async("Be terse.", "Rome?", response_model=City, reask=2)

    assert response.structured_output == City(name="Rome", inhabitants=3)
    assert response.tries == 3
    assert [each.text for each in response.earlier_tries] == [NO_NUMBER, SMALL]
    last = vendor.requests[-1]
    said = [items.text_of(item) for item in last.items()]
    assert [said[0], said[1], said[3], said[5:]] == ["Rome?", NO_NUMBER, SMALL, []]
    assert "inhabitants: Input should be a valid integer" in said[2]
    assert "name: Value error, a name begins with a capital letter" in said[4]
    assert {request.instructions for request in vendor.requests} == {"Be terse."}
    assert {str(request.response_format) for request in vendor.requests} == {
        str(last.response_format)
    }

    kept = await lm.responses.list_async()
    assert len(kept) == 3
    by_id = {each.response_id: each for each in kept}
    before = by_id[response.previous_response_id or ""]
    first = by_id[before.previous_response_id or ""]
    assert (before.text, first.text, first.previous_response_id) == (SMALL, NO_NUMBER, None)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_on_a_server(
    openai_server: OpenAIServer, hosted: Callable[..., LM], api: str
) -> None:
    """Responses continues by id, Chat with the messages; each try has its own usage."""
    openai_server.enqueue(Answer(text=NO_NUMBER), Answer(text=ROME))
    async with hosted(api) as lm:
        response = await lm.respond_async("Rome?", response_model=City, reask=1)
        assert response.structured_output is not None
        assert response.tries == 2
        assert (lm.totals.calls, lm.totals.usage.output_tokens) > (
            1,
            response.usage.output_tokens if response.usage else 0,
        )
        first = await lm.responses.retrieve_async(response.previous_response_id or "")
        assert first.text == NO_NUMBER
        assert first.usage is not None

    second = openai_server.bodies[1]
    if api == "chat":
        roles = [message["role"] for message in second["messages"]]
        assert roles == ["user", "assistant", "user"]
    else:
        assert second["previous_response_id"] == response.previous_response_id


async def test_on_harmony_the_tries_are_rendered() -> None:
    """The engine's second prompt goes on from the very ids of the first answer."""
    engine = ScriptedEngine([final_text(NO_NUMBER), final_text(ROME)])
    lm = LM("gpt-oss-20b", engine=engine)
    response = await lm.respond_async("Rome?", response_model=City, reask=1)
    assert (response.tries, response.text) == (2, ROME)
    first, second = engine.prompts
    assert second[: len(first) - 1] == first[:-1]
    assert lm.head == response.response_id


async def test_the_error_after_the_last_has_all_tries() -> None:
    """Each with its text and its usage; the branch can be continued from any of them."""
    vendor = ScriptedVendor([NO_NUMBER, "no JSON", SMALL])
    lm = LM("x", vendor=vendor, response_model=City, reask=2)
    with pytest.raises(StructuredOutputError, match="capital letter") as raised:
        await lm.respond_async("Rome?")
    texts = [response.text for response in raised.value.responses]
    assert texts == [NO_NUMBER, "no JSON", SMALL]
    assert raised.value.response is raised.value.responses[-1]
    assert lm.head == raised.value.response.response_id
    assert lm.totals.calls == 3


async def test_without_reask_the_error_has_its_one_try() -> None:
    """`responses` is there in any case."""
    lm = LM("x", vendor=ScriptedVendor([SMALL]), response_model=City)
    with pytest.raises(StructuredOutputError) as raised:
        await lm.respond_async("Rome?")
    assert raised.value.responses == (raised.value.response,)


def test_an_lm_s_reask_is_for_its_shaped_calls() -> None:
    """Plain text fits as it is; a call takes the LM's own back with 0 or None."""
    vendor = ScriptedVendor(["no JSON", SMALL, SMALL, SMALL, ROME])
    lm = LM("x", vendor=vendor, reask=1)
    assert lm.respond("Hi").tries == 1
    for reask in (0, None):
        with pytest.raises(StructuredOutputError):
            lm.respond("Hi", response_model=City, reask=reask)
    assert lm.respond("Hi", response_model=City).tries == 2
    vendor.assert_exhausted()


@pytest.mark.parametrize("given", [-1, 1.0, "2", True, [1]])
def test_what_is_no_number_of_tries(given: Any) -> None:
    """An error of the call or of the LM; nothing is sent."""
    vendor = ScriptedVendor([ROME])
    lm = LM("x", vendor=vendor, response_model=City)
    for make in (
        lambda: lm.respond("Hi", reask=given),
        lambda: lm.stream_sync("Hi", reask=given),
        lambda: lm.respond_batch(["Hi"], reask=given),
        lambda: LM("x", vendor=vendor, response_model=City, reask=given),
    ):
        with pytest.raises(OptionError, match="reask must be a whole number from 0"):
            make()
    assert vendor.requests == []


def test_reask_without_a_shape() -> None:
    """It would do nothing, so it is an error of the call that gives it."""
    vendor = ScriptedVendor()
    lm = LM("x", vendor=vendor)
    shaped = LM("x", vendor=vendor, response_model=City)
    for make in (
        lambda: lm.respond("Hi", reask=1),
        lambda: lm.stream_sync("Hi", reask=1),
        lambda: shaped.respond("Hi", reask=1, response_model=None),
    ):
        with pytest.raises(OptionError, match="reask=1 needs a response_model="):
            make()
    assert vendor.requests == []


async def test_a_stream_is_not_asked_again() -> None:
    """Its reader has seen the answer by then: refused when the stream is made, by the LM's, too."""
    vendor = ScriptedVendor([ROME, "plain"])
    lm = LM("x", vendor=vendor, response_model=City, reask=2)
    for make in (
        lambda: lm.stream_async("Hi"),
        lambda: lm.stream_sync("Hi"),
        lambda: lm.stream_async("Hi", response_model=list[int], reask=1),
        lambda: lm.stream_tools("Hi"),
    ):
        with pytest.raises(OptionError, match=r"reask=\d is not for a stream.*reask=0"):
            make()
    assert vendor.requests == []
    async with lm.stream_async("Hi", reask=0) as stream:
        async for _ in stream:
            pass
    assert stream.response.structured_output == City(name="Rome", inhabitants=3)
    async with lm.stream_async("Hi", response_model=None) as stream:
        async for _ in stream:
            pass
    assert stream.response.text == "plain"


@pytest.mark.parametrize("api", APIS)
async def test_a_batch_asks_each_again(api: str) -> None:
    """Each call on its own; an error in its place has its tries."""
    answers = {"a": [NO_NUMBER, ROME], "b": [ROME], "c": [SMALL, SMALL]}

    def answer(request: Any) -> str:
        question = items.text_of(request.items()[0])
        return answers[question].pop(0)

    lm = LM("x", vendor=ScriptedVendor([answer] * 5, api=api, remembers=False))
    a, b, c = await lm.respond_batch_async(
        ["a", "b", "c"], response_model=City, reask=1, return_exceptions=True
    )
    assert isinstance(a, BaseLMResponse)
    assert isinstance(b, BaseLMResponse)
    assert (a.tries, b.tries) == (2, 1)
    assert isinstance(c, StructuredOutputError)
    assert len(c.responses) == 2
    assert lm.head is None


@pytest.mark.parametrize("api", APIS)
async def test_without_a_store_the_tries_still_continue(api: str) -> None:
    """They get one that goes with the call."""
    vendor = ScriptedVendor([SMALL, ROME], api=api, remembers=False)
    lm = LM("x", vendor=vendor, response_store=False, response_model=City, reask=1)
    assert (await lm.respond_async("Rome?")).tries == 2
    assert len(vendor.requests[1].items()) == 3
    assert await lm.responses.list_async() == []


async def test_a_tool_run_asks_again_for_its_last_answer() -> None:
    """Calls of tools are no answers; the final one has to fit."""
    vendor = ScriptedVendor([tool_call("look", call_id="c"), SMALL, ROME])

    def look() -> str:
        """Look it up."""
        return "3"

    lm = LM("x", vendor=vendor, tools=[look])
    run = await lm.run_tools_async("Rome?", response_model=City, reask=1)
    assert run.response.structured_output == City(name="Rome", inhabitants=3)
    assert (run.response.tries, len(run.steps)) == (2, 1)
    assert [response.text for response in run.responses] == ["", SMALL, ROME]
    assert run.usage == lm.totals.usage
    assert [len(request.tools) for request in vendor.requests] == [1, 1, 1]


async def test_cut_answers_and_refusals_are_not_asked_again() -> None:
    """There is nothing to mend in them."""
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }
    cut = BaseLMResponse.of_output(
        [items.assistant_message('{"na')], status="incomplete", incomplete_reason="max"
    )
    vendor = ScriptedVendor([SMALL, cut, [refusal]])
    lm = LM("x", vendor=vendor, response_model=City, reask=5)
    response = await lm.respond_async("Rome?")
    assert (response.structured_output, response.status, response.tries) == (None, "incomplete", 2)
    response = await lm.respond_async("Rome?")
    assert (response.structured_output, response.refusal, response.tries) == (None, "No.", 1)


@pytest.mark.parametrize("error", [OverloadedError("busy"), ContextLengthError("too long")])
async def test_another_error_says_that_it_came_on_the_way(error: Exception) -> None:
    """It passes through with the ids of the answers before it, which are in the store."""
    vendor = ScriptedVendor([SMALL, error])
    lm = LM("x", vendor=vendor, response_model=City, reask=1, retry=False)
    with pytest.raises(type(error)) as raised:
        await lm.respond_async("Rome?")
    assert lm.head is not None
    assert lm.head in raised.value.__notes__[-1]


async def test_the_time_is_for_all_tries() -> None:
    """Every try of its own would be in time."""

    async def slow(_: Any) -> str:
        await asyncio.sleep(0.2)
        return SMALL

    lm = LM("x", vendor=ScriptedVendor([slow] * 50), response_model=City, reask=49)
    with pytest.raises(TimedOutError):
        await lm.respond_async("Rome?", timeout=Timeout(total=0.5))
    assert lm.totals.calls < 4


async def test_the_head_moves_with_the_tries() -> None:
    """The last one is the head, unless a call made later, or a reset, has moved it."""
    released = asyncio.Event()

    async def later(_: Any) -> str:
        await released.wait()
        return ROME

    lm = LM("x", vendor=ScriptedVendor([SMALL, later, "other"]), reask=1)
    first = asyncio.ensure_future(lm.respond_async("Rome?", response_model=City))
    await asyncio.sleep(0.05)
    other = await lm.respond_async("Hi")
    released.set()
    await first
    assert lm.head == other.response_id

    lm = LM("x", vendor=ScriptedVendor([SMALL, later]), reask=1)
    released.clear()
    first = asyncio.ensure_future(lm.respond_async("Rome?", response_model=City))
    await asyncio.sleep(0.05)
    lm.reset()
    released.set()
    await first
    assert lm.head is None


def test_auto_store_false_leaves_the_head() -> None:
    """For all tries."""
    lm = LM("x", vendor=ScriptedVendor(["Hello", SMALL, ROME]), response_store=MemoryStore())
    head = lm.respond("Hi").response_id
    response = lm.respond("Rome?", response_model=City, reask=1, auto_store=False)
    assert response.tries == 2
    assert lm.head == head


def test_a_broken_text_is_explained_too() -> None:
    """JSON that does not parse has no list of errors, and a reason all the same."""
    vendor = ScriptedVendor(["Rome, of course", ROME])
    LM("x", vendor=vendor).respond("Rome?", response_model=City, reask=1)
    assert "Expecting value: line 1" in items.text_of(vendor.requests[1].input[0])


async def test_a_vendor_that_checks_answers_itself() -> None:
    """Its error is the model's to read, as it has no list of mistakes."""

    class Checking(ScriptedVendor):
        async def respond(self, request: LMRequest) -> BaseLMResponse:
            response = await super().respond(request)
            if len(self.requests) == 1:
                response.response_id = "resp_1"
                raise StructuredOutputError("The city is too small.", response=response)
            return response

    vendor = Checking([ROME, ROME])
    lm = LM("x", vendor=vendor)
    response = await lm.respond_async("Rome?", response_model=City, reask=1)
    assert response.tries == 2
    assert "The city is too small." in items.text_of(vendor.requests[1].input[0])


class Never(BaseModel):
    """What the model writes has this form, and nobody takes it."""

    word: Literal["yes", "no"]

    @field_validator("word")
    @classmethod
    def is_maybe(cls, word: str) -> str:
        raise ValueError("say maybe")


@pytest.mark.vllm
async def test_the_tries_of_a_real_model(tiny_engine: VLLMEngine) -> None:
    """Each prompt goes on from the ids of the one before and of its answer."""
    lm = LM("tiny", engine=tiny_engine, temperature=0, max_tokens=200, reasoning_budget=8)
    with pytest.raises(StructuredOutputError, match="say maybe") as raised:
        await lm.respond_async("Yes or no?", response_model=Never, reask=2)
    responses = raised.value.responses
    assert len(responses) == 3
    for before, after in pairwise(responses):
        prompt = before.prompt_token_ids or []
        assert after.previous_response_id == before.response_id
        # The prompt ends with the header of the model's turn, whose reasoning goes with it.
        assert (after.prompt_token_ids or [])[: len(prompt)] == prompt
        assert before.text in harmony.decode(after.prompt_token_ids or [])
        assert "say maybe" in harmony.decode(after.prompt_token_ids or [])
