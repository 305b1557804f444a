"""Log probabilities of sampled tokens: entries as responses have them, and the array of a turn."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from synth_ai.turn import Turn

# The largest number that four bytes hold.
_MAX_LOGPROB = 3.4028234e38


def pack_logprobs(entries: Sequence[Mapping[str, Any]] | None) -> array[float] | None:
    """Pack the sampled tokens' log probabilities into four bytes each.

    ::

        [{"token": "Hi", "logprob": -0.25, "top_logprobs": [...]}]  ->  array("f", [-0.25])

    Returns:
        None if there are none, or not one for each entry: servers send what they like.
    """
    if not entries:
        return None

    packed = array("f")
    for entry in entries:
        logprob: Any = entry.get("logprob")
        if not _is_logprob(logprob):
            return None
        packed.append(logprob)
    return packed


def unpack_logprobs(turn: Turn) -> list[dict[str, Any]] | None:
    """Make the entries of a stored turn, without alternatives; None if it has none.

    Where the ids of the tokens are known, so are the tokens.
    """
    if turn.output_logprobs is None:
        return None

    entries: list[dict[str, Any]] = []
    for logprob in turn.output_logprobs:
        entries.append({"logprob": logprob, "top_logprobs": []})
    if turn.output_token_ids is None:
        return entries

    # Imported here: an LM of another API never needs the modules of Harmony.
    from synth_ai import harmony

    for entry, token_id in zip(entries, turn.output_token_ids, strict=False):
        entry["token"] = harmony.decode([token_id])
        entry["token_id"] = token_id
    return entries


def _is_logprob(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return value == -math.inf or abs(value) <= _MAX_LOGPROB
