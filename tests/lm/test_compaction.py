"""Conversations that outgrow the context: an error, or what the caller has chosen to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servers import errors as answers
from servers.answers import Answer
from servers.openai_fake import OpenAIServer
from synth_ai import LM, harmony
from synth_ai.content import text_of
from synth_ai.errors import ContextLengthError, OptionError, RejectedError, RequestError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call

Hosted = Callable[..., LM]
LONG = "word " * 60


def make(turns: int, **options: Any) -> tuple[LM, ScriptedEngine]:
    """An LM with room for a few turns of about seventy tokens."""
    engine = ScriptedEngine([final_text(f"answer {n}") for n in range(turns)], context_length=400)
    return LM("gpt-oss-20b", engine=engine, max_tokens=40, **options), engine


async def talk(lm: LM, turns: int) -> list[Any]:
    return [await lm.respond_async(f"question {n}: {LONG}") for n in range(turns)]


async def test_by_default_it_is_an_error_with_the_counts() -> None:
    """Nothing is left out by surprise."""
    lm, _ = make(10)
    with pytest.raises(ContextLengthError, match=r"has \d+ tokens and the model's context 400") as (
        caught
    ):
        await talk(lm, 10)
    # The ways out are named where there is something to leave out.
    assert "truncation='auto'" in str(caught.value)
    assert "compact=" in str(caught.value)
    with pytest.raises(ContextLengthError) as caught:
        await lm.detached().respond_async(LONG * 50)
    assert "truncation=" not in str(caught.value)


async def test_truncation_leaves_the_oldest_turns_out_and_says_so() -> None:
    """The conversation goes on without its beginning; the store keeps all of it."""
    lm, engine = make(10, truncation="auto")
    responses = await talk(lm, 10)
    assert [response.text for response in responses] == [f"answer {n}" for n in range(10)]
    last = harmony.decode(engine.prompts[-1])
    assert "question 9" in last
    assert "answer 8" in last
    assert "question 0" not in last
    assert any("compacted" in warning for warning in responses[-1].warnings)
    assert len(await lm.responses.input_items_async(responses[-1].response_id)) == 19


async def test_a_hook_puts_a_summary_in_place_and_is_asked_once_for_the_same_turns() -> None:
    """The hook sees the items that go; its text stands at the beginning from then on."""
    seen: list[list[str]] = []

    async def summary(items: list[dict[str, Any]]) -> str:
        seen.append([text_of(item) for item in items])
        return f"{len(items)} items about words"

    lm, engine = make(10, compact=summary)
    *_, last = await talk(lm, 4)
    assert seen[0][0].startswith("question 0")
    assert "items about words" in harmony.decode(engine.prompts[-1])
    await lm.respond_async(f"left {LONG}", previous_response_id=last.response_id)
    before = len(seen)
    await lm.respond_async(f"right {LONG}", previous_response_id=last.response_id)
    assert len(seen) == before
    assert "items about words" in harmony.decode(engine.prompts[-1])


async def test_a_redaction_reaches_what_was_summed_up() -> None:
    """A summary of the text is not used any more: the hook is asked again, and once."""
    seen: list[str] = []

    def summary(items: list[dict[str, Any]]) -> str:
        seen.append(" ".join(text_of(item) for item in items))
        return " ".join(text_of(item)[:10] for item in items)

    lm, engine = make(14, compact=summary)
    first, *_, last = await talk(lm, 5)
    assert "question 0" in harmony.decode(engine.prompts[-1])
    await lm.responses.redact_async(first.response_id)
    seen.clear()
    await lm.respond_async(f"left {LONG}", previous_response_id=last.response_id)
    assert "question 0" not in harmony.decode(engine.prompts[-1])
    assert seen
    assert all("question 0" not in text for text in seen)
    seen.clear()
    await lm.respond_async(f"right {LONG}", previous_response_id=last.response_id)
    assert seen == []


async def test_what_a_hook_does_with_its_items_stays_with_the_hook() -> None:
    """The turns in the store are as they were."""

    def summary(items: list[dict[str, Any]]) -> str:
        for item in items:
            item["content"] = "forged"
        return "forged"

    lm, _ = make(5, compact=summary)
    *_, last = await talk(lm, 4)
    assert "question 0" in text_of((await lm.responses.input_items_async(last.response_id))[0])


async def test_a_tool_output_never_loses_its_call() -> None:
    """The cut is before a turn that a user began."""
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    engine = ScriptedEngine(
        [final_text("one"), call_text("look"), final_text("two"), final_text("three")],
        context_length=420,
    )
    lm = LM("gpt-oss-20b", engine=engine, max_tokens=60, truncation="auto")
    await lm.respond_async(f"first {LONG}")
    asked = await lm.respond_async(f"second {LONG}", tools=[tool])
    await lm.respond_async(tool_outputs={asked.tool_calls[0]["id"]: "seen " * 40})
    await lm.respond_async(f"third {LONG}")
    last = harmony.decode(engine.prompts[-1])
    assert last.count("to=functions.look") == last.count("functions.look to=assistant")


async def test_an_output_that_comes_with_a_question_never_loses_its_call() -> None:
    """A turn that answers a call is no beginning, whatever else it asks."""
    too_long = ContextLengthError("too long")
    vendor = ScriptedVendor(
        ["a", tool_call("look", call_id="c1"), "b", "c", too_long, "e"], api="chat"
    )
    lm = LM("x", vendor=vendor, truncation="auto").fork()
    for prompt in ("1", "2"):
        await lm.respond_async(prompt)
    await lm.respond_async("and", tool_outputs={"c1": "seen"})
    for prompt in ("4", "5"):
        await lm.respond_async(prompt)
    types = [item["type"] for item in vendor.requests[-1].items()]
    assert types.count("function_call_output") == types.count("function_call")


@pytest.mark.parametrize("made", [None, 5, [1], {"role": "user"}])
async def test_a_hook_that_returns_something_else(made: Any) -> None:
    """Is told what it returned, before that is sent."""
    lm, _ = make(10, compact=lambda items: made)
    with pytest.raises(
        RequestError, match=r"compact= must return a summary or a list of items, not .+"
    ):
        await talk(lm, 10)


async def test_servers_that_say_so_get_the_conversation_shorter(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """OpenAI's context_length_exceeded leads to a call with less of the history."""
    lm = hosted("responses", compact=lambda items: "They spoke of words.")
    await lm.respond_async("one")
    await lm.respond_async("two")
    openai_server.enqueue(answers.context_length_exceeded(), Answer(text="three"))
    response = await lm.respond_async("and?")
    assert response.text == "three"
    assert "previous_response_id" not in openai_server.bodies[-1]
    assert openai_server.bodies[-1]["input"][0]["content"].endswith("They spoke of words.")


async def test_without_a_choice_the_servers_error_stands(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """The server's own words, with its counts."""
    openai_server.enqueue(answers.context_length_exceeded())
    with pytest.raises(RejectedError, match="resulted in 130000 tokens") as caught:
        await hosted("chat").respond_async("Hi")
    assert isinstance(caught.value, ContextLengthError)
    assert (caught.value.status_code, caught.value.code) == (400, "context_length_exceeded")


def test_truncation_takes_two_words() -> None:
    """Another value is an error that names them."""
    with pytest.raises(OptionError, match="one of auto, disabled"):
        LM("gpt-oss-20b", engine=ScriptedEngine(), truncation="yes")
