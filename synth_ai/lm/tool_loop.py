"""Tools that are run here: the model calls, the tools answer, until the model gives its final answer."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from synth_ai.errors import OptionError, ToolError, ToolRunError
from synth_ai.lm import structured_output as structured
from synth_ai.lm.tools import RunnableSpec, Tool, ToolSpec, tool_specs
from synth_ai.options import GenerationOptions
from synth_ai.response import BaseLMResponse
from synth_ai.store.base import ResponseStore

if TYPE_CHECKING:
    from synth_ai.lm.conversation import Parent

OnError: TypeAlias = Literal["report", "raise"]

#: What belongs to the first call of a run, or is said anew with the tools' outputs.
_NOT_SAID_AGAIN = frozenset(
    {
        "system_message",
        "user_message",
        "messages",
        "images",
        "tools",
        "tool_outputs",
        "previous_response_id",
    }
)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """One call of a tool.

    Attributes:
        call_id: the call that this answers.
        name: the tool's name.
        arguments: the JSON text that the model wrote.
        output: what goes back to the model.
        error: what the tool raised, or what was wrong with the call; None when all went well.
    """

    call_id: str
    name: str
    arguments: str
    output: Any
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One round: the response that called tools, and what those that were run here gave back."""

    response: BaseLMResponse
    results: tuple[ToolResult, ...]


OnStep: TypeAlias = Callable[[ToolStep], object]
GoOn: TypeAlias = Callable[[BaseLMResponse, dict[str, Any]], Awaitable[BaseLMResponse]]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A finished run.

    Attributes:
        response: the last response.
        steps: the rounds, oldest first. The last is that of `response` itself where only some of its calls could be
            run here.
    """

    response: BaseLMResponse
    steps: tuple[ToolStep, ...] = field(default=())

    @property
    def text(self) -> str:
        """The text of the final answer; empty while calls are `pending`."""
        return self.response.text

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of those calls of `response` that were run here, by call id."""
        if not self.steps or self.steps[-1].response is not self.response:
            return {}
        return _outputs(self.steps[-1])

    @property
    def pending(self) -> list[dict[str, Any]]:
        """The calls of `response` that are left to the caller, as their tools are schemas alone.

        Go on with `tool_outputs={**run.outputs, call_id: output}`.
        """
        return [call for call in self.response.tool_calls or () if call["id"] not in self.outputs]


class ToolExecutor:
    """The tools that a model may call, and how to run those whose functions are here.

    Args:
        tools: the tools; None where it is not known which the model has.
        known: where to look for the functions of tools that are schemas here, by name.

    Attributes:
        specs: the specs of the tools; None where it is not known which the model has.
    """

    def __init__(self, tools: Iterable[Tool] | None, known: ToolExecutor | None = None) -> None:
        self.specs = None if tools is None else tool_specs(tools)
        specs = self.specs or ()
        self._names = None if tools is None else _function_names(specs)
        self._built_ins = {spec["type"] for spec in specs if "name" not in spec}
        self._runnable: dict[str, RunnableSpec] = {} if known is None else dict(known._runnable)
        if self._names is not None:
            self._runnable = {
                name: spec for name, spec in self._runnable.items() if name in self._names
            }
        self._runnable |= {spec["name"]: spec for spec in specs if isinstance(spec, RunnableSpec)}

    def answers(self, response: BaseLMResponse) -> bool:
        """Whether `run` has an output for any call of the response."""
        return bool(self._calls_here(response))

    async def run(self, response: BaseLMResponse) -> tuple[ToolResult, ...]:
        """Run all calls of a response at once that can be run here, with their results in order.

        A call to a tool that there is not is answered with the names there are; one to a tool that is only a schema
        has no result. When the run is cancelled, or a tool raises what ends a program, the others are cancelled.
        """
        running = [asyncio.create_task(self._answer(**call)) for call in self._calls_here(response)]
        try:
            return tuple(await asyncio.gather(*running))
        except _Exit as exit:
            raise exit.error from None
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _calls_here(self, response: BaseLMResponse) -> list[dict[str, str]]:
        calls = [call for call in response.tool_calls or () if call["type"] == "function"]
        found = [{"call_id": call["id"], **call["function"]} for call in calls]
        return [
            call
            for call in found
            if call["name"] in self._runnable or self._is_invented(call["name"])
        ]

    def _is_invented(self, name: str) -> bool:
        # Calls of a built-in tool come under names of their own: `browser` is called as `browser.search`.
        return (
            self._names is not None
            and name not in self._names
            and name.split(".")[0] not in self._built_ins
        )

    async def _answer(self, call_id: str, name: str, arguments: str) -> ToolResult:
        result = partial(ToolResult, call_id, name, arguments)
        try:
            try:
                work = self._bound(name, arguments)
            except ToolError as error:
                return result(f"Error: {error}", error)
            except ValueError as error:
                return result(
                    f"Error: the arguments do not fit: {structured.describe(error)}", error
                )
            return result(await _call(work))
        except (KeyboardInterrupt, SystemExit) as error:
            raise _Exit(error) from None
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # Something that the tool itself waited for was cancelled, not the run.
            return result(f"Error: {_what(error)}", error)
        except Exception as error:  # a tool may raise anything, and the model gets to see it
            return result(f"Error: {_what(error)}", error)

    def _bound(self, name: str, arguments: str) -> Callable[[], Any]:
        tool = self._runnable.get(name)
        if tool is not None:
            return tool.bound(json.loads(arguments or "{}", strict=False))
        names = self._names or ()
        nearest = get_close_matches(name, names, n=len(names) or 1, cutoff=0)
        raise ToolError(
            f"There is no tool {name!r}. The tools are: {', '.join(nearest) or 'none'}."
        )


class _Exit(Exception):
    """What ends a program, on its way out of a task: raised there as it is, it would end the event loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _function_names(specs: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The names that calls may come under, those of the functions in a namespace included."""
    names: set[str] = set()
    for spec in specs:
        names |= {spec["name"]} if "name" in spec else set()
        names |= _function_names(
            each for each in spec.get("tools") or () if isinstance(each, Mapping)
        )
    return frozenset(names)


def _outputs(step: ToolStep) -> dict[str, Any]:
    return {result.call_id: result.output for result in step.results}


def _what(error: BaseException) -> str:
    """What an error is and what it says, and nothing of the code it comes from."""
    return ": ".join(part for part in (type(error).__name__, str(error)) if part)


async def _call(work: Callable[[], Any]) -> Any:
    """A sync tool runs on a thread, so that it holds up neither the event loop nor the other calls."""
    if inspect.iscoroutinefunction(work):
        return await work()
    result = await _on_thread(work)
    return await result if inspect.isawaitable(result) else result


async def _on_thread(work: Callable[[], Any]) -> Any:
    """The result of `work`, which sees the context variables of here.

    Each has a thread of its own: in a pool, tools that wait for tools of their own could use up all the threads, and
    one that hangs would keep the program from ending.
    """
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(work))
        except StopIteration as error:  # a future refuses this one
            stopped = RuntimeError("the tool raised StopIteration")
            stopped.__cause__ = error
            future.set_exception(stopped)
        except BaseException as error:  # it belongs to the one who waits
            future.set_exception(error)

    threading.Thread(target=run, name="synth-ai-tool", daemon=True).start()
    return await asyncio.wrap_future(future)


async def run_until_answered(
    response: BaseLMResponse,
    toolbox: ToolExecutor,
    go_on: GoOn,
    max_rounds: int,
    on_error: OnError,
    on_step: OnStep | None,
) -> ToolRun:
    """Run the calls of `response` and of the responses after it, until one has no calls that can be run here.

    Args:
        go_on: gives the response to a response's outputs.

    Raises:
        ToolRunError: a tool failed and `on_error` is `raise`, or the rounds are used up.
    """
    steps: list[ToolStep] = []
    while toolbox.answers(response):
        if len(steps) == max_rounds:
            raise ToolRunError(
                f"The model still calls tools after {max_rounds} rounds; max_rounds= allows more.",
                response=response,
                steps=steps,
            )
        steps.append(ToolStep(response, await toolbox.run(response)))
        if on_step is not None:
            told = on_step(steps[-1])
            if inspect.isawaitable(told):
                await told
        if on_error == "raise":
            _raise_first_error(steps)
        if ToolRun(response, tuple(steps)).pending:
            break
        response = await go_on(response, _outputs(steps[-1]))
    return ToolRun(response, tuple(steps))


def _raise_first_error(steps: list[ToolStep]) -> None:
    for result in steps[-1].results:
        if result.error is not None:
            raise ToolRunError(
                f"The tool {result.name!r} failed on {result.arguments:.200}: {result.output.removeprefix('Error: ')}",
                response=steps[-1].response,
                steps=steps,
            ) from result.error


def check_run_options(max_rounds: Any, on_error: Any, on_step: Any) -> None:
    """Refuse options of a run that make no sense.

    Raises:
        OptionError: naming the value.
    """
    if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
        raise OptionError(
            f"max_rounds={max_rounds!r} never lets the model call; it takes a number from 1."
        )
    if on_error not in ("report", "raise"):
        raise OptionError(
            f"on_error={on_error!r} is unknown; it takes 'report' (to the model) or 'raise'."
        )
    if on_step is not None and not callable(on_step):
        raise OptionError(
            f"on_step={on_step!r} cannot be called; it takes a function of a ToolStep."
        )


async def tools_in_force(
    response: BaseLMResponse, head: Parent | None, store: ResponseStore
) -> tuple[ToolSpec, ...] | None:
    """The tools that a response was given; None where nobody named any, or its turn is not known here."""
    if head is not None and head.id == response.response_id:
        turn = head.turn
    else:
        turn = await store.get(response.response_id or "")
    return None if turn is None else turn.tools


def follow_up(
    arguments: Mapping[str, Any], toolbox: ToolExecutor, defaults: GenerationOptions
) -> dict[str, Any]:
    """The arguments of the calls after the first one of a run, beside the outputs and what they answer."""
    said = {name: value for name, value in arguments.items() if name not in _NOT_SAID_AGAIN}
    if toolbox.specs is not None:
        said["tools"] = toolbox.specs
    choice = arguments.get("tool_choice", defaults.get("tool_choice"))
    return {**said, "tool_choice": _choice_after_tools(choice)}


def _choice_after_tools(choice: Any) -> Any:
    """The `tool_choice` once the tools have answered: one that forces a call would never let the model finish."""
    if choice in ("none", "auto"):
        return choice
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        # On Responses the mode is beside the list of tools, on Chat both are one level down.
        inner = choice.get("allowed_tools")
        return (
            {**choice, "allowed_tools": {**inner, "mode": "auto"}}
            if inner
            else {**choice, "mode": "auto"}
        )
    return None


async def holding_exits(run: Awaitable[ToolRun]) -> ToolRun | KeyboardInterrupt | SystemExit:
    """A run on the shared loop, which a tool that ends the program must not end: its wish is handed over instead."""
    try:
        return await run
    except (KeyboardInterrupt, SystemExit) as wish:
        return wish
