"""gpt-oss over a scripted engine: prompts are really rendered and completions really parsed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import (
    LM,
    MemoryStore,
    PreambleDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    harmony,
)
from synth_ai import content as items
from synth_ai.errors import (
    ContextLengthError,
    OptionError,
    RequestError,
    StructuredOutputError,
    ToolError,
    UnknownResponseError,
)
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


class Answer(BaseModel):
    value: int


def make(*completions: Any, **options: Any) -> tuple[LM, ScriptedEngine]:
    engine = ScriptedEngine(completions)
    return LM("gpt-oss-20b", engine=engine, **options), engine


def shown(engine: ScriptedEngine, number: int = -1) -> str:
    return harmony.decode(engine.prompts[number])


async def test_answer_reasoning_and_ids_are_on_the_response() -> None:
    """Everything a completion says has its place on the response, with the exact ids."""
    lm, engine = make(final_text("Hello!", reasoning="They greet."))
    response = await lm.respond_async("Be kind.", "Hi")
    assert (response.text, response.reasoning, response.api_type) == (
        "Hello!",
        "They greet.",
        "harmony",
    )
    assert response.prompt_token_ids == engine.prompts[0]
    assert response.output_token_ids == harmony.encode(
        final_text("Hello!", reasoning="They greet."), True
    )
    assert response.usage is not None
    assert response.usage.input_tokens == len(engine.prompts[0])
    assert [item["type"] for item in response.output] == ["reasoning", "message"]
    assert "# Instructions\n\nBe kind." in shown(engine)


async def test_stop_tokens_and_all_of_the_context_are_asked_for() -> None:
    """Without max_tokens the engine may fill the context; Harmony's stop tokens end the turn."""
    lm, engine = make(final_text("x"))
    await lm.respond_async("Hi")
    sampling = engine.samplings[0]
    assert sampling.stop_token_ids == harmony.STOP_TOKEN_IDS
    assert sampling.max_tokens == 131_072 - len(engine.prompts[0])


async def test_history_is_the_sampled_ids_without_old_reasoning() -> None:
    """The next prompt begins with the last one and holds the sampled answer without reasoning."""
    lm, engine = make(final_text("Hi Ada.", reasoning="A name."), final_text("Ada."))
    first = await lm.respond_async("My name is Ada.")
    await lm.respond_async("What is my name?")
    assert first.prompt_token_ids is not None
    assert engine.prompts[1][: len(first.prompt_token_ids)] == first.prompt_token_ids
    assert "<|channel|>final<|message|>Hi Ada.<|end|><|start|>user" in shown(engine)
    assert "A name." not in shown(engine)


async def test_forks_share_every_possible_token() -> None:
    """Two forks of one response differ only behind it, so the engine's prefix cache serves both."""
    lm, engine = make(final_text("Hi."), final_text("A"), final_text("B"))
    first = await lm.respond_async("Hello")
    await lm.respond_async("left", previous_response_id=first.response_id)
    await lm.respond_async("right", previous_response_id=first.response_id)
    left, right = engine.prompts[1], engine.prompts[2]
    tail = len(harmony.encode("<|end|><|start|>assistant", True)) + 1
    assert left[:-tail] == right[: len(left) - tail]


async def test_prompt_of_a_reloaded_branch_is_the_same() -> None:
    """A branch that is continued by another LM from the store is rendered to the very same ids."""
    lm, engine = make(final_text("Hi.", reasoning="Well."), final_text("Ada."))
    first = await lm.respond_async("Be kind.", "My name is Ada.")
    await lm.respond_async("Name?")
    other_engine = ScriptedEngine([final_text("Ada.")])
    other = LM("gpt-oss-20b", engine=other_engine, response_store=lm._config.store)
    await other.respond_async("Name?", previous_response_id=first.response_id)
    assert other_engine.prompts[0] == engine.prompts[1]


async def test_tool_call_and_its_output() -> None:
    """A call carries its reasoning into the next prompt; the output is the tool's message."""
    lm, engine = make(
        call_text("get_weather", city="Paris", reasoning="I must look."), final_text("Sunny.")
    )
    asked = await lm.respond_async("Weather in Paris?", tools=[WEATHER])
    assert asked.tool_calls is not None
    assert asked.tool_calls[0]["function"] == {
        "name": "get_weather",
        "arguments": '{"city": "Paris"}',
    }
    assert (asked.text, asked.status) == ("", "completed")
    answered = await lm.respond_async(tool_outputs={asked.tool_calls[0]["id"]: {"sky": "clear"}})
    assert answered.text == "Sunny."
    assert "I must look." in shown(engine)
    tool_message = (
        "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>"
        '{"sky": "clear"}<|end|>'
    )
    assert tool_message in shown(engine)


async def test_stream_yields_typed_events_and_the_response() -> None:
    """Reasoning, preamble, calls and text come as events of their own, then the whole response."""
    analysis = "<|channel|>analysis<|message|>Hm.<|end|>"
    preamble = "<|start|>assistant<|channel|>commentary<|message|>One moment.<|end|>"
    text = analysis + preamble
    lm, _ = make(text + "<|start|>assistant" + call_text("get_weather", city="Oslo"))
    stream = lm.stream_async("Go", tools=[WEATHER])
    events = [event async for event in stream]
    assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == "Hm."
    assert "".join(e.text for e in events if isinstance(e, PreambleDelta)) == "One moment."
    first, *more = [e for e in events if isinstance(e, ToolCallDelta)]
    assert stream.response.preamble == "One moment."
    assert stream.response.tool_calls is not None
    assert stream.response.tool_calls[0]["id"] == first.call_id
    assert len(more) > 1
    assert {(e.index, e.name, e.call_id) for e in more} == {(0, None, None)}
    assert "".join(e.arguments for e in (first, *more)) == '{"city": "Oslo"}'


async def test_leaving_a_stream_aborts_the_completion() -> None:
    """A stream that is left early aborts the request and leaves the head where it was."""
    lm, engine = make(final_text("one two three four five"))
    async with lm.stream_async("Count") as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    assert engine.aborted == 1
    assert lm.head is None


async def test_stop_strings_cut_the_answer_and_abort() -> None:
    """A stop string is found across tokens, is not part of the answer, and ends the generation."""
    lm, engine = make(final_text("alpha beta gamma delta"), final_text("next"))
    response = await lm.respond_async("Go", stop=["ta ga", "zzz"])
    assert (response.text, response.status) == ("alpha be", "completed")
    assert engine.aborted == 1
    await lm.respond_async("And?")
    assert "<|message|>alpha be<|end|><|start|>user" in shown(engine)


async def test_stop_strings_do_not_match_reasoning() -> None:
    """Stop strings are looked for in the answer alone."""
    lm, _ = make(final_text("fine", reasoning="STOP here"))
    assert (await lm.respond_async("Go", stop="STOP")).text == "fine"


async def test_length_is_incomplete_with_its_reason() -> None:
    """An answer cut off by max_tokens says so, and can be continued from."""
    lm, _ = make(final_text("one two three"), final_text("four"))
    response = await lm.respond_async("Go", max_tokens=5)
    assert (response.status, response.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert lm.head == response.response_id
    assert (await lm.respond_async("more")).text == "four"


async def test_broken_completion_is_a_failed_response() -> None:
    """A completion without an answer or a whole call is failed, and does not become the head."""
    lm, _ = make(
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"city": <|call|>'
    )
    response = await lm.respond_async("Go", tools=[WEATHER])
    assert (response.status, response.tool_calls) == ("failed", None)
    assert response.error
    assert lm.head is None


async def test_max_tokens_beyond_the_context_is_clipped_and_said() -> None:
    """More tokens than the context has left are not asked for, and the response says so."""
    lm, engine = make(final_text("x"))
    response = await lm.respond_async("Hi", max_tokens=1_000_000)
    assert engine.samplings[0].max_tokens == 131_072 - len(engine.prompts[0])
    assert any("clipped" in warning for warning in response.warnings)


async def test_prompt_longer_than_the_context_names_both_lengths() -> None:
    """A conversation that leaves no room is refused before it reaches the engine."""
    engine = ScriptedEngine([final_text("x")], context_length=50)
    with pytest.raises(ContextLengthError, match="the model's context 50"):
        await LM("gpt-oss-20b", engine=engine).respond_async("Hi")


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
async def test_reasoning_effort_is_written_into_the_system_message(effort: str) -> None:
    """gpt-oss reads its effort from the prompt."""
    lm, engine = make(final_text("x"), reasoning_effort=effort)
    await lm.respond_async("Hi")
    assert f"Reasoning: {effort}" in shown(engine)


async def test_date_is_fixed_at_the_first_turn() -> None:
    """A conversation keeps the date it was begun under, so that its prefix stays cacheable."""
    lm, engine = make(final_text("a"), final_text("b"))
    first = await lm.respond_async("Hi")
    turn = await lm._config.store.get(first.response_id or "")
    assert turn is not None
    await lm._config.store.put(replace(turn, date="2020-01-02"))
    await lm.respond_async("again", previous_response_id=first.response_id)
    assert "Current date: 2020-01-02" in shown(engine)


@pytest.mark.parametrize(
    ("choice", "ending"),
    [
        ("required", "<|start|>assistant<|channel|>commentary to=functions"),
        ("get_weather", "to=functions.get_weather <|constrain|>json<|message|>"),
        (
            {"type": "function", "name": "get_weather"},
            "to=functions.get_weather <|constrain|>json<|message|>",
        ),
    ],
)
async def test_tool_choice_begins_the_call(choice: Any, ending: str) -> None:
    """A forced call's header is put into the prompt, and the whole call is read and remembered."""
    rest = (
        call_text("get_weather", city="Oslo").split("to=functions")[1]
        if choice == "required"
        else '{"city": "Oslo"}'
    )
    lm, engine = make(rest if choice == "required" else rest + "<|call|>", final_text("ok"))
    response = await lm.respond_async("Go", tools=[WEATHER], tool_choice=choice)
    assert shown(engine).endswith(ending)
    assert response.tool_calls is not None
    assert response.tool_calls[0]["function"]["name"] == "get_weather"
    await lm.respond_async(tool_outputs={response.tool_calls[0]["id"]: "fine"})
    assert 'to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>' in shown(
        engine
    )


async def test_tool_choice_none_hides_the_tools() -> None:
    """With tool_choice none the model is not told of its tools."""
    lm, engine = make(final_text("x"))
    await lm.respond_async("Go", tools=[WEATHER], tool_choice="none")
    assert "get_weather" not in shown(engine)


async def test_unknown_tool_choice_is_refused() -> None:
    """A forced call of a function that is not offered is an error that lists what is."""
    lm, _ = make()
    with pytest.raises(OptionError, match="get_weather"):
        await lm.respond_async("Go", tools=[WEATHER], tool_choice="get_time")


@pytest.mark.parametrize("choice", [{}, {"function": "get_weather"}, {"function": {}}, ["x"], 5])
async def test_a_tool_choice_that_names_no_function_is_refused(choice: Any) -> None:
    """A choice of any other shape is told as it was given."""
    lm, _ = make()
    with pytest.raises(OptionError, match=re.escape(f"tool_choice={choice!r} cannot be met")):
        await lm.respond_async("Go", tools=[WEATHER], tool_choice=choice)


async def test_a_function_may_be_called_like_a_choice() -> None:
    """A dict always names a function, also where the text would mean any of them."""
    lm, engine = make('{"city": "Oslo"}<|call|>')
    tools = [WEATHER, {**WEATHER, "name": "required"}]
    response = await lm.respond_async("Go", tools=tools, tool_choice={"name": "required"})
    assert shown(engine).endswith("to=functions.required <|constrain|>json<|message|>")
    assert response.tool_calls is not None
    assert response.tool_calls[0]["function"]["name"] == "required"


async def test_a_tool_without_a_name_is_a_typed_error() -> None:
    """tool_choice='none' keeps it out of the prompt, and the model may call it all the same."""
    lm, _ = make('<|channel|>commentary<|message|>{"a": 1}<|call|>')
    with pytest.raises(RequestError, match="tool name ''"):
        await lm.respond_async("Go", tools=[""], tool_choice="none")


async def test_response_model_is_rendered_and_read() -> None:
    """The schema is in the developer message and in the sampling; the answer is an object."""
    lm, engine = make(final_text('{"value": 4}'))
    response = await lm.respond_async("2+2?", response_model=Answer, reasoning_budget=64)
    assert response.structured_output == Answer(value=4)
    assert "# Response Formats" in shown(engine)
    structure = engine.samplings[0].constraint
    assert structure is not None
    assert structure.reasoning_budget == 64


async def test_answer_of_the_wrong_shape_keeps_the_response() -> None:
    """An answer that does not fit is an error with the whole response on it."""
    lm, _ = make(final_text('{"value": "four"}'))
    with pytest.raises(StructuredOutputError, match="value") as caught:
        await lm.respond_async("2+2?", response_model=Answer)
    assert caught.value.response.text == '{"value": "four"}'


async def test_reasoning_budget_without_response_model_is_refused() -> None:
    """An option that would do nothing is an error."""
    lm, _ = make()
    with pytest.raises(OptionError, match="response_model"):
        await lm.respond_async("Hi", reasoning_budget=5)


async def test_logprobs_have_the_shape_of_openais() -> None:
    """Log probabilities name the token and its id."""
    lm, _ = make(final_text("x"))
    response = await lm.respond_async("Hi", logprobs=True)
    assert response.logprobs is not None
    assert response.output_token_ids == [entry["token_id"] for entry in response.logprobs]


async def test_unknown_id_is_an_error_that_says_why() -> None:
    """On harmony nobody else could know an id that is not in the store."""
    lm, _ = make()
    with pytest.raises(UnknownResponseError, match="not in this store"):
        await lm.respond_async("Hi", previous_response_id="resp_nobody")


async def test_training_examples_hold_every_sampled_id_once() -> None:
    """A tool round makes one sequence, a turn after a final answer begins another.

    The masks mark the sampled ids.
    """
    lm, _ = make(
        call_text("get_weather", city="Paris", reasoning="Look."),
        final_text("Sunny.", reasoning="So."),
        final_text("Bye."),
    )
    asked = await lm.respond_async("Weather?", tools=[WEATHER])
    assert asked.tool_calls is not None
    told = await lm.respond_async(tool_outputs={asked.tool_calls[0]["id"]: "clear"})
    last = await lm.respond_async("Thanks")
    round_, after = await lm.responses.training_examples_async(last.response_id or "")
    assert (round_.token_ids, after.token_ids) == (
        [*(told.prompt_token_ids or []), *(told.output_token_ids or [])],
        [*(last.prompt_token_ids or []), *(last.output_token_ids or [])],
    )
    sampled = [
        t
        for example in (round_, after)
        for t, m in zip(example.token_ids, example.loss_mask, strict=True)
        if m
    ]
    assert sampled == [t for r in (asked, told, last) for t in r.output_token_ids or []]


async def test_a_stop_string_leaves_nothing_to_train_on() -> None:
    """More was sampled than such a turn says, so it is kept as text; the error says that."""
    lm, _ = make(final_text("alpha beta gamma"))
    response = await lm.respond_async("Hi", stop="gam")
    with pytest.raises(RequestError, match="a stop string ended"):
        await lm.responses.training_examples_async(response.response_id or "")


async def test_reasoning_tokens_are_those_sampled() -> None:
    """They are counted as the model split them, not the encoder, and without headers."""
    thought = [token for letter in "the reasoning here" for token in harmony.encode(letter)]
    head, rest = "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>"
    lm, _ = make(
        [
            *harmony.encode(head, True),
            *thought,
            *harmony.encode(rest + "final<|message|>A<|return|>", True),
        ],
        [*harmony.encode(head, True), *thought],
        "analysisHm.assistantfinalA",
    )
    counts = [(await lm.respond_async("Hi", previous_response_id=None)).usage for _ in range(3)]
    assert [usage and usage.reasoning_tokens for usage in counts] == [
        18,
        18,
        len(harmony.encode("Hm.")),
    ]


async def test_engine_is_closed_with_its_last_lm() -> None:
    """Two LMs may hold one engine; closing the first leaves it to the second."""
    engine = ScriptedEngine()
    first, second = LM("gpt-oss-20b", engine=engine), LM("gpt-oss-20b", engine=engine)
    await first.aclose()
    await first.aclose()
    assert not engine.closed
    await second.aclose()
    assert engine.closed


@pytest.mark.parametrize(
    "option",
    [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
    ],
)
async def test_sampling_options_reach_the_engine(option: str) -> None:
    """Every sampling option of the API is handed on under its own name."""
    lm, engine = make(final_text("x"))
    await lm.respond_async("Hi", **{option: 1})
    assert getattr(engine.samplings[0], option) == 1


# --- branches from elsewhere ------------------------------------------------------------------


async def moved(
    *output: dict[str, Any], answers: dict[str, str] | None = None, **options: Any
) -> tuple[Any, str]:
    """The response, and the prompt, of a call behind a hosted model's turn with this output."""
    store = MemoryStore()
    hosted = LM("gpt-5", vendor=ScriptedVendor([list(output)]), response_store=store)
    begun = await hosted.respond_async("Begin", **options)
    lm, engine = make(final_text("On."), response_store=store)
    said = {"tool_outputs": answers} if answers else {"user_message": "Go on"}
    response = await lm.respond_async(previous_response_id=begun.response_id, **said)
    return response, shown(engine)


async def test_a_branch_with_foreign_items_goes_on_here() -> None:
    """A search and its tool have no counterpart; the texts go on, the warnings list the rest."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    plain = items.reasoning_item("A thought.")
    found = items.assistant_message("Found it.")
    response, prompt = await moved(
        secret, search, plain, found, tools=[{"type": "web_search"}, WEATHER]
    )
    assert response.text == "On."
    assert "Found it." in prompt
    assert "A thought." not in prompt
    assert "get_weather" in prompt
    assert [warning.split(":")[1].strip() for warning in response.warnings] == [
        "only the server that made it can read it.",
        "gpt-oss is shown none from before its last answer.",
        "1 web_search_call.",
        "web_search.",
    ]


async def test_reasoning_that_led_to_open_calls_comes_along() -> None:
    """It is shown until an answer follows, wherever it was thought, so there is no warning."""
    plain, call = (
        items.reasoning_item("I must look."),
        items.function_call("call_1", "get_weather", "{}"),
    )
    response, prompt = await moved(plain, call, answers={"call_1": "sunny"}, tools=[WEATHER])
    assert "I must look." in prompt
    assert response.warnings == []


async def test_a_custom_tool_is_an_error_here() -> None:
    """gpt-oss has functions alone; nothing of the call's own is dropped silently."""
    custom = {"type": "custom", "name": "sql"}
    lm, _ = make()
    with pytest.raises(ToolError, match="'custom' cannot be declared to gpt-oss"):
        await lm.respond_async("Hi", tools=[custom])
    with pytest.raises(RequestError, match="'custom_tool_call_output' cannot be rendered"):
        await moved(
            items.custom_tool_call("call_1", "sql", "x"), answers={"call_1": "1"}, tools=[custom]
        )
