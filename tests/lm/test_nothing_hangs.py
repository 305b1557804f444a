"""Calls inside calls, dead loops, forks, garbage collections, the end of the program: no hang."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from synth_ai import LM, LMRequest
from synth_ai.errors import ContextLengthError, RequestError
from synth_ai.lm import sync
from synth_ai.testing import ScriptedVendor, tool_call


def finish(work: Callable[[], Any]) -> Any:
    """Run work on a thread that may hang, and return its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(20)
    assert results, "it hangs, or has failed"
    return results[0]


def answer_shorter(request: LMRequest) -> Any:
    """Refuse conversations of two turns that nobody has compacted."""
    if "Summarize" in str(request.input):
        return "a summary"
    if len(request.history) >= 2 and request.history[0].id:
        return ContextLengthError("too long")
    return "ok"


# --- calls inside calls -------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "calls"), [(None, 4), (2, 1), (1, 1), (4, 4), (1, 4)])
async def test_a_hook_may_call_the_same_lm(limit: int | None, calls: int) -> None:
    """The place of max_concurrency is free while compact= runs."""

    async def compact(items: list[Any]) -> str:
        await asyncio.sleep(0.01)
        response = await side.respond_async(f"Summarize: {items}", auto_store=False)
        return response.text

    vendor = ScriptedVendor([answer_shorter] * 50, api="harmony")
    lm = LM("m", vendor=vendor, max_concurrency=limit, compact=compact)
    side = lm.fork()
    await lm.respond_async("Turn 1")
    second = await lm.respond_async("Turn 2")

    async with asyncio.timeout(10):
        responses = await asyncio.gather(
            *(
                lm.respond_async("Turn 3", previous_response_id=second.response_id)
                for _ in range(calls)
            )
        )
    assert [response.text for response in responses] == ["ok"] * calls


@pytest.mark.parametrize("limit", [None, 1])
def test_a_sync_hook_may_call_the_same_lm(limit: int | None) -> None:
    """Also from a thread that knows nothing of the call, as in a pool, and without `await`."""

    def compact(items: list[Any]) -> str:
        with ThreadPoolExecutor(1) as pool:
            text: str = pool.submit(side.respond, f"Summarize: {items}").result().text
        return text + str(side.respond("Summarize it", auto_store=False).text)

    vendor = ScriptedVendor([answer_shorter] * 50, api="harmony")
    lm = LM("m", vendor=vendor, max_concurrency=limit, compact=compact)
    side = lm.fork()

    def converse() -> str:
        for turn in range(3):
            response = lm.respond(f"Turn {turn}")
        return response.text

    assert finish(converse) == "ok"


async def test_a_call_inside_a_stream_of_the_same_lm() -> None:
    """It uses the stream's place: those that the reader makes at once come one by one."""
    lm = LM("m", vendor=ScriptedVendor(["a b"] * 20), max_concurrency=1)

    async with asyncio.timeout(0.3), lm.stream_async("x") as stream:
        async for _ in stream:
            await lm.respond_async("y", auto_store=False)
            await asyncio.gather(*(lm.respond_async("y", auto_store=False) for _ in range(3)))
            async with lm.stream_async("z", auto_store=False) as inner:
                async for _ in inner:
                    await lm.respond_async("y", auto_store=False)
            break


def test_a_sync_call_inside_a_sync_stream() -> None:
    """The same without an event loop, bare and as a context manager."""
    lm = LM("m", vendor=ScriptedVendor(["a b"] * 20), max_concurrency=1)

    def read() -> str:
        texts = ""
        for _ in lm.stream_sync("x"):
            texts += lm.respond("y", auto_store=False).text
        with lm.stream_sync("x") as stream:
            texts += lm.respond("y", auto_store=False).text
            texts += str(len(list(stream)))
        return texts

    assert finish(read) == "a ba ba ba b3"


def test_threads_of_a_reader_get_the_place_of_the_stream() -> None:
    """They do not know of the stream; its place is lent once the reader has been away a while."""
    lm = LM("m", vendor=ScriptedVendor(["a b"] * 20), max_concurrency=1)

    def read() -> list[str]:
        with ThreadPoolExecutor(4) as pool, lm.stream_sync("x") as stream:
            next(iter(stream))
            calls = [pool.submit(lm.respond, "y", auto_store=False) for _ in range(4)]
            return [call.result().text for call in calls]

    assert finish(read) == ["a b"] * 4


def answer_inner(request: LMRequest) -> Any:
    """Call the tool `t`, or answer."""
    is_output = any(item.get("type") == "function_call_output" for item in request.input)
    return "answer" if is_output or "inner" in str(request.input) else tool_call("t")


@pytest.mark.parametrize("limit", [None, 1])
def test_an_async_tool_may_join_a_thread_that_calls(limit: int | None) -> None:
    """However deep, and whatever the thread had begun before the tool waits for it."""
    lm = LM("m", vendor=ScriptedVendor([answer_inner] * 99), max_concurrency=limit)
    depths = iter(range(3))

    def work() -> None:
        lm.fork().respond("inner", previous_response_id=start)
        if next(depths, None) is not None:
            branch = lm.fork()
            branch.reset()
            branch.run_tools("go", tools=[t])

    async def t() -> str:
        "Wait for a thread."
        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.sleep(0.01)
        thread.join()
        return "joined"

    start = lm.respond("inner").response_id
    lm.reset()
    run = finish(lambda: lm.run_tools("go", tools=[t]))
    assert run.steps[0].results[0].output == "joined"
    assert finish(lambda: lm.respond("inner").text) == "answer"


def test_sync_code_of_a_sync_run_may_call() -> None:
    """An async tool and `on_step`, which would otherwise be on the library's own loop."""
    lm = LM("m", vendor=ScriptedVendor([answer_inner] * 99))
    side = lm.fork()
    texts: list[str] = []

    async def t() -> str:
        "Call without await."
        return side.respond("inner").text

    run = finish(
        lambda: lm.run_tools(
            "go", tools=[t], on_step=lambda step: texts.append(side.respond("inner").text)
        )
    )
    assert run.steps[0].results[0].output == "answer"
    assert texts == ["answer"]


def test_user_code_can_end_the_program_and_is_cancelled() -> None:
    """What it raises comes back as it is, and cancelling waits until it has cleaned up."""
    ended = threading.Event()

    async def exit_program() -> None:
        raise SystemExit(3)

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    async def cancel() -> bool:
        task = asyncio.create_task(sync.run_user_code(wait))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        return ended.is_set()

    async def catch() -> object:
        try:
            await sync.run_user_code(exit_program)
        except SystemExit as error:
            return error.code
        return None

    assert sync.run(catch()) == 3
    assert sync.run(cancel())


# --- places come back ---------------------------------------------------------------------------


async def answer_slowly(request: LMRequest) -> str:
    """Take a while where `slow` is asked for."""
    if "slow" in str(request.input):
        await asyncio.sleep(1.0)
    return "ok"


@pytest.mark.parametrize("first", ["waits", "slow"])
def test_a_loop_that_stopped_keeps_no_place(first: str) -> None:
    """Neither one that it held nor one that it waited for; it goes on when the loop does."""
    lm = LM("m", vendor=ScriptedVendor([answer_slowly] * 99), max_concurrency=1)
    other = threading.Thread(target=lm.respond, args=("slow",))
    if first == "waits":
        other.start()
        time.sleep(0.2)

    loop = asyncio.new_event_loop()
    task = loop.create_task(lm.respond_async(first, auto_store=False))
    loop.run_until_complete(asyncio.sleep(0.2))
    if first == "waits":
        other.join()

    assert finish(lambda: lm.respond("next", auto_store=False).text) == "ok"
    assert loop.run_until_complete(asyncio.wait_for(task, 10)).text == "ok"
    assert finish(lambda: lm.respond("next", auto_store=False).text) == "ok"
    loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_all_places() -> None:
    """The calls under way are its parent's, also those that wait."""
    lm = LM("m", vendor=ScriptedVendor([answer_slowly] * 99), max_concurrency=2)
    calls = {"auto_store": False}
    threads = [threading.Thread(target=lm.respond, args=("slow",), kwargs=calls) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)

    child = os.fork()
    if not child:
        code = 1
        try:
            begun = time.monotonic()
            lm.respond("quick")
            lm.respond_batch(["quick"] * 5)
            code = 0 if time.monotonic() - begun < 0.7 else 2
        finally:
            os._exit(code)

    for thread in threads:
        thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lm.respond("quick").text == "ok"


@pytest.mark.parametrize("where", ["main", "shared loop", "thread"])
def test_a_sync_stream_may_be_collected_anywhere(where: str) -> None:
    """In a cycle, with and without a generator of the user's around it; its place comes back."""
    lm = LM("m", vendor=ScriptedVendor(["a b c d"] * 9), max_concurrency=1)

    def chat() -> Iterator[object]:
        with lm.stream_sync("x") as stream:
            yield from stream

    async def collect() -> None:
        gc.collect()

    for make in (lambda: iter(lm.stream_sync("x")), chat):
        gc.disable()
        try:
            box: list[Any] = [make()]
            next(box[0])
            box.append(box)
            del box
            if where == "main":
                gc.collect()
            elif where == "shared loop":
                sync.run(collect())
            else:
                finish(gc.collect)
        finally:
            gc.enable()
        assert finish(lambda: lm.respond("y", auto_store=False).text) == "a b c d"


async def test_async_streams_in_a_cycle_are_collected_in_silence() -> None:
    """The generators behind a stream are closed one after the other, by nobody but the stream."""
    lm = LM("m", vendor=ScriptedVendor(["a b c d"] * 9), max_concurrency=1)
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    for _ in range(3):
        stream = lm.stream_async("x")
        events = aiter(stream)
        await anext(events)
        box: list[Any] = [stream, events]
        box.append(box)
        del stream, events, box
        gc.collect()
        async with asyncio.timeout(5):
            await lm.respond_async("y", auto_store=False)
    assert problems == []


# --- the end of the program -----------------------------------------------------------------------


OPEN_AT_THE_END = """
from synth_ai import LM
from synth_ai.testing import ScriptedVendor

lm = LM("m", vendor=ScriptedVendor(["a b c d e f"] * 3))

class Chat:
    def __init__(self):
        self.events = MAKE
        self.commands = {"next": self.step}

    def step(self):
        return next(self.events)

def chat():
    with lm.stream_sync("hi") as stream:
        yield from stream

class Late:
    def __del__(self):
        try:
            lm.respond("hi")
        except Exception as error:
            print(type(error).__name__)

it = Chat()
it.step()
print("end", flush=True)
"""


@pytest.mark.parametrize("events", ["iter(lm.stream_sync('hi'))", "chat()"])
def test_the_program_ends_with_a_stream_open(events: str) -> None:
    """Found in a cycle when the interpreter ends, when no thread runs that could be waited for."""
    code = OPEN_AT_THE_END.replace("MAKE", events)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_sync_call_while_the_interpreter_ends_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No thread runs any more that could answer it."""
    lm = LM("m", vendor=ScriptedVendor(["never"]))
    monkeypatch.setattr("sys.is_finalizing", lambda: True)
    with pytest.raises(RequestError, match="while the interpreter ends"):
        lm.respond("Hi")


# --- many calls -----------------------------------------------------------------------------------


def test_a_flood_of_calls_of_a_sync_tool() -> None:
    """A model may ask for thousands at once; they run on a bounded number of threads."""
    peak = 0

    def t(x: int) -> str:
        "Count the threads."
        nonlocal peak
        peak = max(peak, threading.active_count())
        time.sleep(0.01)
        return str(x)

    calls = [tool_call("t", x=number) for number in range(1500)]
    lm = LM("m", vendor=ScriptedVendor([calls, "done"]))
    run = lm.run_tools("go", tools=[t])
    assert [result.output for result in run.steps[0].results] == [str(n) for n in range(1500)]
    assert peak < 400
