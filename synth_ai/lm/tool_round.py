"""One round of a run: the calls of one response, approved, run side by side, and answered."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from copy import deepcopy
from functools import partial
from typing import Self

from synth_ai.content import FunctionToolCall
from synth_ai.errors import ApprovalError, ToolDeniedError, ToolError
from synth_ai.lm import sync
from synth_ai.lm.approval import ApprovalRequest, Approve, Approver, Defer, Deny, read_decision
from synth_ai.lm.structured_output import describe_error
from synth_ai.lm.tool_executor import ReadyCall, ToolExecutor
from synth_ai.lm.tool_results import UnwritableResultError, read_result
from synth_ai.lm.tool_run import ToolEvent, ToolFinished, ToolStarted
from synth_ai.response import BaseLMResponse

# Threads of one turn's calls at a time. A model may ask for thousands of calls at once; those that
# wait for one another are few.
_MAX_THREADS = 256


class ToolRound:
    """Answers the calls of one response, all at once, from the beginning of an `async with` block.

    If the block is left early, or a tool raises what ends a program, the other tools are cancelled.

    Args:
        executor: the tools.
        response: the response that called them.
        number: which round of the run, from 1.
        approve: is asked before each tool runs, one call at a time; None lets all of them run.
    """

    def __init__(
        self,
        executor: ToolExecutor,
        response: BaseLMResponse,
        *,
        number: int,
        approve: Approver | None = None,
    ) -> None:
        self._executor = executor
        self._calls = executor.calls_to_answer(response)
        self._number = number
        self._approve = approve
        self._approval_turn = asyncio.Lock()
        self._approval_error: ApprovalError | None = None
        self._results: dict[int, ToolFinished] = {}
        self._events: asyncio.Queue[ToolEvent | None] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None

    @property
    def results(self) -> tuple[ToolFinished, ...]:
        """The results so far, in the order of the calls; a deferred call has none."""
        return tuple(result for _, result in sorted(self._results.items()))

    @property
    def tool_names(self) -> str:
        """The names of the tools that are called, for an error message."""
        return ", ".join(dict.fromkeys(call["function"]["name"] for call in self._calls))

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._answer_all())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._work is not None
        # Nothing to do for a task that has ended.
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)

    async def next(self) -> ToolEvent | None:
        """Wait for what happens next to a call; None once all are answered.

        Raises:
            ApprovalError: `approve=` failed. The tools that ran by then have ended.
        """
        event = await self._events.get()
        if event is not None:
            return event

        assert self._work is not None
        try:
            await self._work
        except _ExitRequest as request:
            raise request.error from None
        if self._approval_error is not None:
            raise self._approval_error
        return None

    async def _answer_all(self) -> None:
        tasks = []
        try:
            with _Workplace() as workplace:
                for index, call in enumerate(self._calls):
                    tasks.append(asyncio.create_task(self._answer(index, call, workplace)))
                await asyncio.gather(*tasks)
        finally:
            # Nothing to do for tasks that have ended. The others get the time to clean up.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._events.put_nowait(None)

    async def _answer(self, index: int, call: FunctionToolCall, workplace: _Workplace) -> None:
        """Answer one call, unless it is deferred."""
        try:
            result = await self._make_result(call, workplace)
        except (KeyboardInterrupt, SystemExit) as error:
            raise _ExitRequest(error) from None

        if result is not None:
            self._results[index] = result
            self._events.put_nowait(result)

    async def _make_result(
        self, call: FunctionToolCall, workplace: _Workplace
    ) -> ToolFinished | None:
        """Approve and run one call; None if it is deferred, or must not run."""
        name = call["function"]["name"]
        text = call["function"]["arguments"]
        finish = partial(ToolFinished, call["id"], name, round=self._number)
        try:
            ready = self._executor.read_call(name, text)
        except Exception as error:  # a tool's own types may raise anything
            return finish(text, f"Error: {_describe_misfit(error)}", error)

        if self._approve is not None:
            decision = await self._decide(self._approve, call, ready, workplace)
            if isinstance(decision, Deny):
                return finish(text, decision.reason, ToolDeniedError(decision.reason))
            if isinstance(decision, Defer):
                return None
            ready = decision

        self._events.put_nowait(ToolStarted(call["id"], name, ready.text, self._number))
        started_at = time.monotonic()
        output, failure = await _run_tool(ready.work, workplace)
        return finish(ready.text, output, failure, time.monotonic() - started_at)

    async def _decide(
        self, approve: Approver, call: FunctionToolCall, ready: ReadyCall, workplace: _Workplace
    ) -> ReadyCall | Deny | Defer:
        """Ask whether a call may run, and with which arguments. One call is asked at a time.

        Once `approve` has failed nothing more is asked, and so nothing more runs.
        """
        async with self._approval_turn:
            if self._approval_error is not None:
                return Defer()
            try:
                return await self._ask(approve, call, ready, workplace)
            except ApprovalError as error:
                self._approval_error = error
                return Defer()

    async def _ask(
        self, approve: Approver, call: FunctionToolCall, ready: ReadyCall, workplace: _Workplace
    ) -> ReadyCall | Deny | Defer:
        name = call["function"]["name"]
        request = ApprovalRequest(
            call_id=call["id"],
            name=name,
            arguments=deepcopy(ready.arguments),
            tool=deepcopy(dict(ready.spec)),
            round=self._number,
        )
        try:
            answer = await workplace.call(partial(approve, request))
        except (Exception, asyncio.CancelledError) as error:
            if _is_being_cancelled():
                raise
            raise ApprovalError(
                f"approve= failed on the call of {name!r}, which was not run: {_describe(error)}"
            ) from error

        decision = read_decision(answer, request)
        if not isinstance(decision, Approve):
            return decision
        if decision.arguments is None:
            return ready
        return self._change_arguments(name, decision.arguments)

    def _change_arguments(self, name: str, arguments: object) -> ReadyCall:
        """Read the arguments that `approve=` put in place of the model's, as those are read."""
        try:
            text = arguments
            if not isinstance(text, str):
                text = json.dumps(arguments, ensure_ascii=False)
            return self._executor.read_call(name, text)
        except Exception as error:  # a tool's own types may raise anything
            raise ApprovalError(
                f"approve= changed the arguments of {name!r} to {arguments!r:.200}, "
                f"and it was not run: {_describe_misfit(error)}"
            ) from error


async def _run_tool(
    work: Callable[[], object], workplace: _Workplace
) -> tuple[object, BaseException | None]:
    """Run a tool. Whatever goes wrong becomes its output, which the model gets to see.

    Returns:
        The output, and the error if there was one.
    """
    try:
        output = await workplace.call(work)
        # Whatever the tool returned runs its own code when it is written.
        read_result(output)
        return output, None
    except UnwritableResultError as error:
        return f"Error: the tool ran, but its result was lost: {error}.", error
    except asyncio.CancelledError as error:
        if _is_being_cancelled():
            raise
        # Something that the tool itself waited for was cancelled, not the run.
        return f"Error: {_describe(error)}", error
    except Exception as error:  # a tool may raise anything
        return f"Error: {_describe(error)}", error


class _Workplace(sync.UserCode):
    """Where the calls of one round run: async tools on a loop, sync tools on threads."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = asyncio.Semaphore(_MAX_THREADS)

    async def call(self, work: Callable[[], object]) -> object:
        """Call a function of the user's, which may be async."""
        # A sync one must hold up neither the event loop nor the other calls.
        if inspect.iscoroutinefunction(work):
            return await self.run(work)
        async with self._threads:
            result = await _run_on_thread(work)
        if inspect.isawaitable(result):
            return await self.run(partial(_await, result))
        return result


class _ExitRequest(Exception):
    """Carries what ends a program out of a task: raised there as it is, it would end the loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _describe_misfit(error: Exception) -> str:
    """Describe why a call does not fit its tool."""
    if isinstance(error, ToolError):
        return str(error)
    # Not JSON, or not what the tool's types say.
    if isinstance(error, ValueError):
        return f"the arguments do not fit: {describe_error(error)}"
    return _describe(error)


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
