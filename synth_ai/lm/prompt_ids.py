"""What turns keep so that the token ids of their prompts can be given again.

A prompt is not kept: it has all that came before, so that a branch would grow with the square of
its turns. It is rendered again from the turns, which have the ids that the model sampled. A hash of
it tells whether what comes out is what the model was given.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from synth_ai.errors import SynthAIError
from synth_ai.lm.compaction import CompactedTurn, make_compacted_turn
from synth_ai.lm.request import LMRequest
from synth_ai.turn import Compaction, Turn

if TYPE_CHECKING:
    from synth_ai.lm.vendors.gpt_oss.prompt import Transcripts


def hash_token_ids(token_ids: Sequence[int]) -> str:
    """Hash token ids, in hexadecimal digits."""
    return blake2b(array("I", token_ids).tobytes(), digest_size=8).hexdigest()


def describe_compaction(request: LMRequest, response_id: str) -> Compaction | None:
    """Describe what a request had in place of the oldest turns; None if it had them all.

    Args:
        request: the request as it was sent.
        response_id: the id of its own turn.
    """
    history = request.history
    if not history or not isinstance(history[0], CompactedTurn):
        return None

    first_kept = history[1].id if len(history) > 1 else response_id
    return Compaction(first_kept=first_kept, items=list(history[0].input))


def restore_history(turns: Sequence[Turn]) -> tuple[Turn, ...] | None:
    """Restore the history that the last of these turns was sent with.

    Args:
        turns: its whole branch, from the first turn to this one.

    Returns:
        None if the turns are not the branch that was compacted then.
    """
    *before, last = turns
    if last.compaction is None:
        return tuple(before)

    ids = [turn.id for turn in turns]
    if last.compaction["first_kept"] not in ids:
        return None

    count = ids.index(last.compaction["first_kept"])
    items = tuple(last.compaction["items"])
    return (make_compacted_turn(items, tuple(before[:count])), *before[count:])


def render_prompt_ids(
    turns: Sequence[Turn], transcripts: Transcripts | None = None
) -> list[int] | None:
    """Render the prompt of the last of these turns again.

    Args:
        turns: its whole branch, from the first turn to this one; empty if that is not known.
        transcripts: what was rendered before of the branch.

    Returns:
        The ids that the model was given. None if they are not known: the turn is not of an engine,
        a turn before it was redacted or changed since, or another version rendered it.
    """
    if not turns:
        return None
    last = turns[-1]
    if last.prompt_hash is None:
        return None
    history = restore_history(turns)
    if history is None:
        return None

    # Imported here: an LM of another API never needs the modules of Harmony.
    from synth_ai.lm.vendors.gpt_oss.prompt import render_turn

    try:
        prompt = render_turn(last, history, transcripts)
    except SynthAIError:
        return None
    return prompt if hash_token_ids(prompt) == last.prompt_hash else None
