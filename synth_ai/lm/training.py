"""A branch as exact token ids with a loss mask, for training on what the model really saw and sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synth_ai import harmony
from synth_ai.errors import RequestError
from synth_ai.lm.vendors.gpt_oss.prompt import Shown, with_turn
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One sequence to train on.

    Attributes:
        token_ids: a prompt and what was sampled after it, once or several times in a row.
        loss_mask: as long as `token_ids`: 1 on ids that the model sampled, 0 elsewhere.
    """

    token_ids: list[int]
    loss_mask: list[int]


def training_examples(turns: Sequence[Turn]) -> list[TrainingExample]:
    """The sequences of a branch, oldest first. Every id that was sampled has its 1 in exactly one of them.

    A turn whose prompt begins with the whole sequence before it (the next round of a tool call) makes that one longer;
    any other, such as the turn after a final answer, whose reasoning is gone from the prompt, begins a new one.

    A turn that a stop string ended is context here and nothing to train on: more was sampled than it says, so it is
    kept as text.

    Raises:
        RequestError: no turn has sampled ids: they come from the harmony API alone, and from there not for such turns.
    """
    examples: list[TrainingExample] = []
    transcript = harmony.Transcript()
    for turn in turns:
        if turn.output_token_ids is not None:
            prompt = Shown.by_turn(turn).prompt(transcript.with_items(turn.input))
            _add(examples, prompt, turn.output_token_ids)
        transcript = with_turn(transcript, turn)
    if not examples:
        raise RequestError(f"No turn of this branch has sampled token ids: {_why_none(turns)}")
    return examples


def _why_none(turns: Sequence[Turn]) -> str:
    if not any(turn.api_type == "harmony" for turn in turns):
        return "only the harmony API gives them."
    return "one that a stop string ended, or that was redacted, is kept as text. Call without stop= to train on it."


def _add(examples: list[TrainingExample], prompt: list[int], sampled: Sequence[int]) -> None:
    last = examples[-1] if examples else None
    if last is None or prompt[: len(last.token_ids)] != last.token_ids:
        last = TrainingExample([], [])
        examples.append(last)
    shown = prompt[len(last.token_ids) :]
    last.token_ids.extend([*shown, *sampled])
    last.loss_mask.extend([0] * len(shown) + [1] * len(sampled))
