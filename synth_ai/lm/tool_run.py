"""What a run of tools consists of: results, rounds, the whole run, and the events of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias

from synth_ai.content import AnswerT, ToolCall
from synth_ai.events import StreamEvent
from synth_ai.lm.tool_results import UnwritableResultError, read_result
from synth_ai.lm.usage import add_cost, add_usage
from synth_ai.response import BaseLMResponse, Usage


@dataclass(frozen=True, slots=True)
class ToolResult:
    """One call of a tool that was answered here.

    Attributes:
        call_id: the call that this answers.
        name: the tool's name, as the model called it.
        arguments: the text of the arguments: as the model wrote it, or JSON of what `approve=`
            put in its place.
        output: what goes back to the model: what the tool returned, `Error: ...`, or the reason of
            a `Deny`.
        error: what the tool raised, or what was wrong with the call (a `ToolDeniedError` if
            `approve=` denied it); None if all went well.
        seconds: how long the tool ran; 0 if the call never reached it.
    """

    call_id: str
    name: str
    arguments: str
    output: Any
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One round of a run.

    Attributes:
        response: the response that called tools.
        results: what the calls that were answered here gave, in the order of the calls.
    """

    response: BaseLMResponse
    results: tuple[ToolResult, ...]

    def outputs(self) -> dict[str, Any]:
        """Return the outputs by call id as they go to the model: as text, or with own parts."""
        outputs: dict[str, Any] = {}
        for result in self.results:
            try:
                outputs[result.call_id] = read_result(result.output)
            except UnwritableResultError as error:
                # It could be written when the tool returned it, and was changed since.
                outputs[result.call_id] = f"Error: the tool ran, but its result was lost: {error}."
        return outputs


@dataclass(frozen=True, slots=True)
class ToolRun(Generic[AnswerT]):
    """A run, as `lm.run_tools()` returns it and `error.run` has it of a run that ended early.

    Attributes:
        response: the last response: the final answer, unless calls are `pending`.
        steps: the rounds, oldest first. If only some calls of `response` were answered here, the
            last round is that of `response` itself.
    """

    response: BaseLMResponse[AnswerT]
    steps: tuple[ToolStep, ...] = field(default=())

    @property
    def text(self) -> str:
        """The text of the final answer; empty while calls are `pending`."""
        return self.response.text

    @property
    def responses(self) -> list[BaseLMResponse]:
        """Every response of the run, oldest first; the last one is `response`.

        Answers that did not fit, and were asked for again by `reask=`, are among them.
        """
        earlier = [step.response for step in self.steps if step.response is not self.response]

        responses = []
        for response in (*earlier, self.response):
            responses += [*response.earlier_tries, response]
        return responses

    @property
    def usage(self) -> Usage:
        """The tokens of all responses; one whose backend does not report any adds none."""
        usage = Usage()
        for response in self.responses:
            if response.usage is not None:
                usage = add_usage(usage, response.usage)
        return usage

    @property
    def cost(self) -> float | None:
        """US dollars of the responses that have a price; None if none has."""
        cost = None
        for response in self.responses:
            cost = add_cost(cost, response.cost)
        return cost

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of those calls of `response` that were answered here, by call id."""
        if not self.steps:
            return {}

        last_step = self.steps[-1]
        if last_step.response is not self.response:
            return {}
        return last_step.outputs()

    @property
    def pending(self) -> list[ToolCall]:
        """The calls of `response` that have no output yet.

        Their tools are schemas alone, or `approve=` deferred them, or the run ended too early. Go
        on with `lm.respond(tool_outputs={**run.outputs, call_id: output})`.
        """
        calls = self.response.tool_calls or []
        outputs = self.outputs
        return [call for call in calls if call["id"] not in outputs]


# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool begins to run.

    A call that never reaches its tool has no such event: one that was denied, whose arguments do
    not fit, or whose tool does not exist.

    Attributes:
        call_id: the call.
        name: the tool's name, as the model called it.
        arguments: the text of the arguments, as in `ToolResult`.
        round: which round of the run, from 1.
    """

    call_id: str
    name: str
    arguments: str
    round: int


@dataclass(frozen=True, slots=True)
class ToolFinished(ToolResult):
    """A call has its result: what a `ToolResult` has, and the round.

    Attributes:
        round: which round of the run, from 1.
    """

    round: int = 1


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The end of a run, with all of it."""

    run: ToolRun


ToolEvent: TypeAlias = ToolStarted | ToolFinished
"""What happens to the calls of a round."""

RunEvent: TypeAlias = StreamEvent | ToolEvent | RunCompleted
"""Any event of a run: those of each call of the model, those of its tools, and the end."""
