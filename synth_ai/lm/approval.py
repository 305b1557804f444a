"""What `approve=` is asked before a tool runs, and what it may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from synth_ai.errors import ApprovalError, OptionError
from synth_ai.lm.tools import ToolSpec

_DENIED = "This call was not allowed."


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A call that waits for its approval. Its arguments fit the tool.

    Attributes:
        call_id: the call.
        name: the tool's name, as the model called it.
        arguments: the arguments by name; the code, as a text, for a `python` tool that the model
            wrote code for. They are a copy: to change what the tool gets, return
            `Approve(arguments=...)`.
        tool: the tool's spec, with its description and parameters.
        round: which round of the run, from 1.
    """

    call_id: str
    name: str
    arguments: Any
    tool: ToolSpec
    round: int


@dataclass(frozen=True, slots=True)
class Approve:
    """Let the tool run.

    Attributes:
        arguments: what it gets in place of what the model wrote, checked against the tool's
            parameters as well; None for what the model wrote.
    """

    arguments: Mapping[str, Any] | str | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Do not run the tool.

    Attributes:
        reason: what the model is told, as the tool's output.

    Raises:
        OptionError: the reason is not text.
    """

    reason: str = _DENIED

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str):
            raise OptionError(f"The reason of a Deny must be a string, not {self.reason!r:.100}.")


@dataclass(frozen=True, slots=True)
class Defer:
    """Leave the call to the caller: the run ends after this round, with it in `run.pending`."""


ApprovalDecision: TypeAlias = bool | Approve | Deny | Defer
"""What `approve=` returns. True is `Approve()`, False is `Deny()`."""

Approver: TypeAlias = Callable[[ApprovalRequest], ApprovalDecision | Awaitable[ApprovalDecision]]
"""Is asked before a tool runs; may be async."""


def read_decision(answer: object, request: ApprovalRequest) -> Approve | Deny | Defer:
    """Read what `approve=` returned.

    Raises:
        ApprovalError: it is not a decision. None is not one: a function that forgot to return
            must not let a tool run.
    """
    if answer is True:
        return Approve()
    if answer is False:
        return Deny()
    if isinstance(answer, (Approve, Deny, Defer)):
        return answer

    raise ApprovalError(
        f"approve= returned {answer!r:.100} for the call of {request.name!r}, so it was not run. "
        "It may return True, Approve(arguments=...), Deny(reason), Defer(), or False, which is "
        "Deny()."
    )
