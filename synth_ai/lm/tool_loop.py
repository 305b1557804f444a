"""Runs of tools: the model calls, the tools answer, until the model gives its final answer."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar, cast

from synth_ai.errors import OptionError, ToolDeniedError, ToolRunError, did_you_mean
from synth_ai.events import Completed, StreamEvent
from synth_ai.lm import sync
from synth_ai.lm.approval import Approver
from synth_ai.lm.arguments import (
    CALL_ARGUMENTS,
    PROMPT_ARGUMENTS,
    CallArguments,
    UnshapedArguments,
)
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head
from synth_ai.lm.prices import check_has_price
from synth_ai.lm.run_deadline import RunDeadline
from synth_ai.lm.tool_executor import ToolExecutor
from synth_ai.lm.tool_round import ToolRound
from synth_ai.lm.tool_run import RunCompleted, RunEvent, ToolRun, ToolStep
from synth_ai.lm.tools import ToolSpec, tool_specs
from synth_ai.lm.usage import RunTotals, read_max_cost
from synth_ai.options import GenerationOptions
from synth_ai.response import BaseLMResponse
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore
from synth_ai.timeout import Timeout

T = TypeVar("T")

OnError: TypeAlias = Literal["report", "raise"]
"""What a run does if a tool fails: report it to the model, or raise."""

OnStep: TypeAlias = Callable[[ToolStep], object]
"""Is called with each round as it ends, and awaited if it returns something to await."""

Answer: TypeAlias = Callable[[tuple[str, ...], CallArguments], AsyncGenerator[StreamEvent, None]]
"""Answers one call of prompt strings and arguments: yields its events, or `Completed` alone."""


class UnshapedRunArguments(UnshapedArguments, total=False):
    """The arguments of a run but for `response_model`; see `UnshapedArguments`."""

    max_rounds: int
    on_error: OnError
    on_step: OnStep | None
    approve: Approver | None
    max_cost: float | None


class RunArguments(UnshapedRunArguments, CallArguments, total=False):
    """What `run_tools` and `stream_tools` take beside the prompt's strings.

    `max_rounds` is how many times the model may call tools, 10 by default. `on_error="report"`, the
    default, tells the model what went wrong with a tool; `"raise"` ends the run once the other
    calls of the turn have ended. `on_step` is called with each round as it ends, and awaited if it
    returns an awaitable. `approve` is asked before each tool runs. `max_cost` is what the calls of
    the run may cost together, in US dollars. `timeout` is that of the whole run: seconds, or a
    `Timeout`, whose other times are those of each call. The rest is as for `respond`.
    """


#: The arguments of a run that its calls do not take.
RUN_ARGUMENTS = RunArguments.__annotations__.keys() - CallArguments.__annotations__.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run goes on, and when it ends.

    Attributes:
        max_rounds: how many times the model may call tools.
        on_error: what to do if a tool fails.
        on_step: is called with each round.
        approve: is asked before each tool runs; None lets all of them run.
        max_cost: what its calls may cost together, in US dollars; None for any sum.
        timeout: how long the whole run may take, as its `total`.

    Raises:
        OptionError: one of them makes no sense.
    """

    max_rounds: int = 10
    on_error: OnError = "report"
    on_step: OnStep | None = None
    approve: Approver | None = None
    max_cost: float | None = None
    timeout: Timeout = field(default_factory=Timeout)

    def __post_init__(self) -> None:
        max_rounds = self.max_rounds
        # A bool is an int, too.
        if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
            raise OptionError(
                f"max_rounds={max_rounds!r} never lets the model call; it takes a number from 1."
            )
        if self.on_error not in ("report", "raise"):
            raise OptionError(
                f"on_error={self.on_error!r} is unknown; "
                "it takes 'report' (to the model) or 'raise'."
            )
        _check_hook("on_step", self.on_step, "a ToolStep")
        _check_hook("approve", self.approve, "an ApprovalRequest")
        read_max_cost(self.max_cost)


def _check_hook(name: str, hook: object, argument: str) -> None:
    if hook is not None and not callable(hook):
        raise OptionError(f"{name}={hook!r} cannot be called; it takes a function of {argument}.")


class ToolLoop:
    """One run: asks the model, runs the tools that it calls, and asks again with their outputs.

    Args:
        answer: answers one call of the conversation.
        head: the head that these calls move.
        config: the LM's own tools and options, and the store that has the rounds.
        options: how the run goes on.
        prompt: the prompt strings of the first call.
        arguments: the arguments of its calls.

    Raises:
        OptionError: an option of the calls is unknown or out of range.
        ToolError: a tool of the call cannot be used.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        head: Head,
        config: LMConfig,
        options: RunOptions,
        prompt: tuple[str, ...],
        arguments: CallArguments,
    ) -> None:
        self._answer = answer
        self._head = head
        self._config = config
        self._options = options
        self._arguments = arguments
        self._given_tools = _given_tools(arguments)
        if self._given_tools is not None:
            self._arguments = {**arguments, "tools": self._given_tools}

        self._executor: ToolExecutor | None = None
        self._deadline = RunDeadline(options.timeout.total)
        self._response: BaseLMResponse | None = None
        self._steps: list[ToolStep] = []
        self._round: ToolRound | None = None

        # To notice a reset() of the LM while the run goes on.
        self._resets = head.resets
        # The call takes its place in the order of calls now, and tells what is wrong with it.
        self._first_answer = answer(prompt, self._arguments)

    @property
    def run_so_far(self) -> ToolRun | None:
        """The run as far as it has come, for an error; None before the first response."""
        if self._response is None:
            return None

        steps = tuple(self._steps)
        # What the tools of a round gave that did not end is not lost, either.
        results = () if self._round is None else self._round.results
        if results:
            steps = (*steps, ToolStep(self._response, results))
        return ToolRun(self._response, steps)

    async def run(self) -> ToolRun:
        """Run to the end.

        Raises:
            SynthAIError: as for `events`.
        """
        async with aclosing(self.events()) as events:
            async for event in events:
                if isinstance(event, RunCompleted):
                    return event.run
        raise AssertionError("a run that ends without an error has a last event")

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """Run, and yield what happens as it does; the last event is `RunCompleted`.

        Whatever ends the run early has the run so far as its `run`, also what cancels it.

        Raises:
            ToolRunError: a tool failed and `on_error` is `raise`, the rounds are used up, or
                `approve=` failed.
            SpendingCapError: the rounds have cost as much as they may.
            TimedOutError: the time for the run is over.
            SynthAIError: as for `LM.respond_async`.
        """
        # One generator for all of it: the end of a loop closes every generator at once, and of two
        # of which one reads from the other, one would find the other in the middle of closing.
        try:
            answer = self._first_answer
            while True:
                async with aclosing(answer):
                    while True:
                        event = await self._next_event(answer)
                        if event is None:
                            break
                        yield event

                tool_round = await self._in_time(self._make_round())
                if tool_round is None:
                    break

                async with tool_round:
                    while True:
                        tool_event = await self._in_time(tool_round.next())
                        if tool_event is None:
                            break
                        yield tool_event

                await self._in_time(self._end_round(tool_round))
                # The model cannot be asked again before every call has its output.
                if self._run_now().pending:
                    break
                answer = self._ask_again()

            yield RunCompleted(self._run_now())
        except BaseException as error:
            self.note_run(error)
            raise

    def note_run(self, error: BaseException) -> None:
        """Put the run so far on what ended it."""
        run = self.run_so_far
        # Also on a plain CancelledError or KeyboardInterrupt. An error of somebody else may refuse.
        with suppress(AttributeError, TypeError):
            error.run = run  # type: ignore[attr-defined]

        if run is None:
            return
        if isinstance(error, ToolRunError):
            error.response = run.response
            error.steps = run.steps

    def _run_now(self) -> ToolRun:
        """Return the run between two rounds, or at its end."""
        assert self._response is not None
        return ToolRun(self._response, tuple(self._steps))

    async def _in_time(self, work: Awaitable[T]) -> T:
        """Await a part of the run, as long as its time is not over."""
        async with self._deadline:
            return await work

    async def _next_event(self, answer: AsyncGenerator[StreamEvent, None]) -> StreamEvent | None:
        """Read the next event of an answer; None at its end."""
        self._deadline.phase = f"in round {len(self._steps) + 1}, while the model was asked"
        event = await self._in_time(anext(answer, None))
        if isinstance(event, Completed):
            self._response = event.response
        return event

    async def _make_round(self) -> ToolRound | None:
        """Make the round of the last response; None if nothing of it is answered here."""
        response = self._response
        assert response is not None
        if self._executor is None:
            self._executor = await self._make_executor(response)
        if not self._executor.can_run(response):
            return None

        max_rounds = self._options.max_rounds
        if len(self._steps) == max_rounds:
            raise ToolRunError(
                f"The model still calls tools after {max_rounds} rounds; max_rounds= allows more."
            )

        number = len(self._steps) + 1
        approve = self._options.approve
        self._round = ToolRound(self._executor, response, number=number, approve=approve)
        self._deadline.phase = f"in round {number}, while {self._round.tool_names} ran"
        return self._round

    async def _end_round(self, tool_round: ToolRound) -> None:
        """Keep what a round gave, and tell of it."""
        self._round = None
        # If all calls were deferred there was nothing to answer.
        if not tool_round.results:
            return

        assert self._response is not None
        step = ToolStep(self._response, tool_round.results)
        self._steps.append(step)
        self._deadline.phase = f"in round {len(self._steps)}, while on_step= ran"
        await self._report(step)
        if self._options.on_error == "raise":
            _raise_first_error(step)

    async def _make_executor(self, response: BaseLMResponse) -> ToolExecutor:
        """Make what runs the tools of the call, or else of the branch, or else of the LM."""
        if self._given_tools is not None:
            return ToolExecutor(self._given_tools)
        return ToolExecutor(await self._tools_in_force(response), self._config.tools)

    async def _tools_in_force(self, response: BaseLMResponse) -> tuple[ToolSpec, ...] | None:
        """Find the tools that a response was given; None if nobody named any, or it is unknown."""
        head = self._head.current
        if head is not None and head.id == response.response_id:
            turn = head.turn
        else:
            turn = await self._config.store.get(response.response_id or "")
        return None if turn is None else turn.tools

    async def _report(self, step: ToolStep) -> None:
        on_step = self._options.on_step
        if on_step is None:
            return

        async def call() -> None:
            result = on_step(step)
            if inspect.isawaitable(result):
                await result

        await sync.run_user_code(call)

    def _ask_again(self) -> AsyncGenerator[StreamEvent, None]:
        """Ask the model again, with the outputs of the last round."""
        assert self._executor is not None
        arguments = next_call_arguments(self._arguments, self._executor, self._config.defaults)
        if self._head.resets != self._resets:
            # After a reset() the rounds still to come belong to the conversation that was left.
            arguments["auto_store"] = False

        step = self._steps[-1]
        arguments["tool_outputs"] = step.outputs()
        arguments["previous_response_id"] = step.response.response_id
        return self._answer((), arguments)


def split_arguments(arguments: RunArguments, config: LMConfig) -> tuple[RunOptions, CallArguments]:
    """Part the options of a run from the arguments of its calls.

    The time is parted, too::

        timeout=60                         ->  60 s for the run; its calls have the LM's own times
        timeout=Timeout(60, first_byte=5)  ->  60 s for the run; 5 s for the first byte of a call

    Args:
        arguments: the arguments of the run.
        config: the LM's, for its own options and those that its API takes.

    Raises:
        OptionError: an option makes no sense.
    """
    of_run: dict[str, Any] = {}
    of_calls: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in RUN_ARGUMENTS:
            of_run[name] = value
        else:
            _check_spelling(name, config)
            of_calls[name] = value

    timeout = Timeout.of(of_calls.pop("timeout", None))
    call_timeout = _timeout_of_calls(timeout, Timeout.of(config.defaults.get("timeout")))
    if call_timeout is not None:
        of_calls["timeout"] = call_timeout

    options = RunOptions(**of_run, timeout=timeout)
    return options, cast("CallArguments", of_calls)


def _check_spelling(name: str, config: LMConfig) -> None:
    """Refuse what is nearly the name of an argument of a run, before the API guesses at it.

    Raises:
        OptionError: it is.
    """
    if name in CALL_ARGUMENTS or config.vendor.api.accepts(name):
        return

    hint = did_you_mean(name, RUN_ARGUMENTS)
    if hint:
        raise OptionError(f"{name}= is not an argument of a run.{hint}")


def make_run_config(config: LMConfig, options: RunOptions) -> LMConfig:
    """Make the config of the calls of a run out of its LM's.

    Raises:
        OptionError: there is a `max_cost`, and the model has no price.
    """
    if isinstance(config.store, NullStore):
        # The rounds continue one another: they get a store that goes with the run.
        config = replace(config, store=MemoryStore())
    if options.max_cost is None:
        return config

    check_has_price(config.model, config.prices)
    totals = RunTotals(read_max_cost(options.max_cost), parent=config.usage)
    return replace(config, usage=totals)


def _timeout_of_calls(timeout: Timeout, of_lm: Timeout) -> Timeout | None:
    """Make the times of each call; None if they are the LM's own."""
    given: dict[str, float] = {}
    for name in ("connect", "first_byte", "queue"):
        seconds = getattr(timeout, name)
        if seconds is not None:
            given[name] = seconds
    return replace(of_lm, **given) if given else None


def next_call_arguments(
    arguments: CallArguments, executor: ToolExecutor, defaults: GenerationOptions
) -> CallArguments:
    """Make the arguments of the calls after the first, beside the outputs and what they answer."""
    repeated: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in PROMPT_ARGUMENTS:
            repeated[name] = value
    if executor.specs is not None:
        repeated["tools"] = executor.specs

    choice = arguments.get("tool_choice", defaults.get("tool_choice"))
    if choice is not None:
        repeated["tool_choice"] = _relax_tool_choice(choice)
    return cast("CallArguments", repeated)


def _relax_tool_choice(choice: Any) -> Any:
    """Make the `tool_choice` of the next calls: with a forced call in each, no answer would come.

    ::

        "none"  ->  "none"
        "auto"  ->  "auto"
        "required", "get_weather", {"type": "function", "name": "get_weather"}  ->  None

        {"type": "allowed_tools", "mode": "required", "tools": [...]}
        ->  {"type": "allowed_tools", "mode": "auto", "tools": [...]}

        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [...]}}
        ->  {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [...]}}
    """
    if choice in ("none", "auto"):
        return choice
    if not isinstance(choice, Mapping):
        return None
    if choice.get("type") != "allowed_tools":
        return None

    # On Responses the mode is beside the list of tools, on Chat both are one level down.
    nested = choice.get("allowed_tools")
    if nested:
        return {**choice, "allowed_tools": {**nested, "mode": "auto"}}
    return {**choice, "mode": "auto"}


def _given_tools(arguments: CallArguments) -> tuple[ToolSpec, ...] | None:
    """Make the specs of the tools that the call names; None if it does not name any.

    They are made once, so that the functions behind them go with them from call to call.
    """
    if "tools" not in arguments:
        return None
    return tool_specs(arguments["tools"] or ())


def _raise_first_error(step: ToolStep) -> None:
    """Raise the first failure of a round. A denial is none: the model is to go on without it."""
    for result in step.results:
        if result.error is None or isinstance(result.error, ToolDeniedError):
            continue
        reason = str(result.output).removeprefix("Error: ")
        raise ToolRunError(
            f"The tool {result.name!r} failed on {result.arguments:.200}: {reason}"
        ) from result.error
