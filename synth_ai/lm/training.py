"""A branch as exact token ids with a loss mask, to train on what the model saw and sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synth_ai import harmony
from synth_ai.errors import RequestError
from synth_ai.lm.vendors.gpt_oss.prompt import PromptSettings, append_turn
from synth_ai.turn import Turn


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One sequence to train on, as `lm.responses.training_examples()` returns them.

    Attributes:
        token_ids: a prompt and what was sampled after it, once or several times in a row.
        loss_mask: as long as `token_ids`: 1 for each id that the model sampled, 0 for the others.
    """

    token_ids: list[int]
    loss_mask: list[int]


def training_examples(turns: Sequence[Turn]) -> list[TrainingExample]:
    """Make the sequences of a branch, oldest first; each sampled id has its 1 in exactly one.

    A turn whose prompt begins with the whole sequence before it (the next round of a tool call)
    makes that one longer. Any other begins a new one: after a final answer, for example, its
    reasoning is no longer in the prompt.

    A turn that a stop string ended is context here and not trained on. The model sampled more than
    the turn shows, so the turn is kept as text.

    Raises:
        RequestError: no turn has sampled ids. Only those of the harmony API have them.
    """
    examples: list[TrainingExample] = []
    transcript = harmony.Transcript()
    for turn in turns:
        if turn.output_token_ids is not None:
            prompt = PromptSettings.of_turn(turn).render(transcript.with_items(turn.input))
            _add(examples, prompt, turn.output_token_ids)
        transcript = append_turn(transcript, turn)

    if not examples:
        raise RequestError(
            "No turn of this branch has sampled token ids: they come from an engine, on the "
            "harmony API, and a turn that a stop string ended, or that was redacted, is kept as "
            "text. Call without stop= to train on it."
        )
    return examples


def _add(examples: list[TrainingExample], prompt: list[int], sampled: Sequence[int]) -> None:
    """Add a turn to the last example, or as a new one if its prompt does not continue that."""
    last = examples[-1] if examples else None
    if last is None or prompt[: len(last.token_ids)] != last.token_ids:
        last = TrainingExample([], [])
        examples.append(last)

    context = prompt[len(last.token_ids) :]
    last.token_ids.extend([*context, *sampled])
    last.loss_mask.extend([0] * len(context) + [1] * len(sampled))
