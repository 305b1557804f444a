"""An LM's options on an engine: contradictions are errors, the rest arrives as sampling."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import LM
from synth_ai.engines.base import OutputConstraint, Sampling
from synth_ai.errors import EngineRequestError, OptionError
from synth_ai.testing import ScriptedEngine, final_text

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object"},
}


class Answer(BaseModel):
    value: int


async def sampling_of(**options: Any) -> Sampling:
    """What the engine is told by a call with these options."""
    engine = ScriptedEngine([final_text('{"value": 1}')])
    await LM("gpt-oss-20b", engine=engine).respond_async("Go", **options)
    return engine.samplings[0]


async def constraint_of(**options: Any) -> OutputConstraint:
    """The constraint on a shaped answer."""
    constraint = (await sampling_of(response_model=Answer, **options)).constraint
    assert constraint is not None
    return constraint


@pytest.mark.parametrize(
    "choice", ["get_weather", "required", {"type": "function", "name": "get_weather"}]
)
async def test_a_forced_call_and_a_shaped_answer(choice: Any) -> None:
    """One call cannot have both; the error says how to have them one after the other."""
    with pytest.raises(OptionError, match=r"tool_choice=.*response_model=.*tool_outputs="):
        await constraint_of(tools=[WEATHER], tool_choice=choice)


async def test_the_tools_that_a_shaped_answer_may_call() -> None:
    """Those that were declared, built-in ones too, and none where tool_choice says so."""
    tools = [WEATHER, {"type": "python"}, {"type": "browser"}]
    one = await constraint_of(tools=tools)
    assert (one.tool_calls, one.builtins) == (True, ("python", "browser"))
    two = await constraint_of(tools=[{"type": "python"}], tool_choice="auto")
    assert (two.tool_calls, two.builtins) == (False, ("python",))
    three = await constraint_of(tools=tools, tool_choice="none")
    assert (three.tool_calls, three.builtins) == (False, ())


@pytest.mark.parametrize("budget", [-5, "x", 1.5])
async def test_a_reasoning_budget_that_is_none(budget: Any) -> None:
    """Named with its value; without a response_model there is no constraint to put it into."""
    with pytest.raises(EngineRequestError, match=f"reasoning_budget.*{budget!r}"):
        await constraint_of(reasoning_budget=budget)
    with pytest.raises(OptionError, match="comes with response_model="):
        await sampling_of(reasoning_budget=5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"top_logprobs": "a"}, "top_logprobs='a' is out of range"),
        ({"top_logprobs": 21}, "top_logprobs=21 is out of range"),
        ({"top_logprobs": True}, "top_logprobs=True is out of range"),
        ({"logprobs": 5}, r"logprobs=5 is neither True nor False; top_logprobs="),
    ],
)
async def test_logprobs_that_cannot_be_meant(options: dict[str, Any], named: str) -> None:
    """None of them is taken for something else."""
    with pytest.raises(OptionError, match=named):
        await sampling_of(**options)


async def test_logprobs() -> None:
    """Of the sampled token alone, with alternatives, or none at all."""
    assert (await sampling_of(logprobs=True)).logprobs == 0
    assert (await sampling_of(logprobs=True, top_logprobs=5)).logprobs == 5
    assert (await sampling_of(top_logprobs=0)).logprobs == 0
    assert (await sampling_of(logprobs=False)).logprobs is None


async def test_sampling_of_the_wrong_type() -> None:
    """A typed error with the option and its value, not one from the depths of a library."""
    with pytest.raises(EngineRequestError, match=r"top_p must be a number, not '0\.9'"):
        await sampling_of(top_p="0.9")


FIRST_CALL = """
import asyncio, threading
from synth_ai import LM, harmony
from synth_ai.harmony import tokens as encoding
from synth_ai.testing import ScriptedEngine

threads = []
build = encoding._tiktoken

def build_and_note():
    threads.append(threading.current_thread() is threading.main_thread())
    return build()

encoding._tiktoken = build_and_note

async def main():
    ids = [200005, 17196, 200008, 13225, 200002]
    lm = LM("gpt-oss-20b", engine=ScriptedEngine([ids] * 4))
    await asyncio.gather(*(lm.respond_async("Hi") for _ in range(4)))
    print("on the loop's thread:", threads[0])

asyncio.run(main())
"""


def test_the_vocabulary_is_loaded_beside_the_event_loop() -> None:
    """The first call reads and builds it on a thread, so that the loop goes on meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=True
    )
    assert done.stdout == "on the loop's thread: False\n"
