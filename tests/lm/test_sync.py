"""The bridge from sync to async: one loop for the process, for every thread but its own."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from synth_ai.errors import RequestError
from synth_ai.lm import sync


async def current_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_every_call_runs_on_the_same_loop() -> None:
    """Connection pools belong to a loop, so there is one for all threads."""
    loops = {sync.run(current_loop())}
    threads = [
        threading.Thread(target=lambda: loops.add(sync.run(current_loop()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(loops) == 1


async def test_it_works_inside_a_running_loop() -> None:
    """As in a notebook, where `asyncio.run` refuses."""
    assert sync.run(current_loop()) is not asyncio.get_running_loop()


def test_an_error_comes_back_as_itself() -> None:
    """With its type, for the caller to catch."""

    async def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sync.run(fail())


def test_waiting_for_itself_is_refused() -> None:
    """A sync call made on the shared loop would hang for ever."""

    async def inside() -> None:
        sync.run(current_loop())

    with pytest.raises(RequestError, match="own loop; use its async twin"):
        sync.run(inside())


def test_an_interrupt_cancels_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while waiting must not leave a call running."""
    cancelled, started = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def interrupted(future: object, timeout: float | None = None) -> None:
        assert started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sync.run(work())
    monkeypatch.undo()
    assert cancelled.wait(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_a_loop_of_its_own() -> None:
    """The parent's loop has no thread there; waiting for it would hang."""
    sync.run(current_loop())
    child = os.fork()
    if not child:
        code = 1
        try:
            sync.run(asyncio.sleep(0))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
