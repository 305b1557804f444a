"""How much memory turns take, about."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from synth_ai.turn import Turn

# A turn itself with what it always has, and a dict or a list without what it holds.
_TURN_BYTES = 700
_CONTAINER_BYTES = 100

# An int beyond the small ones, and the place in a list that points to it.
_TOKEN_ID_BYTES = 40

# A float of four bytes in an array.
_LOGPROB_BYTES = 4

# A hash, with its place in the index that finds the turn by it.
_INDEXED_HASH_BYTES = 400


class TurnSizes:
    """Counts the bytes of turns, and those of what several turns share once.

    The turns of a branch share one system message and one list of tools.
    """

    def __init__(self) -> None:
        self.total = 0
        self._sizes: dict[str, int] = {}
        # By the identity of the shared object: how many turns have it, and its size. The turns
        # keep it alive, so that no other object gets its identity.
        self._shared: dict[int, tuple[int, int]] = {}

    def add(self, turn: Turn) -> None:
        """Count a turn that is kept from now on."""
        size = size_of_turn(turn)
        self._sizes[turn.id] = size
        self.total += size
        for value in (turn.instructions, turn.tools):
            self._add_shared(value)

    def remove(self, turn: Turn) -> None:
        """Count a turn no longer; it is the object that was added."""
        self.total -= self._sizes.pop(turn.id)
        for value in (turn.instructions, turn.tools):
            self._remove_shared(value)

    def _add_shared(self, value: object) -> None:
        if not value:
            return

        users, size = self._shared.get(id(value), (0, 0))
        if users == 0:
            size = size_of(value)
            self.total += size
        self._shared[id(value)] = (users + 1, size)

    def _remove_shared(self, value: object) -> None:
        if not value:
            return

        users, size = self._shared[id(value)]
        if users > 1:
            self._shared[id(value)] = (users - 1, size)
            return
        del self._shared[id(value)]
        self.total -= size


def size_of_turn(turn: Turn) -> int:
    """Estimate the bytes of a turn, without what the turns of its branch share."""
    size = _TURN_BYTES
    for value in (turn.input, turn.output, turn.settings, turn.warnings, turn.error, turn.id):
        size += size_of(value)
    size += size_of(turn.tags)
    size += size_of(turn.compaction)

    for indexed_hash in (turn.fingerprint, turn.request_key):
        if indexed_hash is not None:
            size += _INDEXED_HASH_BYTES
    size += _LOGPROB_BYTES * len(turn.output_logprobs or ())
    return size + _TOKEN_ID_BYTES * len(turn.output_token_ids or ())


def size_of(value: object) -> int:
    """Estimate the bytes of plain data, however deep."""
    size = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (str, bytes)):
            size += sys.getsizeof(each)
        elif isinstance(each, (list, tuple)):
            size += _CONTAINER_BYTES
            waiting += each
        # A dict is known by its own type at once, any other mapping only after a search.
        elif isinstance(each, (dict, Mapping)):
            size += _CONTAINER_BYTES
            # Names of fields are shared by all items; those of arguments are short.
            waiting += each.values()
        elif isinstance(each, int):
            # A single number may have millions of digits.
            size += sys.getsizeof(each)
    return size
