"""Never more calls than the limit, over all loops and threads, in order; no slot is ever lost."""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context
from typing import Any

import pytest

from synth_ai.errors import OptionError
from synth_ai.limiter import ConcurrencyLimiter


class Counter:
    """How many are inside, and how many ever were at once; from any thread."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.passed = 0
        self._lock = threading.Lock()

    async def visit(self, limiter: ConcurrencyLimiter) -> None:
        async with limiter.place():
            with self._lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            await asyncio.sleep(0)
            with self._lock:
                self.inside -= 1
                self.passed += 1


async def test_never_more_than_the_limit() -> None:
    """Many tasks of one loop."""
    limiter, counter = ConcurrencyLimiter(3), Counter()
    await asyncio.gather(*(counter.visit(limiter) for _ in range(100)))
    assert (counter.most, counter.passed) == (3, 100)


async def test_no_limit_lets_all_through() -> None:
    """None is the default, and costs nothing."""
    limiter, counter = ConcurrencyLimiter(None), Counter()
    await asyncio.gather(*(counter.visit(limiter) for _ in range(50)))
    assert counter.most == 50


def test_one_limit_over_several_loops() -> None:
    """Threads with loops of their own share the limiter, and none is left waiting."""
    limiter, counter = ConcurrencyLimiter(2), Counter()

    async def many() -> None:
        await asyncio.wait_for(asyncio.gather(*(counter.visit(limiter) for _ in range(50))), 20)

    threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counter.passed == 200
    assert counter.most <= 2


async def test_first_come_first_served() -> None:
    """A late call does not overtake those that wait."""
    limiter, order = ConcurrencyLimiter(1), []

    async def visit(number: int) -> None:
        async with limiter.place():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(visit(number) for number in range(10)))
    assert order == list(range(10))


async def test_an_error_gives_the_slot_back() -> None:
    """However a call ends."""
    limiter = ConcurrencyLimiter(1)
    with pytest.raises(KeyError):
        async with limiter.place():
            raise KeyError
    async with asyncio.timeout(5), limiter.place():
        pass


async def test_cancelled_waiters_hand_on_their_slot() -> None:
    """Cancelled while waiting, or at the very moment when the slot was handed to it."""
    limiter = ConcurrencyLimiter(1)
    entered: list[str] = []

    async def visit(name: str) -> None:
        async with limiter.place():
            entered.append(name)

    async with limiter.place():
        waiting, handed, last = (
            # Calls of their own, not calls made inside this one.
            asyncio.create_task(visit(name), context=Context())
            for name in ("waiting", "handed", "last")
        )
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
    # The slot is on its way to `handed`, which has not run yet.
    handed.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(waiting, handed, last, return_exceptions=True)
    assert entered == ["last"]
    async with asyncio.timeout(5), limiter.place():
        pass


def test_a_closed_loop_does_not_keep_its_slot() -> None:
    """A waiter whose loop is gone is passed over."""
    limiter = ConcurrencyLimiter(1)
    holding, done = threading.Event(), threading.Event()

    async def hold() -> None:
        async with limiter.place():
            holding.set()
            await asyncio.to_thread(done.wait, 10)

    holder = threading.Thread(target=asyncio.run, args=(hold(),))
    holder.start()
    assert holding.wait(10)
    lost = asyncio.new_event_loop()
    waiter = limiter.place().acquire()
    task = lost.create_task(waiter)
    lost.call_soon(lost.stop)
    lost.run_forever()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    lost.close()
    done.set()
    holder.join(10)

    async def pass_through() -> None:
        async with asyncio.timeout(5), limiter.place():
            pass

    asyncio.run(pass_through())


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True])
def test_a_limit_that_lets_nothing_through(limit: Any) -> None:
    """Told when the LM is made."""
    with pytest.raises(OptionError, match=r"max_concurrency=.* must be a whole number from 1"):
        ConcurrencyLimiter(limit)
