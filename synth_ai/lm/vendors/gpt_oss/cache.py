"""Rendered conversations, so that a call renders only what it adds to its branch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from synth_ai import harmony
from synth_ai.content import Item
from synth_ai.lm.compaction import is_whole
from synth_ai.lm.vendors.gpt_oss.prompt import append_turn
from synth_ai.turn import Turn

#: How many transcripts are kept. A branch has one for each of its turns, which share their ids.
_SIZE = 512


class _RenderedTurn:
    """What a turn of a transcript said when it was rendered, and the one before it.

    An id does not tell that: a turn may be redacted, or deleted and imported with other text.

    Args:
        input: the items of the turn that was rendered.
        output: likewise.
        token_ids: likewise.
        before: the turn before it.
        turn: the turn itself, if there is one already.
    """

    __slots__ = ("_input", "_output", "_token_ids", "_turn", "before")

    def __init__(
        self,
        input: Sequence[Item],
        output: Sequence[Item],
        token_ids: Sequence[int] | None,
        before: _RenderedTurn | None,
        turn: Turn | None = None,
    ) -> None:
        self.before = before
        self._input = tuple(input)
        self._output = tuple(output)
        self._token_ids = token_ids
        self._turn = turn

    @classmethod
    def of(cls, turn: Turn, before: _RenderedTurn | None) -> _RenderedTurn:
        return cls(turn.input, turn.output, turn.output_token_ids, before, turn)

    def is_same_as(self, turn: Turn) -> bool:
        """Whether the turn would be rendered to the same ids."""
        if self._turn is turn:
            return True

        known = self._turn
        if turn.redacted and (known is None or not known.redacted):
            return False
        if self._input != turn.input or self._output != turn.output:
            return False
        if not _are_same_ids(self._token_ids, turn.output_token_ids):
            return False

        # A store that keeps turns in memory gives the same one next time.
        self._turn = turn
        return True


@dataclass(frozen=True, slots=True)
class _Entry:
    transcript: harmony.Transcript
    last: _RenderedTurn | None


class TranscriptCache:
    """Transcripts by the id of their last turn; the least recently used one goes first.

    A fork finds the ids of its parent here. Threads may share a cache.

    Args:
        size: how many transcripts to keep.
    """

    def __init__(self, size: int = _SIZE) -> None:
        self._size = size
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
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
        self,
        history: Sequence[Turn],
        response_id: str,
        transcript: harmony.Transcript,
        *,
        input: Sequence[Item] | None = None,
        output: Sequence[Item] = (),
        token_ids: Sequence[int] | None = None,
    ) -> None:
        """Add the transcript of a history and of the response that continues it.

        Args:
            history: the whole conversation up to the response. Of one that was compacted, the id
                of the last turn does not tell what was left out.
            response_id: the id of the response.
            transcript: both as ids.
            input: the items that the call added; None if nobody can replace the turn under its id.
            output: the items of the response.
            token_ids: the ids of the response.
        """
        if input is None:
            self._put(response_id, transcript, None)
            return

        entry, count = self._find_longest(history)
        # Another thread may have put another history in its place.
        if count < len(history):
            return
        before = None if entry is None else entry.last
        self._put(response_id, transcript, _RenderedTurn(input, output, token_ids, before))

    def _render_history(self, history: Sequence[Turn]) -> harmony.Transcript:
        """Render the turns that are not in the cache, and put them there."""
        entry, count = self._find_longest(history)
        transcript = harmony.Transcript() if entry is None else entry.transcript
        last = None if entry is None else entry.last

        for turn in history[count:]:
            transcript = append_turn(transcript, turn)
            last = _RenderedTurn.of(turn, last)
            self._put(turn.id, transcript, last)

        return transcript

    def _find_longest(self, history: Sequence[Turn]) -> tuple[_Entry | None, int]:
        """Find the transcript of as many turns from the first one on as possible.

        Returns:
            The entry, and how many turns it has; None and 0 if none is here.
        """
        with self._lock:
            count = len(history)
            while count > 0:
                id = history[count - 1].id
                entry = self._entries.get(id)
                if entry is None:
                    count -= 1
                    continue

                same = _count_same(entry.last, history[:count])
                if same == count:
                    self._entries.move_to_end(id)
                    return entry, count
                # What was made of a turn that has changed since is of no use to anybody.
                del self._entries[id]
                count = same

        return None, 0

    def _put(self, id: str, transcript: harmony.Transcript, last: _RenderedTurn | None) -> None:
        with self._lock:
            self._entries[id] = _Entry(transcript, last)
            self._entries.move_to_end(id)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)


def _count_same(last: _RenderedTurn | None, history: Sequence[Turn]) -> int:
    """Count the turns that stand before the last one that has changed since it was rendered.

    Returns:
        The count; as many as there are if none has changed.
    """
    rendered = last
    for count in range(len(history), 0, -1):
        if rendered is None:
            return len(history)
        if not rendered.is_same_as(history[count - 1]):
            return count - 1
        rendered = rendered.before

    return len(history)


def _are_same_ids(ids: Sequence[int] | None, others: Sequence[int] | None) -> bool:
    if ids is None or others is None:
        return ids is others
    return ids is others or list(ids) == list(others)
