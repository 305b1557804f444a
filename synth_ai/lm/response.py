"""The one response type, whatever API answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from synth_ai.lm import items
from synth_ai.lm.routing import ApiType

Status = Literal["completed", "incomplete", "failed", "in_progress", "queued", "cancelled"]


class Usage(BaseModel):
    """Tokens of one call.

    Attributes:
        input_tokens: tokens of the prompt, the cached ones included.
        output_tokens: tokens that were generated, the reasoning included.
        cached_tokens: prompt tokens that came from a cache.
        reasoning_tokens: generated tokens that were reasoning.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and answer together."""
        return self.input_tokens + self.output_tokens


class BaseLMResponse(BaseModel):
    """What a model answered.

    Attributes:
        raw_response: the text of the answer; empty when the model only called tools.
        structured_output: the answer as an object, when `response_model` was given.
        tool_calls: calls of functions and custom tools, in the shape of Chat Completions; `id` is the call id to
            answer to.
        response_id: the id to continue from.
        reasoning: the model's reasoning, or its summary, where it is given away.
        api_type: the API that answered.
        usage: tokens used, where the backend says.
        cost: US dollars, where the model has a price.
        model: the model that answered.
        status: `completed`; `incomplete`, with the reason in `incomplete_reason`; or `failed`, with it in `error`.
        incomplete_reason: such as `max_output_tokens` or `content_filter`.
        error: what went wrong, on a failed response.
        previous_response_id: the turn that this one continues.
        output: the output items, in the shape of the Responses API.
        preamble: text that the model showed before calling tools.
        refusal: the text in which the model refused to answer.
        prompt_token_ids: the exact ids of the prompt, where the backend has them.
        output_token_ids: the exact ids that the model sampled, where the backend has them.
        logprobs: one entry per output token, where asked for.
        request_id: the server's id of the request, to quote when asking for help.
        attempts: how many times the call was sent.
        replayed: whether the whole conversation was sent again because the server could not continue from its id.
        replay_reason: why.
        warnings: what was repaired, dropped or clipped on the way.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    raw_response: str
    structured_output: Any = None
    tool_calls: list[dict[str, Any]] | None = None
    response_id: str | None = None
    reasoning: str | None = None
    api_type: ApiType | None = None
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    status: Status = "completed"
    incomplete_reason: str | None = None
    error: str | None = None
    previous_response_id: str | None = None
    output: list[dict[str, Any]] = Field(default_factory=list)
    preamble: str | None = None
    refusal: str | None = None
    prompt_token_ids: list[int] | None = Field(default=None, repr=False)
    output_token_ids: list[int] | None = Field(default=None, repr=False)
    logprobs: list[dict[str, Any]] | None = Field(default=None, repr=False)
    request_id: str | None = None
    attempts: int = 1
    replayed: bool = False
    replay_reason: str | None = None
    warnings: list[str] = Field(default_factory=list)

    # For the turn that is recorded: whether the server can continue from its id, and whether the output ids are the
    # whole truth about it (an answer cut at a stop string is shorter than what was sampled).
    _kept: bool = PrivateAttr(default=False)
    _exact: bool = PrivateAttr(default=True)
    _raw: Callable[[], Any] | None = PrivateAttr(default=None)

    @classmethod
    def of_output(cls, output: Sequence[dict[str, Any]], **fields: Any) -> BaseLMResponse:
        """A response whose texts and tool calls are read from its output items."""
        answer, reasoning, preamble = items.answer_of(output)
        return cls(
            raw_response=answer,
            reasoning=reasoning,
            preamble=preamble,
            tool_calls=items.tool_calls_of(output),
            refusal=items.refusal_of(output),
            output=list(output),
            **fields,
        )

    @property
    def text(self) -> str:
        """The same as `raw_response`."""
        return self.raw_response

    @property
    def raw(self) -> Any:
        """The server's own answer as the openai SDK's typed object, built when first asked for; None elsewhere."""
        return self._raw() if self._raw is not None else None

    def __str__(self) -> str:
        return self.raw_response or self._summary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._summary()}>"

    def _summary(self) -> str:
        facts = [self.api_type or "", self.response_id or "", self._state()]
        if self.tool_calls:
            facts.append("calls " + ", ".join(items.name_and_text(call)[0] for call in self.tool_calls))
        if self.usage:
            facts.append(f"{self.usage.input_tokens}+{self.usage.output_tokens} tokens")
        if self.raw_response:
            facts.append(repr(_shorten(self.raw_response)))
        return " ".join(fact for fact in facts if fact)

    def _state(self) -> str:
        why = self.incomplete_reason or self.error
        return f"{self.status} ({why})" if why else self.status

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the answer, with the reasoning and the tool calls folded beside it."""
        from synth_ai.lm.display import response_markdown

        return response_markdown(self)


def _shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
