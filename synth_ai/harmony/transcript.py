"""A conversation as token ids: immutable, incremental, and exact about what the model sampled.

`Transcript` is the body of a prompt, without the system and developer messages (`Preface`) and without the start of
the next answer. Extending it leaves it as it was and shares all that is settled, so a branch costs what it adds.
Reasoning goes as soon as a final answer follows it; the reasoning of a turn that waits for tool outputs stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synth_ai.errors import RequestError
from synth_ai.harmony import messages
from synth_ai.harmony.messages import Author, Item, Part
from synth_ai.harmony.parser import FinishReason
from synth_ai.harmony.sampled import sampled_parts
from synth_ai.harmony.system_prompt import IDENTITY, Preface, ReasoningEffort
from synth_ai.harmony.tokens import START, VOCABULARY_SIZE, encode_word
from synth_ai.harmony.tools import Tool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Transcript:
    """The messages of a conversation as ids. `Transcript()` is empty."""

    _settled: tuple[Part, ...] = ()
    _open: tuple[Part, ...] = ()
    _calls: Mapping[str, Author] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Transcript({sum(len(part.ids) for part in (*self._settled, *self._open))} ids)"

    @property
    def ids(self) -> list[int]:
        """The ids of all messages, without reasoning that a final answer has followed."""
        ids: list[int] = []
        self._write(ids)
        return ids

    @property
    def mask(self) -> list[int]:
        """As long as `ids`: 1 where the model sampled the id (also where its `<|return|>` became `<|end|>`), else 0."""
        return list(b"".join(part.mask for part in (*self._settled, *self._open)))

    def extended(self, items: Iterable[Item]) -> Transcript:
        """The transcript with `items` rendered behind it.

        Args:
            items: messages, reasoning, function calls and their outputs, in the shape of the Responses API. A
                built-in's call is a `function_call` named `python`, `browser.search` and so on. An output finds its
                tool by the `call_id` of a call before it, or by a `name` of its own.

        Raises:
            RequestError: an item is of an unknown type, holds an image or a name that cannot be written, or is the
                output of a call that is not there.
        """
        items = [_checked(item) for item in items]
        last_final = max((n for n, item in enumerate(items) if _is_final(item)), default=-1)
        calls = dict(self._calls)
        parts = [
            part
            for number, item in enumerate(items)
            # Reasoning that is about to be dropped is not worth encoding.
            if not (item.get("type") == "reasoning" and number < last_final)
            for part in [_render(item, calls)]
        ]
        return self._with(parts, calls)

    def sampled(
        self,
        token_ids: Iterable[int],
        *,
        prefill: Sequence[int] = (),
        tools: Sequence[Tool] = (),
        finish_reason: FinishReason = "stop",
        call_ids: Sequence[str] = (),
    ) -> Transcript:
        """The transcript with a completion behind it, by the ids that the model sampled.

        Well-formed messages are kept id by id, except that `<|return|>` becomes `<|end|>`. Others are made
        well-formed: a message that was cut off is ended, a header that cannot be kept is written anew in front of
        the sampled content, and what `parse` surfaces nowhere (garbage, broken calls, invented tool outputs) is
        left out. What is written here is 0 in the mask.

        Args:
            token_ids: the ids after the generation prompt, the stop token included where the engine gives it.
            prefill: the ids that `prompt` made the completion begin with; they are 0 in the mask.
            tools: as for `parse`.
            finish_reason: as for `parse`.
            call_ids: the ids under which the outputs of the completion's tool calls will come, in the order of
                `Completion.tool_calls`. Without them an output must name its tool, unless only one call is open.
        """
        parts, authors = sampled_parts(
            token_ids, prefill=prefill, tools=tools, finish_reason=finish_reason
        )
        names = [*call_ids, *(f"\0{number}" for number in range(len(call_ids), len(authors)))]
        return self._with(parts, {**self._calls, **dict(zip(names, authors, strict=False))})

    def _write(self, ids: list[int]) -> None:
        for parts in (self._settled, self._open):
            for part in parts:
                ids += part.ids

    def _with(self, parts: Iterable[Part], calls: Mapping[str, Author]) -> Transcript:
        parts = (*self._open, *parts)
        last_final = max((n for n, part in enumerate(parts) if part.final), default=-1)
        if last_final < 0:
            return replace(self, _open=parts, _calls=calls)
        closed = [p for n, p in enumerate(parts[: last_final + 1]) if not p.passing]
        return Transcript((*self._settled, _joined(closed)), parts[last_final + 1 :], calls)


def prompt(preface: Preface, transcript: Transcript, prefill: Sequence[int] = ()) -> list[int]:
    """The whole prompt: preface, transcript, the start of an assistant message, and what it shall begin with.

    Args:
        prefill: ids after `<|start|>assistant`, for example those of `<|channel|>final<|message|>`.
    """
    ids = list(preface.ids)
    transcript._write(ids)
    ids += (START, *encode_word("assistant"), *prefill)
    return ids


def render(
    items: Iterable[Item],
    *,
    instructions: str | None = None,
    tools: Sequence[Tool] = (),
    reasoning_effort: ReasoningEffort | str | None = "medium",
    date: Any = None,
    knowledge_cutoff: str | None = "2024-06",
    model_identity: str = IDENTITY,
    response_format: Mapping[str, Any] | None = None,
) -> list[int]:
    """The prompt for the next answer to a conversation. See `Preface` and `Transcript.extended` for the arguments.

    Raises:
        RequestError: an item cannot be rendered.
        ToolError: a tool cannot be declared.
        OptionError: a setting is out of range.
        MissingExtraError: tiktoken is not installed.
    """
    preface = Preface(
        instructions=instructions,
        tools=tools,
        reasoning_effort=reasoning_effort,
        date=date,
        knowledge_cutoff=knowledge_cutoff,
        model_identity=model_identity,
        response_format=response_format,
    )
    return prompt(preface, Transcript().extended(items))


def _checked(item: Any) -> Item:
    if not isinstance(item, Mapping):
        raise RequestError(f"A conversation item must be a mapping, not {item!r}.")
    return item


def _is_final(item: Item) -> bool:
    return (
        item.get("type", "message") == "message"
        and (item.get("role"), item.get("phase")) in _FINALS
    )


_FINALS = {("assistant", None), ("assistant", "final_answer")}
_SPEAKERS = {
    "user": messages.user,
    "assistant": messages.assistant,
    "system": messages.developer,
    "developer": messages.developer,
}


def _render(item: Item, calls: dict[str, Author]) -> Part:
    """One item; `calls` are the calls without an output so far, and is brought up to date."""
    kind = item.get("type", "message")
    if kind == "message":
        speaker = _SPEAKERS.get(item.get("role", ""))
        if speaker is None:
            raise RequestError(
                f"A message has the role {item.get('role')!r}; Harmony knows {', '.join(_SPEAKERS)}."
            )
        return speaker(item)
    if kind == "reasoning":
        return messages.reasoning(item)
    if kind == "function_call":
        author = messages.address(item.get("name"), str(item.get("arguments")))
        calls[str(item.get("call_id"))] = author
        return messages.call(item, author)
    if kind == "function_call_output":
        return messages.output(item, _answered(item, calls))
    raise RequestError(f"Items of type {kind!r} cannot be rendered for gpt-oss.")


def _answered(item: Item, calls: dict[str, Author]) -> Author:
    call_id = str(item.get("call_id"))
    if call_id in calls:
        return calls.pop(call_id)
    if item.get("name"):
        return messages.address(item["name"])
    unnamed = [key for key in calls if key.startswith("\0")]
    if len(unnamed) == 1:
        return calls.pop(unnamed[0])
    raise RequestError(
        f"The output of the call {call_id!r} comes without a function_call before it."
    )


class _Shared(dict[int, int]):
    """One object for each id: a long branch has tens of thousands of ids, and copying them touches every object."""

    def __missing__(self, token_id: int) -> int:
        if 0 <= token_id < VOCABULARY_SIZE:
            self[token_id] = token_id
        return token_id


_shared = _Shared()


def _joined(parts: Sequence[Part]) -> Part:
    ids: list[int] = []
    for part in parts:
        ids += part.ids
    return Part(
        tuple(map(_shared.__getitem__, ids)), b"".join(part.mask for part in parts), final=True
    )
