"""The tree that turns form: which continues from which, and where the head is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth_ai.store.base import Turn
from synth_ai.store.reading import backend_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True, slots=True, repr=False)
class Tree:
    """Conversations and their branches, to be looked at.

    `print(tree)` draws it in a terminal (in colour with rich), a notebook draws it by itself, and `to_html` makes a
    page of it. Make one with `Tree.of`.

    Attributes:
        turns: every turn by its id, in the order in which they came.
        roots: the ids of the turns that begin a conversation. A turn whose parent is not here begins one too.
        children: the ids of the turns that continue from a turn, oldest first; an id without any is not in it.
        head: the id of the turn that the next call continues from, if there is one.
    """

    turns: Mapping[str, Turn]
    roots: tuple[str, ...]
    children: Mapping[str, tuple[str, ...]]
    head: str | None = None

    @classmethod
    def of(cls, turns: Iterable[Turn], head: str | None = None) -> Tree:
        """The tree of these turns.

        Args:
            turns: in any order that has the children of a turn in theirs.
            head: the id to mark.
        """
        by_id = {turn.id: turn for turn in turns}
        children: dict[str, list[str]] = {}
        roots: list[str] = []
        for turn in by_id.values():
            if turn.parent_id is None or turn.parent_id not in by_id:
                roots.append(turn.id)
            else:
                children.setdefault(turn.parent_id, []).append(turn.id)
        return cls(by_id, tuple(roots), {id: tuple(ids) for id, ids in children.items()}, head)

    def around(self, id: str) -> Tree:
        """The one conversation that a turn belongs to, with all its branches.

        Raises:
            KeyError: there is no such turn here.
        """
        root = self.branch(id)[0].id
        return Tree.of((turn for turn in self.walk(root)), self.head)

    def branch(self, id: str) -> list[Turn]:
        """The turns from the first one to this id, oldest first.

        Raises:
            KeyError: there is no such turn here.
        """
        turns = [self.turns[id]]
        while (parent := self.turns.get(turns[-1].parent_id or "")) is not None:
            turns.append(parent)
        turns.reverse()
        return turns

    def walk(self, root: str | None = None) -> Iterator[Turn]:
        """Every turn, or every turn below and with `root`: each before its children, branch after branch."""
        waiting = [root] if root is not None else list(reversed(self.roots))
        while waiting:
            id = waiting.pop()
            yield self.turns[id]
            waiting.extend(reversed(self.children.get(id, ())))

    @property
    def leaves(self) -> list[Turn]:
        """The turns that no other continues from: one for each branch."""
        return [turn for turn in self.walk() if turn.id not in self.children]

    @property
    def backend(self) -> str:
        """The model and API of all the turns; empty where they differ."""
        backends = {backend_of(turn) for turn in self.turns.values()}
        return backends.pop() if len(backends) == 1 else ""

    def __len__(self) -> int:
        return len(self.turns)

    def __repr__(self) -> str:
        return f"<Tree {len(self)} turns, {len(self.leaves)} branches>"

    def __str__(self) -> str:
        """One line a turn: what was asked, what was answered, the start of its id, tokens in+out."""
        from synth_ai.store.pictures import terminal_width, to_text

        return to_text(self, terminal_width())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from synth_ai.store.pictures import to_rich

        yield to_rich(self, options.max_width)
