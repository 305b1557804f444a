"""A branch as exact token ids with a loss mask, to train on what the model saw and sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from synth_ai.content import is_call
from synth_ai.errors import RequestError
from synth_ai.lm.prompt_ids import restore_history
from synth_ai.lm.vendors.gpt_oss.cache import TranscriptCache
from synth_ai.lm.vendors.gpt_oss.prompt import render_turn
from synth_ai.turn import Turn

#: Why a turn ended, in the words of trainers.
_FINISH_REASONS = {"max_output_tokens": "length"}


@dataclass(slots=True)
class TrainingExample:
    """One sequence to train on, as `lm.responses.training_examples()` returns them.

    Attributes:
        token_ids: a prompt and what was sampled after it, once or several times in a row.
        loss_mask: as long as `token_ids`: 1 for each id that the model sampled, 0 for the others.
        logprobs: as long as `token_ids`: the log probability of each id that the model sampled, 0.0
            for the others. None unless all calls of the sequence asked for them.
        response_ids: the responses whose sampled ids have a 1, oldest first.
        finish_reason: how the last of them ended: `stop`, `length`, `tool_calls`, or another reason
            why it is incomplete.
        reward: the reward of the last of them that has one.
        tags: the tags of all of them; those of a later one come on top.
    """

    token_ids: list[int] = field(default_factory=list)
    loss_mask: list[int] = field(default_factory=list)
    logprobs: list[float] | None = None
    response_ids: list[str] = field(default_factory=list)
    finish_reason: str = "stop"
    reward: float | None = None
    tags: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt_length(self) -> int:
        """How many ids come before the first one that the model sampled."""
        if 1 not in self.loss_mask:
            return len(self.loss_mask)
        return self.loss_mask.index(1)


def training_examples(turns: Sequence[Turn], only_from: str | None = None) -> list[TrainingExample]:
    """Make the sequences of a branch, oldest first; each sampled id has its 1 in exactly one.

    A turn whose prompt begins with the whole sequence before it (the next round of a tool call)
    makes that one longer. Any other begins a new one: after a final answer, for example, its
    reasoning is no longer in the prompt.

    A turn that a stop string ended is context here and not trained on. The model sampled more than
    the turn shows, so the turn is kept as text.

    Args:
        turns: the branch, from its first turn on.
        only_from: the id of a turn of the branch. It and the turns before it are context alone, so
            that n samples of one prefix are n sequences. The id of the last turn stands for that
            turn alone.

    Raises:
        RequestError: no turn has sampled ids, as only those of the harmony API have them, or
            `only_from` is not a turn of the branch.
    """
    first = _find_first(turns, only_from)
    examples: list[TrainingExample] = []
    for count, prompt in _render_prompts(turns, first):
        _add(examples, prompt, turns[count])

    if not examples:
        raise RequestError(
            "No turn of this branch has sampled token ids: they come from an engine, on the "
            "harmony API, and a turn that a stop string ended, or that was redacted, is kept as "
            "text. Call without stop= to train on it."
        )
    return examples


def _find_first(turns: Sequence[Turn], only_from: str | None) -> int:
    """Find the place of the first turn to train on."""
    if only_from is None:
        return 0

    ids = [turn.id for turn in turns]
    if only_from not in ids:
        raise RequestError(
            f"only_from must be the response_id of a response that {ids[-1]!r} continues, or its "
            f"own, not {only_from!r:.100}."
        )
    place = ids.index(only_from)
    is_last = place == len(turns) - 1
    return place if is_last else place + 1


def _render_prompts(turns: Sequence[Turn], first: int) -> Iterator[tuple[int, list[int]]]:
    """Render the prompt of each turn with sampled ids, from the place `first` on."""
    transcripts = TranscriptCache()
    for place in range(first, len(turns)):
        turn = turns[place]
        if turn.output_token_ids is None:
            continue

        history = restore_history(turns[: place + 1])
        if history is None:
            continue
        yield place, render_turn(turn, history, transcripts)


def _add(examples: list[TrainingExample], prompt: list[int], turn: Turn) -> None:
    """Add a turn to the last example, or as a new one if its prompt does not continue that."""
    last = examples[-1] if examples else None
    if last is None or prompt[: len(last.token_ids)] != last.token_ids:
        last = TrainingExample(logprobs=[])
        examples.append(last)

    context = prompt[len(last.token_ids) :]
    sampled = turn.output_token_ids or ()
    last.token_ids.extend([*context, *sampled])
    last.loss_mask.extend([0] * len(context) + [1] * len(sampled))
    if turn.output_logprobs is None:
        last.logprobs = None
    if last.logprobs is not None and turn.output_logprobs is not None:
        last.logprobs.extend([*([0.0] * len(context)), *turn.output_logprobs])

    last.response_ids.append(turn.id)
    last.finish_reason = _read_finish_reason(turn)
    if turn.reward is not None:
        last.reward = turn.reward
    last.tags.update(turn.tags)


def _read_finish_reason(turn: Turn) -> str:
    reason = turn.incomplete_reason
    if reason is not None:
        return _FINISH_REASONS.get(reason, reason)
    if any(is_call(item) for item in turn.output):
        return "tool_calls"
    return "stop"
