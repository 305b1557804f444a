"""The one response type, whatever API answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeAlias, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    PrivateAttr,
    TypeAdapter,
)
from pydantic_core import CoreSchema, core_schema

from synth_ai import content
from synth_ai.content import AnswerT, Item, ToolCall, name_and_text

Status = Literal["completed", "incomplete", "failed", "in_progress", "queued", "cancelled"]

# Type checkers see the shapes. Pydantic takes the dicts as they are: it would drop keys of theirs
# that no list here has.
_Dicts = GetPydanticSchema(lambda _, handler: handler(list[dict[str, Any]]))
Items: TypeAlias = Annotated[list[Item], _Dicts]
ToolCalls: TypeAlias = Annotated[list[ToolCall], _Dicts]

# Every response that a caller gets has an id, so callers need not mind None. A backend that gives
# none leaves it to LM.
ResponseId: TypeAlias = Annotated[str, GetPydanticSchema(lambda _, handler: handler(str | None))]


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


@dataclass(frozen=True, slots=True)
class _AnswerType:
    """Lets pydantic check the answer, too, where a field is annotated `BaseLMResponse[City]`."""

    shape: Any

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._read_answer, handler(source))

    def _read_answer(self, response: BaseLMResponse) -> BaseLMResponse:
        """Read the answer of a response, which is plain data if it comes from JSON, as the type.

        Raises:
            ValidationError: it does not fit.
        """
        if response.structured_output is None:
            return response

        adapter: TypeAdapter[Any] = TypeAdapter(self.shape)
        answer = adapter.validate_python(response.structured_output)
        if answer is response.structured_output:
            return response
        return response.model_copy(update={"structured_output": answer})


class BaseLMResponse(BaseModel, Generic[AnswerT]):
    """What a model answered.

    Type checkers know the type of the answer: `response_model=City` gives a `BaseLMResponse[City]`.
    At run time there is this one class, so that a response of any shape can be pickled, compared
    and told by `isinstance`.

    Attributes:
        raw_response: the text of the answer; empty when the model only called tools.
        structured_output: the answer as an object, when `response_model` was given; None where the
            model refused or called tools, and where the answer was cut off or filtered.
        tool_calls: calls of functions and custom tools, in the shape of Chat Completions; `id` is
            the call id to answer to.
        response_id: the id to continue from; None only before LM has seen the response.
        reasoning: the model's reasoning, or its summary, where it is given away.
        api_type: the API that answered.
        usage: tokens used, where the backend says.
        cost: US dollars, where the model has a price.
        model: the model that answered.
        status: `completed`; `incomplete`, with the reason in `incomplete_reason`; or `failed`, with
            it in `error`.
        incomplete_reason: `max_output_tokens`, `content_filter`, `interrupted` (the server or the
            engine gave up) or `control_token` (a constrained answer that left its shape).
        error: what went wrong, on a failed response.
        previous_response_id: the turn that this one continues.
        output: the output items, in the shape of the Responses API.
        preamble: text that the model showed before calling tools.
        refusal: the text in which the model refused to answer.
        prompt_token_ids: the exact ids of the prompt, where the backend has them.
        output_token_ids: the exact ids that the model sampled, where the backend has them.
        logprobs: one entry per output token, where asked for. A response that was read from a store
            has them without their alternatives, and with the tokens themselves on Harmony alone.
        logprobs_mode: what they are, in vLLM's words: `raw_logprobs` are those before temperature
            and penalties, `processed_logprobs` those after. None where the backend does not say.
        temperature: the temperature at which these tokens were sampled; None where only the server
            knows its default.
        request_id: the server's id of the request, to quote when asking for help.
        attempts: how many times the call was sent; 0 for an answer of the response cache.
        tries: how many answers the model gave until one fit `response_model`, see `reask=`;
            `earlier_tries` has the others.
        created_at: when the answer was there, in seconds since the epoch.
        latency: seconds from the sending of the call, in its last try, to the whole answer. Of a
            stream, what its reader took is in it too.
        time_to_first_token: seconds from the same moment to the first piece of the answer, for
            streams and where an engine says it; else None.
        cached: whether the response cache answered, so that no call was made; see `LM(cache=True)`.
        reward: how good the answer was, as `lm.responses.annotate` was told.
        tags: the labels of the call, and those of `lm.responses.annotate`.
        replayed: whether the whole conversation was sent again because the server could not
            continue from its id.
        replay_reason: why.
        warnings: what was repaired, dropped or clipped on the way.
        stored_on_server: whether the server can continue from `response_id` by itself. A vendor
            says so; without it the next call brings the whole history.
        tokens_exact: whether `output_token_ids` are all that the model sampled and nothing else. An
            answer that was cut at a stop string is shorter than what was sampled.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    raw_response: str
    structured_output: AnswerT | None = None
    tool_calls: ToolCalls | None = None
    response_id: ResponseId = cast("str", None)
    reasoning: str | None = None
    api_type: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    status: Status = "completed"
    incomplete_reason: str | None = None
    error: str | None = None
    previous_response_id: str | None = None
    output: Items = Field(default_factory=list)
    preamble: str | None = None
    refusal: str | None = None
    prompt_token_ids: list[int] | None = Field(default=None, repr=False)
    output_token_ids: list[int] | None = Field(default=None, repr=False)
    logprobs: list[dict[str, Any]] | None = Field(default=None, repr=False)
    logprobs_mode: str | None = None
    temperature: float | None = None
    request_id: str | None = None
    attempts: int = 1
    tries: int = 1
    created_at: float | None = None
    latency: float | None = None
    time_to_first_token: float | None = None
    cached: bool = False
    reward: float | None = None
    tags: dict[str, Any] = Field(default_factory=dict)
    replayed: bool = False
    replay_reason: str | None = None
    warnings: list[str] = Field(default_factory=list)
    stored_on_server: bool = Field(default=False, repr=False)
    tokens_exact: bool = Field(default=True, repr=False)

    _raw: Callable[[], Any] | None = PrivateAttr(default=None)
    _earlier_tries: tuple[BaseLMResponse, ...] = PrivateAttr(default=())

    if not TYPE_CHECKING:

        def __class_getitem__(cls, shape: Any) -> Any:
            """Return this very class, annotated; pydantic would make one for each type."""
            return Annotated[cls, _AnswerType(shape)]

    @classmethod
    def of_output(cls, output: Sequence[Item], **fields: Any) -> BaseLMResponse:
        """Make a response whose texts and tool calls are read from its output items."""
        answer, reasoning, preamble = content.answer_of(output)
        return cls(
            raw_response=answer,
            reasoning=reasoning,
            preamble=preamble,
            tool_calls=content.tool_calls_of(output),
            refusal=content.refusal_of(output),
            output=list(output),
            **fields,
        )

    @property
    def text(self) -> str:
        """The same as `raw_response`."""
        return self.raw_response

    @property
    def earlier_tries(self) -> tuple[BaseLMResponse, ...]:
        """The answers that did not fit, oldest first, each a turn with its own usage and cost.

        A response that is read from a store has none: they are the turns before it.
        """
        return self._earlier_tries

    @property
    def raw(self) -> Any:
        """The server's own answer as the openai SDK's typed object; None where it has no type.

        It is built when it is first asked for.
        """
        if self._raw is None:
            return None
        return self._raw()

    def __str__(self) -> str:
        return self.raw_response or self._summary()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._summary()}>"

    def _summary(self) -> str:
        facts = [self.api_type, in_one_line(self.response_id or ""), self._state()]
        if self.tool_calls:
            names = [in_one_line(name_and_text(call)[0]) for call in self.tool_calls]
            facts.append("calls " + ", ".join(names))
        if self.usage:
            facts.append(f"{self.usage.input_tokens}+{self.usage.output_tokens} tokens")
        if self.raw_response:
            facts.append(repr(_shorten(self.raw_response)))
        return " ".join(fact for fact in facts if fact)

    def _state(self) -> str:
        reason = self.incomplete_reason or self.error
        if not reason:
            return self.status
        return f"{self.status} ({in_one_line(reason)})"

    def _repr_markdown_(self) -> str:
        """Draw the answer for a notebook, its reasoning folded, its tool calls and counts below.

        The only HTML in it is ours: what the model wrote is escaped, and its Markdown stays, but
        for images. A notebook would load them from any address that the model wrote, and so tell
        that address whatever the model put into it.
        """
        blocks = []
        if self.reasoning:
            summary = "<summary>Reasoning</summary>"
            blocks.append(f"<details>{summary}\n\n{_safe(self.reasoning)}\n\n</details>")
        if self.preamble:
            blocks.append(f"*{_safe(self.preamble)}*")
        if self.raw_response:
            blocks.append(_safe(self.raw_response))
        for call in self.tool_calls or ():
            name, text = name_and_text(call)
            blocks.append(f"Calls <code>{_safe(name)}({_safe(text)})</code>")

        blocks.append(f"<small>{_safe(self._footer())}</small>")
        return "\n\n".join(blocks)

    def _footer(self) -> str:
        facts = [self.model, self.api_type, self.response_id]
        if self.status != "completed":
            reason = self.incomplete_reason or self.error or ""
            facts.append(f"{self.status}: {reason}".rstrip(": "))
        if self.usage:
            facts.append(f"{self.usage.input_tokens} in, {self.usage.output_tokens} out")
        facts += self.warnings
        return " · ".join(fact for fact in facts if fact)


def in_one_line(text: str) -> str:
    r"""Write a text of others for a log or a repr: escapes for line breaks and control characters.

    ::

        "gpt-5"      ->  "gpt-5"
        "m\nERROR"   ->  "m\\nERROR"
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _shorten(text: str, width: int = 60) -> str:
    if len(text) <= width:
        return text
    return text[: width - 1] + "…"


# What may begin an image, and what each form of one has behind that:
#   ![chart](https://...)   ![chart][1]   ![1] with [1]: https://... elsewhere
# vec![1, 2] in code has none of them, and stays.
_IMAGE = re.compile(r"!+(?=\[)")
_IMAGE_ENDS = ("](", "][", "]:")


def _safe(text: str) -> str:
    """Escape HTML, and make links of images."""
    if any(end in text for end in _IMAGE_ENDS):
        text = _IMAGE.sub("", text)
    return escape(text, quote=False)
