"""Tools that are run here: the model calls, the tools answer, until the model gives its final answer."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ValidationError

from synth_ai.errors import OptionError, ToolRunError
from synth_ai.lm import structured
from synth_ai.lm.response import BaseLMResponse
from synth_ai.lm.tools import BaseTool, Tool, arguments_model, tool_spec

OnError: TypeAlias = Literal["report", "raise"]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """One call of a tool.

    Attributes:
        call_id: the call that this answers.
        name: the tool's name.
        arguments: the JSON text that the model wrote.
        output: what goes back to the model.
        error: what the tool raised, or what was wrong with the arguments; None when all went well.
    """

    call_id: str
    name: str
    arguments: str
    output: Any
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One round: the response that called tools, and what they gave back."""

    response: BaseLMResponse
    results: tuple[ToolResult, ...]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A finished run.

    Attributes:
        response: the last response; it still has `tool_calls` where a tool is only a schema and must be run elsewhere.
        steps: the rounds before it, oldest first.
    """

    response: BaseLMResponse
    steps: tuple[ToolStep, ...] = field(default=())

    @property
    def text(self) -> str:
        """The text of the final answer."""
        return self.response.text


class Toolbox:
    """The tools that can be run here, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._runners: dict[str, _Runner] = {}
        for tool in tools:
            if isinstance(tool, (str, Mapping)):
                continue
            self._runners[tool_spec(tool)["name"]] = _runner(tool)

    def can_run(self, response: BaseLMResponse) -> bool:
        """Whether the response calls tools, and every one of them is here."""
        calls = response.tool_calls or ()
        return bool(calls) and all(call["function"]["name"] in self._runners for call in calls)

    async def run(self, response: BaseLMResponse, on_error: OnError) -> tuple[ToolResult, ...]:
        """Run all calls of a response at once, with their results in order.

        Raises:
            ToolRunError: a tool failed and `on_error` is `raise`.
        """
        calls = response.tool_calls or ()
        results = await asyncio.gather(*(self._one(call["id"], **call["function"]) for call in calls))
        for result in results:
            if result.error is not None and on_error == "raise":
                raise ToolRunError(
                    f"The tool {result.name!r} failed on {result.arguments}: {result.error}", response=response
                ) from result.error
        return tuple(results)

    async def _one(self, call_id: str, name: str, arguments: str) -> ToolResult:
        try:
            return ToolResult(call_id, name, arguments, await self._runners[name](arguments))
        except ValidationError as error:
            told = f"Error: the arguments do not fit: {structured.describe(error)}"
            return ToolResult(call_id, name, arguments, told, error)
        except Exception as error:  # a tool may raise anything, and the model gets to see it
            return ToolResult(call_id, name, arguments, f"Error: {type(error).__name__}: {error}", error)


_Runner: TypeAlias = Callable[[str], Awaitable[Any]]


def _runner(tool: Any) -> _Runner:
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        return _class_runner(tool)
    model = arguments_model(tool)

    async def run(arguments: str) -> Any:
        checked = model.model_validate(_decoded(arguments))
        return await _call(tool, **{name: getattr(checked, name) for name in checked.model_fields_set})

    return run


def _class_runner(tool: type[BaseModel]) -> _Runner:
    async def run(arguments: str) -> Any:
        checked = tool.model_validate(_decoded(arguments))
        return await _call(checked.run) if isinstance(checked, BaseTool) else checked

    return run


def _decoded(arguments: str) -> Any:
    return json.loads(arguments or "{}", strict=False)


async def _call(function: Callable[..., Any], **arguments: Any) -> Any:
    """A sync tool runs on a thread, so that it holds up neither the event loop nor the other calls."""
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    result = await asyncio.to_thread(function, **arguments)
    return await result if inspect.isawaitable(result) else result


def check_run_options(max_rounds: int, on_error: str) -> None:
    """Refuse options of a run that make no sense.

    Raises:
        OptionError: naming the value.
    """
    if max_rounds < 1:
        raise OptionError(f"max_rounds={max_rounds} never calls the model; it takes 1 or more.")
    if on_error not in ("report", "raise"):
        raise OptionError(f"on_error={on_error!r} is unknown; it takes 'report' (to the model) or 'raise'.")
