"""A conversation as token ids: immutable, incremental, and exact about what the model sampled.

`Transcript` is the body of a prompt, without the system and developer messages (`SystemPrompt`) and
without the start of the next answer. What is derived from it shares all that will not change, so
that a branch costs what it adds. Reasoning is dropped as soon as a final answer follows it; the
reasoning of a turn that waits for tool outputs stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from synth_ai.errors import RequestError
from synth_ai.harmony.completion import FinishReason
from synth_ai.harmony.history import render_completion
from synth_ai.harmony.messages import (
    Item,
    MessageTokens,
    ToolAddress,
    address_tool,
    render_call,
    render_message,
    render_output,
    render_reasoning,
)
from synth_ai.harmony.system_prompt import IDENTITY, Date, ReasoningEffort, SystemPrompt
from synth_ai.harmony.tokens import START, VOCABULARY_SIZE, encode_word
from synth_ai.harmony.tools import Tool

# In front of the number of a call whose id nobody gave. No id of a caller begins so.
_UNNAMED = "\0"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Transcript:
    """The messages of a conversation as ids. `Transcript()` is empty."""

    # Up to the last final answer: nothing of it will be dropped any more.
    _settled: tuple[MessageTokens, ...] = ()
    # Behind it: the reasoning in it is dropped once the next final answer follows.
    _open: tuple[MessageTokens, ...] = ()
    # The tools of calls that wait for their outputs, by the ids of the calls.
    _waiting: Mapping[str, ToolAddress] = field(default_factory=dict)

    def __repr__(self) -> str:
        count = sum(len(tokens.ids) for tokens in (*self._settled, *self._open))
        return f"Transcript({count} ids)"

    @property
    def ids(self) -> list[int]:
        """The ids of all messages, without reasoning that a final answer has followed."""
        ids: list[int] = []
        self.add_ids_to(ids)
        return ids

    @property
    def mask(self) -> list[int]:
        """The mask of the ids, as long as they are.

        1 if the model sampled the id (also if it sampled `<|return|>` in the place of an
        `<|end|>`), else 0.
        """
        return list(b"".join(tokens.mask for tokens in (*self._settled, *self._open)))

    def add_ids_to(self, ids: list[int]) -> None:
        """Add the ids to those of a prompt, without a copy in between."""
        for tokens in self._settled:
            ids += tokens.ids
        for tokens in self._open:
            ids += tokens.ids

    def with_items(self, items: Iterable[Item]) -> Transcript:
        """Return the transcript with items rendered behind it.

        Args:
            items: messages, reasoning, function calls and their outputs, in the shape of the
                Responses API. The call of a built-in tool is a `function_call` named `python`,
                `browser.search` and so on. An output finds its tool by the `call_id` of a call
                before it, or by a `name` that it has.

        Raises:
            RequestError: an item is of an unknown type, holds an image or a name that cannot be
                rendered, or is the output of a call that is not there.
        """
        items = [_check_item(item) for item in items]
        last_final = _last_index(map(_is_final, items))
        waiting = dict(self._waiting)

        rendered = []
        for index, item in enumerate(items):
            # Reasoning that is about to be dropped is not worth encoding.
            is_dropped = index < last_final and item.get("type") == "reasoning"
            if not is_dropped:
                rendered.append(_render_item(item, waiting))

        return self._with_messages(rendered, waiting)

    def with_completion(
        self,
        token_ids: Iterable[int],
        *,
        prefill: Sequence[int] = (),
        tools: Sequence[Tool] = (),
        finish_reason: FinishReason = "stop",
        call_ids: Sequence[str] = (),
    ) -> Transcript:
        """Return the transcript with a completion behind it, by the ids that the model sampled.

        Well-formed messages are kept id by id, except that `<|return|>` becomes `<|end|>`. Others
        are made well-formed: a message that was cut off is ended, a header that cannot be kept is
        rendered anew in front of the sampled content, and what `parse` surfaces nowhere (garbage,
        broken calls, invented tool outputs) is left out. What is rendered here is 0 in the mask.

        Args:
            token_ids: the ids after the generation prompt, the stop token included if the engine
                gives it.
            prefill: the ids that the prompt made the completion begin with; they are 0 in the mask.
            tools: as for `parse`.
            finish_reason: as for `parse`.
            call_ids: the ids under which the outputs of the completion's tool calls will come, in
                the order of `Completion.tool_calls`. Without them an output must name its tool,
                unless only one call is open.
        """
        rendered, addresses = render_completion(
            token_ids, prefill=prefill, tools=tools, finish_reason=finish_reason
        )

        waiting = dict(self._waiting)
        for number, address in enumerate(addresses):
            has_id = number < len(call_ids)
            call_id = call_ids[number] if has_id else f"{_UNNAMED}{number}"
            waiting[call_id] = address

        return self._with_messages(rendered, waiting)

    def _with_messages(
        self, messages: Iterable[MessageTokens], waiting: Mapping[str, ToolAddress]
    ) -> Transcript:
        """Return the transcript with messages behind it, settled up to the last final answer."""
        open_messages = (*self._open, *messages)
        last_final = _last_index(tokens.is_final for tokens in open_messages)
        if last_final < 0:
            return replace(self, _open=open_messages, _waiting=waiting)

        finished = open_messages[: last_final + 1]
        kept = [tokens for tokens in finished if not tokens.dropped_after_final]
        settled = (*self._settled, _join(kept))
        return Transcript(settled, open_messages[last_final + 1 :], waiting)


def assemble_prompt(
    system_prompt: SystemPrompt, transcript: Transcript, prefill: Sequence[int] = ()
) -> list[int]:
    """Assemble a whole prompt.

    Args:
        system_prompt: the system and the developer message.
        transcript: the conversation.
        prefill: the ids that the answer must begin with, behind `<|start|>assistant`, for example
            those of `<|channel|>final<|message|>`.
    """
    ids = list(system_prompt.ids)
    transcript.add_ids_to(ids)
    ids += (START, *encode_word("assistant"), *prefill)
    return ids


def render(
    items: Iterable[Item],
    *,
    instructions: str | None = None,
    tools: Sequence[Tool] = (),
    reasoning_effort: ReasoningEffort | str | None = "medium",
    date: Date = None,
    knowledge_cutoff: str | None = "2024-06",
    model_identity: str = IDENTITY,
    response_format: Mapping[str, object] | None = None,
) -> list[int]:
    """Render the prompt for the next answer to a conversation.

    See `Transcript.with_items` and `SystemPrompt` for the arguments.

    Raises:
        RequestError: an item cannot be rendered.
        ToolError: a tool cannot be declared.
        OptionError: a setting is out of range.
        MissingExtraError: tiktoken is not installed.
    """
    system_prompt = SystemPrompt(
        instructions=instructions,
        tools=tools,
        reasoning_effort=reasoning_effort,
        date=date,
        knowledge_cutoff=knowledge_cutoff,
        model_identity=model_identity,
        response_format=response_format,
    )
    return assemble_prompt(system_prompt, Transcript().with_items(items))


def _check_item(item: object) -> Item:
    if not isinstance(item, Mapping):
        raise RequestError(f"A conversation item must be a mapping, not {item!r}.")

    return item


def _is_final(item: Item) -> bool:
    """Tell whether an item is a final answer."""
    if item.get("type", "message") != "message":
        return False
    if item.get("role") != "assistant":
        return False

    return item.get("phase") in (None, "final_answer")


def _last_index(flags: Iterable[bool]) -> int:
    """Return the index of the last flag that is true; -1 if none is."""
    last = -1
    for index, flag in enumerate(flags):
        if flag:
            last = index

    return last


def _render_item(item: Item, waiting: dict[str, ToolAddress]) -> MessageTokens:
    """Render one item, and add it to the calls that wait for an output, or remove its call."""
    item_type = item.get("type", "message")
    if item_type == "message":
        return render_message(item)
    if item_type == "reasoning":
        return render_reasoning(item)

    if item_type == "function_call":
        address = address_tool(item.get("name"), str(item.get("arguments")))
        waiting[str(item.get("call_id"))] = address
        return render_call(item, address)
    if item_type == "function_call_output":
        return render_output(item, _take_address(item, waiting))

    raise RequestError(f"Items of type {item_type!r} cannot be rendered for gpt-oss.")


def _take_address(output: Item, waiting: dict[str, ToolAddress]) -> ToolAddress:
    """Find whose output it is, and remove the call from those that wait for one."""
    call_id = str(output.get("call_id"))
    if call_id in waiting:
        return waiting.pop(call_id)
    if output.get("name"):
        return address_tool(output["name"])

    unnamed = [key for key in waiting if key.startswith(_UNNAMED)]
    if len(unnamed) == 1:
        return waiting.pop(unnamed[0])

    raise RequestError(
        f"The output of the call {call_id!r} comes without a function_call before it."
    )


class _SharedIds(dict[int, int]):
    """One object for each id.

    A long branch has tens of thousands of ids, and copying a list of them touches every object.
    """

    def __missing__(self, token_id: int) -> int:
        if 0 <= token_id < VOCABULARY_SIZE:
            self[token_id] = token_id
        return token_id


_shared_ids = _SharedIds()


def _join(messages: Sequence[MessageTokens]) -> MessageTokens:
    """Join messages into one, which is faster to copy than many."""
    ids: list[int] = []
    for tokens in messages:
        ids += tokens.ids

    mask = b"".join(tokens.mask for tokens in messages)
    return MessageTokens(tuple(map(_shared_ids.__getitem__, ids)), mask, is_final=True)
