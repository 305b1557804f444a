"""LMs that are closed, copied, pickled, or called and forgotten: each is told in plain words."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import socket
import threading
import time
import warnings
from typing import Any

import pytest

from servers.sockets import SentRequest, chat_body, reply, serve
from synth_ai import LM, RetryPolicy
from synth_ai.errors import ConnectionFailedError, RequestError
from synth_ai.testing import ScriptedVendor


async def test_a_closed_lm_takes_no_calls() -> None:
    """However it is called, and neither do its forks; a fork's end closes nothing."""
    lm = LM("m", vendor=ScriptedVendor(["one"]))
    fork = lm.fork()
    await fork.aclose()
    await lm.respond_async("Hi")
    await lm.aclose()
    await lm.aclose()

    for closed in (lm, fork):
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.respond_async("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            closed.stream_async("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            closed.stream_sync("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.respond_batch_async(["Hi"])
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.run_tools_async("Hi")
        with pytest.raises(RequestError, match="This LM was closed"):
            await closed.models_async()


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("retry", [1, 3])
async def test_calls_under_way_end_when_the_lm_is_closed(transport: Any, retry: int) -> None:
    """They are not tried again on connections that nobody would close; those that wait end too."""
    has_come = threading.Event()

    def answer(request: SentRequest, connection: socket.socket) -> None:
        has_come.set()
        time.sleep(30)

    with serve(answer) as server:
        policy = RetryPolicy(attempts=retry, wait_initial=0)
        lm = LM("m", base_url=server.base_url, transport=transport, retry=policy, max_concurrency=1)
        call = asyncio.ensure_future(lm.respond_async("x"))
        waiting = asyncio.ensure_future(lm.respond_async("y"))
        await asyncio.to_thread(has_come.wait)
        await lm.aclose()
        with pytest.raises((ConnectionFailedError, RequestError)) as ended:
            await call
        with pytest.raises(RequestError, match="This LM was closed"):
            await waiting
        assert len(server.requests) == 1

    if retry == 1:
        assert ended.value.__notes__ == ["The LM was closed while this call was under way."]
    else:
        assert "This LM was closed" in str(ended.value)


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
async def test_a_first_call_ends_when_the_lm_is_closed(transport: Any) -> None:
    """It has no connection yet, as the library for that is still being loaded."""
    with serve(lambda request, connection: reply(connection, chat_body())) as server:
        lm = LM("m", base_url=server.base_url, transport=transport)
        call = asyncio.ensure_future(lm.respond_async("x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await lm.aclose()
        with pytest.raises(RequestError, match="This LM was closed"):
            await call
        assert server.requests == []


def test_an_lm_cannot_be_pickled() -> None:
    """The error says what to do in a pool of processes."""
    lm = LM("m", vendor=ScriptedVendor(["one"]))
    for pickled in (pickle.dumps, copy.deepcopy):
        with pytest.raises(RequestError, match=r"cannot be pickled.*initializer="):
            pickled(lm)
    assert copy.copy(lm).respond("Hi").text == "one"


def test_a_call_that_nobody_awaits_is_named() -> None:
    """By the method that was called, not by a function inside."""
    lm = LM("m", vendor=ScriptedVendor(["one"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lm.respond_async("Hi")
        gc.collect()
    assert "coroutine 'LM.respond_async' was never awaited" in [str(w.message) for w in caught]
