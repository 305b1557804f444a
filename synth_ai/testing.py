"""Models that say what a test tells them to, for your tests as well as for this library's own.

`ScriptedVendor` stands behind an LM in place of a server, `ScriptedEngine` in place of vLLM: with the engine, prompts
are really rendered and completions really parsed.

    vendor = ScriptedVendor(["Hello!", tool_call("get_weather", city="Paris"), RateLimitError("slow down")])
    lm = LM("any-name", vendor=vendor)
    assert lm.respond("Hi").text == "Hello!"
    assert vendor.requests[0].input[0]["content"] == "Hi"
    vendor.assert_exhausted()
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, TypeAlias, TypeVar

from synth_ai import content as items
from synth_ai import harmony
from synth_ai.api import API
from synth_ai.content import Item
from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    TokenLogprob,
    check_prompt,
    check_sampling,
)
from synth_ai.errors import ForgottenResponseError
from synth_ai.events import StreamEvent, TextDelta
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.apis import BUILT_IN
from synth_ai.lm.vendors.base import VendorBase, whole_response_events
from synth_ai.response import BaseLMResponse, Usage

__all__ = ["ScriptedEngine", "ScriptedVendor", "call_text", "final_text", "tool_call"]

T = TypeVar("T")

Answer: TypeAlias = str | BaseLMResponse | BaseException | Item | Sequence[Item]
Answering: TypeAlias = Callable[[LMRequest], Answer | Awaitable[Answer]]
Completion: TypeAlias = str | Sequence[int] | BaseException
Completing: TypeAlias = Callable[[Sequence[int], Sampling], Completion | Awaitable[Completion]]


def tool_call(name: str, *, call_id: str | None = None, **arguments: Any) -> Item:
    """An answer of `ScriptedVendor` that calls a function."""
    return items.function_call(call_id or items.new_call_id(), name, json.dumps(arguments))


class ScriptedVendor(VendorBase):
    """A backend that gives the answers it was told to, in order, and remembers what it was asked.

    Args:
        answers: for each call a text, a `tool_call(...)` or a list of output items, a whole response, an error to
            raise, or a function of the request that returns one of these; an async one may take its time.
        api: the API to stand for: `chat`, `responses`, `harmony`, or one of your own.
        remembers: whether it continues from ids, as a server that keeps responses does; `forget()` loses one.

    Attributes:
        requests: the requests so far, oldest first.
    """

    def __init__(
        self,
        answers: Iterable[Answer | Answering] = (),
        *,
        api: API | str = "responses",
        remembers: bool = True,
    ) -> None:
        self.api = BUILT_IN[api] if isinstance(api, str) else api
        self.server = f"scripted:{id(self)}"
        self.requests: list[LMRequest] = []
        self.closed = False
        self._answers = deque(_script(answers))
        self._remembers = remembers and self.api.keeps_responses
        self._forgotten: set[str] = set()

    def add(self, *answers: Answer | Answering) -> None:
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
        assert self._answers, (
            f"The script has no answer left for call {len(self.requests)}: {request.input}"
        )
        answer = self._answers.popleft()
        given = answer(request) if callable(answer) else answer
        response = self._response(await given if isawaitable(given) else given, request)
        if response.response_id is None and self._remembers:
            response.response_id = items.new_response_id()
        response.stored_on_server = self._remembers
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        for event in whole_response_events(await self.respond(request)):
            if isinstance(event, TextDelta):
                for word in event.text.split(" ")[:-1]:
                    yield TextDelta(word + " ")
                yield TextDelta(event.text.split(" ")[-1])
            else:
                yield event

    async def models(self) -> list[str]:
        return sorted({request.model for request in self.requests})

    async def aclose(self) -> None:
        self.closed = True

    def _response(self, answer: Answer, request: LMRequest) -> BaseLMResponse:
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, BaseLMResponse):
            return answer
        if isinstance(answer, str):
            output: list[Item] = [items.assistant_message(answer)]
        else:
            output = [answer] if isinstance(answer, Mapping) else list(answer)
            if not all(isinstance(item, Mapping) and "type" in item for item in output):
                raise TypeError(
                    f"{answer!r} is no answer: give a text, tool_call(...), or items, each with its type."
                )
        usage = Usage(input_tokens=len(request.items()), output_tokens=len(output))
        return BaseLMResponse.of_output(output, model=request.model, usage=usage)


def _script(told: Iterable[T]) -> Iterable[T]:
    """What a script is made of; a single text is a list that somebody forgot to write."""
    if isinstance(told, (str, Mapping)):
        raise TypeError(
            f"{told!r:.100} is one answer, and a script is a list of them: [{told!r:.100}]."
        )
    return told


def final_text(answer: str, *, reasoning: str | None = None) -> str:
    """A completion of `ScriptedEngine` that answers, as gpt-oss writes it."""
    return f"{_analysis(reasoning)}<|channel|>final<|message|>{answer}<|return|>"


def call_text(name: str, *, reasoning: str | None = None, **arguments: Any) -> str:
    """A completion of `ScriptedEngine` that calls a function, as gpt-oss writes it."""
    header = f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
    return f"{_analysis(reasoning)}{header}{json.dumps(arguments)}<|call|>"


def _analysis(reasoning: str | None) -> str:
    return (
        f"<|channel|>analysis<|message|>{reasoning}<|end|><|start|>assistant" if reasoning else ""
    )


class ScriptedEngine(Engine):
    """An engine that samples the ids it was told to, in order, and remembers the prompts.

    Args:
        completions: for each call Harmony text (control tokens spelt out) or token ids, an error to raise, or a
            function of (prompt, sampling) that returns one of these; an async one may take its time.
        context_length: what it says its context is.

    Attributes:
        prompts: the token ids of the prompts so far.
        samplings: the sampling of each.
        aborted: how many completions were left before their end.
    """

    def __init__(
        self,
        completions: Iterable[Completion | Completing] = (),
        *,
        model: str = "scripted",
        context_length: int = 131_072,
    ) -> None:
        self.model = model
        self.prompts: list[list[int]] = []
        self.samplings: list[Sampling] = []
        self.aborted = 0
        self.closed = False
        self._completions = deque(_script(completions))
        self._facts = EngineFacts(context_length, harmony.VOCABULARY_SIZE)

    def add(self, *completions: Completion | Completing) -> None:
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
        assert self._completions, f"The script has no completion left for call {len(self.prompts)}."
        completion = self._completions.popleft()
        given = completion(prompt, sampling) if callable(completion) else completion
        ids = self._ids(await given if isawaitable(given) else given)
        cut = ids[: sampling.max_tokens]
        reason = "stop" if len(cut) == len(ids) else "length"
        pieces = [[token] for token in cut] if stream and cut else [cut]
        finished = False
        try:
            for piece in pieces[:-1]:
                yield TokenDelta(piece, logprobs=_certain(piece, sampling))
            finished = True
            yield TokenDelta(pieces[-1], reason, _certain(pieces[-1], sampling), cached_tokens=0)  # type: ignore[arg-type]
        finally:
            self.aborted += not finished

    async def aclose(self) -> None:
        self.closed = True

    def _ids(self, completion: Completion) -> list[int]:
        if isinstance(completion, BaseException):
            raise completion
        return (
            harmony.encode(completion, control_tokens=True)
            if isinstance(completion, str)
            else list(completion)
        )


def _certain(ids: Sequence[int], sampling: Sampling) -> list[TokenLogprob] | None:
    return (
        None
        if sampling.logprobs is None
        else [TokenLogprob(token, 0.0, {token: 0.0}) for token in ids]
    )
