"""Running the tools that a response calls."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from synth_ai.content import FunctionToolCall
from synth_ai.errors import ToolError
from synth_ai.lm import sync
from synth_ai.lm.structured_output import describe_error
from synth_ai.lm.tool_results import UnwritableResultError, read_result
from synth_ai.lm.tools import RunnableSpec, Tool, ToolSpec, tool_specs
from synth_ai.response import BaseLMResponse

# Threads of one turn's calls at a time. A model may ask for thousands of calls at once; those that
# wait for one another are few.
_MAX_THREADS = 256


@dataclass(frozen=True, slots=True)
class ToolResult:
    """One call of a tool that was run here.

    Attributes:
        call_id: the call that this answers.
        name: the tool's name.
        arguments: the JSON text that the model wrote.
        output: what goes back to the model: what the tool returned, or `Error: ...`.
        error: what the tool raised, or what was wrong with the call; None if all went well.
    """

    call_id: str
    name: str
    arguments: str
    output: Any
    error: BaseException | None = None


class ToolExecutor:
    """The tools that a model may call, and how to run those whose functions are here.

    Args:
        tools: the tools; None if it is not known which the model has.
        fallback: lends its functions to the tools that are schemas here, by name. A branch that was
            read back from a file has schemas alone, and the LM may have the functions.

    Attributes:
        specs: the specs of the tools; None if it is not known which the model has.
    """

    def __init__(self, tools: Iterable[Tool] | None, fallback: ToolExecutor | None = None) -> None:
        self.specs: tuple[ToolSpec, ...] | None = None
        self._names: frozenset[str] | None = None
        self._built_ins: set[str] = set()
        self._runnable: dict[str, RunnableSpec] = {}
        if fallback is not None:
            self._runnable |= fallback._runnable

        if tools is None:
            return

        self.specs = tool_specs(tools)
        self._names = _function_names(self.specs)
        self._built_ins = {spec["type"] for spec in self.specs if "name" not in spec}

        for name in self._runnable.keys() - self._names:
            del self._runnable[name]
        for spec in self.specs:
            if isinstance(spec, RunnableSpec):
                self._runnable[spec["name"]] = spec

    def can_run(self, response: BaseLMResponse) -> bool:
        """Whether `run` has a result for any call of the response."""
        return bool(self._calls_to_run(response))

    async def run(self, response: BaseLMResponse) -> tuple[ToolResult, ...]:
        """Run those calls of a response that can be run here, all at once.

        A call of a tool that does not exist is answered with the names of those that do. One of a
        tool that is only a schema has no result. If the run is cancelled, or a tool raises what
        ends a program, the other tools are cancelled.

        Returns:
            The results, in the order of the calls.
        """
        with _Workplace() as workplace:
            tasks = []
            for call in self._calls_to_run(response):
                tasks.append(asyncio.create_task(self._run_call(call, workplace)))
            try:
                return tuple(await asyncio.gather(*tasks))
            except _ExitRequest as request:
                raise request.error from None
            finally:
                # Nothing to do for tasks that have ended. The others get the time to clean up.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _calls_to_run(self, response: BaseLMResponse) -> list[FunctionToolCall]:
        calls = []
        for call in response.tool_calls or ():
            if call["type"] != "function":
                continue
            if self._has_result(call["function"]["name"]):
                calls.append(call)
        return calls

    def _has_result(self, name: str) -> bool:
        if name in self._runnable:
            return True
        if self._names is None:
            return False
        # A schema: its calls are left to the caller.
        if name in self._names:
            return False

        # Calls of a built-in tool have names that nobody declares: `browser` is called as
        # `browser.search`. Any other name is an invention of the model, and `run` answers so.
        namespace, _, _ = name.partition(".")
        return namespace not in self._built_ins

    async def _run_call(self, call: FunctionToolCall, workplace: _Workplace) -> ToolResult:
        """Run one call. Whatever goes wrong becomes its output, which the model gets to see."""
        name = call["function"]["name"]
        arguments = call["function"]["arguments"]
        make_result = partial(ToolResult, call["id"], name, arguments)
        try:
            output = await self._call_tool(name, arguments, workplace)
            # Whatever the tool returned runs its own code when it is written.
            read_result(output)
            return make_result(output)
        except UnwritableResultError as error:
            return make_result(f"Error: the tool ran, but its result was lost: {error}.", error)
        except _RefusedCall as refused:
            return make_result(f"Error: {refused}", refused.error)
        except (KeyboardInterrupt, SystemExit) as error:
            raise _ExitRequest(error) from None
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            # Something that the tool itself waited for was cancelled, not the run.
            return make_result(f"Error: {_describe(error)}", error)
        except Exception as error:  # a tool may raise anything
            return make_result(f"Error: {_describe(error)}", error)

    async def _call_tool(self, name: str, arguments: str, workplace: _Workplace) -> object:
        try:
            work = self._bind(name, arguments)
        except ToolError as error:
            raise _RefusedCall(str(error), error) from None
        except ValueError as error:
            # Not JSON, or not what the tool's types say.
            reason = f"the arguments do not fit: {describe_error(error)}"
            raise _RefusedCall(reason, error) from None

        # A sync tool must hold up neither the event loop nor the other calls.
        if inspect.iscoroutinefunction(work):
            return await workplace.run(work)
        async with workplace.threads:
            result = await _run_on_thread(work)
        if inspect.isawaitable(result):
            return await workplace.run(partial(_await, result))
        return result

    def _bind(self, name: str, arguments: str) -> Callable[[], object]:
        tool = self._runnable.get(name)
        if tool is not None:
            return tool.bind(json.loads(arguments or "{}", strict=False))

        names = self._names or ()
        nearest_first = get_close_matches(name, names, n=len(names) or 1, cutoff=0)
        raise ToolError(
            f"There is no tool {name!r}. The tools are: {', '.join(nearest_first) or 'none'}."
        )


class _Workplace(sync.UserCode):
    """Where the calls of one turn run: async tools on a loop, sync tools on threads.

    Attributes:
        threads: how many more threads there may be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.threads = asyncio.Semaphore(_MAX_THREADS)


class _RefusedCall(Exception):
    """A call that never reaches its tool.

    Attributes:
        error: what is wrong with it.
    """

    def __init__(self, reason: str, error: Exception) -> None:
        super().__init__(reason)
        self.error = error


class _ExitRequest(Exception):
    """Carries what ends a program out of a task: raised there as it is, it would end the loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _function_names(specs: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """List the names that calls may have; a namespace has more of them in `tools`."""
    names: set[str] = set()
    for spec in specs:
        if "name" in spec:
            names.add(spec["name"])

        nested = spec.get("tools") or ()
        names |= _function_names(tool for tool in nested if isinstance(tool, Mapping))
    return frozenset(names)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _describe(error: BaseException) -> str:
    """Describe an error to the model: its class and its message, and nothing of the code."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # the error's own method may raise anything
        return name
    return f"{name}: {message}" if message else name


async def _await(result: Awaitable[object]) -> object:
    return await result


async def _run_on_thread(work: Callable[[], object]) -> object:
    """Run `work` on a thread, with the context variables of the caller.

    Each has a thread to itself. In a pool, tools that wait for other tools could use up all the
    threads, and one that hangs would keep the program from ending.
    """
    future: Future[object] = Future()
    # Once it runs it cannot be cancelled: then setting its result would be an error.
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(work))
        except StopIteration as error:
            # A future cannot hold this one.
            stopped = RuntimeError("the tool raised StopIteration")
            stopped.__cause__ = error
            future.set_exception(stopped)
        except BaseException as error:  # for the caller, who awaits it
            future.set_exception(error)

    threading.Thread(target=run, name="synth-ai-tool", daemon=True).start()
    return await asyncio.wrap_future(future)
