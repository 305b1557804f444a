"""Mailboxes: functions posted from other threads run on the loop, in order, with few wake-ups."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

from synth_ai.engines.mailbox import Mailbox, get_mailbox


async def test_posts_from_many_threads_arrive_in_order() -> None:
    """Nothing is lost or reordered when several threads post at once."""
    mailbox = Mailbox(asyncio.get_running_loop())
    seen: list[tuple[int, int]] = []
    done = asyncio.Event()

    def post(thread: int) -> None:
        for number in range(2000):
            mailbox.post(seen.append, (thread, number))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    mailbox.post(done.set)
    await done.wait()
    assert len(seen) == 8000
    for thread_number in range(4):
        assert [number for thread, number in seen if thread == thread_number] == list(range(2000))


async def test_posts_between_two_turns_wake_the_loop_once() -> None:
    """Hundreds of results of one engine step cost the caller's loop one callback."""
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(loop)
    wakes = 0
    original = loop.call_soon_threadsafe

    def counting(callback, *args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal wakes
        wakes += 1
        return original(callback, *args, **kwargs)

    loop.call_soon_threadsafe = counting  # type: ignore[method-assign]
    seen: list[int] = []
    for number in range(500):
        mailbox.post(seen.append, number)
    await asyncio.sleep(0)
    assert seen == list(range(500))
    assert wakes == 1


def test_post_to_a_closed_loop() -> None:
    """A closed loop is reported, not raised: the caller is gone and nobody is left to tell."""
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    assert mailbox.post(print) is False
    assert mailbox.post(print) is False


def test_mailboxes_keep_no_loop_alive() -> None:
    """A program that runs many short event loops does not collect them."""
    loops = []

    async def use() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        get_mailbox().post(print)

    asyncio.run(use())
    gc.collect()
    assert loops[0]() is None
