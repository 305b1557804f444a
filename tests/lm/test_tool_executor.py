"""Running the calls of one response, without a model behind it."""

from __future__ import annotations

from synth_ai import BaseLMResponse, ToolResult
from synth_ai.content import custom_tool_call, function_call
from synth_ai.errors import ToolError
from synth_ai.lm.tool_executor import ToolExecutor
from synth_ai.lm.tool_round import ToolRound
from synth_ai.lm.tools import tool_specs


def double(number: int) -> int:
    """Doubles."""
    return 2 * number


async def greet(name: str) -> str:
    """Greets."""
    return f"Hello {name}"


async def answer(executor: ToolExecutor, response: BaseLMResponse) -> tuple[ToolResult, ...]:
    """Run a round to its end."""
    tool_round = ToolRound(executor, response, number=1)
    async with tool_round:
        while await tool_round.next() is not None:
            pass
    return tool_round.results


SCHEMA = {"type": "function", "name": "ask", "parameters": {"type": "object", "properties": {}}}


async def test_the_calls_of_a_response() -> None:
    """Results are in the order of the calls; schemas and custom tools are left to the caller."""
    executor = ToolExecutor([double, greet, SCHEMA])
    response = BaseLMResponse.of_output(
        [
            function_call("call_1", "greet", '{"name": "Ada"}'),
            function_call("call_2", "ask", "{}"),
            custom_tool_call("call_3", "double", "2"),
            function_call("call_4", "double", '{"number": 2}'),
            function_call("call_5", "triple", "{}"),
        ]
    )
    assert executor.can_run(response)
    greeted, doubled, invented = await answer(executor, response)
    assert (greeted.call_id, greeted.output, greeted.error) == ("call_1", "Hello Ada", None)
    assert (doubled.call_id, doubled.output, doubled.error) == ("call_4", 4, None)
    assert (invented.call_id, type(invented.error)) == ("call_5", ToolError)
    assert invented.output.startswith("Error: There is no tool 'triple'. The tools are: ")


async def test_schemas_get_the_functions_of_a_fallback() -> None:
    """By name, as the tools of a branch that was read from a file do."""
    schemas = [dict(spec) for spec in tool_specs([double, SCHEMA])]
    response = BaseLMResponse.of_output([function_call("call_1", "double", '{"number": 2}')])
    assert not ToolExecutor(schemas).can_run(response)
    [result] = await answer(ToolExecutor(schemas, ToolExecutor([double, greet])), response)
    assert result.output == 4


def test_tools_that_are_not_known() -> None:
    """Of a turn that only a server knows no call is invented; known functions are run."""
    known = BaseLMResponse.of_output([function_call("call_1", "double", "{}")])
    unknown = BaseLMResponse.of_output([function_call("call_1", "triple", "{}")])
    executor = ToolExecutor(None, ToolExecutor([double]))
    assert executor.specs is None
    assert executor.can_run(known)
    assert not executor.can_run(unknown)
