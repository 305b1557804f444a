"""The tree that turns form, as data: which continues from which, and where the head is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeAlias, get_args

from synth_ai.errors import OptionError
from synth_ai.turn import Turn

ColorBy: TypeAlias = Literal["reward"]


class TreeRow(NamedTuple):
    """A turn in a drawing of its tree.

    Attributes:
        turn: the turn.
        rails: what stands before the turn, two characters for each fork above it.
        rails_below: what stands before further lines about the turn; one level deeper.
        is_root: whether a conversation begins here.
    """

    turn: Turn
    rails: str
    rails_below: str
    is_root: bool


# How many forks above each other are drawn: deeper than any screen is wide.
_MAX_RAILS = 100


@dataclass(frozen=True, slots=True, repr=False)
class TurnTree:
    """Turns by their links. Drawings read it; `Tree` is the one that draws itself.

    Attributes:
        turns: every turn by its id, in the order in which they came.
        roots: the ids of the turns that begin a conversation. A turn whose parent is not here
            begins one too.
        children: the ids of the turns that continue from a turn, oldest first; a turn that none
            continues from is not in it.
        head: the id of the turn that the next call continues from, if there is one.
        backend: the model and API of all the turns; empty if they differ.
        color_by: what drawings colour the turns by: `reward`, or None.
    """

    turns: Mapping[str, Turn]
    roots: tuple[str, ...]
    children: Mapping[str, tuple[str, ...]]
    head: str | None = None
    backend: str = ""
    color_by: ColorBy | None = None

    @classmethod
    def of(
        cls, turns: Iterable[Turn], head: str | None = None, color_by: ColorBy | None = None
    ) -> Self:
        """Link turns to a tree.

        Args:
            turns: in any order that has the children of a turn in theirs.
            head: the id to mark.
            color_by: what to colour the turns by.

        Raises:
            OptionError: turns cannot be coloured by that.
        """
        if color_by not in (None, *get_args(ColorBy)):
            raise OptionError(f"color_by must be 'reward' or None, not {color_by!r:.100}.")

        by_id = {turn.id: turn for turn in turns}

        # Roots and children keep the order of the turns, so that the oldest stand first.
        roots: list[str] = []
        children: dict[str, list[str]] = {}
        for turn in by_id.values():
            parent = _find_parent(turn, by_id)
            if parent is None:
                roots.append(turn.id)
            else:
                children.setdefault(parent.id, []).append(turn.id)
        _open_circles(by_id, roots, children)

        backends = {backend_of(turn) for turn in by_id.values()}
        return cls(
            turns=by_id,
            roots=tuple(roots),
            children={id: tuple(ids) for id, ids in children.items() if ids},
            head=head,
            backend=backends.pop() if len(backends) == 1 else "",
            color_by=color_by,
        )

    def around(self, id: str) -> Self:
        """Return the one conversation that a turn belongs to, with all its branches.

        Raises:
            KeyError: there is no such turn here.
        """
        root = self.branch(id)[0]
        ids = {root.id}
        _add_descendants(root.id, self.children, ids)

        turns = [turn for turn in self.turns.values() if turn.id in ids]
        return type(self).of(turns, self.head, self.color_by)

    def branch(self, id: str) -> list[Turn]:
        """Return the turns from the first one to this id, oldest first.

        Raises:
            KeyError: there is no such turn here.
        """
        turn = self.turns[id]
        branch = {id: turn}
        while True:
            parent = self.parent_of(turn)
            if parent is None:
                break
            # Damaged links may lead in a circle.
            if parent.id in branch:
                break
            branch[parent.id] = parent
            turn = parent

        return list(reversed(branch.values()))

    def parent_of(self, turn: Turn) -> Turn | None:
        """Return the turn that another one continues from; None if it is not here."""
        return _find_parent(turn, self.turns)

    def walk(self) -> Iterator[Turn]:
        """Give every turn: each before its children, branch after branch."""
        for row in self.rows():
            yield row.turn

    def rows(self) -> Iterator[TreeRow]:
        """Give every turn in the order of `walk`, with the rails of a drawing that lead to it.

        A turn stands below the one that it continues. Only at a fork do the branches move to the
        right.
        """
        # A stack, and no recursion: a conversation may have thousands of turns.
        waiting = [(root, "", "") for root in reversed(self.roots)]
        roots = frozenset(self.roots)
        while waiting:
            id, rails, below = waiting.pop()
            children = self.children.get(id, ())
            rails_below = below + ("│ " if children else "  ")
            yield TreeRow(self.turns[id], rails, rails_below, id in roots)

            waiting += reversed(_lay_rails(children, below))

    @property
    def leaves(self) -> list[Turn]:
        """The turns that no other continues from: one for each branch."""
        return [turn for turn in self.walk() if turn.id not in self.children]

    def changes_backend(self, turn: Turn) -> bool:
        """Whether a turn was answered by another model or API than the turn before it.

        A first turn is compared with `backend`, which has what all the turns have in common.
        """
        parent = self.parent_of(turn)
        before = self.backend if parent is None else backend_of(parent)
        return backend_of(turn) != before

    def __len__(self) -> int:
        return len(self.turns)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self)} turns, {len(self.leaves)} branches>"


def backend_of(turn: Turn) -> str:
    """Name the model and the API that answered."""
    return f"{turn.model}, {turn.api_type}"


def _find_parent(turn: Turn, turns: Mapping[str, Turn]) -> Turn | None:
    if turn.parent_id is None:
        return None
    return turns.get(turn.parent_id)


def _lay_rails(children: Sequence[str], rails: str) -> list[tuple[str, str, str]]:
    """Tell with which rails the children of a turn stand below it.

    ::

        ["a"]       -> a below its parent
        ["a", "b"]  -> ├─a, then │ below it
                       └─b, then blanks below it

    Returns:
        For each child: its id, the rails that lead to it, and those that lead below it.
    """
    if not children:
        return []
    if len(children) == 1:
        return [(children[0], rails, rails)]

    rails = _fit_rails(rails)
    *others, last = children
    branches = [(child, rails + "├─", rails + "│ ") for child in others]
    branches.append((last, rails + "└─", rails + "  "))
    return branches


def _fit_rails(rails: str) -> str:
    """Cut the rails of deep forks from the left.

    Of a conversation that forks at every turn, each row would be longer than the one before.
    """
    longest = 2 * _MAX_RAILS
    if len(rails) <= longest:
        return rails
    return "⋯ " + rails[len(rails) - longest + 2 :]


def _open_circles(
    turns: Mapping[str, Turn], roots: list[str], children: dict[str, list[str]]
) -> None:
    """Make a root of one turn of every circle of links, as no root leads to it.

    Only damaged stores have circles; a drawing must not hide their turns.
    """
    reached = set(roots)
    for root in roots:
        _add_descendants(root, children, reached)

    for turn in turns.values():
        if turn.id in reached:
            continue
        assert turn.parent_id is not None, "a turn without a parent is a root"
        children[turn.parent_id].remove(turn.id)
        roots.append(turn.id)
        reached.add(turn.id)
        _add_descendants(turn.id, children, reached)


def _add_descendants(id: str, children: Mapping[str, Sequence[str]], found: set[str]) -> None:
    """Add the ids of all turns that lead back to a turn."""
    waiting = [id]
    while waiting:
        next_ids = children.get(waiting.pop(), ())
        waiting += next_ids
        found.update(next_ids)
