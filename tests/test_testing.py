"""What `synth_ai.testing` gives to users' tests: mistakes are told, answers may take time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from synth_ai import LM, LMRequest
from synth_ai.engines.base import Sampling
from synth_ai.errors import TimedOutError
from synth_ai.testing import ScriptedEngine, ScriptedVendor, call_text, final_text, tool_call


@pytest.mark.parametrize("script", ["hello", {"type": "message"}])
def test_a_script_is_a_list(script: Any) -> None:
    """A single text would else be answered letter by letter."""
    with pytest.raises(TypeError, match=r"a script is a list of them: \["):
        ScriptedVendor(script)
    with pytest.raises(TypeError, match="a script is a list of them"):
        ScriptedEngine(script)


async def test_an_answer_that_is_none_is_an_error() -> None:
    """A dict of a made-up shape would else be an empty answer."""
    lm = LM("x", vendor=ScriptedVendor([{"text": "hello"}]))
    with pytest.raises(TypeError, match=r"answer must be a text, tool_call\(\.\.\.\), or items"):
        await lm.respond_async("Hi")


@pytest.mark.parametrize("api", ["responses", "harmony"])
async def test_answers_may_take_their_time(api: str) -> None:
    """So timeouts and calls at once can be tested."""
    under_way, most = 0, 0

    async def slowly(*_: Any) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return final_text("done") if api == "harmony" else "done"

    async def never(*_: Any) -> str:
        await asyncio.Event().wait()
        return ""

    script = [slowly] * 5 + [never]
    if api == "harmony":
        lm = LM("gpt-oss-20b", engine=ScriptedEngine(script))
    else:
        lm = LM("x", vendor=ScriptedVendor(script))
    responses = await lm.respond_batch_async(["Hi"] * 5)
    assert {response.text for response in responses} == {"done"}
    assert most == 5
    with pytest.raises(TimedOutError):
        await lm.respond_async("Hi", timeout=0.01)


async def test_functions_see_what_was_asked() -> None:
    """Of a vendor the request, of an engine the prompt and the sampling."""

    def of_request(request: LMRequest) -> str:
        return request.model

    def of_prompt(prompt: Any, sampling: Sampling) -> str:
        return final_text(f"{len(prompt) > 0} {sampling.temperature}")

    assert (await LM("x", vendor=ScriptedVendor([of_request])).respond_async("Hi")).text == "x"
    lm = LM("gpt-oss-20b", engine=ScriptedEngine([of_prompt]), temperature=0.5)
    assert (await lm.respond_async("Hi")).text == "True 0.5"


def test_calls_take_arguments_of_any_name() -> None:
    """A tool may have a parameter called `name`, `call_id` or `reasoning`."""
    call = tool_call("f", {"call_id": 1}, name=2, given=3)
    assert json.loads(call["arguments"]) == {"call_id": 1, "name": 2, "given": 3}
    text = call_text("f", {"reasoning": "x"}, name=2, given=3)
    assert '{"reasoning": "x", "name": 2, "given": 3}' in text
