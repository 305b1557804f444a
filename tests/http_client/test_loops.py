"""One LM used from one event loop after another: what a loop opened ends with it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from servers.connections import count_connections
from servers.openai_fake import OpenAIServer
from synth_ai import LM

Hosted = Callable[..., LM]


def run_and_close(main: Coroutine[Any, Any, None]) -> None:
    """As before `asyncio.run`: the generators of the loop are never told that it ends."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main)
    loop.close()


async def calls(lm: LM) -> None:
    """Some at once, on connections of their own."""
    await asyncio.gather(*(lm.respond_async("Hi") for _ in range(3)))


async def broken_off(lm: LM) -> None:
    """A stream that its reader leaves."""
    async for _ in lm.stream_async("Hi"):
        break


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them"
)
@pytest.mark.parametrize("main", [calls, broken_off])
def test_a_loop_closes_its_connections_at_its_end(
    openai_server: OpenAIServer,
    hosted: Hosted,
    caplog: pytest.LogCaptureFixture,
    main: Callable[[LM], Coroutine[Any, Any, None]],
) -> None:
    """Nothing is left open or kept for later, and nobody complains."""
    # What other tests dropped complains now, and not in the middle of this one.
    gc.collect()
    caplog.clear()
    lm = hosted(auto_store_responses=False)
    # LMs of other tests may still hold some.
    before = count_connections(openai_server.base_url)
    loops = []

    async def noted() -> None:
        loops.append(asyncio.get_running_loop())
        await main(lm)

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(30):
            asyncio.run(noted())
            assert count_connections(openai_server.base_url) <= before
        gc.collect()
    assert len(lm._config.vendor._client._pools._open) == 1  # type: ignore[attr-defined]
    # What other tests left may be collected meanwhile too.
    assert [
        str(complaint.message)
        for complaint in complaints
        if getattr(complaint.source, "_loop", 0) in loops
    ] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them"
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_that_end_without_a_word_leave_nothing_for_long(
    openai_server: OpenAIServer, hosted: Hosted
) -> None:
    """Their connections cannot be closed any more in order, but they are let go."""
    lm = hosted(auto_store_responses=False)
    before = count_connections(openai_server.base_url)
    for _ in range(30):
        run_and_close(calls(lm))
    assert len(lm._config.vendor._client._pools._open) == 1  # type: ignore[attr-defined]
    gc.collect()
    # Those of the last loop, which no other has followed yet.
    assert count_connections(openai_server.base_url) <= before + 3
