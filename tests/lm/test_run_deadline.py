"""The clock of a run: what stops it, and who cannot."""

from __future__ import annotations

import asyncio
import threading

import pytest

from synth_ai.errors import TimedOutError
from synth_ai.lm.run_deadline import RunDeadline
from synth_ai.timeout import current_progress, note_phase, paused_clock


async def test_only_the_time_inside_counts() -> None:
    """The blocks share one time; what is between them is somebody else's."""
    deadline = RunDeadline(1)
    deadline.phase = "in round 1, while look ran"
    async with deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.2)
    with pytest.raises(TimedOutError, match=r"\(1 s\), in round 1, while look ran"):
        async with deadline:
            await asyncio.sleep(5)


async def test_what_happens_once_in_a_process_is_not_counted() -> None:
    """The first call of a run imports libraries, or loads a model."""
    deadline = RunDeadline(1)
    async with deadline:
        with paused_clock():
            await asyncio.sleep(1.2)
    with pytest.raises(TimedOutError):
        async with deadline:
            await asyncio.sleep(5)


async def test_the_phases_of_a_call_are_not_the_run_s() -> None:
    """A tool would be said to wait for rate limits that its round has long passed."""
    deadline = RunDeadline(5)
    deadline.phase = "in round 1, while look ran"
    async with deadline:
        note_phase("while it waited for the rate limits of the server", is_sent=False)
    assert deadline.phase == "in round 1, while look ran"
    assert current_progress.get() is None


async def test_a_tool_on_another_thread_does_not_touch_the_clock() -> None:
    """It has the context of the run, and may make calls of its own."""
    deadline = RunDeadline(0.2)

    def use_library() -> None:
        with paused_clock():
            threading.Event().wait(0.01)

    async def use_from_elsewhere() -> None:
        await asyncio.to_thread(use_library)
        await asyncio.to_thread(lambda: asyncio.run(pause_on_another_loop()))
        await asyncio.sleep(5)

    with pytest.raises(TimedOutError):
        async with deadline:
            await use_from_elsewhere()


async def pause_on_another_loop() -> None:
    with paused_clock():
        await asyncio.sleep(0.01)


async def test_without_a_time_there_is_no_clock() -> None:
    """Nothing is set, and nothing is stopped."""
    deadline = RunDeadline(None)
    async with deadline:
        assert current_progress.get() is None
        deadline.pause()
        deadline.resume()
