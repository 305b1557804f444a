"""Models that answer what a test tells them to, for your tests as well as for this library's own.

`ScriptedVendor` stands behind an LM instead of a server, `ScriptedEngine` instead of vLLM: with the
engine, prompts are really rendered and completions really parsed.

    vendor = ScriptedVendor([tool_call("get_weather", city="Paris"), "It is sunny."])
    lm = LM("any-name", vendor=vendor, tools=[get_weather])
    assert lm.run_tools("Hi").text == "It is sunny."
    assert vendor.requests[0].input[0]["content"] == "Hi"
    vendor.assert_exhausted()
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from inspect import isawaitable
from typing import TypeAlias, TypeVar

from synth_ai import content, harmony
from synth_ai.api import API
from synth_ai.content import FunctionCall, Item
from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    FinishReason,
    Sampling,
    TokenDelta,
    TokenLogprob,
    check_prompt,
    check_sampling,
)
from synth_ai.errors import ForgottenResponseError
from synth_ai.events import Started, TextDelta, VendorEvent
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.apis import BUILT_IN
from synth_ai.lm.vendors.base import VendorBase, whole_response_events
from synth_ai.response import BaseLMResponse, Usage

__all__ = ["ScriptedEngine", "ScriptedVendor", "call_text", "final_text", "tool_call"]

T = TypeVar("T")

Answer: TypeAlias = str | BaseLMResponse | BaseException | Item | Sequence[Item]
"""One answer of a `ScriptedVendor`: a text, a whole response, an error to raise, or items."""

AnswerFunction: TypeAlias = Callable[[LMRequest], Answer | Awaitable[Answer]]
"""Makes an answer when the call comes."""

Completion: TypeAlias = str | Sequence[int] | BaseException
"""One completion of a `ScriptedEngine`: Harmony text, token ids, or an error to raise."""

CompletionFunction: TypeAlias = Callable[
    [Sequence[int], Sampling], Completion | Awaitable[Completion]
]
"""Makes a completion when the prompt comes."""


# --- instead of a server ----------------------------------------------------------------------


def tool_call(
    name: str,
    given: Mapping[str, object] | None = None,
    /,
    *,
    call_id: str | None = None,
    **arguments: object,
) -> FunctionCall:
    """Make an answer of `ScriptedVendor` that calls a function.

    Args:
        name: the function.
        given: arguments of the call by name, also those called `call_id`.
        call_id: the id to answer to; a new one by default.
        **arguments: the arguments of the call.
    """
    written = json.dumps({**(given or {}), **arguments})
    return content.function_call(call_id or content.new_call_id(), name, written)


class ScriptedVendor(VendorBase):
    """A backend that gives the answers it was told to, in order, and remembers what it was asked.

    It streams too: an answer's text comes word by word.

    Args:
        answers: for each call a text, a `tool_call(...)` or a list of output items, a whole
            response, an error to raise, or a function of the request that returns one of these; an
            async one may take its time.
        api: the API to stand for: `chat`, `responses`, `harmony`, or one of your own.
        remembers: whether it continues from ids, as a server that keeps responses does; `forget()`
            loses one.

    Attributes:
        requests: the requests so far, oldest first.
        closed: whether it was closed.
    """

    def __init__(
        self,
        answers: Iterable[Answer | AnswerFunction] = (),
        *,
        api: API | str = "responses",
        remembers: bool = True,
    ) -> None:
        self.api = BUILT_IN[api] if isinstance(api, str) else api
        self.server = f"scripted:{id(self)}"
        self.requests: list[LMRequest] = []
        self.closed = False
        self._answers = deque(_check_script(answers))
        self._remembers = remembers and self.api.keeps_responses
        self._forgotten: set[str] = set()

    @property
    def cache_scope(self) -> str:
        # One script stands for the same server as the next one.
        return "scripted"

    def add(self, *answers: Answer | AnswerFunction) -> None:
        """Put more answers at the end of the script."""
        self._answers.extend(answers)

    def forget(self, response_id: str) -> None:
        """Act as a server whose copy of this response has expired."""
        self._forgotten.add(response_id)

    def assert_exhausted(self) -> None:
        """Fail if some answers were never asked for."""
        assert not self._answers, (
            f"{len(self._answers)} scripted answer(s) were never asked for: {list(self._answers)}"
        )

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        self.requests.append(request)
        if request.previous_response_id in self._forgotten:
            raise ForgottenResponseError(
                f"{request.previous_response_id!r} is not known here.", status_code=400
            )

        answer = await self._next_answer(request)
        response = _as_response(answer, request)
        if response.response_id is None and self._remembers:
            response.response_id = content.new_response_id()
        response.stored_on_server = self._remembers
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[VendorEvent, None]:
        response = await self.respond(request)
        response_id = response.response_id or request.response_id
        if response_id is not None:
            yield Started(response_id)
        for event in whole_response_events(response):
            if not isinstance(event, TextDelta):
                yield event
                continue

            *words, last_word = event.text.split(" ")
            for word in words:
                yield TextDelta(f"{word} ")
            yield TextDelta(last_word)

    async def models(self) -> list[str]:
        return sorted({request.model for request in self.requests})

    async def aclose(self) -> None:
        self.closed = True

    async def _next_answer(self, request: LMRequest) -> Answer:
        assert self._answers, (
            f"The script has no answer left for call {len(self.requests)}: {request.input}"
        )
        answer = self._answers.popleft()
        if not callable(answer):
            return answer

        result = answer(request)
        return await result if isawaitable(result) else result


def _as_response(answer: Answer, request: LMRequest) -> BaseLMResponse:
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(answer, BaseLMResponse):
        return answer

    output = _as_items(answer)
    # Not tokens, but numbers that a test can predict.
    usage = Usage(input_tokens=len(request.items()), output_tokens=len(output))
    return BaseLMResponse.of_output(output, model=request.model, usage=usage)


def _as_items(answer: str | Item | Sequence[Item]) -> list[Item]:
    if isinstance(answer, str):
        return [content.assistant_message(answer)]

    items = [answer] if isinstance(answer, Mapping) else list(answer)
    for item in items:
        if not isinstance(item, Mapping) or "type" not in item:
            raise TypeError(
                "An answer must be a text, tool_call(...), or items, each with its type, "
                f"not {answer!r}."
            )
    return items


def _check_script(script: Iterable[T]) -> Iterable[T]:
    """Refuse a single text or item, which would be answered letter by letter, or key by key."""
    if isinstance(script, (str, Mapping)):
        raise TypeError(
            f"{script!r:.100} is one answer, and a script is a list of them: [{script!r:.100}]."
        )
    return script


# --- instead of vLLM --------------------------------------------------------------------------


def final_text(answer: str, *, reasoning: str | None = None) -> str:
    """Make a completion of `ScriptedEngine` that answers, as gpt-oss writes it.

    ::

        final_text("Hi")  ->  <|channel|>final<|message|>Hi<|return|>
    """
    return f"{_analysis(reasoning)}<|channel|>final<|message|>{answer}<|return|>"


def call_text(
    name: str,
    given: Mapping[str, object] | None = None,
    /,
    *,
    reasoning: str | None = None,
    **arguments: object,
) -> str:
    """Make a completion of `ScriptedEngine` that calls a function, as gpt-oss writes it.

    Arguments that are called `reasoning` go into `given`, by name.

    ::

        call_text("add", a=1)
        ->  <|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>
    """
    header = f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
    written = json.dumps({**(given or {}), **arguments})
    return f"{_analysis(reasoning)}{header}{written}<|call|>"


def _analysis(reasoning: str | None) -> str:
    if not reasoning:
        return ""
    return f"<|channel|>analysis<|message|>{reasoning}<|end|><|start|>assistant"


class ScriptedEngine(Engine):
    """An engine that samples the ids it was told to, in order, and remembers the prompts.

    Args:
        completions: for each call Harmony text (control tokens spelt out, see `final_text` and
            `call_text`) or token ids, an error to raise, or a function of (prompt, sampling) that
            returns one of these; an async one may take its time.
        model: the name that it says its model has.
        context_length: the tokens that it says its context has.

    Attributes:
        prompts: the token ids of the prompts so far.
        samplings: the sampling of each.
        aborted: how many completions were left before their end.
        closed: whether it was closed.
    """

    def __init__(
        self,
        completions: Iterable[Completion | CompletionFunction] = (),
        *,
        model: str = "scripted",
        context_length: int = 131_072,
    ) -> None:
        self.model = model
        self.prompts: list[list[int]] = []
        self.samplings: list[Sampling] = []
        self.aborted = 0
        self.closed = False
        self._completions = deque(_check_script(completions))
        self._facts = EngineFacts(
            context_length,
            harmony.VOCABULARY_SIZE,
            temperature=1.0,
            logprobs_mode="raw_logprobs",
        )

    def add(self, *completions: Completion | CompletionFunction) -> None:
        """Put more completions at the end of the script."""
        self._completions.extend(completions)

    def assert_exhausted(self) -> None:
        """Fail if some completions were never asked for."""
        assert not self._completions, (
            f"{len(self._completions)} scripted completion(s) were never asked for."
        )

    async def facts(self) -> EngineFacts:
        return self._facts

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        check_prompt(prompt, self._facts)
        check_sampling(sampling)
        self.prompts.append(list(prompt))
        self.samplings.append(sampling)

        completion = await self._next_completion(prompt, sampling)
        deltas = _make_deltas(_as_ids(completion), sampling, stream=stream)

        finished = False
        try:
            for delta in deltas[:-1]:
                yield delta
            # Whoever has the last delta need not ask for more.
            finished = True
            yield deltas[-1]
        finally:
            if not finished:
                self.aborted += 1

    async def aclose(self) -> None:
        self.closed = True

    async def _next_completion(self, prompt: Sequence[int], sampling: Sampling) -> Completion:
        assert self._completions, f"The script has no completion left for call {len(self.prompts)}."
        completion = self._completions.popleft()
        if not callable(completion):
            return completion

        result = completion(prompt, sampling)
        return await result if isawaitable(result) else result


def _as_ids(completion: Completion) -> list[int]:
    if isinstance(completion, BaseException):
        raise completion
    if isinstance(completion, str):
        return harmony.encode(completion, control_tokens=True)
    return list(completion)


def _make_deltas(ids: list[int], sampling: Sampling, *, stream: bool) -> list[TokenDelta]:
    """Make the deltas of a completion: one for each id if it is streamed, else one."""
    kept = ids[: sampling.max_tokens]
    finish_reason: FinishReason = "stop" if len(kept) == len(ids) else "length"

    pieces = [kept]
    if stream:
        pieces = [[token] for token in kept]
    # A completion without ids has one delta, too.
    *before, last = pieces or [kept]

    deltas = [TokenDelta(piece, logprobs=_certain_logprobs(piece, sampling)) for piece in before]
    deltas.append(
        TokenDelta(last, finish_reason, _certain_logprobs(last, sampling), cached_tokens=0)
    )
    return deltas


def _certain_logprobs(ids: Sequence[int], sampling: Sampling) -> list[TokenLogprob] | None:
    """Make the log probabilities of ids that the engine was certain of, if they are asked for."""
    if sampling.logprobs is None:
        return None
    return [TokenLogprob(token, 0.0, {token: 0.0}) for token in ids]
