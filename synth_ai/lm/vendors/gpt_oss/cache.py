"""Rendered conversations, so that a call renders only what it adds to its branch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

from synth_ai import harmony
from synth_ai.content import Item
from synth_ai.lm.compaction import is_whole
from synth_ai.lm.vendors.gpt_oss.prompt import append_turn
from synth_ai.store.redaction import count_redacted
from synth_ai.turn import Turn

#: How many transcripts are kept. A branch has one for each of its turns, which share their ids.
_SIZE = 512

# The id of the last turn, and how many of all turns are redacted: a conversation of which a turn
# was redacted since has other ids.
_Key: TypeAlias = tuple[str, int]


class TranscriptCache:
    """Transcripts by the id of their last turn; the least recently used one goes first.

    A fork finds the ids of its parent here. Threads may share a cache.

    Args:
        size: how many transcripts to keep.
    """

    def __init__(self, size: int = _SIZE) -> None:
        self._size = size
        self._transcripts: OrderedDict[_Key, harmony.Transcript] = OrderedDict()
        self._lock = threading.Lock()

    def render(self, history: Sequence[Turn], new_items: Sequence[Item]) -> harmony.Transcript:
        """Render a conversation, from the last of its turns that is in the cache.

        Args:
            history: the turns before the call.
            new_items: what the call adds.

        Raises:
            RequestError: an item cannot be rendered.
        """
        if is_whole(history):
            transcript = self._render_history(history)
        else:
            transcript = harmony.Transcript()
            for turn in history:
                transcript = append_turn(transcript, turn)

        return transcript.with_items(new_items)

    def add(
        self, history: Sequence[Turn], response_id: str, transcript: harmony.Transcript
    ) -> None:
        """Add the transcript of a history and of the response that continues it.

        Args:
            history: the whole conversation up to the response. Of one that was compacted, the id
                of the last turn does not tell what was left out.
            response_id: the id of the response.
            transcript: both as ids.
        """
        self._put((response_id, count_redacted(history)), transcript)

    def _render_history(self, history: Sequence[Turn]) -> harmony.Transcript:
        """Render the turns that are not in the cache, and put them there."""
        transcript, count = self._find_longest(history)
        redacted = count_redacted(history[:count])
        for turn in history[count:]:
            transcript = append_turn(transcript, turn)
            redacted += turn.redacted
            self._put((turn.id, redacted), transcript)

        return transcript

    def _find_longest(self, history: Sequence[Turn]) -> tuple[harmony.Transcript, int]:
        """Find the transcript of as many turns from the first one on as possible.

        Returns:
            The transcript, and how many turns it has; an empty one and 0 if none is here.
        """
        redacted = count_redacted(history)
        with self._lock:
            for count in range(len(history), 0, -1):
                turn = history[count - 1]
                key = (turn.id, redacted)
                if key in self._transcripts:
                    self._transcripts.move_to_end(key)
                    return self._transcripts[key], count
                redacted -= turn.redacted

        return harmony.Transcript(), 0

    def _put(self, key: _Key, transcript: harmony.Transcript) -> None:
        with self._lock:
            self._transcripts[key] = transcript
            self._transcripts.move_to_end(key)
            if len(self._transcripts) > self._size:
                self._transcripts.popitem(last=False)
