"""A service that fails one call in five: which faults each call meets, and what must come of it.

Every call asks its own question, by which the server knows which call it is and how often it has
come.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from servers import errors as failures
from servers.answers import Answer, Raw, connection_reset, truncated_json
from servers.delivery import Received
from servers.openai_fake import CHAT, OpenAIServer
from synth_ai import LM, BaseLMResponse, RetryPolicy, Timeout
from synth_ai.errors import (
    ConnectionFailedError,
    MalformedAnswerError,
    OverloadedError,
    RateLimitError,
    RejectedError,
    ServerError,
    TimedOutError,
)

APIS = ("responses", "chat")
SHARE = 0.2
POLICY = RetryPolicy(attempts=3, wait_initial=0.001)

#: The pace is not what is tried here.
_UNLIMITED = {
    f"x-ratelimit-{what}-{kind}": "1000000000"
    for what in ("limit", "remaining")
    for kind in ("requests", "tokens")
}


@dataclass(frozen=True)
class Fault:
    """One way to fail, or to answer oddly.

    Attributes:
        answer: what the server says to a question.
        error: what a call ends in whose last try met this; None where it is an answer after all.
        status: the status on that error.
        words: what the error says; `{}` is the question.
        passes: whether the call is worth another try.
    """

    answer: Callable[[str], Answer | Raw]
    error: type[ServerError] | None
    status: int | None = None
    words: str = ""
    passes: bool = True


def _said(status: int, **headers: str) -> Callable[[str], Raw]:
    return lambda question: failures.error(status, f"Not now: {question}.", **headers)


def _inside_200(**fields: str) -> Callable[[str], Raw]:
    return lambda question: Raw({"error": {"message": f"Not now: {question}.", **fields}})


def _reset_inside(question: str) -> Raw:
    return Raw(
        {"id": "resp_1", "output": [], "choices": [], "question": question},
        cut_after=30,
        reset=True,
    )


def _late(question: str) -> Answer:
    return Answer(text="too late", hold=threading.Event())


def _as_text(question: str) -> Answer:
    return Answer(text=right_answer(question), headers={"content-type": "text/plain"})


SLOW = "slow first byte, too late"
FAULTS = {
    "429": Fault(_said(429), RateLimitError, 429, "Not now: {}."),
    "429, Retry-After": Fault(_said(429, retry_after_ms="5"), RateLimitError, 429, "Not now: {}."),
    "429, Retry-After too long": Fault(
        _said(429, retry_after="3600"), RateLimitError, 429, "Not now: {}.", False
    ),
    "500": Fault(_said(500), OverloadedError, 500, "Not now: {}."),
    "503": Fault(_said(503), OverloadedError, 503, "Not now: {}."),
    "503, Retry-After": Fault(_said(503, retry_after="0"), OverloadedError, 503, "Not now: {}."),
    "reset before the body": Fault(
        lambda _: connection_reset(), ConnectionFailedError, None, "cannot be reached"
    ),
    "reset inside the body": Fault(_reset_inside, ConnectionFailedError, None, "cannot be reached"),
    "slow first byte, in time": Fault(
        lambda question: Answer(text=right_answer(question), delay=0.05), None
    ),
    SLOW: Fault(_late, TimedOutError, None, "did not answer in time"),
    "truncated JSON": Fault(lambda _: truncated_json(), MalformedAnswerError, None, "not JSON"),
    "HTML": Fault(
        lambda question: Raw(f"<p>{question}</p>", headers={"content-type": "text/html"}),
        MalformedAnswerError,
        None,
        "{}",
    ),
    "JSON as text": Fault(_as_text, None),
    "200, error 400": Fault(
        _inside_200(type="BadRequestError"), RejectedError, None, "Not now: {}.", False
    ),
    "200, error 500": Fault(
        _inside_200(code="server_error"), OverloadedError, None, "Not now: {}."
    ),
}


def right_answer(question: str) -> str:
    """The one right answer."""
    return f"The answer to {question}"


def plan(dice: random.Random) -> tuple[str, ...]:
    """The faults that a call's attempts meet in turn: mostly none, for some as many as it has."""
    if dice.random() >= SHARE:
        return ()
    return tuple(dice.choice(tuple(FAULTS)) for _ in range(dice.randint(1, POLICY.attempts)))


def verdict(faults: Sequence[str]) -> tuple[int, Fault | None]:
    """How often a call is to be sent, and the fault that it ends with; None when it is answered."""
    for tries, name in enumerate(faults, 1):
        fault = FAULTS[name]
        if fault.error is None:
            return tries, None
        if not fault.passes or tries == POLICY.attempts:
            return tries, fault
    return len(faults) + 1, None


@dataclass
class Run:
    """Calls in both APIs at once against a failing service, and what was wrong with the outcomes.

    Attributes:
        calls: how many calls.
        in_flight: how many at a time.
        patience: seconds that calls which meet a late answer wait for it; enough for any other
            answer.
        seed: the same faults for the same seed.
        done: called after each call with how many are over.
        problems: everything that is not as it must be; empty when all is well.
        met: how many tries met each fault.
        answered: how many calls were answered, by their first fault; "none" for those without.
        failed: how many ended in an error, by the class of it.
    """

    calls: int
    in_flight: int
    patience: float
    seed: int = 1
    done: Callable[[int], None] = lambda number: None
    problems: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        self._plans = {
            f"question {number}/{dice.getrandbits(64):x}": plan(dice)
            for number in range(self.calls)
        }
        self._tries: Counter[str] = Counter()
        self._over = 0

    async def against(self, server: OpenAIServer) -> None:
        """Make all calls, and look at what is left when the LMs are closed."""
        server.respond_with(self._respond)
        lms = [self._lm(server, api) for api in APIS]
        await asyncio.gather(
            *(
                self._ask(lms[number % len(lms)], question)
                for number, question in enumerate(self._plans)
            )
        )
        for lm in lms:
            await lm.aclose()
        await self._look_for_leaks(server)
        self.problems += server.violations

    def _lm(self, server: OpenAIServer, api: str) -> LM:
        return LM(
            "gpt-5",
            api=api,
            base_url=server.base_url,
            api_key="sk-faults",
            retry=POLICY,
            max_concurrency=self.in_flight // len(APIS),
            auto_store_responses=False,
            response_store=False,
        )

    def _respond(self, received: Received) -> Answer | Raw:
        body = received.body
        question = body["messages"][-1]["content"] if received.path == CHAT else body["input"]
        faults = self._plans[question]
        at = self._tries[question]
        self._tries[question] += 1
        if at < len(faults):
            self.met[faults[at]] += 1
            answer = FAULTS[faults[at]].answer(question)
        else:
            answer = Answer(text=right_answer(question))
        return replace(answer, headers={**_UNLIMITED, **answer.headers})

    async def _ask(self, lm: LM, question: str) -> None:
        faults = self._plans[question]
        timeout = Timeout(first_byte=self.patience) if SLOW in faults else None
        outcome: BaseLMResponse | Exception
        try:
            outcome = await lm.respond_async(question, timeout=timeout)
        except Exception as error:
            outcome = error
        tries, fault = verdict(faults)
        if self._tries[question] != tries:
            self._report(
                question,
                f"was sent {self._tries[question]} times, not {tries}; it came to {outcome!r}",
            )
        if isinstance(outcome, BaseLMResponse):
            self.answered[faults[0] if faults else "none"] += 1
            if (
                fault is not None
                or outcome.text != right_answer(question)
                or outcome.attempts != tries
            ):
                self._report(
                    question, f"was answered with {outcome.text!r} in {outcome.attempts} attempts"
                )
        else:
            self.failed[type(outcome).__name__] += 1
            if fault is None or not _is_of(outcome, fault, question):
                self._report(question, f"ended in {outcome!r}")
        self._over += 1
        self.done(self._over)

    def _report(self, question: str, what: str) -> None:
        self.problems.append(f"{question} ({', '.join(self._plans[question])}) {what}")

    async def _look_for_leaks(self, server: OpenAIServer) -> None:
        try:
            # The server itself closes idle connections after 5 seconds.
            async with asyncio.timeout(3):
                while server.connections:  # noqa: ASYNC110 - they close on the server's thread
                    await asyncio.sleep(0.01)
        except TimeoutError:
            self.problems.append(f"{server.connections} connections are still open")
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        self.problems += [f"a task is left: {task!r}" for task in tasks]


def _is_of(error: Exception, fault: Fault, question: str) -> bool:
    return (
        isinstance(error, ServerError)
        and type(error) is fault.error
        and error.status_code == fault.status
        and fault.words.format(question) in str(error)
    )
