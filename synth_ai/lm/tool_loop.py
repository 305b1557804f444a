"""Runs of tools: the model calls, the tools answer, until the model gives its final answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from synth_ai.content import ToolCall
from synth_ai.errors import OptionError, ToolRunError
from synth_ai.lm import sync
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head
from synth_ai.lm.tool_executor import ToolExecutor, ToolResult
from synth_ai.lm.tool_results import UnwritableResultError, read_result
from synth_ai.lm.tools import ToolSpec, tool_specs
from synth_ai.options import GenerationOptions
from synth_ai.response import BaseLMResponse

#: Arguments of the first call of a run that the following ones do not repeat: they belong to the
#: prompt, or each call has new ones.
_FIRST_CALL_ONLY = frozenset(
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
class ToolStep:
    """One round of a run.

    Attributes:
        response: the response that called tools.
        results: what the tools that were run here gave back, in the order of the calls.
    """

    response: BaseLMResponse
    results: tuple[ToolResult, ...]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A finished run, as `lm.run_tools()` returns it.

    Attributes:
        response: the last response: the final answer, unless calls are `pending`.
        steps: the rounds, oldest first. If only some calls of `response` could be run here, the
            last round is that of `response` itself.
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
        if not self.steps:
            return {}

        last_step = self.steps[-1]
        if last_step.response is not self.response:
            return {}
        return _outputs_of(last_step)

    @property
    def pending(self) -> list[ToolCall]:
        """The calls of `response` that are left to the caller, as their tools are schemas alone.

        Go on with `lm.respond(tool_outputs={**run.outputs, call_id: output})`.
        """
        calls = self.response.tool_calls or []
        outputs = self.outputs
        return [call for call in calls if call["id"] not in outputs]


OnError: TypeAlias = Literal["report", "raise"]
"""What a run does if a tool fails: report it to the model, or raise."""

OnStep: TypeAlias = Callable[[ToolStep], object]
"""Is called with each round as it ends, and awaited if it returns something to await."""

Respond: TypeAlias = Callable[..., Awaitable[BaseLMResponse]]
"""Answers one call, as `LM.respond_async` does."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes on, and when it ends.

    Attributes:
        max_rounds: how many times the model may call tools.
        on_error: what to do if a tool fails.
        on_step: is called with each round.

    Raises:
        OptionError: one of them makes no sense.
    """

    max_rounds: int
    on_error: OnError
    on_step: OnStep | None

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
        if self.on_step is not None and not callable(self.on_step):
            raise OptionError(
                f"on_step={self.on_step!r} cannot be called; it takes a function of a ToolStep."
            )


class ToolLoop:
    """One run: asks the model, runs the tools that it calls, and asks again with their outputs.

    Args:
        respond: answers one call of the conversation.
        head: the head that these calls move.
        config: the LM's own tools and options, and the store that has the rounds.
        options: how the run goes on.
    """

    def __init__(
        self, respond: Respond, *, head: Head, config: LMConfig, options: RunOptions
    ) -> None:
        self._respond = respond
        self._head = head
        self._config = config
        self._options = options
        # To notice a reset() of the LM while the run goes on.
        self._resets = head.resets

    async def run(self, prompt: Sequence[str], arguments: Mapping[str, Any]) -> ToolRun:
        """Run to the end.

        Args:
            prompt: the prompt strings of the first call.
            arguments: the named arguments of `LM.respond_async`.

        Raises:
            ToolRunError: a tool failed and `on_error` is `raise`, or the rounds are used up.
            SynthAIError: as for `LM.respond_async`.
        """
        given = _given_tools(arguments)
        if given is not None:
            arguments = {**arguments, "tools": given}

        response = await self._respond(*prompt, **arguments)
        executor = await self._make_executor(given, response)
        next_arguments = next_call_arguments(arguments, executor, self._config.defaults)

        steps: list[ToolStep] = []
        while executor.can_run(response):
            if len(steps) == self._options.max_rounds:
                raise _rounds_error(response, steps)

            step = ToolStep(response, await executor.run(response))
            steps.append(step)
            await self._report(step)
            if self._options.on_error == "raise":
                _raise_first_error(steps)

            # The model cannot be asked again before every call has its output.
            run = ToolRun(response, tuple(steps))
            if run.pending:
                return run
            response = await self._next_response(step, next_arguments)

        return ToolRun(response, tuple(steps))

    async def _make_executor(
        self, given: tuple[ToolSpec, ...] | None, response: BaseLMResponse
    ) -> ToolExecutor:
        """Make what runs the tools of the call, or else of the branch, or else of the LM."""
        if given is not None:
            return ToolExecutor(given)
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

    async def _next_response(self, step: ToolStep, arguments: Mapping[str, Any]) -> BaseLMResponse:
        if self._head.resets != self._resets:
            # After a reset() the rounds still to come belong to the conversation that was left.
            arguments = {**arguments, "auto_store": False}

        return await self._respond(
            **arguments,
            tool_outputs=_outputs_of(step),
            previous_response_id=step.response.response_id,
        )


def next_call_arguments(
    arguments: Mapping[str, Any], executor: ToolExecutor, defaults: GenerationOptions
) -> dict[str, Any]:
    """Make the arguments of the calls after the first, beside the outputs and what they answer."""
    repeated = {name: arguments[name] for name in arguments if name not in _FIRST_CALL_ONLY}
    if executor.specs is not None:
        repeated["tools"] = executor.specs

    choice = arguments.get("tool_choice", defaults.get("tool_choice"))
    if choice is not None:
        repeated["tool_choice"] = _relax_tool_choice(choice)
    return repeated


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


def _given_tools(arguments: Mapping[str, Any]) -> tuple[ToolSpec, ...] | None:
    """Make the specs of the tools that the call names; None if it does not name any.

    They are made once, so that the functions behind them go with them from call to call.
    """
    if "tools" not in arguments:
        return None
    return tool_specs(arguments["tools"] or ())


def _outputs_of(step: ToolStep) -> dict[str, Any]:
    """Return the outputs of a round as they go to the model: as text, or with parts of our own."""
    outputs: dict[str, Any] = {}
    for result in step.results:
        try:
            outputs[result.call_id] = read_result(result.output)
        except UnwritableResultError as error:
            # It could be written when the tool returned it, and was changed since.
            outputs[result.call_id] = f"Error: the tool ran, but its result was lost: {error}."
    return outputs


def _rounds_error(response: BaseLMResponse, steps: Sequence[ToolStep]) -> ToolRunError:
    return ToolRunError(
        f"The model still calls tools after {len(steps)} rounds; max_rounds= allows more.",
        response=response,
        steps=steps,
    )


def _raise_first_error(steps: Sequence[ToolStep]) -> None:
    step = steps[-1]
    for result in step.results:
        if result.error is not None:
            reason = result.output.removeprefix("Error: ")
            raise ToolRunError(
                f"The tool {result.name!r} failed on {result.arguments:.200}: {reason}",
                response=step.response,
                steps=steps,
            ) from result.error


async def catch_exit(run: Awaitable[ToolRun]) -> ToolRun | KeyboardInterrupt | SystemExit:
    """Await a run, and return what a tool raises to end the program instead of raising it.

    For runs on the shared event loop, which it would end. The sync caller raises it.
    """
    try:
        return await run
    except (KeyboardInterrupt, SystemExit) as error:
        return error
