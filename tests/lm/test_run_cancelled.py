"""A run that is cancelled at any moment: no finished turn is lost, and nothing is left behind."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from cancelled_runs import (
    ROUNDS,
    Tools,
    cancel_after,
    cancel_at_moments,
    is_alone,
    scripted_run,
    wait_until,
)
from servers.answers import Answer, call, calls
from servers.delivery import Received
from servers.openai_fake import OpenAIServer
from synth_ai import LM, RunEvent, ToolRun


@pytest.mark.parametrize("way", ["run", "stream"])
async def test_cancelled_at_a_hundred_moments(way: str) -> None:
    """No finished turn is lost, no task and no thread stays. The long form is a soak script."""
    left = await cancel_at_moments(way, range(100))
    # The moments were spread over the run.
    assert len(set(left)) > 3


async def test_a_cancelled_run_goes_on() -> None:
    """Its outputs, and those of what was pending, answer the turn that was left."""
    for seed in range(20):
        lm, _ = scripted_run(seed)
        run = await cancel_after(random.Random(seed).uniform(0.005, 0.02), lm.run_tools_async("Hi"))
        if run is None or not run.pending:
            continue
        given_up = {each["id"]: "given up" for each in run.pending}
        answer = await lm.respond_async(tool_outputs={**run.outputs, **given_up})
        assert answer.previous_response_id == run.response.response_id


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_cancelled_while_a_server_answers(
    hosted: Callable[..., LM], openai_server: OpenAIServer, api: str, transport: str
) -> None:
    """No request stays behind: each was answered, or the server saw the client go."""

    def answer(received: Received) -> Answer:
        # On Responses a request has the last output alone, as the server knows the others.
        seen = [int(number) for number in re.findall(r"seen (\d+)", str(received.body))]
        rounds = max(seen) + 1 if seen else 0
        if rounds < ROUNDS:
            return calls(call("look", n=rounds), delay=0.002)
        return Answer(text="All of it was seen.", delay=0.002)

    openai_server.respond_with(answer)
    tools = Tools(0)
    async with hosted(api, transport=transport) as lm:
        for seed in range(25):
            branch = lm.fork()
            seconds = random.Random(seed).uniform(0, 0.1)
            events: list[RunEvent] = []

            async def read(branch: LM = branch, events: list[RunEvent] = events) -> ToolRun:
                async with branch.stream_tools_async("Hi", tools=[tools.look]) as stream:
                    async for event in stream:
                        events.append(event)
                return stream.run

            run = await cancel_after(seconds, read())
            kept = [] if run is None else [response.response_id for response in run.responses]
            assert branch.head == (kept[-1] if kept else None)
            stored = {turn.response_id for turn in await lm.responses.list_async()}
            assert set(kept) <= stored
            assert tools.under_way == 0
        await wait_until(
            lambda: all(
                each.delivered.is_set() or each.abandoned.is_set()
                for each in openai_server.requests
            )
        )
    await wait_until(is_alone)
