"""The tree that turns form: which continues from which, and where the head is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synth_ai.store.facts import to_dict
from synth_ai.tree.excerpts import backend_of
from synth_ai.turn import Turn

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
        backend: the model and API of all the turns; empty where they differ.
    """

    turns: Mapping[str, Turn]
    roots: tuple[str, ...]
    children: Mapping[str, tuple[str, ...]]
    head: str | None = None
    backend: str = ""

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
        _open_circles(by_id, roots, children)
        backends = {backend_of(turn) for turn in by_id.values()}
        return cls(
            turns=by_id,
            roots=tuple(roots),
            children={id: tuple(ids) for id, ids in children.items() if ids},
            head=head,
            backend=backends.pop() if len(backends) == 1 else "",
        )

    def around(self, id: str) -> Tree:
        """The one conversation that a turn belongs to, with all its branches.

        Raises:
            KeyError: there is no such turn here.
        """
        root = self.branch(id)[0].id
        found = [root]
        for each in found:
            found += self.children.get(each, ())
        kept = set(found)
        return Tree.of((turn for turn in self.turns.values() if turn.id in kept), self.head)

    def branch(self, id: str) -> list[Turn]:
        """The turns from the first one to this id, oldest first.

        Raises:
            KeyError: there is no such turn here.
        """
        turns = {id: self.turns[id]}
        while (
            parent := self.turns.get(self.turns[id].parent_id or "")
        ) is not None and parent.id not in turns:
            id = parent.id
            turns[id] = parent
        return list(reversed(turns.values()))

    def walk(self) -> Iterator[Turn]:
        """Every turn: each before its children, branch after branch."""
        return (turn for turn, _, _ in self.rows())

    def rows(self, most: int | None = None) -> Iterator[tuple[Turn, str, str]]:
        """Every turn as `walk` gives them, or the first `most`, with the lines of a drawing that lead to it.

        A turn stands below the one that it continues; only where a conversation forks do the branches move to the
        right. The second text leads to the turn, the third to whatever else is said of it below; each level of both
        takes two characters.
        """
        waiting = [(root, "", "") for root in reversed(self.roots)]
        while waiting and most != 0:
            id, rails, below = waiting.pop()
            children = self.children.get(id, ())
            yield self.turns[id], rails, below + ("│ " if children else "  ")
            for child in reversed(children):
                if len(children) == 1:
                    waiting.append((child, below, below))
                elif child == children[-1]:
                    waiting.append((child, below + "└─", below + "  "))
                else:
                    waiting.append((child, below + "├─", below + "│ "))
            most = None if most is None else most - 1

    @property
    def leaves(self) -> list[Turn]:
        """The turns that no other continues from: one for each branch."""
        return [turn for turn in self.walk() if turn.id not in self.children]

    def changes_backend(self, turn: Turn) -> bool:
        """Whether a turn was answered by another model or API than the turn before it, or than all the others."""
        parent = self.turns.get(turn.parent_id or "")
        return backend_of(turn) != (self.backend if parent is None else backend_of(parent))

    def to_mermaid(self) -> str:
        """A Mermaid flowchart, which Markdown viewers draw from a block marked `mermaid`."""
        from synth_ai.tree.mermaid import to_mermaid

        return to_mermaid(self)

    def to_json(self) -> str:
        """The head, and the turns with all that is stored of them, each before its children."""
        turns = [to_dict(turn) for turn in self.walk()]
        return json.dumps({"head": self.head, "turns": turns}, indent=2)

    def to_html(self, title: str = "Conversations") -> str:
        """A page of its own, for any browser: it folds, searches, and lays two branches side by side.

        It loads nothing from elsewhere. It holds the whole text of the conversations: `save_html` writes it to a file
        that only its owner can read.
        """
        from synth_ai.tree.html import to_page

        return to_page(self, title)

    def save_html(self, path: str | os.PathLike[str], title: str = "Conversations") -> None:
        """Write `to_html` to a file that only its owner can read; it appears whole or not at all.

        Args:
            path: the file; an earlier page is replaced, no other file is.
            title: the page's heading.

        Raises:
            StoreUnavailableError: the file cannot be written, or another one is in its place.
        """
        from synth_ai.tree.html import write_page

        write_page(self, path, title)

    def __len__(self) -> int:
        return len(self.turns)

    def __repr__(self) -> str:
        return f"<Tree {len(self)} turns, {len(self.leaves)} branches>"

    def __str__(self) -> str:
        """One line a turn: what was asked, what was answered, the start of its id, tokens in+out."""
        from synth_ai.tree.text import terminal_width, to_text

        return to_text(self, terminal_width())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from synth_ai.tree.text import to_rich

        yield to_rich(self, options.max_width)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from synth_ai.tree.html import to_notebook

        return {"text/plain": str(self), "text/html": to_notebook(self)}


def _open_circles(
    turns: Mapping[str, Turn], roots: list[str], children: dict[str, list[str]]
) -> None:
    """Make a root of one turn of every circle that no root leads to: damaged links must not hide turns."""
    reached: set[str] = set()

    def reach(root: str) -> None:
        waiting = [root]
        while waiting:
            id = waiting.pop()
            reached.add(id)
            waiting += children.get(id, ())

    for root in roots:
        reach(root)
    for turn in turns.values():
        if turn.id not in reached and turn.parent_id is not None:
            children[turn.parent_id].remove(turn.id)
            roots.append(turn.id)
            reach(turn.id)
