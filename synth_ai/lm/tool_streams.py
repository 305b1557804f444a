"""The events of a run of tools, for async and for sync callers."""

from __future__ import annotations

from typing import Generic

from synth_ai.content import AnswerT
from synth_ai.errors import RequestError
from synth_ai.events import Completed, TextDelta
from synth_ai.lm.streams import AsyncStream, SyncStream
from synth_ai.lm.tool_loop import ToolLoop
from synth_ai.lm.tool_run import RunCompleted, RunEvent, ToolRun


class _PartialRun:
    """What has come of a run so far.

    Attributes:
        texts: the pieces of the text of the last answer.
        run: the whole run; None until it has ended.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.run: ToolRun | None = None
        self._has_ended_answer = False

    def add(self, event: RunEvent) -> None:
        """Take the next event of the run."""
        if isinstance(event, RunCompleted):
            self.run = event.run
        elif isinstance(event, Completed):
            self._has_ended_answer = True
        elif isinstance(event, TextDelta):
            self._add_text(event.text)

    def _add_text(self, text: str) -> None:
        if self._has_ended_answer:
            self._has_ended_answer = False
            self.texts.clear()
        self.texts.append(text)


class _WithRun(Generic[AnswerT]):
    """What async and sync streams of a run have in common."""

    _loop: ToolLoop
    _partial_run: _PartialRun

    @property
    def text(self) -> str:
        """The text of the last answer that had any, as far as it has come."""
        return "".join(self._partial_run.texts)

    @property
    def run(self) -> ToolRun[AnswerT]:
        """The whole run, once the stream has ended.

        Raises:
            RequestError: it has not ended.
        """
        if self._partial_run.run is None:
            raise RequestError(
                "The stream has not ended, so it has no whole run yet; "
                ".run_so_far is what was done by now."
            )
        return self._partial_run.run

    @property
    def run_so_far(self) -> ToolRun[AnswerT] | None:
        """The run as far as it has come, also after the stream was left or has broken off.

        None before the first response.
        """
        return self._loop.run_so_far


class ToolStream(_WithRun[AnswerT], AsyncStream[RunEvent]):
    """The events of a run, as `lm.stream_tools_async()` returns them.

    ::

        async with lm.stream_tools_async("Hi", tools=[get_weather]) as stream:
            async for event in stream:
                match event:
                    case TextDelta(text):
                        print(text, end="")
                    case ToolFinished(name=name, output=output):
                        print(name, output)
        print(stream.run.usage)

    Entering the block sends the first call and waits for the server's first event, so that what the
    server refuses is an error there. A bare `async for` works too. Leaving the block early cancels
    the tools and aborts the call. A stream can be read once.
    """

    def __init__(self, loop: ToolLoop) -> None:
        self._loop = loop
        self._partial_run = _PartialRun()
        super().__init__(loop.events(), self._partial_run.add)


class SyncToolStream(_WithRun[AnswerT], SyncStream[RunEvent]):
    """The events of a run, as `lm.stream_tools()` returns them.

    ::

        with lm.stream_tools("Hi", tools=[get_weather]) as stream:
            for event in stream:
                ...

    The same as `ToolStream`, for callers that do not await.
    """

    def __init__(self, loop: ToolLoop) -> None:
        self._loop = loop
        self._partial_run = _PartialRun()
        super().__init__(loop.events(), self._partial_run.add)
